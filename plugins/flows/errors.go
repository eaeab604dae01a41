package flows

import (
	"context"
	"errors"
	"net/http"
	"time"

	"google.golang.org/grpc/codes"

	"dormouse/internal/queue"
	"dormouse/plugins/thunder"
)

// Errors of publishing and of the methods. Their texts go on with what to do.
var (
	// ErrUnknown means that there is no flow of that name.
	ErrUnknown = errors.New("there is no such flow")
	// ErrRejected means that the flow takes no messages now; the text says why.
	ErrRejected = errors.New("the flow takes no messages")
	// ErrUnrouted means that no flow takes the topic of a message.
	ErrUnrouted = errors.New("no flow takes the topic")
	// ErrTooLarge means that a message exceeds a limit.
	ErrTooLarge = errors.New("the message is too large")
	// ErrInvalid means that a message or a request is not as it must be.
	ErrInvalid = errors.New("the message is not valid")
	// ErrBadRequest means that the parameters of a method are wrong.
	ErrBadRequest = errors.New("wrong parameters")
	// ErrTaken means that another package declares a flow of that name.
	ErrTaken = errors.New("the name of the flow is taken")
)

// answers has the answer for each error. The first one that an error matches counts.
var answers = thunder.Answers{
	{Err: ErrUnknown, Number: thunder.UnknownKey, Code: codes.NotFound, Status: http.StatusNotFound},
	{Err: ErrRejected, Number: thunder.IllegalState, Code: codes.FailedPrecondition, Status: http.StatusConflict},
	{Err: ErrUnrouted, Number: thunder.IllegalState, Code: codes.FailedPrecondition, Status: http.StatusConflict},
	{Err: ErrTooLarge, Number: thunder.InvalidInputLength, Code: codes.ResourceExhausted, Status: http.StatusRequestEntityTooLarge},
	{Err: ErrInvalid, Number: thunder.BadRequest, Code: codes.InvalidArgument, Status: http.StatusBadRequest},
	{Err: ErrBadRequest, Number: thunder.BadRequest, Code: codes.InvalidArgument, Status: http.StatusBadRequest},
	{Err: ErrTaken, Number: thunder.DuplicateKey, Code: codes.AlreadyExists, Status: http.StatusConflict},
	{Err: queue.ErrTooLong, Number: thunder.InvalidInputLength, Code: codes.ResourceExhausted, Status: http.StatusRequestEntityTooLarge},
	{Err: queue.ErrGone, Number: thunder.NotExist, Code: codes.NotFound, Status: http.StatusNotFound},
	{Err: queue.ErrQueueFull, Number: thunder.InProgress, Code: codes.ResourceExhausted, Status: http.StatusTooManyRequests, RetryAfter: time.Second},
	{Err: queue.ErrFull, Number: thunder.InProgress, Code: codes.ResourceExhausted, Status: http.StatusInsufficientStorage, RetryAfter: 10 * time.Second},
	{Err: context.DeadlineExceeded, Number: thunder.TimedOut, Code: codes.DeadlineExceeded, Status: http.StatusGatewayTimeout},
	{Err: context.Canceled, Number: thunder.Aborted, Code: codes.Canceled, Status: http.StatusServiceUnavailable},
}

// asStatus returns err as a gRPC status with Thunder's number; nil stays nil.
func asStatus(err error) error {
	if err == nil {
		return nil
	}
	a := answers.To(err)
	return a.GRPCError(err, a.Data())
}
