package sdk

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/shell/shellpb"
	"dormouse/statecontrol"
	"dormouse/statecontrol/statecontrolpb"
)

// control is the state control of a plugin.
type control struct {
	statecontrolpb.UnimplementedStateControlServer
	plugin Suspender
	turn   chan struct{} // held while the plugin suspends or resumes

	mu  sync.Mutex
	now *change
}

// change is a state and the way to the one after it. Watchers walk along this
// list, each at its own pace, and so miss no state however short it was.
type change struct {
	state statecontrol.State
	over  chan struct{} // closed once next is set
	next  *change
}

func newControl(p Suspender) *control {
	return &control{
		plugin: p,
		turn:   make(chan struct{}, 1),
		now:    &change{state: statecontrol.Uninitialized, over: make(chan struct{})},
	}
}

func (c *control) present() *change {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *control) enter(s statecontrol.State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.next = &change{state: s, over: make(chan struct{})}
	close(c.now.over)
	c.now = c.now.next
}

// request returns statecontrol.ErrIllegalState when the plugin is in the
// command's target already, or is not running.
func (c *control) request(ctx context.Context, command statecontrol.Command) error {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return fmt.Errorf("cannot %s: an earlier request is still running: %w", command, ctx.Err())
	}
	switch now := c.present().state; now {
	case command.Target():
		return statecontrol.ErrIllegalState
	case statecontrol.Uninitialized, statecontrol.Exited:
		return fmt.Errorf("cannot %s: the plugin is %s: %w", command, now, statecontrol.ErrIllegalState)
	default:
	}
	act := c.plugin.Resume
	if command == statecontrol.Suspend {
		act = c.plugin.Suspend
	}
	if err := act(ctx); err != nil {
		return err
	}
	c.enter(command.Target())
	return nil
}

func (c *control) State(context.Context, *statecontrolpb.StateRequest) (*statecontrolpb.StateResponse, error) {
	return c.present().message(), nil
}

func (c *control) Request(ctx context.Context, r *statecontrolpb.RequestRequest) (*statecontrolpb.RequestResponse, error) {
	command, ok := commands[r.GetCommand()]
	if !ok {
		return nil, status.Errorf(codes.InvalidArgument, "unknown command %d", r.GetCommand())
	}
	err := c.request(ctx, command)
	if errors.Is(err, statecontrol.ErrIllegalState) {
		return nil, shellpb.ErrorWithDetail(codes.FailedPrecondition, err.Error(), &shellpb.Error{Code: IllegalState})
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return &statecontrolpb.RequestResponse{}, nil
}

func (c *control) Watch(_ *statecontrolpb.WatchRequest, stream grpc.ServerStreamingServer[statecontrolpb.StateResponse]) error {
	for now := c.present(); ; now = now.next {
		if err := stream.Send(now.message()); err != nil {
			return err
		}
		select {
		case <-now.over:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}

func (c *change) message() *statecontrolpb.StateResponse {
	return &statecontrolpb.StateResponse{State: states[c.state]}
}

var states = map[statecontrol.State]statecontrolpb.State{
	statecontrol.Uninitialized: statecontrolpb.State_STATE_UNINITIALIZED,
	statecontrol.Suspended:     statecontrolpb.State_STATE_SUSPENDED,
	statecontrol.Resumed:       statecontrolpb.State_STATE_RESUMED,
	statecontrol.Exited:        statecontrolpb.State_STATE_EXITED,
}

var commands = map[statecontrolpb.Command]statecontrol.Command{
	statecontrolpb.Command_COMMAND_SUSPEND: statecontrol.Suspend,
	statecontrolpb.Command_COMMAND_RESUME:  statecontrol.Resume,
}
