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

// controlService is dormouse.statecontrol.v1.StateControl of any instance. The
// plugin's own is asked by its shell alone, so that everybody hears of it.
type controlService struct {
	statecontrolpb.UnimplementedStateControlServer
	*endpoint
}

func (s controlService) State(ctx context.Context, _ *statecontrolpb.StateRequest) (*statecontrolpb.StateResponse, error) {
	sh, err := s.target(ctx)
	if err != nil {
		return nil, err
	}
	st := sh.BriefStatus()
	if st.State == shell.Activated && st.Control == "" {
		return nil, refusal(fmt.Errorf("cannot tell the state: %w", shell.ErrNoStateControl))
	}
	return &statecontrolpb.StateResponse{State: controlStates[st.Control]}, nil
}

func (s controlService) Request(ctx context.Context, r *statecontrolpb.RequestRequest) (*statecontrolpb.RequestResponse, error) {
	sh, err := operable(s.target(ctx))
	if err != nil {
		return nil, err
	}
	switch r.GetCommand() {
	case statecontrolpb.Command_COMMAND_SUSPEND:
		err = sh.Suspend(ctx, shell.Requested)
	case statecontrolpb.Command_COMMAND_RESUME:
		err = sh.Resume(ctx, shell.Requested)
	default:
		return nil, numbered(thunder.BadRequest, "the command is none that a state control knows")
	}
	return &statecontrolpb.RequestResponse{}, refusal(err)
}

func (s controlService) Watch(_ *statecontrolpb.WatchRequest, to grpc.ServerStreamingServer[statecontrolpb.StateResponse]) error {
	sh, err := s.target(to.Context())
	if err != nil {
		return err
	}
	w := s.transitions.subscribe(s.own == "", func(t shell.Transition) bool { return t.Callsign == sh.Callsign() })
	var seen time.Time
	var now statecontrol.State
	send := func(state statecontrol.State) error {
		now = state
		return to.Send(&statecontrolpb.StateResponse{State: controlStates[state]})
	}
	first := func() error {
		st := sh.BriefStatus()
		seen = lastOf(st)
		return send(st.Control)
	}
	return watch(to.Context(), s.Communicator, &s.transitions, w, first, func(t shell.Transition) error {
		if t.Control == now || !t.At.After(seen) {
			return nil
		}
		return send(t.Control)
	})
}
