package communicator

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/plugins/access"
	"dormouse/plugins/thunder"
	"dormouse/shell/shellpb"
)

// guardedRegistrar registers services whose every call is checked by the rules, and logged
// if it changes something.
type guardedRegistrar struct {
	grpc.ServiceRegistrar
	endpoint *endpoint
}

// RegisterService registers the service with handlers that check each call.
func (r guardedRegistrar) RegisterService(d *grpc.ServiceDesc, service any) {
	guarded := *d
	guarded.Methods, guarded.Streams = slices.Clone(d.Methods), slices.Clone(d.Streams)
	for i, m := range d.Methods {
		guarded.Methods[i].Handler = func(service any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			return m.Handler(service, ctx, decode, r.endpoint.checkAndServeUnary)
		}
	}
	for i, s := range d.Streams {
		method := "/" + d.ServiceName + "/" + s.StreamName
		guarded.Streams[i].Handler = func(service any, stream grpc.ServerStream) error {
			return s.Handler(service, &checkedStream{ServerStream: stream, endpoint: r.endpoint, method: method})
		}
	}
	r.ServiceRegistrar.RegisterService(&guarded, service)
}

// checkAndServeUnary checks a unary call by its rule, serves it and logs it if it changes
// something. It is an interceptor of gRPC.
func (e *endpoint) checkAndServeUnary(ctx context.Context, message any, info *grpc.UnaryServerInfo, serve grpc.UnaryHandler) (any, error) {
	needs, err := e.checkByRule(ctx, info.FullMethod, message)
	if err != nil {
		return nil, err
	}
	answer, err := serve(ctx, message)
	e.audit.LogChange(e.clientOfCall(ctx), needs.needed, needs.targets, auditedResult(err))
	return answer, err
}

// checkedStream is a stream to the client whose messages from the client are checked by the
// rule of the method.
type checkedStream struct {
	grpc.ServerStream
	endpoint *endpoint
	method   string
}

// RecvMsg receives one message. The error says that the client may not send it.
func (s *checkedStream) RecvMsg(message any) error {
	if err := s.ServerStream.RecvMsg(message); err != nil {
		return err
	}
	_, err := s.endpoint.checkByRule(s.Context(), s.method, message)
	return err
}

// checkByRule returns what a call of one of the host's services needs, or an error if the
// client has no such role. It logs a refusal.
func (e *endpoint) checkByRule(ctx context.Context, method string, message any) (rights, error) {
	find, ok := e.ruleOf(method)
	if !ok {
		return rights{}, e.check(ctx, access.None, access.Target{Method: method})
	}
	needs, err := find(ctx, e, message)
	switch {
	case err != nil:
		return rights{}, err
	case needs.isFree:
		return needs, nil
	case len(needs.targets) == 0: // the rule does not fit the message
		needs.targets = []access.Target{{Method: method}}
	}
	return needs, e.check(ctx, needs.needed, needs.targets...)
}

// check returns nil if the client has the role needed for all targets, else the status of a
// refusal, which it logs.
func (e *endpoint) check(ctx context.Context, needed access.Role, targets ...access.Target) error {
	for _, t := range targets {
		if err := e.Access.Check(e.clientOfCall(ctx), needed, t); err != nil {
			return e.logAndConvertRefusal(err)
		}
	}
	return nil
}

// checkReaches returns nil if the client may know whether the target's instance exists, else
// the status of a refusal, which it logs.
func (e *endpoint) checkReaches(ctx context.Context, t access.Target) error {
	if err := e.Access.CheckReaches(e.clientOfCall(ctx), t); err != nil {
		return e.logAndConvertRefusal(err)
	}
	return nil
}

// logAndConvertRefusal logs the refusal that err is, and returns it as a gRPC status with
// Thunder's number: Unauthenticated if the host does not know the client, else
// PermissionDenied.
func (e *endpoint) logAndConvertRefusal(err error) error {
	r, ok := errors.AsType[*access.RefusalError](err)
	if !ok {
		return statusFromError(err)
	}
	e.audit.LogRefusal(r)
	code := codes.PermissionDenied
	if r.IsUnauthenticated() {
		code = codes.Unauthenticated
	}
	return shellpb.ErrorWithDetail(code, r.Error(), &shellpb.Error{Code: int32(thunder.PrivilegedRequest)})
}

// seesDetails reports whether the client may see of an instance what is not for every
// reader: configuration, paths, and texts in which either may stand.
func (e *endpoint) seesDetails(ctx context.Context, t access.Target) bool {
	return e.Access.RoleOf(e.clientOfCall(ctx), t) >= access.Operate
}

// auditedResult returns the result of a call for the audit: "done", or the name of the error's
// number. The error's text may hold what the client sent.
func auditedResult(err error) string {
	if err == nil {
		return "done"
	}
	if name := thunder.ErrorNumber(shellpb.ErrorDetailOf(err).GetCode()).Name(); name != "" {
		return name
	}
	return status.Code(err).String()
}
