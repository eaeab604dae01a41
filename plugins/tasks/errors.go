package tasks

import (
	"context"
	"errors"
	"net/http"

	"google.golang.org/grpc/codes"

	"dormouse/plugins/thunder"
	"dormouse/shell"
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

// answers has the answer for each error. The first one that an error matches counts.
var answers = thunder.Answers{
	{Err: ErrUnknown, Number: thunder.UnknownKey, Code: codes.NotFound, Status: http.StatusNotFound},
	{Err: ErrNoInstance, Number: thunder.UnknownKey, Code: codes.NotFound, Status: http.StatusNotFound},
	{Err: ErrEnded, Number: thunder.IllegalState, Code: codes.FailedPrecondition, Status: http.StatusConflict},
	{Err: ErrState, Number: thunder.IllegalState, Code: codes.FailedPrecondition, Status: http.StatusConflict},
	{Err: ErrInvalid, Number: thunder.BadRequest, Code: codes.InvalidArgument, Status: http.StatusUnprocessableEntity},
	{Err: ErrTooLarge, Number: thunder.InvalidInputLength, Code: codes.ResourceExhausted, Status: http.StatusRequestEntityTooLarge},
	{Err: ErrNoWorker, Number: thunder.NotSupported, Code: codes.Unimplemented, Status: http.StatusNotFound},
	{Err: ErrFull, Number: thunder.InProgress, Code: codes.ResourceExhausted, Status: http.StatusInsufficientStorage},
	{Err: ErrForbidden, Number: thunder.PrivilegedRequest, Code: codes.PermissionDenied, Status: http.StatusForbidden},
	{Err: shell.ErrUnavailable, Number: thunder.Unavailable, Code: codes.Unavailable, Status: http.StatusServiceUnavailable},
	{Err: context.DeadlineExceeded, Number: thunder.TimedOut, Code: codes.DeadlineExceeded, Status: http.StatusGatewayTimeout},
	{Err: context.Canceled, Number: thunder.Aborted, Code: codes.Canceled, Status: http.StatusServiceUnavailable},
}

// HTTPStatus returns the status with which an error of this package is answered over HTTP.
func HTTPStatus(err error) int { return answers.To(err).Status }

// asStatus returns err as a gRPC status with Thunder's number; nil stays nil.
func asStatus(err error) error {
	if err == nil {
		return nil
	}
	return answers.To(err).GRPCError(err, nil)
}
