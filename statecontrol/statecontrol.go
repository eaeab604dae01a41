// Package statecontrol is the contract by which the host suspends and resumes a plugin,
// after Thunder's IStateControl: the states, the commands and the host's client. It does
// not know the lifecycle of an instance; the shell decides when a plugin may be asked.
package statecontrol

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/statecontrol/statecontrolpb"
)

// State is the state control state of an activated plugin.
type State string

// The states of Thunder's IStateControl.
const (
	Uninitialized State = "uninitialized"
	Suspended     State = "suspended"
	Resumed       State = "resumed"
	Exited        State = "exited"
)

// Command is a request to a plugin with state control.
type Command string

// The commands of Thunder's IStateControl.
const (
	Suspend Command = "suspend"
	Resume  Command = "resume"
)

// Target returns the state that the command leads to.
func (c Command) Target() State {
	if c == Suspend {
		return Suspended
	}
	return Resumed
}

// ToWire returns the state as a protobuf value.
func (s State) ToWire() statecontrolpb.State {
	return statecontrolpb.State(statecontrolpb.State_value["STATE_"+strings.ToUpper(string(s))])
}

// stateFromWire returns the state that a protobuf value stands for.
func stateFromWire(s statecontrolpb.State) State {
	return State(strings.ToLower(strings.TrimPrefix(statecontrolpb.State_name[int32(s)], "STATE_")))
}

// toWire returns the command as a protobuf value.
func (c Command) toWire() statecontrolpb.Command {
	return statecontrolpb.Command(statecontrolpb.Command_value["COMMAND_"+strings.ToUpper(string(c))])
}

// CommandFromWire returns the command that a protobuf value stands for. ok is false if the
// value is neither Suspend nor Resume.
func CommandFromWire(c statecontrolpb.Command) (_ Command, ok bool) {
	command := Command(strings.ToLower(strings.TrimPrefix(c.String(), "COMMAND_")))
	return command, command == Suspend || command == Resume
}

// ErrIllegalState means that the plugin is already in the state asked for.
var ErrIllegalState = errors.New("the plugin is already in that state")

// ServiceName is the gRPC service that a plugin with state control serves.
const ServiceName = "dormouse.statecontrol.v1.StateControl"

// Control is the state control of one plugin, as its shell uses it.
type Control interface {
	// State asks the plugin for its state.
	State(ctx context.Context) (State, error)
	// Request sends the command and returns once the plugin is in c.Target(). It
	// returns ErrIllegalState if the plugin was in that state before.
	Request(ctx context.Context, c Command) error
	// Watch calls changed with the present state and after each change, until ctx
	// ends or the connection breaks.
	Watch(ctx context.Context, changed func(State)) error
}

// NewClient returns the state control of the plugin at the other end of conn.
func NewClient(conn grpc.ClientConnInterface) Control {
	return client{statecontrolpb.NewStateControlClient(conn)}
}

// client is the state control of a plugin, asked over gRPC.
type client struct {
	rpc statecontrolpb.StateControlClient
}

// State asks the plugin for its state; after an error it is Uninitialized.
func (c client) State(ctx context.Context) (State, error) {
	answer, err := c.rpc.State(ctx, &statecontrolpb.StateRequest{})
	if err != nil {
		return Uninitialized, fmt.Errorf("cannot ask for the state: %w", err)
	}
	return stateFromWire(answer.GetState()), nil
}

// Request sends the command, see Control. The plugin's FailedPrecondition is returned as
// ErrIllegalState.
func (c client) Request(ctx context.Context, command Command) error {
	_, err := c.rpc.Request(ctx, &statecontrolpb.RequestRequest{Command: command.toWire()})
	if status.Code(err) == codes.FailedPrecondition {
		return ErrIllegalState
	}
	return err
}

// Watch returns why the stream of states ended, see Control.
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
		changed(stateFromWire(answer.GetState()))
	}
}
