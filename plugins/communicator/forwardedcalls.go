package communicator

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"dormouse/plugins/access"
	"dormouse/plugins/thunder"
	"dormouse/shell/shellpb"
)

// checkForwarded checks that the client may make the call of an instance's method, and
// returns the stream of the call. The name of a method that is called through the Dispatcher
// is in the message, so that the stream may fail only when the message is received.
func (e *endpoint) checkForwarded(in grpc.ServerStream, method, callsign string) (grpc.ServerStream, error) {
	ctx, t := in.Context(), access.Target{Callsign: callsign, Method: method}
	switch {
	case method == shellpb.Dispatcher_Exists_FullMethodName:
		t.Method = "exists"
		return in, e.check(ctx, e.NeededRole("exists", false), t)
	case method != shellpb.Dispatcher_Invoke_FullMethodName:
		return in, e.check(ctx, access.Call, t)
	case e.Access.RoleOf(e.clientOfCall(ctx), access.Target{Callsign: callsign}) >= access.Call:
		return in, nil // whatever the method is
	}
	return invokeStream{in, e, callsign}, nil
}

// invokeStream is the stream of a call of the Dispatcher's Invoke, which checks that the
// client may call the method that the message names.
type invokeStream struct {
	grpc.ServerStream
	endpoint *endpoint
	callsign string
}

// RecvMsg receives the message. The error says that the client may not call the method.
func (s invokeStream) RecvMsg(message any) error {
	if err := s.ServerStream.RecvMsg(message); err != nil {
		return err
	}
	var r shellpb.InvokeRequest
	if f, ok := message.(*frame); ok {
		if err := protobuf.Unmarshal(f.data, &r); err != nil {
			return statusWithNumber(thunder.BadRequest, "cannot read the message: "+err.Error())
		}
	}
	return s.endpoint.check(s.Context(), access.Call, access.Target{Callsign: s.callsign, Method: r.GetMethod()})
}

// connWithoutDetails is a connection to a plugin for a client that may not see paths or a
// plugin's output. Errors of the host on it have no details.
type connWithoutDetails struct{ grpc.ClientConnInterface }

// Invoke makes a unary call, see grpc.ClientConnInterface.
func (c connWithoutDetails) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return hostErrorWithoutDetails(c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...))
}

// NewStream opens a stream, see grpc.ClientConnInterface.
func (c connWithoutDetails) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := c.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	if err != nil {
		return nil, hostErrorWithoutDetails(err)
	}
	return streamWithoutDetails{stream}, nil
}

// streamWithoutDetails is a stream of a connWithoutDetails.
type streamWithoutDetails struct{ grpc.ClientStream }

// Header returns the header that the plugin sent.
func (s streamWithoutDetails) Header() (metadata.MD, error) {
	header, err := s.ClientStream.Header()
	return header, hostErrorWithoutDetails(err)
}

// RecvMsg receives one message; io.EOF is the end of the stream.
func (s streamWithoutDetails) RecvMsg(message any) error {
	return hostErrorWithoutDetails(s.ClientStream.RecvMsg(message))
}

// hostErrorWithoutDetails returns an error of a forwarded call without its details, if it is
// one of the host's own. A plugin's status, io.EOF and nil stay.
func hostErrorWithoutDetails(err error) error {
	_, isStatus := err.(interface{ GRPCStatus() *status.Status }) // an error that only wraps a status is the host's
	if err == nil || isStatus || errors.Is(err, io.EOF) {
		return err
	}
	return thunder.WithoutDetails(err)
}
