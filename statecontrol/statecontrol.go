// Package statecontrol is the suspend and resume contract of a plugin, after
// Thunder's IStateControl: its states, its commands and the host's end of it.
// It knows nothing of lifecycles; whether a plugin may be asked at all is the
// shell's to decide.
package statecontrol

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/statecontrol/statecontrolpb"
)

// State is where a plugin with state control stands while it is activated.
type State string

// The states of Thunder's IStateControl.
const (
	Uninitialized State = "uninitialized"
	Suspended     State = "suspended"
	Resumed       State = "resumed"
	Exited        State = "exited"
)

// Command is what a plugin can be asked.
type Command string

// The commands of Thunder's IStateControl.
const (
	Suspend Command = "suspend"
	Resume  Command = "resume"
)

// Target is the state that c leads to.
func (c Command) Target() State {
	if c == Suspend {
		return Suspended
	}
	return Resumed
}

// ErrIllegalState means that the plugin is already in the state asked for.
var ErrIllegalState = errors.New("the plugin is already in that state")

// ServiceName is the gRPC service by which a plugin shows that it has state
// control.
const ServiceName = "dormouse.statecontrol.v1.StateControl"

// Controller is a plugin's state control as its shell uses it.
type Controller interface {
	// State asks the plugin where it stands.
	State(ctx context.Context) (State, error)
	// Request returns once the plugin is in c.Target(). It returns
	// ErrIllegalState when the plugin was there before.
	Request(ctx context.Context, c Command) error
	// Watch reports the present state and each change until ctx ends or the
	// connection breaks.
	Watch(ctx context.Context, changed func(State)) error
}

// NewClient returns the state control that is served at the far end of conn.
func NewClient(conn grpc.ClientConnInterface) Controller {
	return client{statecontrolpb.NewStateControlClient(conn)}
}

type client struct {
	rpc statecontrolpb.StateControlClient
}

func (c client) State(ctx context.Context) (State, error) {
	answer, err := c.rpc.State(ctx, &statecontrolpb.StateRequest{})
	if err != nil {
		return Uninitialized, fmt.Errorf("cannot ask for the state: %w", err)
	}
	return fromWire[answer.GetState()], nil
}

func (c client) Request(ctx context.Context, command Command) error {
	_, err := c.rpc.Request(ctx, &statecontrolpb.RequestRequest{Command: toWire[command]})
	if status.Code(err) == codes.FailedPrecondition {
		return ErrIllegalState
	}
	return err
}

func (c client) Watch(ctx context.Context, changed func(State)) error {
	stream, err := c.rpc.Watch(ctx, &statecontrolpb.WatchRequest{})
	if err != nil {
		return err
	}
	for {
		answer, err := stream.Recv()
		if err != nil {
			return err
		}
		changed(fromWire[answer.GetState()])
	}
}

var fromWire = map[statecontrolpb.State]State{
	statecontrolpb.State_STATE_UNINITIALIZED: Uninitialized,
	statecontrolpb.State_STATE_SUSPENDED:     Suspended,
	statecontrolpb.State_STATE_RESUMED:       Resumed,
	statecontrolpb.State_STATE_EXITED:        Exited,
}

var toWire = map[Command]statecontrolpb.Command{
	Suspend: statecontrolpb.Command_COMMAND_SUSPEND,
	Resume:  statecontrolpb.Command_COMMAND_RESUME,
}
