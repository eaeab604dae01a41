package shellpb

import (
	"context"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// CallsignKey is the gRPC metadata key under which a call to the host names the instance
// that the call is about.
const CallsignKey = "dormouse-callsign"

// AsKey is the gRPC metadata key under which a plugin names the virtual plugin of its own
// for which it calls the host.
const AsKey = "dormouse-as"

// CallerKey is the gRPC metadata key under which the host names, on calls that it forwards
// to a plugin, the instance whose plugin makes the call. It is absent on calls of clients.
const CallerKey = "dormouse-caller"

// UnaryKey is the gRPC metadata key that marks a forwarded call as unary: one request and
// one response. The value does not matter. The host needs the mark because a forwarded
// unary call looks like a stream.
const UnaryKey = "dormouse-unary"

// EventsUntilKey is the gRPC metadata key under which a plugin names the sequence number of
// an event. In the trailer of an answer it is that of the last event that arose before the
// answer; in the header of Dispatcher.Events, that of the event after which the stream begins.
const EventsUntilKey = "dormouse-events-until"

// EventsUntil returns the metadata with that sequence number.
func EventsUntil(sequence uint64) metadata.MD {
	return metadata.MD{EventsUntilKey: {strconv.FormatUint(sequence, 10)}}
}

// ParseEventsUntil returns the sequence number in the metadata, and false if there is none.
func ParseEventsUntil(md metadata.MD) (sequence uint64, named bool) {
	values := md[EventsUntilKey]
	if len(values) == 0 {
		return 0, false
	}
	sequence, err := strconv.ParseUint(values[0], 10, 64)
	return sequence, err == nil
}

// WithCallsign returns a context for a call to the host about the instance callsign. With
// an empty callsign it returns ctx.
func WithCallsign(ctx context.Context, callsign string) context.Context {
	if callsign == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, CallsignKey, callsign)
}

// WithAs returns a context for calls to the host for the virtual plugin of that callsign,
// which must be a child of the calling plugin. With an empty callsign it returns ctx.
func WithAs(ctx context.Context, callsign string) context.Context {
	if callsign == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, AsKey, callsign)
}

// CallerFromContext returns the callsign of the instance whose plugin makes the call that a
// plugin serves with ctx, empty for a client.
func CallerFromContext(ctx context.Context) string {
	if callers := metadata.ValueFromIncomingContext(ctx, CallerKey); len(callers) == 1 {
		return callers[0]
	}
	return ""
}

// ConnToPlugin returns a connection to the plugin of the instance callsign, through the
// connection to the host.
func ConnToPlugin(callsign string, host grpc.ClientConnInterface) grpc.ClientConnInterface {
	return pluginConn{host, callsign}
}

// pluginConn passes calls through the host to one plugin, with its callsign in their
// metadata.
type pluginConn struct {
	host     grpc.ClientConnInterface
	callsign string
}

// Invoke makes a unary call of the plugin and marks it as unary, see UnaryKey.
func (c pluginConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	ctx = metadata.AppendToOutgoingContext(WithCallsign(ctx, c.callsign), UnaryKey, "1")
	return c.host.Invoke(ctx, method, args, reply, opts...)
}

// NewStream opens a stream to the plugin, without the mark of a unary call.
func (c pluginConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.host.NewStream(WithCallsign(ctx, c.callsign), desc, method, opts...)
}
