package communicator

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/statecontrol"
	"dormouse/statecontrol/statecontrolpb"
)

// stateControlService is the gRPC service dormouse.statecontrol.v1.StateControl for
// every instance. Clients do not reach the plugin's own service of that name, so
// that each change goes through the shell.
type stateControlService struct {
	statecontrolpb.UnimplementedStateControlServer
	*endpoint
}

// State returns whether the plugin is suspended or resumed, unspecified if neither is
// known. It returns an error if the plugin is active and has no state control.
func (s stateControlService) State(ctx context.Context, _ *statecontrolpb.StateRequest) (*statecontrolpb.StateResponse, error) {
	sh, err := s.targetInstance(ctx)
	if err != nil {
		return nil, err
	}
	st := sh.BriefStatus()
	if st.State == shell.Activated && st.Control == "" {
		return nil, statusFromError(fmt.Errorf("cannot tell the state: %w", shell.ErrNoStateControl))
	}
	return &statecontrolpb.StateResponse{State: st.Control.ToWire()}, nil
}

// Request suspends or resumes the instance that the call is about, except the
// Controller.
func (s stateControlService) Request(ctx context.Context, r *statecontrolpb.RequestRequest) (*statecontrolpb.RequestResponse, error) {
	sh, err := refuseController(s.targetInstance(ctx))
	if err != nil {
		return nil, err
	}
	switch r.GetCommand() {
	case statecontrolpb.Command_COMMAND_SUSPEND:
		err = sh.Suspend(ctx, shell.Requested)
	case statecontrolpb.Command_COMMAND_RESUME:
		err = sh.Resume(ctx, shell.Requested)
	default:
		return nil, statusWithNumber(thunder.BadRequest, "the command is neither suspend nor resume")
	}
	return &statecontrolpb.RequestResponse{}, statusFromError(err)
}

// Watch sends the present state of the plugin's state control, then each other state.
func (s stateControlService) Watch(_ *statecontrolpb.WatchRequest, to grpc.ServerStreamingServer[statecontrolpb.StateResponse]) error {
	sh, err := s.targetInstance(to.Context())
	if err != nil {
		return err
	}
	w := s.transitions.add(s.ownCallsign == "", func(t shell.Transition) bool { return t.Callsign == sh.Callsign() })
	var seen time.Time
	var now statecontrol.State
	send := func(state statecontrol.State) error {
		now = state
		return to.Send(&statecontrolpb.StateResponse{State: state.ToWire()})
	}
	sendPresent := func() error {
		st := sh.BriefStatus()
		seen = lastChangeAt(st)
		return send(st.Control)
	}
	return serveAndRemoveWatcher(to.Context(), s.Communicator, &s.transitions, w, sendPresent, func(t shell.Transition) error {
		if t.Control == now || !t.At.After(seen) {
			return nil
		}
		return send(t.Control)
	})
}
