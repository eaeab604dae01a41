package communicator

import (
	"errors"

	"google.golang.org/grpc"

	"dormouse/configs"
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
func dispatchToBuiltin(in grpc.ServerStream, sh *shell.Shell, method string) error {
	switch {
	case isBuiltinExceptController(sh) && method == shellpb.Dispatcher_Invoke_FullMethodName:
		var r shellpb.InvokeRequest
		if err := in.RecvMsg(&r); err != nil {
			return err
		}
		result, err := sh.Invoke(in.Context(), shell.Call{Method: r.GetMethod(), Index: r.GetIndex(), Params: r.GetParams()})
		if answer, ok := errors.AsType[*shell.PluginError](err); ok {
			number := thunder.NumberOrPluginCode(answer)
			return shellpb.ErrorWithDetail(grpcCode(number), answer.Message, &shellpb.Error{Code: int32(number), Data: answer.Data})
		}
		if err != nil {
			return statusFromError(err)
		}
		return in.SendMsg(&shellpb.InvokeResponse{Result: result})
	case isBuiltinExceptController(sh) && method == shellpb.Dispatcher_Exists_FullMethodName:
		var r shellpb.ExistsRequest
		if err := in.RecvMsg(&r); err != nil {
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
