package shellpb

// CallsignKey is the gRPC metadata key whose value names the instance that a call to the
// host is about.
const CallsignKey = "dormouse-callsign"

// UnaryKey is the gRPC metadata key that marks a forwarded call as unary: one request and
// one response. The value does not matter. The host can't see that of the call itself.
const UnaryKey = "dormouse-unary"
