package sdk

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"dormouse/shell/shellpb"
)

// Host calls the host and, through it, other plugins. The methods may be called
// from any goroutine, also in BeforeCheckpoint and AfterRestore. In all of them the
// callsign "" means the plugin's own instance. When the host refuses a call, the
// error wraps an *Error with Thunder's number. Operating and configuring other instances
// needs a row [[access]] in the host's configuration, and fails with PrivilegedRequest
// without one.
//
// The first call connects to the host. When the plugin is hibernated, the
// connection is closed after BeforeCheckpoint has returned: running calls end with
// ErrSlept, later calls wait until the plugin is awake, and the loops over Watch,
// WatchAll and WatchSubsystems go on by themselves. A plugin needs no code for
// this.
type Host struct {
	conn  *hostConn
	as    string // the virtual plugin that calls, "" for the plugin itself
	tasks *tasks // those that the plugin works on
}

// Status returns the present state and the configuration of an instance. It neither
// waits for an operation nor wakes the plugin. The configuration, paths and failure of
// another instance are empty unless the operator lets this plugin operate it.
func (h *Host) Status(ctx context.Context, callsign string) (Status, error) {
	answer, err := h.shellClient().Status(shellpb.WithCallsign(ctx, callsign), &shellpb.StatusRequest{})
	if err != nil {
		return Status{}, errorFromHost(ctx, "read the status of "+callsignInError(callsign), err)
	}
	return statusFromWire(answer), nil
}

// Interfaces lists the gRPC services of an instance's plugin. The list is empty
// unless the instance is activated or hibernated.
func (h *Host) Interfaces(ctx context.Context, callsign string) ([]string, error) {
	answer, err := h.shellClient().Interfaces(shellpb.WithCallsign(ctx, callsign), &shellpb.InterfacesRequest{})
	if err != nil {
		return nil, errorFromHost(ctx, "list the interfaces of "+callsignInError(callsign), err)
	}
	return answer.GetServices(), nil
}

// Activate starts an instance's plugin, or wakes it if it is hibernated.
func (h *Host) Activate(ctx context.Context, callsign string) error {
	return h.operate(ctx, callsign, shellpb.Operation_OPERATION_ACTIVATE, "activate")
}

// Deactivate ends an instance's plugin. A plugin that deactivates itself gets no
// answer. It must call Deactivate from a goroutine of its own, not from a method or
// hook, which the host would wait for.
func (h *Host) Deactivate(ctx context.Context, callsign string) error {
	return h.operate(ctx, callsign, shellpb.Operation_OPERATION_DEACTIVATE, "deactivate")
}

// Restart ends an instance's plugin and starts it anew in one turn, so that calls wait
// meanwhile, or starts it if it does not run. A plugin that restarts itself gets no answer, as
// with Deactivate.
func (h *Host) Restart(ctx context.Context, callsign string) error {
	return h.operate(ctx, callsign, shellpb.Operation_OPERATION_RESTART, "restart")
}

// Unavailable makes a deactivated instance unavailable: it can't be activated until
// it is deactivated again.
func (h *Host) Unavailable(ctx context.Context, callsign string) error {
	return h.operate(ctx, callsign, shellpb.Operation_OPERATION_UNAVAILABLE, "make unavailable")
}

// Suspend suspends an instance's plugin. A plugin should suspend itself with
// Instance.Request instead.
func (h *Host) Suspend(ctx context.Context, callsign string) error {
	return h.operate(ctx, callsign, shellpb.Operation_OPERATION_SUSPEND, "suspend")
}

// Resume resumes an instance's plugin. If necessary it first activates or wakes the
// plugin.
func (h *Host) Resume(ctx context.Context, callsign string) error {
	return h.operate(ctx, callsign, shellpb.Operation_OPERATION_RESUME, "resume")
}

// Hibernate hibernates an instance's suspended plugin. A plugin may hibernate
// itself, but not from a method or hook, which the host would wait for. It then
// gets ErrSlept, both after it woke and after a hibernation that failed once
// BeforeCheckpoint had returned. The deadline of ctx limits the hibernation.
func (h *Host) Hibernate(ctx context.Context, callsign string) error {
	return h.operate(ctx, callsign, shellpb.Operation_OPERATION_HIBERNATE, "hibernate")
}

// operate has the host run a lifecycle operation on an instance, and returns when it is done.
// The deadline of ctx limits a hibernation in the host too. The error says "cannot VERB".
func (h *Host) operate(ctx context.Context, callsign string, operation shellpb.Operation, verbForError string) error {
	request := &shellpb.OperateRequest{Operation: operation}
	if deadline, ok := ctx.Deadline(); ok && operation == shellpb.Operation_OPERATION_HIBERNATE {
		request.Timeout = durationpb.New(time.Until(deadline))
	}
	_, err := h.shellClient().Operate(shellpb.WithCallsign(ctx, callsign), request)
	return errorFromHost(ctx, verbForError+" "+callsignInError(callsign), err)
}

// Configure replaces the configuration of a deactivated instance. v is encoded as
// JSON and must become an object.
func (h *Host) Configure(ctx context.Context, callsign string, v any) error {
	raw, err := encodeJSON(v)
	if err != nil {
		return fmt.Errorf("cannot encode the configuration: %w", err)
	}
	_, err = h.shellClient().Configure(shellpb.WithCallsign(ctx, callsign), &shellpb.ConfigureRequest{Configuration: raw})
	return errorFromHost(ctx, "configure "+callsignInError(callsign), err)
}

// Notify sends an event of the plugin and returns when the host has it.
// Instance.Emit does not wait, and is the better choice for most plugins.
func (h *Host) Notify(ctx context.Context, event string, params any) error {
	raw, err := encodeJSON(params)
	if err != nil {
		return fmt.Errorf("cannot encode the event %s: %w", event, err)
	}
	_, err = h.shellClient().Notify(ctx, &shellpb.NotifyRequest{Event: &shellpb.Event{Name: event, Params: raw}})
	return errorFromHost(ctx, "send the event "+event, err)
}

// Publish puts a message into a flow that is a source, and returns the id of the message when
// the message is on the host's disk. A message of the source's own plugin goes to the topics
// that the source gives. seen reports that the flow was given a message with that id before,
// within a day; the host then does nothing. The error wraps an *Error: IllegalState if the flow
// takes no messages now, InProgress if its queue is full.
func (h *Host) Publish(ctx context.Context, flow string, m Message) (id string, seen bool, err error) {
	answer, err := shellpb.NewFlowsClient(h.connOrFailing()).Publish(ctx, &shellpb.PublishRequest{Flow: flow, Message: m.toWire()})
	if err != nil {
		return "", false, errorFromHost(ctx, "publish to the flow "+flow, err)
	}
	return answer.GetId(), answer.GetSeen(), nil
}

// Invoke calls a method of another instance's plugin, under the same rules as for
// clients: the call may wake the plugin or be refused. params is encoded as JSON;
// the answer is decoded into result, or stored in it unchanged if it is a
// *json.RawMessage. Both may be nil.
func (h *Host) Invoke(ctx context.Context, callsign, method string, params, result any) error {
	raw, err := encodeJSON(params)
	if err != nil {
		return fmt.Errorf("cannot encode the parameters of %s: %w", method, err)
	}
	answer, err := shellpb.NewDispatcherClient(h.Conn(callsign)).Invoke(ctx, &shellpb.InvokeRequest{Method: method, Params: raw})
	if err != nil {
		return errorFromHost(ctx, "call "+method+" of "+callsignInError(callsign), err)
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

// Conn returns a connection for the generated clients of another plugin's gRPC
// services. The plugin may keep it: it stays usable when either plugin restarts or
// sleeps. Calls on it fail with a gRPC status.
func (h *Host) Conn(callsign string) grpc.ClientConnInterface {
	return shellpb.ConnToPlugin(callsign, h.connOrFailing())
}

// callsignInError returns the callsign as an error shows it, "itself" for "".
func callsignInError(callsign string) string { return cmp.Or(callsign, "itself") }

// connOrFailing returns the connection to the host. In an author's test that made the
// Instance itself, every call on it fails.
func (h *Host) connOrFailing() grpc.ClientConnInterface {
	switch {
	case h == nil || h.conn == nil:
		return &hostConn{}
	case h.as != "":
		return asConn{h.conn, h.as}
	}
	return h.conn
}

// shellClient returns a client of the host's Shell service.
func (h *Host) shellClient() shellpb.ShellClient { return shellpb.NewShellClient(h.connOrFailing()) }
