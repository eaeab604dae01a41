package communicator

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"dormouse/shell/shellpb"
)

// passedOn is how a forwarded call is begun: any kind of call is a stream of both
// sides.
var (
	passedOn    = &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	callOptions = []grpc.CallOption{
		grpc.ForceCodecV2(codec{}),
		grpc.MaxCallRecvMsgSize(shellpb.MaxMessage),
		grpc.MaxCallSendMsgSize(shellpb.MaxMessage),
	}
)

// forward passes a call of an unknown service on to the plugin that its metadata
// names.
func (e *endpoint) forward(_ any, in grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(in)
	if reserved(method) {
		return errReserved
	}
	callsign, err := named(in.Context())
	if err != nil {
		return err
	}
	if callsign == "" {
		return errNoCallsign
	}
	sh, err := e.find(callsign)
	if err != nil {
		return err
	}
	defer hold(in.Context(), method, callsign)()
	conn := sh.Conn()
	if conn == nil {
		return dispatch(in, sh, method)
	}
	if unary(in.Context(), method) {
		return forwardUnary(in, conn, method)
	}
	return e.forwardStream(in, conn, method)
}

// forwardUnary passes one question on and one answer back.
func forwardUnary(in grpc.ServerStream, conn grpc.ClientConnInterface, method string) error {
	var question, answer frame
	if err := in.RecvMsg(&question); err != nil {
		if errors.Is(err, io.EOF) {
			err = errNoQuestion
		}
		return err
	}
	var header, trailer metadata.MD
	options := append(slices.Clip(callOptions), grpc.Header(&header), grpc.Trailer(&trailer))
	err := conn.Invoke(outgoing(in.Context()), method, &question, &answer, options...)
	in.SetTrailer(trailer)
	if err := in.SetHeader(header); err != nil {
		return err
	}
	if err != nil {
		return refusalOfCall(err)
	}
	return in.SendMsg(&answer)
}

// forwardStream passes messages both ways until the plugin has ended the call.
func (e *endpoint) forwardStream(in grpc.ServerStream, conn grpc.ClientConnInterface, method string) error {
	ctx, cancel := context.WithCancelCause(outgoing(in.Context()))
	defer cancel(nil)
	out, err := conn.NewStream(ctx, passedOn, method, callOptions...)
	if err != nil {
		return refusalOfCall(err)
	}
	e.pumps.Go(func() {
		if err := pumpIn(in, out); err != nil {
			cancel(err)
		}
	})
	err = pumpOut(in, out)
	in.SetTrailer(out.Trailer())
	if cause := context.Cause(ctx); err != nil && cause != nil && in.Context().Err() == nil {
		return cause // the client's side failed, and so the call to the plugin was given up
	}
	return err
}

// pumpIn passes the client's messages on and then that there are no more. It
// returns an error when the client sent what can't be passed on; what the plugin
// refuses pumpOut is told.
func pumpIn(in grpc.ServerStream, out grpc.ClientStream) error {
	var f frame
	for {
		err := in.RecvMsg(&f)
		if errors.Is(err, io.EOF) {
			return out.CloseSend()
		}
		if err != nil {
			return err
		}
		if err := out.SendMsg(&f); err != nil {
			return nil //nolint:nilerr // out.RecvMsg tells why
		}
	}
}

// pumpOut passes the plugin's headers and messages back. It returns the call's
// status.
func pumpOut(in grpc.ServerStream, out grpc.ClientStream) error {
	header, err := out.Header()
	if err != nil {
		return refusalOfCall(err)
	}
	if header != nil { // else the plugin answered with a status alone
		if err := in.SendHeader(header); err != nil {
			return err
		}
	}
	var f frame
	for {
		err := out.RecvMsg(&f)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return refusalOfCall(err)
		}
		if err := in.SendMsg(&f); err != nil {
			return err
		}
	}
}

// unary tells whether a call has one question and one answer: by the contract, or
// because the client says so.
func unary(ctx context.Context, method string) bool {
	switch method {
	case shellpb.Dispatcher_Invoke_FullMethodName, shellpb.Dispatcher_Exists_FullMethodName:
		return true
	}
	return metadata.ValueFromIncomingContext(ctx, shellpb.UnaryKey) != nil
}

// reserved tells which methods of a plugin are the host's alone: those that
// move it along its lifecycle.
func reserved(method string) bool {
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	switch service {
	case "dormouse.shell.v1.Plugin", shellpb.HooksService:
		return true
	case shellpb.DispatcherService:
		return strings.HasSuffix(method, "/Events") // there is one stream, the host's
	}
	return strings.HasPrefix(service, "plugin.") // go-plugin's own
}

// outgoing is the context of a forwarded call: the caller's with its metadata,
// but for what concerned this hop alone.
func outgoing(ctx context.Context) context.Context {
	md, _ := metadata.FromIncomingContext(ctx) // a copy
	for key := range md {
		if ofThisHop(key) {
			delete(md, key)
		}
	}
	return metadata.NewOutgoingContext(ctx, md)
}

func ofThisHop(key string) bool {
	switch key {
	case "content-type", "te", "user-agent", "grpc-timeout", "grpc-encoding", "grpc-accept-encoding", "grpc-previous-rpc-attempts":
		return true
	}
	return strings.HasPrefix(key, ":") || strings.HasPrefix(key, "dormouse-")
}

// ended says why a stream to a client is over.
func ended(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return status.Error(codes.DeadlineExceeded, "the call's deadline has passed")
	}
	return status.Error(codes.Canceled, "the caller has gone")
}
