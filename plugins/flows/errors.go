package flows

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"google.golang.org/grpc/codes"

	"dormouse/internal/queue"
	"dormouse/plugins/thunder"
	"dormouse/shell/shellpb"
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

// answer is what a client gets for an error, on each wire.
type answer struct {
	err    error
	number thunder.ErrorNumber
	code   codes.Code
	status int // of HTTP
	// retryAfter is when the same request may succeed; 0 for never by itself.
	retryAfter time.Duration
}

// answers has the answer for each error. The first one that an error matches counts.
var answers = []answer{
	{ErrUnknown, thunder.UnknownKey, codes.NotFound, http.StatusNotFound, 0},
	{ErrRejected, thunder.IllegalState, codes.FailedPrecondition, http.StatusConflict, 0},
	{ErrUnrouted, thunder.IllegalState, codes.FailedPrecondition, http.StatusConflict, 0},
	{ErrTooLarge, thunder.InvalidInputLength, codes.ResourceExhausted, http.StatusRequestEntityTooLarge, 0},
	{ErrInvalid, thunder.BadRequest, codes.InvalidArgument, http.StatusBadRequest, 0},
	{ErrBadRequest, thunder.BadRequest, codes.InvalidArgument, http.StatusBadRequest, 0},
	{ErrTaken, thunder.DuplicateKey, codes.AlreadyExists, http.StatusConflict, 0},
	{queue.ErrTooLong, thunder.InvalidInputLength, codes.ResourceExhausted, http.StatusRequestEntityTooLarge, 0},
	{queue.ErrGone, thunder.NotExist, codes.NotFound, http.StatusNotFound, 0},
	{queue.ErrQueueFull, thunder.InProgress, codes.ResourceExhausted, http.StatusTooManyRequests, time.Second},
	{queue.ErrFull, thunder.InProgress, codes.ResourceExhausted, http.StatusInsufficientStorage, 10 * time.Second},
	{context.DeadlineExceeded, thunder.TimedOut, codes.DeadlineExceeded, http.StatusGatewayTimeout, 0},
	{context.Canceled, thunder.Aborted, codes.Canceled, http.StatusServiceUnavailable, 0},
}

// answerTo returns the answer for err, which is not nil: of an internal error for one that
// is not in the table.
func answerTo(err error) answer {
	for _, a := range answers {
		if errors.Is(err, a.err) {
			return a
		}
	}
	return answer{err, thunder.General, codes.Internal, http.StatusInternalServerError, 0}
}

// data returns what a client of JSON-RPC gets besides number and text: after how many
// milliseconds the same request may succeed, nil if not by itself.
func (a answer) data() json.RawMessage {
	if a.retryAfter == 0 {
		return nil
	}
	return fmt.Appendf(nil, `{"retryAfterMs":%d}`, a.retryAfter.Milliseconds())
}

// asStatus returns err as a gRPC status with Thunder's number; nil stays nil.
func asStatus(err error) error {
	if err == nil {
		return nil
	}
	a := answerTo(err)
	return shellpb.ErrorWithDetail(a.code, err.Error(), &shellpb.Error{Code: int32(a.number), Data: a.data()})
}
