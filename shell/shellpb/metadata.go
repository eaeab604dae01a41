package shellpb

// CallsignKey is the metadata that names the instance which a call to the host's
// Shell, its StateControl or a plugin's own service is about.
const CallsignKey = "dormouse-callsign"
