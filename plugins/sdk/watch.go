package sdk

import (
	"context"
	"errors"
	"io"
	"iter"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/shell/shellpb"
)

// Watch returns a loop over the states of an instance: the present state first,
// then each change in order. The loop ends, without an error, when it is left or
// ctx ends. After the plugin slept or the host was restarted, the loop goes on with
// the state at that time; changes in between are left out. Any other error is the
// last element of the loop.
func (h *Host) Watch(ctx context.Context, callsign string) iter.Seq2[Change, error] {
	return h.watchChanges(ctx, callsign, &shellpb.WatchRequest{})
}

// WatchAll is Watch for all instances of the host.
func (h *Host) WatchAll(ctx context.Context) iter.Seq2[Change, error] {
	return h.watchChanges(ctx, "", &shellpb.WatchRequest{Every: true})
}

// watchChanges returns the loop of Watch and WatchAll.
func (h *Host) watchChanges(ctx context.Context, callsign string, r *shellpb.WatchRequest) iter.Seq2[Change, error] {
	open := func(ctx context.Context, opts ...grpc.CallOption) (grpc.ServerStreamingClient[shellpb.StateChange], error) {
		return h.shellClient().Watch(shellpb.WithCallsign(ctx, callsign), r, opts...)
	}
	return func(yield func(Change, error) bool) {
		err := followStreamReopening(ctx, open, func(c *shellpb.StateChange) bool { return yield(changeFromWire(c), nil) })
		if err != nil {
			yield(Change{}, errorFromHost(ctx, "watch "+callsignInError(callsign), err))
		}
	}
}

// followStreamReopening opens a stream and calls deliver with each message, until deliver
// returns false or ctx ends; it then returns nil. It opens the stream again after a
// sleep, and after the host was restarted. It returns any other error.
func followStreamReopening[M any](ctx context.Context, open func(context.Context, ...grpc.CallOption) (grpc.ServerStreamingClient[M], error),
	deliver func(*M) bool,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var opts []grpc.CallOption
	for {
		stream, err := open(ctx, opts...)
		begun := false
		for err == nil {
			var m *M
			if m, err = stream.Recv(); err == nil {
				begun = true
				if !deliver(m) {
					return nil
				}
			}
		}
		broken := begun && (status.Code(err) == codes.Unavailable || errors.Is(err, io.EOF))
		switch {
		case ctx.Err() != nil:
			return nil
		case broken:
			opts = []grpc.CallOption{grpc.WaitForReady(true)}
		case !errors.Is(err, ErrSlept):
			return err
		}
	}
}
