package process

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/internal/timelimit"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// shellErrorFromGRPC translates an error of a gRPC call into one of the shell's errors,
// or into the context's error if the call was given up. Any other error is a
// *shell.PluginError. A nil error stays nil.
func shellErrorFromGRPC(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, shell.ErrNotDelivered) || errors.Is(err, shell.ErrNotAnswered) || errors.Is(err, context.DeadlineExceeded) {
		return err // the link knows
	}
	s := status.Convert(err)
	if detail := shellpb.ErrorDetailOf(err); detail != nil {
		return &shell.PluginError{Code: int(detail.GetCode()), Message: s.Message(), Data: detail.GetData()}
	}
	switch s.Code() {
	case codes.Unimplemented:
		return shell.ErrUnknownMethod
	case codes.InvalidArgument:
		return fmt.Errorf("%w: %s", shell.ErrInvalidParams, s.Message())
	case codes.DeadlineExceeded:
		return &timelimit.Error{}
	case codes.Canceled:
		return context.Canceled
	default:
		return &shell.PluginError{Message: s.Message()}
	}
}
