package shellpb

// CallsignKey is the metadata that names the instance which a call to the host's
// Shell, its StateControl or a plugin's own service is about.
const CallsignKey = "dormouse-callsign"

// UnaryKey is the metadata that, with any value, says of a forwarded call that it
// has one question and one answer. The host can't know that by itself.
const UnaryKey = "dormouse-unary"
