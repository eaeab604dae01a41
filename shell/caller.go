package shell

import "context"

// callerKey is the key of a context's value: the callsign of the plugin that makes the call.
type callerKey struct{}

// WithCaller returns a context for a call that the plugin of that callsign makes. Only the
// front that knows the plugin by its own socket may use WithCaller: what belongs to one
// plugin alone is guarded by it.
func WithCaller(ctx context.Context, callsign string) context.Context {
	return context.WithValue(ctx, callerKey{}, callsign)
}

// CallerOf returns the callsign of the plugin whose call this is, virtual or not; empty for a
// client's call and for the host's own.
func CallerOf(ctx context.Context) string {
	callsign, _ := ctx.Value(callerKey{}).(string)
	return callsign
}
