package webhooks

import (
	"context"

	"google.golang.org/grpc/codes"

	"dormouse/internal/outbox"
	"dormouse/plugins/thunder"
)

// answers has the answer for each error. The first one that an error matches counts.
var answers = thunder.Answers{
	{Err: ErrBadRequest, Number: thunder.BadRequest, Code: codes.InvalidArgument},
	{Err: outbox.ErrUnknown, Number: thunder.UnknownKey, Code: codes.NotFound},
	{Err: context.DeadlineExceeded, Number: thunder.TimedOut, Code: codes.DeadlineExceeded},
	{Err: context.Canceled, Number: thunder.Aborted, Code: codes.Canceled},
}

// asStatus returns err as a gRPC status with Thunder's number; nil stays nil.
func asStatus(err error) error {
	if err == nil {
		return nil
	}
	return answers.To(err).GRPCError(err, nil)
}
