package communicator

import (
	"context"
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// stampCallerAndTakePlace notes in the context of a new call which plugin makes it, and takes
// memory and a place for the call. gRPC calls it before it reads a message.
func (e *endpoint) stampCallerAndTakePlace(ctx context.Context, info *tap.Info) (context.Context, error) {
	ctx, err := e.withCaller(ctx)
	if err != nil {
		return ctx, err
	}
	return e.takeCallPlace(ctx, info)
}

// withCaller returns the context of a call with its caller: the plugin whose socket it is, or
// the virtual plugin for which that plugin speaks. A call over a socket of native clients has
// no caller. The error is for a plugin or client that speaks for what is not its own.
func (e *endpoint) withCaller(ctx context.Context) (context.Context, error) {
	caller := e.ownCallsign
	for _, child := range metadata.ValueFromIncomingContext(ctx, shellpb.AsKey) {
		if e.ownCallsign == "" || e.Supervisor.ParentOf(child) != e.ownCallsign {
			return ctx, statusWithNumber(thunder.PrivilegedRequest, fmt.Sprintf("only its parent speaks for the virtual plugin %q, on its host socket", child))
		}
		caller = child
	}
	if caller == "" {
		return ctx, nil
	}
	return shell.WithCaller(ctx, caller), nil
}

// Field numbers of what the host alone sets in the messages of the Dispatcher.
var (
	invokeCaller   = fieldNumber(&shellpb.InvokeRequest{}, "caller")
	invokeCallsign = fieldNumber(&shellpb.InvokeRequest{}, "callsign")
	existsCallsign = fieldNumber(&shellpb.ExistsRequest{}, "callsign")
)

// fieldNumber returns the number of the field of that name in messages like m.
func fieldNumber(m interface{ ProtoReflect() protoreflect.Message }, name protoreflect.Name) protowire.Number {
	return m.ProtoReflect().Descriptor().Fields().ByName(name).Number()
}

// stamp adds caller and callsign to the question of a call of the Dispatcher, in the place of
// what the client has sent: of a field that comes twice, the last one counts. The question of
// another method stays as it is.
func (f *frame) stamp(method, caller, callsign string) {
	var fields []byte
	switch method {
	case shellpb.Dispatcher_Invoke_FullMethodName:
		fields = appendText(appendText(fields, invokeCaller, caller), invokeCallsign, callsign)
	case shellpb.Dispatcher_Exists_FullMethodName:
		fields = appendText(fields, existsCallsign, callsign)
	default:
		return
	}
	f.data = append(f.data, mem.SliceBuffer(fields))
}

var _ shell.Question = (*frame)(nil)

// InvokeRequest returns the request of the Dispatcher's Invoke that the frame is.
func (f *frame) InvokeRequest() (*shellpb.InvokeRequest, error) {
	var r shellpb.InvokeRequest
	err := protobuf.Unmarshal(f.data, &r)
	return &r, err
}

// appendText appends a field of text to a message in protobuf's format.
func appendText(message []byte, number protowire.Number, text string) []byte {
	return protowire.AppendString(protowire.AppendTag(message, number, protowire.BytesType), text)
}
