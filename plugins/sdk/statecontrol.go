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

// stateControl serves the state control of a plugin that is a Suspender.
type stateControl struct {
	statecontrolpb.UnimplementedStateControlServer
	plugin  Suspender
	running chan struct{} // full while Suspend or Resume runs

	mu     sync.Mutex
	latest *stateNode
}

// stateNode is one state in a linked list of all states of the plugin. Each watcher
// walks along the list at its own pace, and so misses no state.
type stateNode struct {
	state    statecontrol.State
	replaced chan struct{} // closed when next is set
	next     *stateNode
}

// newStateControl returns the state control of a plugin that is not initialized yet.
func newStateControl(p Suspender) *stateControl {
	return &stateControl{
		plugin:  p,
		running: make(chan struct{}, 1),
		latest:  &stateNode{state: statecontrol.Uninitialized, replaced: make(chan struct{})},
	}
}

// latestNode returns the present state, the last one of the list.
func (c *stateControl) latestNode() *stateNode {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.latest
}

// appendStateAndWake appends the new state to the list, and wakes the watchers.
func (c *stateControl) appendStateAndWake(s statecontrol.State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.latest.next = &stateNode{state: s, replaced: make(chan struct{})}
	close(c.latest.replaced)
	c.latest = c.latest.next
}

// runCommandInTurn suspends or resumes the plugin, after an earlier command has ended. It
// returns statecontrol.ErrIllegalState if the plugin is in that state already, or is not
// initialized, and otherwise the error of the plugin or of ctx.
func (c *stateControl) runCommandInTurn(ctx context.Context, command statecontrol.Command) error {
	select {
	case c.running <- struct{}{}:
		defer func() { <-c.running }()
	case <-ctx.Done():
		return fmt.Errorf("cannot %s: an earlier request is still running: %w", command, ctx.Err())
	}
	switch now := c.latestNode().state; now {
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
	c.appendStateAndWake(command.Target())
	return nil
}

// State returns the present state.
func (c *stateControl) State(context.Context, *statecontrolpb.StateRequest) (*statecontrolpb.StateResponse, error) {
	return c.latestNode().toWire(), nil
}

// Request suspends or resumes the plugin for the host. It fails with FailedPrecondition and
// the number IllegalState where runCommandInTurn returns ErrIllegalState.
func (c *stateControl) Request(ctx context.Context, r *statecontrolpb.RequestRequest) (*statecontrolpb.RequestResponse, error) {
	command, ok := statecontrol.CommandFromWire(r.GetCommand())
	if !ok {
		return nil, status.Errorf(codes.InvalidArgument, "unknown command %d", r.GetCommand())
	}
	err := c.runCommandInTurn(ctx, command)
	if errors.Is(err, statecontrol.ErrIllegalState) {
		return nil, shellpb.ErrorWithDetail(codes.FailedPrecondition, err.Error(), &shellpb.Error{Code: IllegalState})
	}
	if err != nil {
		return nil, statusFromError(err)
	}
	return &statecontrolpb.RequestResponse{}, nil
}

// Watch sends the present state and each later one, until the host ends the stream.
func (c *stateControl) Watch(_ *statecontrolpb.WatchRequest, stream grpc.ServerStreamingServer[statecontrolpb.StateResponse]) error {
	for now := c.latestNode(); ; now = now.next {
		if err := stream.Send(now.toWire()); err != nil {
			return err
		}
		select {
		case <-now.replaced:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}

// toWire returns the state as a message to the host.
func (c *stateNode) toWire() *statecontrolpb.StateResponse {
	return &statecontrolpb.StateResponse{State: c.state.ToWire()}
}
