package sdk

import (
	"context"

	"dormouse/shell/shellpb"
)

// callerKey is the key of a context's value: the callsign of the caller of a method.
type callerKey struct{}

// withCaller returns the context of a method that the instance of that callsign calls.
func withCaller(ctx context.Context, callsign string) context.Context {
	return context.WithValue(ctx, callerKey{}, callsign)
}

// CallerOf returns the callsign of the instance that makes a call of a method, or of a gRPC
// service of the plugin, with the context of that call. It is empty for a client. The host
// vouches for it: no caller can give another callsign than its own.
func CallerOf(ctx context.Context) string {
	if callsign, ok := ctx.Value(callerKey{}).(string); ok {
		return callsign
	}
	return shellpb.CallerFromContext(ctx)
}
