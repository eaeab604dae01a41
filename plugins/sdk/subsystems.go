package sdk

import (
	"context"
	"iter"

	"google.golang.org/grpc"

	"dormouse/shell/shellpb"
)

// Subsystem is a condition of the platform, such as "Network", that is up or down.
type Subsystem struct {
	Name   string
	Active bool
}

// Subsystems lists all subsystems of the host, always in the same order.
func (h *Host) Subsystems(ctx context.Context) ([]Subsystem, error) {
	answer, err := h.shellClient().Subsystems(ctx, &shellpb.SubsystemsRequest{})
	if err != nil {
		return nil, errorFromHost(ctx, "list the subsystems", err)
	}
	return subsystemsFromWire(answer), nil
}

// SetSubsystem sets a subsystem up or down. The plugin must name it in
// Information.Controls. The host sets it down when the plugin ends.
func (h *Host) SetSubsystem(ctx context.Context, name string, active bool) error {
	_, err := h.shellClient().SetSubsystem(ctx, &shellpb.SetSubsystemRequest{Subsystem: &shellpb.Subsystem{Name: name, Active: active}})
	return errorFromHost(ctx, "set the subsystem "+name, err)
}

// WatchSubsystems returns a loop over the subsystems: all of them first, then those
// that change. It ends as the loop of Watch does.
func (h *Host) WatchSubsystems(ctx context.Context) iter.Seq2[[]Subsystem, error] {
	open := func(ctx context.Context, opts ...grpc.CallOption) (grpc.ServerStreamingClient[shellpb.SubsystemsResponse], error) {
		return h.shellClient().WatchSubsystems(ctx, &shellpb.WatchSubsystemsRequest{}, opts...)
	}
	return func(yield func([]Subsystem, error) bool) {
		err := followStreamReopening(ctx, open, func(r *shellpb.SubsystemsResponse) bool { return yield(subsystemsFromWire(r), nil) })
		if err != nil {
			yield(nil, errorFromHost(ctx, "watch the subsystems", err))
		}
	}
}

// subsystemsFromWire returns the subsystems that a message of the host describes.
func subsystemsFromWire(r *shellpb.SubsystemsResponse) []Subsystem {
	all := make([]Subsystem, len(r.GetSubsystems()))
	for i, s := range r.GetSubsystems() {
		all[i] = Subsystem{s.GetName(), s.GetActive()}
	}
	return all
}
