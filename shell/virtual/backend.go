// Package virtual is the backend of virtual plugins: instances whose work the plugin of another
// instance does, their parent. It passes calls on to the shell of the parent, with the callsign of
// the virtual plugin. It does not know how the parent runs, which virtual plugins exist, or what
// is kept of them.
package virtual

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// Backend is the backend of one virtual plugin. It holds no goroutine and no connection.
type Backend struct {
	callsign string
	parent   *shell.Shell
}

var _ shell.Virtual = (*Backend)(nil)

// New returns the backend of the virtual plugin of that callsign, which is a part of the parent's
// plugin.
func New(callsign string, parent *shell.Shell) *Backend { return &Backend{callsign, parent} }

// Parent returns the instance whose plugin does the work.
func (b *Backend) Parent() *shell.Shell { return b.parent }

// Invoke passes a call on to the parent, whose shell admits it.
func (b *Backend) Invoke(ctx context.Context, c shell.Call) (json.RawMessage, error) {
	c.Callsign = b.callsign
	return b.parent.Invoke(ctx, c)
}

// Exists asks the parent whether the virtual plugin has the method.
func (b *Backend) Exists(ctx context.Context, method string) (exists bool, err error) {
	return b.parent.ExistsIn(ctx, b.callsign, method)
}

// Conn returns a connection to the parent. The metadata of each call name the virtual plugin.
func (b *Backend) Conn() grpc.ClientConnInterface { return conn{b.parent.Conn(), b.callsign} }

// operations are the operations of which the parent is asked, by their events.
var operations = map[shell.Event]shellpb.VirtualOperation{
	shell.Activate:        shellpb.VirtualOperation_VIRTUAL_OPERATION_ACTIVATE,
	shell.Deactivate:      shellpb.VirtualOperation_VIRTUAL_OPERATION_DEACTIVATE,
	shell.MakeUnavailable: shellpb.VirtualOperation_VIRTUAL_OPERATION_UNAVAILABLE,
	shell.RestartEvent:    shellpb.VirtualOperation_VIRTUAL_OPERATION_RESTART,
	shell.Destroy:         shellpb.VirtualOperation_VIRTUAL_OPERATION_DESTROY,
}

// AskParent asks the parent's plugin for an operation. The error wraps shell.ErrRefused if the
// plugin answers with one, or does not serve Parent.
func (b *Backend) AskParent(ctx context.Context, e shell.Event, why shell.Reason) error {
	operation, ok := operations[e]
	if !ok {
		return fmt.Errorf("%w: %s has no operation %q", shell.ErrRefused, b.parent.Callsign(), e)
	}
	question := &shellpb.OperateVirtualRequest{Callsign: b.callsign, Operation: operation, Reason: why.Proto()}
	_, err := shellpb.NewParentClient(b.parent.Conn()).OperateVirtual(ctx, question)
	return b.refusal(err)
}

// refusal returns the error of an answer of the parent's plugin. Errors of the parent's shell and
// nil stay.
func (b *Backend) refusal(err error) error {
	_, isStatus := err.(interface{ GRPCStatus() *status.Status })
	switch code := status.Code(err); {
	case err == nil || !isStatus:
		return err
	case code == codes.Unimplemented:
		return fmt.Errorf("%w: the plugin of %s takes no operations on its virtual plugins", shell.ErrRefused, b.parent.Callsign())
	}
	return fmt.Errorf("%w: %s: %s", shell.ErrRefused, b.parent.Callsign(), status.Convert(err).Message())
}

// ProcessFigures returns none: the processes are the parent's.
func (b *Backend) ProcessFigures() shell.ProcessFigures { return shell.ProcessFigures{} }

// errNotRun is the error of the methods that run a plugin.
var errNotRun = errors.New("a virtual plugin has no process of its own")

// Launch is never called.
func (b *Backend) Launch(context.Context) (shell.Information, error) {
	return shell.Information{}, errNotRun
}

// Initialize is never called.
func (b *Backend) Initialize(context.Context) error { return errNotRun }

// Deinitialize is never called.
func (b *Backend) Deinitialize(context.Context, shell.Reason) error { return errNotRun }

// Stop does nothing: there is nothing to stop.
func (b *Backend) Stop(context.Context) error { return nil }

// conn is a connection to the parent that names the virtual plugin in the metadata of each call.
type conn struct {
	to       grpc.ClientConnInterface
	callsign string
}

// Invoke makes a unary call, see grpc.ClientConnInterface.
func (c conn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return c.to.Invoke(c.named(ctx), method, args, reply, opts...)
}

// NewStream opens a stream, see grpc.ClientConnInterface.
func (c conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.to.NewStream(c.named(ctx), desc, method, opts...)
}

// named returns the context of a call with the callsign of the virtual plugin, in the place of any
// other.
func (c conn) named(ctx context.Context) context.Context {
	md, ok := metadata.FromOutgoingContext(ctx) // a copy
	if !ok {
		md = metadata.MD{}
	}
	md.Set(shellpb.CallsignKey, c.callsign)
	return metadata.NewOutgoingContext(ctx, md)
}
