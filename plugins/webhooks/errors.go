package webhooks

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"

	"dormouse/internal/outbox"
	"dormouse/plugins/thunder"
	"dormouse/shell/shellpb"
)

// answer is what a client gets for an error, on each wire.
type answer struct {
	err    error
	number thunder.ErrorNumber
	code   codes.Code
}

// answers has the answer for each error. The first one that an error matches counts.
var answers = []answer{
	{ErrBadRequest, thunder.BadRequest, codes.InvalidArgument},
	{outbox.ErrUnknown, thunder.UnknownKey, codes.NotFound},
	{context.DeadlineExceeded, thunder.TimedOut, codes.DeadlineExceeded},
	{context.Canceled, thunder.Aborted, codes.Canceled},
}

// answerTo returns the answer for err, which is not nil: of an internal error for one that is not
// in the table.
func answerTo(err error) answer {
	for _, a := range answers {
		if errors.Is(err, a.err) {
			return a
		}
	}
	return answer{err, thunder.General, codes.Internal}
}

// asStatus returns err as a gRPC status with Thunder's number; nil stays nil.
func asStatus(err error) error {
	if err == nil {
		return nil
	}
	a := answerTo(err)
	return shellpb.ErrorWithDetail(a.code, err.Error(), &shellpb.Error{Code: int32(a.number)})
}
