package communicator

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"dormouse/plugins/access"
	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/shell/webpb"
)

// bothWays declares a forwarded call to gRPC as a stream in both directions, which
// fits every kind of call.
var (
	bothWays    = &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	callOptions = []grpc.CallOption{
		grpc.ForceCodecV2(codec{}),
		grpc.MaxCallRecvMsgSize(shellpb.MaxMessage),
		grpc.MaxCallSendMsgSize(shellpb.MaxMessage),
	}
)

// forwardToInstance passes a call of a service that the host does not have on to the
// instance that the metadata names, plugin or built-in. It refuses methods that only
// the host may call.
func (e *endpoint) forwardToInstance(_ any, in grpc.ServerStream) error {
	ctx, cancel := context.WithCancelCause(in.Context())
	defer cancel(nil)
	defer context.AfterFunc(e.cut, func() { cancel(errCut) })()
	err := e.forwardUnlessCut(endableStream{in, ctx})
	if err != nil && errors.Is(context.Cause(ctx), errCut) && status.Code(err) != codes.Unavailable {
		return errCut
	}
	return err
}

// endableStream is a call that the host may end.
type endableStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context returns the context of the call.
func (s endableStream) Context() context.Context { return s.ctx }

// forwardUnlessCut is forwardToInstance for a call whose context ends when the host gives it up.
func (e *endpoint) forwardUnlessCut(in grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(in)
	if isReservedMethod(method) {
		return errReserved
	}
	if slices.Contains(e.hostServices, serviceOfMethod(method)) {
		return statusWithNumber(thunder.UnknownMethod, "the host has no method "+method)
	}
	callsign, err := callsignFromMetadata(in.Context())
	if err != nil {
		return err
	}
	if callsign == "" {
		return errNoCallsign
	}
	if err := e.checkReaches(in.Context(), access.Target{Callsign: callsign, Method: method}); err != nil {
		return err
	}
	sh, err := e.findInstance(callsign)
	if err != nil {
		return err
	}
	if method == shellpb.Dispatcher_Watch_FullMethodName {
		return e.checkAndWatchEvents(in, sh)
	}
	defer countCallUnderWay(in.Context(), method, callsign)()
	if e.isOwnPluginStarting() {
		in = startingPluginStream{in}
	}
	if callsign == e.ownCallsign {
		in = ownPluginStream{in}
	}
	conn := sh.Conn()
	if conn == nil {
		return e.dispatchToBuiltin(in, sh, method)
	}
	if in, err = e.checkForwarded(in, method, callsign); err != nil {
		return err
	}
	if !e.seesDetails(in.Context(), access.Target{Callsign: callsign, Method: method}) {
		conn = connWithoutDetails{conn}
	}
	if isUnaryCall(in.Context(), method) {
		return forwardUnary(in, conn, method, callsign)
	}
	return e.forwardStream(in, conn, method)
}

// forwardUnary passes one message about the instance on and one answer back, with the
// plugin's header and trailer. A call without a message is an error.
func forwardUnary(in grpc.ServerStream, conn grpc.ClientConnInterface, method, callsign string) error {
	var question, answer frame
	if err := in.RecvMsg(&question); err != nil {
		if errors.Is(err, io.EOF) {
			err = errNoMessage
		}
		return err
	}
	question.stamp(method, shell.CallerOf(in.Context()), callsign)
	var header, trailer metadata.MD
	options := append(slices.Clip(callOptions), grpc.Header(&header), grpc.Trailer(&trailer))
	err := conn.Invoke(outgoingWithoutHopMetadata(in.Context()), method, &question, &answer, options...)
	in.SetTrailer(trailer)
	if err := in.SetHeader(header); err != nil {
		return err
	}
	if err != nil {
		return statusFromForwardedCall(err)
	}
	return in.SendMsg(&answer)
}

// forwardStream passes messages both ways until the plugin has ended the call or the
// caller's side fails. It returns the status of the call.
func (e *endpoint) forwardStream(in grpc.ServerStream, conn grpc.ClientConnInterface, method string) error {
	ctx, cancel := context.WithCancelCause(outgoingWithoutHopMetadata(in.Context()))
	defer cancel(nil)
	out, err := conn.NewStream(ctx, bothWays, method, callOptions...)
	if err != nil {
		return statusFromForwardedCall(err)
	}
	e.pumps.Go(func() {
		if err := pumpToPlugin(in, out); err != nil {
			cancel(err)
		}
	})
	err = pumpToCaller(in, out)
	in.SetTrailer(out.Trailer())
	if cause := context.Cause(ctx); err != nil && cause != nil && in.Context().Err() == nil {
		return cause // the client's side failed, and ended the call to the plugin
	}
	return err
}

// pumpToPlugin passes the caller's messages on, and their end. It returns an error if a
// message cannot be read from the caller. If the plugin refuses one, pumpToPlugin
// returns nil and pumpToCaller gets the error.
func pumpToPlugin(in grpc.ServerStream, out grpc.ClientStream) error {
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

// pumpToCaller passes the plugin's header and messages back to the caller. It returns
// the status of the call.
func pumpToCaller(in grpc.ServerStream, out grpc.ClientStream) error {
	header, err := out.Header()
	if err != nil {
		return statusFromForwardedCall(err)
	}
	if header != nil { // nil: the plugin answered with a status alone
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
			return statusFromForwardedCall(err)
		}
		if err := in.SendMsg(&f); err != nil {
			return err
		}
	}
}

// isUnaryCall reports whether a call has one message and one answer: because the method
// is the Dispatcher's, or because the caller's metadata says so.
func isUnaryCall(ctx context.Context, method string) bool {
	switch method {
	case shellpb.Dispatcher_Invoke_FullMethodName, shellpb.Dispatcher_Exists_FullMethodName:
		return true
	}
	return metadata.ValueFromIncomingContext(ctx, shellpb.UnaryKey) != nil
}

// isReservedMethod reports whether only the host may call the method of a plugin: those
// of Plugin, of Parent, of the hooks, of flows, of HTTP and of go-plugin, and the Dispatcher's
// Events.
func isReservedMethod(method string) bool {
	switch service := serviceOfMethod(method); service {
	case "dormouse.shell.v1.Plugin", shellpb.HooksService, shellpb.FlowService, shellpb.Parent_ServiceDesc.ServiceName, webpb.Web_ServiceDesc.ServiceName:
		return true
	case shellpb.DispatcherService:
		return strings.HasSuffix(method, "/Events") // a plugin has one such stream, the host's
	default:
		return strings.HasPrefix(service, "plugin.") // go-plugin's services
	}
}

// serviceOfMethod returns the service in the full name of a method.
func serviceOfMethod(method string) string {
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	return service
}

// outgoingWithoutHopMetadata returns the context of a forwarded call: the caller's,
// without the metadata that isHopMetadata names, and without the host's tokens, which
// plugins must not learn. The metadata names the plugin that makes the call.
func outgoingWithoutHopMetadata(ctx context.Context) context.Context {
	md, _ := metadata.FromIncomingContext(ctx) // a copy, which may be changed
	maps.DeleteFunc(md, func(key string, values []string) bool {
		return isHopMetadata(key) || key == authorizationKey && slices.ContainsFunc(values, func(v string) bool { return access.IsToken(bearerToken(v)) })
	})
	out := metadata.NewOutgoingContext(ctx, md)
	if caller := shell.CallerOf(ctx); caller != "" {
		out = metadata.AppendToOutgoingContext(out, shellpb.CallerKey, caller)
	}
	return out
}

// isHopMetadata reports whether a key of the metadata concerns only the connection
// between the caller and the host: gRPC's own keys, and those that begin with
// "dormouse-".
func isHopMetadata(key string) bool {
	switch key {
	case "content-type", "te", "user-agent", "grpc-timeout", "grpc-encoding", "grpc-accept-encoding", "grpc-previous-rpc-attempts":
		return true
	}
	return strings.HasPrefix(key, ":") || strings.HasPrefix(key, "dormouse-")
}

// contextEndStatus returns the gRPC status for a stream whose context has ended:
// DeadlineExceeded or Canceled.
func contextEndStatus(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return status.Error(codes.DeadlineExceeded, "the call's deadline has passed")
	}
	return status.Error(codes.Canceled, "the caller has gone")
}
