package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/shell/shellpb"
)

// Error is an error with a number. A method that returns one gives the caller the
// number and the data. A refusal of the host is one too.
type Error struct {
	// Code is a number of Thunder's, or a code of JSON-RPC when negative.
	Code    int
	Message string
	// Data is encoded as JSON for the caller. It may be nil.
	Data any
}

func (e *Error) Error() string { return e.Message }

// Thunder's numbers for errors that plugins often return. Code may be any other of
// Thunder's.
const (
	General           = 1
	Unavailable       = 2
	IllegalState      = 5
	TimedOut          = 11
	InProgress        = 12
	UnknownKey        = 22
	PrivilegedRequest = 24
	RPCCallFailed     = 25 // a call was delivered, and no answer came
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

// statusFromError returns the plugin's error as a gRPC status for the host, with the number
// and data of an *Error in it, else TimedOut or General; nil stays nil.
func statusFromError(err error) error {
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
	if data, err := encodeJSON(e.Data); err == nil {
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

// errorFromHost returns err, the error of a call to the host, as an error for the plugin:
// "cannot ACTION: ..." that wraps ErrSlept, the error of ctx, or an *Error. nil stays nil.
func errorFromHost(ctx context.Context, action string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrSlept):
		return fmt.Errorf("cannot %s: %w", action, ErrSlept)
	case ctx.Err() != nil:
		return fmt.Errorf("cannot %s: %w", action, ctx.Err())
	}
	e := &Error{Code: General, Message: status.Convert(err).Message()}
	if detail := shellpb.ErrorDetailOf(err); detail != nil {
		e.Code = int(detail.GetCode())
		if len(detail.GetData()) > 0 {
			e.Data = json.RawMessage(detail.GetData())
		}
	} else if code, ok := numberOfCode[status.Code(err)]; ok {
		e.Code = code
	}
	verb, _, _ := strings.Cut(action, " ")
	if strings.HasPrefix(e.Message, "cannot "+verb+" ") {
		return e // the host says it all
	}
	e.Message = strings.TrimPrefix(e.Message, "cannot "+verb+": ")
	return fmt.Errorf("cannot %s: %w", action, e)
}

// numberOfCode is Thunder's number for the code of a gRPC status that has no number in its
// details.
var numberOfCode = map[codes.Code]int{
	codes.Unavailable:        Unavailable,
	codes.FailedPrecondition: IllegalState,
	codes.DeadlineExceeded:   TimedOut,
	codes.NotFound:           NotExist,
	codes.PermissionDenied:   PrivilegedRequest,
	codes.Unimplemented:      UnknownMethod,
	codes.InvalidArgument:    InvalidParameter,
}
