package sdk

import (
	"context"
	"encoding/json"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"dormouse/shell/shellpb"
)

// Virtual is a virtual plugin: an instance that this plugin makes, the parent, and whose work it
// does itself. Others see, find and call it like any instance. Calls of it come to the parent's
// methods and services; VirtualOf says which one a call is about.
type Virtual struct {
	// Callsign must not be that of another instance of the host. A program that may run under
	// several callsigns should begin it with its own.
	Callsign string
	// Name and Version are those by which others find it; no two plugins have the same. An
	// empty Name stands for the callsign, an empty Version for "0.0.0".
	Name, Version string
	Title         string
	Description   string
	Tags          []string
	// Provides, Uses, Entry and Links are as in Profile. The host checks calls of the virtual
	// plugin against the schemas of its own types.
	Provides []Type
	Uses     []Use
	Entry    *EntryPoint
	Links    []Link
	// Configuration is encoded as JSON and must become an object of at most 64 KiB; nil for
	// none. In an answer of ListVirtual it is a json.RawMessage.
	Configuration any
	// State is set in an answer of ListVirtual.
	State State
}

// VirtualOperator is a plugin that lets clients operate its virtual plugins. A parent that is not
// one refuses all operations.
type VirtualOperator interface {
	// OperateVirtual is asked before a client's operation on a virtual plugin. An error refuses
	// it, and its text is told to the client. The host does the operation afterwards. It does
	// not ask while the plugin is down or when the plugin itself wants the operation.
	OperateVirtual(ctx context.Context, callsign string, o VirtualOperation, why Reason) error
}

// VirtualOperation is what a client wants to do with a virtual plugin.
type VirtualOperation string

// The operations. A deactivated virtual plugin gets no calls until it is activated, an
// unavailable one can't be activated before it is deactivated, and a destroyed one is removed
// with all that is kept of it. Restart asks the plugin to begin anew with it.
const (
	VirtualActivate    VirtualOperation = "activate"
	VirtualDeactivate  VirtualOperation = "deactivate"
	VirtualUnavailable VirtualOperation = "unavailable"
	VirtualRestart     VirtualOperation = "restart"
	VirtualDestroy     VirtualOperation = "destroy"
)

// CreateVirtual makes a virtual plugin, which then exists until RemoveVirtual, also while this
// plugin sleeps or is down and after a restart of the host. If there is an equal one already it
// does nothing, so that a plugin may create all that it wants to have whenever it starts. It may
// be called in Initialize. The error wraps an *Error: DuplicateKey if callsign, or name and
// version, are taken.
func (h *Host) CreateVirtual(ctx context.Context, v Virtual) error {
	m, err := v.toWire()
	if err != nil {
		return err
	}
	_, err = h.virtualsClient().CreateVirtual(ctx, &shellpb.CreateVirtualRequest{Plugin: m})
	return errorFromHost(ctx, "create the virtual plugin "+v.Callsign, err)
}

// UpdateVirtual replaces all that is said of a virtual plugin but its callsign.
func (h *Host) UpdateVirtual(ctx context.Context, v Virtual) error {
	m, err := v.toWire()
	if err != nil {
		return err
	}
	_, err = h.virtualsClient().UpdateVirtual(ctx, &shellpb.UpdateVirtualRequest{Plugin: m})
	return errorFromHost(ctx, "update the virtual plugin "+v.Callsign, err)
}

// RemoveVirtual removes a virtual plugin with all that is kept of it. It does nothing if there is
// none of that callsign.
func (h *Host) RemoveVirtual(ctx context.Context, callsign string) error {
	_, err := h.virtualsClient().RemoveVirtual(ctx, &shellpb.RemoveVirtualRequest{Callsign: callsign})
	return errorFromHost(ctx, "remove the virtual plugin "+callsign, err)
}

// ListVirtual returns the virtual plugins of this plugin, sorted by callsign.
func (h *Host) ListVirtual(ctx context.Context) ([]Virtual, error) {
	answer, err := h.virtualsClient().ListVirtual(ctx, &shellpb.ListVirtualRequest{})
	if err != nil {
		return nil, errorFromHost(ctx, "list the virtual plugins", err)
	}
	var all []Virtual
	for _, m := range answer.GetPlugins() {
		all = append(all, virtualFromWire(m))
	}
	return all, nil
}

// virtualsClient returns a client of the host's Virtuals service.
func (h *Host) virtualsClient() shellpb.VirtualsClient {
	return shellpb.NewVirtualsClient(h.connOrFailing())
}

// toWire returns the virtual plugin as the host gets it.
func (v Virtual) toWire() (*shellpb.VirtualPlugin, error) {
	raw, err := encodeJSON(v.Configuration)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the configuration of the virtual plugin %s: %w", v.Callsign, err)
	}
	return &shellpb.VirtualPlugin{
		Callsign: v.Callsign, Configuration: raw,
		Profile: Profile{v.Title, v.Name, v.Version, v.Description, v.Tags, v.Provides, v.Uses, v.Entry, v.Links}.toWireOrNil(),
	}, nil
}

// virtualFromWire returns the virtual plugin that a message of the host describes.
func virtualFromWire(m *shellpb.VirtualPlugin) Virtual {
	p := profileFromWire(m.GetProfile())
	v := Virtual{
		Callsign: m.GetCallsign(), Name: p.Name, Version: p.Version, Title: p.Title, Description: p.Description, Tags: p.Tags,
		Provides: p.Provides, Uses: p.Uses, Entry: p.Entry, Links: p.Links, State: State(m.GetState().Words()),
	}
	if len(m.GetConfiguration()) > 0 {
		v.Configuration = json.RawMessage(m.GetConfiguration())
	}
	return v
}

// As returns a Host whose calls are those of a virtual plugin of this plugin: others see its
// callsign as the caller, and the callsign "" means the virtual plugin.
func (h *Host) As(callsign string) *Host {
	if h == nil {
		return nil
	}
	return &Host{h.conn, callsign, h.tasks}
}

// EmitFor is EmitAt for a virtual plugin of this plugin: the event is sent to the clients that
// registered for it with the callsign of the virtual plugin.
func (in *Instance) EmitFor(callsign, index, event string, params any) {
	in.emit(&shellpb.Event{Name: event, Index: index, Callsign: callsign}, params)
}

// asConn is the connection to the host for calls of a virtual plugin.
type asConn struct {
	*hostConn
	callsign string
}

// Invoke calls a unary method, see hostConn.Invoke.
func (c asConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return c.hostConn.Invoke(shellpb.WithAs(ctx, c.callsign), method, args, reply, opts...)
}

// NewStream begins a streaming call, see hostConn.NewStream.
func (c asConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.hostConn.NewStream(shellpb.WithAs(ctx, c.callsign), desc, method, opts...)
}

// virtualKey is the key of a context's value: the virtual plugin that a method is called of.
type virtualKey struct{}

// withVirtual returns the context of a method of that virtual plugin, "" for the plugin's own.
func withVirtual(ctx context.Context, callsign string) context.Context {
	return context.WithValue(ctx, virtualKey{}, callsign)
}

// VirtualOf returns the callsign of the virtual plugin that a call is about, with the context of
// the call: of a method, Process, an HTTP request or a gRPC service of the plugin. It is empty for
// a call about the plugin's own instance.
func VirtualOf(ctx context.Context) string {
	if callsign, ok := ctx.Value(virtualKey{}).(string); ok {
		return callsign
	}
	if callsigns := metadata.ValueFromIncomingContext(ctx, shellpb.CallsignKey); len(callsigns) == 1 {
		return callsigns[0]
	}
	return ""
}

// virtualNamed returns the callsign of the virtual plugin that the host names in a message, empty
// if it is the plugin's own callsign.
func (s *server) virtualNamed(callsign string) string {
	if callsign == s.callsign() {
		return ""
	}
	return callsign
}

// operationWords are the operations by their numbers.
var operationWords = map[shellpb.VirtualOperation]VirtualOperation{
	shellpb.VirtualOperation_VIRTUAL_OPERATION_ACTIVATE:    VirtualActivate,
	shellpb.VirtualOperation_VIRTUAL_OPERATION_DEACTIVATE:  VirtualDeactivate,
	shellpb.VirtualOperation_VIRTUAL_OPERATION_UNAVAILABLE: VirtualUnavailable,
	shellpb.VirtualOperation_VIRTUAL_OPERATION_RESTART:     VirtualRestart,
	shellpb.VirtualOperation_VIRTUAL_OPERATION_DESTROY:     VirtualDestroy,
}

// virtualOperator serves a VirtualOperator to the host.
type virtualOperator struct {
	shellpb.UnimplementedParentServer
	operator VirtualOperator
}

// OperateVirtual asks the plugin for an operation.
func (o virtualOperator) OperateVirtual(ctx context.Context, r *shellpb.OperateVirtualRequest) (*shellpb.OperateVirtualResponse, error) {
	err := o.operator.OperateVirtual(ctx, r.GetCallsign(), operationWords[r.GetOperation()], Reason(r.GetReason().Words()))
	return &shellpb.OperateVirtualResponse{}, statusFromError(err)
}
