package sdk

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"

	"dormouse/shell/shellpb"
)

// Host is what the host offers a plugin: to look at, to operate and to call
// other instances and itself. Where a method takes a callsign, "" is the plugin
// itself. Its methods may be called from any goroutine, in BeforeCheckpoint and
// AfterRestore too. What the host refuses is an *Error with Thunder's number.
//
// The connection is made by the first call. A hibernation closes it once
// BeforeCheckpoint has returned: calls that run then end with ErrSlept, those
// that come later wait for the wake, and the loops over Watch and the like go
// on after it. Nothing of this needs the plugin's attention.
type Host struct{ line *line }

// Status tells where an instance stands. It waits for no operation and wakes
// nothing.
func (h *Host) Status(ctx context.Context, callsign string) (Status, error) {
	answer, err := h.shell().Status(about(ctx, callsign), &shellpb.StatusRequest{})
	if err != nil {
		return Status{}, refused(ctx, "tell the status of "+named(callsign), err)
	}
	return statusOf(answer), nil
}

// Interfaces lists the gRPC services that an instance's plugin serves; there are
// none unless it is activated or hibernated.
func (h *Host) Interfaces(ctx context.Context, callsign string) ([]string, error) {
	answer, err := h.shell().Interfaces(about(ctx, callsign), &shellpb.InterfacesRequest{})
	if err != nil {
		return nil, refused(ctx, "list the interfaces of "+named(callsign), err)
	}
	return answer.GetServices(), nil
}

// Activate starts an instance's plugin, or wakes it when it is hibernated.
func (h *Host) Activate(ctx context.Context, callsign string) error {
	return h.operate(ctx, callsign, shellpb.Operation_OPERATION_ACTIVATE, "activate")
}

// Deactivate ends an instance's plugin. A plugin that ends itself gets no
// answer: it must ask from a goroutine of its own, not in a method or hook.
func (h *Host) Deactivate(ctx context.Context, callsign string) error {
	return h.operate(ctx, callsign, shellpb.Operation_OPERATION_DEACTIVATE, "deactivate")
}

// Unavailable bars a deactivated instance from being activated.
func (h *Host) Unavailable(ctx context.Context, callsign string) error {
	return h.operate(ctx, callsign, shellpb.Operation_OPERATION_UNAVAILABLE, "make unavailable")
}

// Suspend asks an instance's plugin to suspend. For itself a plugin had better
// use Instance.Request.
func (h *Host) Suspend(ctx context.Context, callsign string) error {
	return h.operate(ctx, callsign, shellpb.Operation_OPERATION_SUSPEND, "suspend")
}

// Resume activates or wakes an instance's plugin if it must, and resumes it.
func (h *Host) Resume(ctx context.Context, callsign string) error {
	return h.operate(ctx, callsign, shellpb.Operation_OPERATION_RESUME, "resume")
}

// Hibernate puts an instance's suspended plugin to sleep on disk. A plugin may
// do so with itself, though not in a method or hook, which would have to end
// first; it then finds ErrSlept when it is awake again, or when the hibernation
// failed after BeforeCheckpoint.
func (h *Host) Hibernate(ctx context.Context, callsign string) error {
	return h.operate(ctx, callsign, shellpb.Operation_OPERATION_HIBERNATE, "hibernate")
}

func (h *Host) operate(ctx context.Context, callsign string, o shellpb.Operation, verb string) error {
	request := &shellpb.OperateRequest{Operation: o}
	if deadline, ok := ctx.Deadline(); ok && o == shellpb.Operation_OPERATION_HIBERNATE {
		request.Timeout = durationpb.New(time.Until(deadline))
	}
	_, err := h.shell().Operate(about(ctx, callsign), request)
	return refused(ctx, verb+" "+named(callsign), err)
}

// Configure replaces the configuration of a deactivated instance; v is encoded
// as JSON and must become an object.
func (h *Host) Configure(ctx context.Context, callsign string, v any) error {
	raw, err := encode(v)
	if err != nil {
		return fmt.Errorf("cannot encode the configuration: %w", err)
	}
	_, err = h.shell().Configure(about(ctx, callsign), &shellpb.ConfigureRequest{Configuration: raw})
	return refused(ctx, "configure "+named(callsign), err)
}

// Notify sends an event of the plugin's own and returns when the host has it.
// Instance.Emit, which does not wait, is what most plugins want.
func (h *Host) Notify(ctx context.Context, event string, params any) error {
	raw, err := encode(params)
	if err != nil {
		return fmt.Errorf("cannot encode the event %s: %w", event, err)
	}
	_, err = h.shell().Notify(ctx, &shellpb.NotifyRequest{Event: &shellpb.Event{Name: event, Params: raw}})
	return refused(ctx, "send the event "+event, err)
}

// Invoke runs a method of another plugin, under the rules that every caller
// meets: it may wake the plugin, or be refused. Params and result may be nil;
// a *json.RawMessage as result takes the answer as it is.
func (h *Host) Invoke(ctx context.Context, callsign, method string, params, result any) error {
	raw, err := encode(params)
	if err != nil {
		return fmt.Errorf("cannot encode the parameters of %s: %w", method, err)
	}
	answer, err := shellpb.NewDispatcherClient(h.Conn(callsign)).Invoke(ctx, &shellpb.InvokeRequest{Method: method, Params: raw})
	if err != nil {
		return refused(ctx, "call "+method+" of "+named(callsign), err)
	}
	if result == nil {
		return nil
	}
	raw = answer.GetResult()
	if len(raw) == 0 {
		raw = json.RawMessage("null")
	}
	if err := json.Unmarshal(raw, result); err != nil {
		return fmt.Errorf("cannot read what %s of %s answered: %w", method, callsign, err)
	}
	return nil
}

// Conn is a live connection to whatever gRPC services another plugin serves. It
// may be kept: it outlasts restarts and sleeps of both plugins. What fails on it
// fails with a gRPC status.
func (h *Host) Conn(callsign string) grpc.ClientConnInterface {
	return forward{h.way(), callsign}
}

// forward names the plugin that each call is for.
type forward struct {
	line     *line
	callsign string
}

func (f forward) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	ctx = metadata.AppendToOutgoingContext(about(ctx, f.callsign), shellpb.UnaryKey, "1")
	return f.line.Invoke(ctx, method, args, reply, opts...)
}

func (f forward) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return f.line.NewStream(about(ctx, f.callsign), desc, method, opts...)
}

// about adds the callsign to what goes along with a call.
func about(ctx context.Context, callsign string) context.Context {
	if callsign == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, shellpb.CallsignKey, callsign)
}

// named is the callsign as an error tells it.
func named(callsign string) string {
	if callsign == "" {
		return "itself"
	}
	return callsign
}

// way is the line; an Instance made by a test of the author's has none.
func (h *Host) way() *line {
	if h == nil || h.line == nil {
		return &line{}
	}
	return h.line
}

func (h *Host) shell() shellpb.ShellClient { return shellpb.NewShellClient(h.way()) }
