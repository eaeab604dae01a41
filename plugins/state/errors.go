package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/internal/bytesize"
	"dormouse/internal/store"
	"dormouse/plugins/thunder"
)

// Errors of the operations and the methods. Their texts go on with what to do.
var (
	// ErrNotFound means that the owner has no such key or blob, or that the caller may not
	// know of it.
	ErrNotFound = errors.New("not found")
	// ErrConflict means that a key or blob has another revision than the caller asks for.
	ErrConflict = errors.New("it was changed meanwhile")
	// ErrFull means that a quota does not allow what is asked for.
	ErrFull = errors.New("the state is full")
	// ErrTooLarge means that a key, a value or a request is larger than any may be.
	ErrTooLarge = errors.New("it is too large")
	// ErrInvalid means that a request can't be carried out as it is.
	ErrInvalid = errors.New("wrong request")
	// ErrIncomplete means that a blob did not arrive as it was announced.
	ErrIncomplete = errors.New("the blob did not arrive whole")
	// ErrRange means that a part of a blob is asked for that begins after its end.
	ErrRange = errors.New("the blob ends before that")
	// ErrBusy means that too many blobs are under way at once.
	ErrBusy = errors.New("too many blobs are under way")
	// ErrNoFiles means that the files of the blobs are not where they were.
	ErrNoFiles = errors.New("the files of the blobs are not there")
	// ErrDamaged means that the disk has not kept a key or a blob as it was written.
	ErrDamaged = errors.New("the disk has damaged it")
)

// conflictError is an ErrConflict with both revisions; 0 stands for "is not there".
type conflictError struct {
	what        string // such as `the key "a"`
	wanted, has int64
}

func (e *conflictError) Error() string {
	switch {
	case e.has == 0:
		return fmt.Sprintf("there is no %s, and the change is for its revision %d; read it again", e.what, e.wanted)
	case e.wanted == 0:
		return fmt.Sprintf("there is a %s already, with revision %d; read it first", e.what, e.has)
	}
	return fmt.Sprintf("the %s has revision %d, and the change is for revision %d; read it again", e.what, e.has, e.wanted)
}

func (e *conflictError) Unwrap() error { return ErrConflict }

// checkRevision returns an ErrConflict unless wanted is nil or what has that revision.
func checkRevision(what string, wanted *int64, has int64) error {
	if wanted == nil || *wanted == has {
		return nil
	}
	return &conflictError{what, *wanted, has}
}

// quotaError is an ErrFull that says what is left.
type quotaError struct {
	owner  string // empty for all owners together
	key    string // of the configuration
	what   string // what is counted, such as "keys"; empty for bytes
	limit  int64
	left   int64
	needed int64
}

func (e *quotaError) Error() string {
	of := "the state of all plugins together"
	if e.owner != "" {
		of = "the state of " + e.owner
	}
	amount := func(n int64) string {
		if e.what == "" {
			return bytesize.Format(n)
		}
		return fmt.Sprintf("%d %s", n, e.what)
	}
	return fmt.Sprintf("%s is full: %s of %s are left, and this needs %s; delete something, or raise %s in [state]",
		of, amount(max(e.left, 0)), amount(e.limit), amount(e.needed), e.key)
}

func (e *quotaError) Unwrap() error { return ErrFull }

// answers has the answer for each error. The first one that an error matches counts.
var answers = thunder.Answers{
	{Err: ErrNotFound, Number: thunder.UnknownKey, Code: codes.NotFound, Status: http.StatusNotFound},
	{Err: ErrConflict, Number: thunder.IllegalState, Code: codes.Aborted, Status: http.StatusPreconditionFailed},
	{Err: ErrFull, Number: thunder.InvalidInputLength, Code: codes.ResourceExhausted, Status: http.StatusInsufficientStorage},
	{Err: ErrTooLarge, Number: thunder.InvalidInputLength, Code: codes.InvalidArgument, Status: http.StatusRequestEntityTooLarge},
	{Err: ErrIncomplete, Number: thunder.BadRequest, Code: codes.InvalidArgument, Status: http.StatusBadRequest},
	{Err: ErrRange, Number: thunder.InvalidRange, Code: codes.OutOfRange, Status: http.StatusRequestedRangeNotSatisfiable},
	{Err: ErrInvalid, Number: thunder.BadRequest, Code: codes.InvalidArgument, Status: http.StatusBadRequest},
	{Err: ErrBusy, Number: thunder.InProgress, Code: codes.ResourceExhausted, Status: http.StatusTooManyRequests, RetryAfter: time.Second},
	{Err: ErrNoFiles, Number: thunder.Unavailable, Code: codes.Unavailable, Status: http.StatusServiceUnavailable, RetryAfter: 10 * time.Second},
	{Err: ErrDamaged, Number: thunder.General, Code: codes.DataLoss, Status: http.StatusInternalServerError},
	{Err: store.ErrDamaged, Number: thunder.General, Code: codes.DataLoss, Status: http.StatusInternalServerError},
	{Err: store.ErrClosed, Number: thunder.Unavailable, Code: codes.Unavailable, Status: http.StatusServiceUnavailable, RetryAfter: time.Second},
	{Err: syscall.ENOSPC, Number: thunder.InProgress, Code: codes.ResourceExhausted, Status: http.StatusInsufficientStorage, RetryAfter: 10 * time.Second},
	{Err: syscall.EDQUOT, Number: thunder.InProgress, Code: codes.ResourceExhausted, Status: http.StatusInsufficientStorage, RetryAfter: 10 * time.Second},
	{Err: fs.ErrPermission, Number: thunder.General, Code: codes.Internal, Status: http.StatusInternalServerError},
	{Err: context.DeadlineExceeded, Number: thunder.TimedOut, Code: codes.DeadlineExceeded, Status: http.StatusGatewayTimeout},
	{Err: context.Canceled, Number: thunder.Aborted, Code: codes.Canceled, Status: http.StatusServiceUnavailable},
}

// dataOf returns what a client gets of an error besides number and text: the revision that a
// key or blob has, what is left of a quota, or when to try again; nil for nothing.
func dataOf(err error) json.RawMessage {
	if conflict, ok := errors.AsType[*conflictError](err); ok {
		return fmt.Appendf(nil, `{"revision":%d}`, conflict.has)
	}
	if full, ok := errors.AsType[*quotaError](err); ok {
		return fmt.Appendf(nil, `{"quota":%q,"limit":%d,"left":%d,"needed":%d}`, full.key, full.limit, max(full.left, 0), full.needed)
	}
	return answers.To(err).Data()
}

// asStatus returns err as a gRPC status with Thunder's number. Nil, and an error of gRPC, stay as
// they are.
func asStatus(err error) error {
	if _, is := status.FromError(err); is {
		return err
	}
	return answers.To(err).GRPCError(err, dataOf(err))
}
