package communicator

import (
	"context"
	"encoding/json"
	"errors"

	"google.golang.org/grpc"

	"dormouse/configs"
	"dormouse/plugins/access"
	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// isBuiltinExceptController reports whether the instance is a built-in that the host
// serves as a Dispatcher. The Controller is not: it has a service of its own.
func isBuiltinExceptController(sh *shell.Shell) bool {
	return sh.IsBuiltIn() && sh.Callsign() != configs.ControllerCallsign
}

// dispatchToBuiltin answers a call of the Dispatcher's Invoke or Exists to a built-in,
// which has no gRPC server of its own. Every other call, and every call to the
// Controller, gets errNoGRPC.
func (e *endpoint) dispatchToBuiltin(in grpc.ServerStream, sh *shell.Shell, method string) error {
	switch {
	case isBuiltinExceptController(sh) && method == shellpb.Dispatcher_Invoke_FullMethodName:
		var r shellpb.InvokeRequest
		if err := in.RecvMsg(&r); err != nil {
			return err
		}
		result, err := e.checkAndInvokeBuiltin(in.Context(), sh, shell.Call{Method: r.GetMethod(), Index: r.GetIndex(), Params: r.GetParams()})
		if err != nil {
			return err
		}
		return in.SendMsg(&shellpb.InvokeResponse{Result: result})
	case isBuiltinExceptController(sh) && method == shellpb.Dispatcher_Exists_FullMethodName:
		var r shellpb.ExistsRequest
		if err := in.RecvMsg(&r); err != nil {
			return err
		}
		if err := e.check(in.Context(), e.NeededRole("exists", false), access.Target{Callsign: sh.Callsign(), Method: "exists"}); err != nil {
			return err
		}
		exists, err := sh.Exists(in.Context(), r.GetMethod())
		if err != nil {
			return statusFromError(err)
		}
		return in.SendMsg(&shellpb.ExistsResponse{Exists: exists})
	}
	return errNoGRPC
}

// checkAndInvokeBuiltin checks that the client may call the method of a built-in, calls it
// and logs the call if it changes something. The error is a gRPC status.
func (e *endpoint) checkAndInvokeBuiltin(ctx context.Context, sh *shell.Shell, c shell.Call) (json.RawMessage, error) {
	needed, target := access.None, access.Target{Callsign: sh.Callsign(), Method: c.Method}
	if e.BuiltinAccess != nil {
		needed, target = e.BuiltinAccess(sh, c)
	}
	if err := e.check(ctx, needed, target); err != nil {
		return nil, err
	}
	result, err := sh.Invoke(ctx, c)
	if answer, ok := errors.AsType[*shell.PluginError](err); ok {
		number := thunder.NumberOrPluginCode(answer)
		err = shellpb.ErrorWithDetail(grpcCode(number), answer.Message, &shellpb.Error{Code: int32(number), Data: answer.Data})
	} else {
		err = statusFromError(err)
	}
	e.audit.LogChange(e.clientOfCall(ctx), needed, []access.Target{target}, auditedResult(err))
	return result, err
}
