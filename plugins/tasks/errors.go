package tasks

import (
	"context"
	"errors"
	"net/http"

	"google.golang.org/grpc/codes"

	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// Errors of tasks. Their texts go on with what to do.
var (
	// ErrUnknown means that there is no such task, step or output, or none of the caller's own.
	ErrUnknown = errors.New("there is no such task")
	// ErrNoInstance means that there is no plugin of that callsign.
	ErrNoInstance = errors.New("there is no such instance")
	// ErrEnded means that the task has ended, and can't be changed any more.
	ErrEnded = errors.New("the task has ended")
	// ErrState means that the task is not in a state in which it can be changed so.
	ErrState = errors.New("the task does not allow that now")
	// ErrInvalid means that a request is not as it must be.
	ErrInvalid = errors.New("the request is not valid")
	// ErrTooLarge means that a part of a request exceeds its limit.
	ErrTooLarge = errors.New("the request is too large")
	// ErrNoWorker means that the instance does not run tasks that others start.
	ErrNoWorker = errors.New("the instance does not run tasks")
	// ErrFull means that there is no room for more tasks or outputs; the text says how much
	// there is.
	ErrFull = errors.New("there is no room")
	// ErrForbidden means that the caller has no right to the call.
	ErrForbidden = errors.New("the caller may not do that")
)

// answer is what a client gets for an error, on each wire.
type answer struct {
	err    error
	number thunder.ErrorNumber
	code   codes.Code
	status int // of HTTP
}

// answers has the answer for each error. The first one that an error matches counts.
var answers = []answer{
	{ErrUnknown, thunder.UnknownKey, codes.NotFound, http.StatusNotFound},
	{ErrNoInstance, thunder.UnknownKey, codes.NotFound, http.StatusNotFound},
	{ErrEnded, thunder.IllegalState, codes.FailedPrecondition, http.StatusConflict},
	{ErrState, thunder.IllegalState, codes.FailedPrecondition, http.StatusConflict},
	{ErrInvalid, thunder.BadRequest, codes.InvalidArgument, http.StatusUnprocessableEntity},
	{ErrTooLarge, thunder.InvalidInputLength, codes.ResourceExhausted, http.StatusRequestEntityTooLarge},
	{ErrNoWorker, thunder.NotSupported, codes.Unimplemented, http.StatusNotFound},
	{ErrFull, thunder.InProgress, codes.ResourceExhausted, http.StatusInsufficientStorage},
	{ErrForbidden, thunder.PrivilegedRequest, codes.PermissionDenied, http.StatusForbidden},
	{shell.ErrUnavailable, thunder.Unavailable, codes.Unavailable, http.StatusServiceUnavailable},
	{context.DeadlineExceeded, thunder.TimedOut, codes.DeadlineExceeded, http.StatusGatewayTimeout},
	{context.Canceled, thunder.Aborted, codes.Canceled, http.StatusServiceUnavailable},
}

// answerTo returns the answer for err, which is not nil: of an internal error for one that
// is not in the table.
func answerTo(err error) answer {
	for _, a := range answers {
		if errors.Is(err, a.err) {
			return a
		}
	}
	return answer{err, thunder.General, codes.Internal, http.StatusInternalServerError}
}

// HTTPStatus returns the status with which an error of this package is answered over HTTP.
func HTTPStatus(err error) int { return answerTo(err).status }

// asStatus returns err as a gRPC status with Thunder's number; nil stays nil.
func asStatus(err error) error {
	if err == nil {
		return nil
	}
	a := answerTo(err)
	return shellpb.ErrorWithDetail(a.code, err.Error(), &shellpb.Error{Code: int32(a.number)})
}
