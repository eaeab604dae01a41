package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/shell/shellpb"
)

// Error is an error that tells the caller more than a text.
type Error struct {
	// Code is Thunder's error number, or a JSON-RPC code when negative.
	Code    int
	Message string
	// Data is encoded as JSON for the caller; it may be nil.
	Data any
}

func (e *Error) Error() string { return e.Message }

// The numbers of Thunder that plugins have most use for; an Error may have any
// other.
const (
	General           = 1
	Unavailable       = 2
	IllegalState      = 5
	TimedOut          = 11
	InProgress        = 12
	UnknownKey        = 22
	PrivilegedRequest = 24
	DuplicateKey      = 29
	BadRequest        = 30
	PendingConditions = 31
	NotExist          = 43
	NotSupported      = 44
	InvalidRange      = 45
	Hibernated        = 46
	UnknownMethod     = 53
	InvalidParameter  = 54
)

// toStatus is err as it goes to the host.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*Error](err)
	switch {
	case ok:
	case errors.Is(err, context.DeadlineExceeded):
		return shellpb.ErrorWithDetail(codes.DeadlineExceeded, err.Error(), &shellpb.Error{Code: TimedOut})
	default:
		e = &Error{Code: General}
	}
	detail := &shellpb.Error{Code: int32(e.Code)}
	if data, err := encode(e.Data); err == nil {
		detail.Data = data
	}
	code := codes.Unknown
	switch e.Code {
	case UnknownMethod:
		code = codes.Unimplemented
	case InvalidParameter:
		code = codes.InvalidArgument
	}
	return shellpb.ErrorWithDetail(code, err.Error(), detail)
}

// refused is a failed call of the host as the plugin gets it.
func refused(ctx context.Context, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrSlept):
		return fmt.Errorf("cannot %s: %w", what, ErrSlept)
	case ctx.Err() != nil:
		return fmt.Errorf("cannot %s: %w", what, ctx.Err())
	}
	e := &Error{Code: General, Message: status.Convert(err).Message()}
	if detail := shellpb.DetailOf(err); detail != nil {
		e.Code = int(detail.GetCode())
		if len(detail.GetData()) > 0 {
			e.Data = json.RawMessage(detail.GetData())
		}
	} else if code, ok := numbers[status.Code(err)]; ok {
		e.Code = code
	}
	return fmt.Errorf("cannot %s: %w", what, e)
}

// numbers is what a status without a number comes closest to.
var numbers = map[codes.Code]int{
	codes.Unavailable:        Unavailable,
	codes.FailedPrecondition: IllegalState,
	codes.DeadlineExceeded:   TimedOut,
	codes.NotFound:           NotExist,
	codes.PermissionDenied:   PrivilegedRequest,
	codes.Unimplemented:      UnknownMethod,
	codes.InvalidArgument:    InvalidParameter,
}
