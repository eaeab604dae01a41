package communicator

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/tap"

	"dormouse/plugins/thunder"
	"dormouse/shell/shellpb"
)

// takeCallPlace gives a new call memory, and that of a native client a place, until ctx ends,
// which is when the call does. The error says that there is no room, or that the client's peer
// has too many calls under way; gRPC then reads no message of the call.
func (c *Communicator) takeCallPlace(ctx context.Context, _ *tap.Info) (context.Context, error) {
	conn := connectionOfCall(ctx)
	if conn == nil {
		return ctx, nil
	}
	if err := conn.takeMemoryOfCall(ctx); err != nil || conn.client.Plugin != "" { // maxStreams is enough for plugins
		return ctx, err
	}
	place, err := c.callPlaces.Take(c.callLimits, conn.client, nil)
	if err != nil {
		return ctx, shellpb.ErrorWithDetail(codes.ResourceExhausted, "too many calls are under way: "+err.Error(), &shellpb.Error{Code: int32(thunder.InProgress)})
	}
	conn.place.Begin()
	context.AfterFunc(ctx, func() {
		place.Free()
		conn.place.End()
	})
	return ctx, nil
}
