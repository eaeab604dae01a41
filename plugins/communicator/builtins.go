package communicator

import (
	"errors"

	"google.golang.org/grpc"

	"dormouse/configs"
	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// dispatches tells whether an instance without gRPC of its own is served as a
// Dispatcher: all such but the host itself, which has a service with types.
func dispatches(sh *shell.Shell) bool {
	return sh.IsBuiltIn() && sh.Callsign() != configs.ControllerCallsign
}

// dispatch answers for a part of the host what a plugin would answer itself.
func dispatch(in grpc.ServerStream, sh *shell.Shell, method string) error {
	switch {
	case dispatches(sh) && method == shellpb.Dispatcher_Invoke_FullMethodName:
		var r shellpb.InvokeRequest
		if err := in.RecvMsg(&r); err != nil {
			return err
		}
		result, err := sh.Invoke(in.Context(), shell.Call{Method: r.GetMethod(), Index: r.GetIndex(), Params: r.GetParams()})
		if err != nil {
			return refusalOfPart(err)
		}
		return in.SendMsg(&shellpb.InvokeResponse{Result: result})
	case dispatches(sh) && method == shellpb.Dispatcher_Exists_FullMethodName:
		var r shellpb.ExistsRequest
		if err := in.RecvMsg(&r); err != nil {
			return err
		}
		exists, err := sh.Exists(in.Context(), r.GetMethod())
		if err != nil {
			return refusal(err)
		}
		return in.SendMsg(&shellpb.ExistsResponse{Exists: exists})
	}
	return errNoGRPC
}

// refusalOfPart is refusal where err may be what the part answered.
func refusalOfPart(err error) error {
	answer, ok := errors.AsType[*shell.PluginError](err)
	if !ok {
		return refusal(err)
	}
	number := thunder.Of(answer)
	return shellpb.Status(codeOf(number), answer.Message, &shellpb.Error{Code: int32(number), Data: answer.Data})
}
