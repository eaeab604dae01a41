// Package timelimit limits the time of work, and says in plain words which limit has passed.
package timelimit

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Error means that there was no answer before a time limit. It wraps
// context.DeadlineExceeded, and has the gRPC code DeadlineExceeded.
type Error struct {
	Limit time.Duration // 0 if it is not known
}

// Error says how long was waited for the answer.
func (e *Error) Error() string {
	if e.Limit == 0 {
		return "no answer in time"
	}
	return "no answer within " + e.Limit.String()
}

func (e *Error) Unwrap() error { return context.DeadlineExceeded }

// GRPCStatus returns the error as a gRPC status.
func (e *Error) GRPCStatus() *status.Status { return status.New(codes.DeadlineExceeded, e.Error()) }

// With returns ctx, which also ends after limit. EndError then names the limit.
func With(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, &Error{limit})
}

// EndError returns why ctx has ended, or ends in this moment: context.Canceled, or an *Error
// for a deadline.
func EndError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Canceled
	}
	if e, known := errors.AsType[*Error](context.Cause(ctx)); known {
		return e
	}
	return &Error{}
}
