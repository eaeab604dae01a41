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

// Watch yields where an instance stands and then each change, in order, until
// the loop is left or ctx ends, which is no error. After the plugin slept, or
// the host was restarted, it begins again with where the instance stands then:
// changes of the time between are not told. Any other error is the last thing
// it yields.
func (h *Host) Watch(ctx context.Context, callsign string) iter.Seq2[Change, error] {
	return h.changes(ctx, callsign, &shellpb.WatchRequest{})
}

// WatchAll is Watch for every instance of the host.
func (h *Host) WatchAll(ctx context.Context) iter.Seq2[Change, error] {
	return h.changes(ctx, "", &shellpb.WatchRequest{Every: true})
}

func (h *Host) changes(ctx context.Context, callsign string, r *shellpb.WatchRequest) iter.Seq2[Change, error] {
	open := func(ctx context.Context, opts ...grpc.CallOption) (grpc.ServerStreamingClient[shellpb.StateChange], error) {
		return h.shell().Watch(about(ctx, callsign), r, opts...)
	}
	return func(yield func(Change, error) bool) {
		err := follow(ctx, open, func(c *shellpb.StateChange) bool { return yield(changeOf(c), nil) })
		if err != nil {
			yield(Change{}, refused(ctx, "watch "+named(callsign), err))
		}
	}
}

// Subsystems lists all of the host's, in their fixed order.
func (h *Host) Subsystems(ctx context.Context) ([]Subsystem, error) {
	answer, err := h.shell().Subsystems(ctx, &shellpb.SubsystemsRequest{})
	if err != nil {
		return nil, refused(ctx, "list the subsystems", err)
	}
	return subsystemsOf(answer), nil
}

// SetSubsystem says whether a subsystem is up that the plugin controls, see
// Information.Controls. It goes down when the plugin ends.
func (h *Host) SetSubsystem(ctx context.Context, name string, active bool) error {
	_, err := h.shell().SetSubsystem(ctx, &shellpb.SetSubsystemRequest{Subsystem: &shellpb.Subsystem{Name: name, Active: active}})
	return refused(ctx, "set the subsystem "+name, err)
}

// WatchSubsystems yields all subsystems and then those that change, as Watch
// does.
func (h *Host) WatchSubsystems(ctx context.Context) iter.Seq2[[]Subsystem, error] {
	open := func(ctx context.Context, opts ...grpc.CallOption) (grpc.ServerStreamingClient[shellpb.SubsystemsResponse], error) {
		return h.shell().WatchSubsystems(ctx, &shellpb.WatchSubsystemsRequest{}, opts...)
	}
	return func(yield func([]Subsystem, error) bool) {
		err := follow(ctx, open, func(r *shellpb.SubsystemsResponse) bool { return yield(subsystemsOf(r), nil) })
		if err != nil {
			yield(nil, refused(ctx, "watch the subsystems", err))
		}
	}
}

// follow gives every message of a stream to take, until that returns false or
// ctx ends. It opens the stream anew after a sleep, and after a break of one
// that had begun: then it waits for the host to be there again.
func follow[M any](ctx context.Context, open func(context.Context, ...grpc.CallOption) (grpc.ServerStreamingClient[M], error),
	take func(*M) bool,
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
				if !take(m) {
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
