package communicator

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

var (
	errNoCallsign = newStatus(thunder.BadRequest, "the metadata "+shellpb.CallsignKey+" must name the instance that the call is about")
	errCallsigns  = newStatus(thunder.BadRequest, "the metadata "+shellpb.CallsignKey+" must name one instance, not several")
	errHostItself = newStatus(thunder.PrivilegedRequest, "the host itself can't be activated, ended or put to sleep by a call")
	errNotOwn     = newStatus(thunder.PrivilegedRequest, "only the plugin itself may do this, on its host socket")
	errReserved   = newStatus(thunder.PrivilegedRequest, "only the host may call this")
	errNoGRPC     = newStatus(thunder.NotSupported, "a part of the host serves no gRPC of its own")
	errNoMessage  = newStatus(thunder.BadRequest, "a unary call has one message, this one has none")
	errTooSlow    = status.Error(codes.ResourceExhausted, "the watcher reads too slowly and has lost track; watch anew")
	errEnding     = status.Error(codes.Unavailable, "the host is ending")
)

// statusCodes is the gRPC code of each number; all others are Unknown.
var statusCodes = map[thunder.Number]codes.Code{
	thunder.Unavailable:       codes.Unavailable,
	thunder.IllegalState:      codes.FailedPrecondition,
	thunder.OpeningFailed:     codes.Internal,
	thunder.TimedOut:          codes.DeadlineExceeded,
	thunder.InProgress:        codes.Aborted,
	thunder.ProcessTerminated: codes.Unavailable,
	thunder.UnknownKey:        codes.NotFound,
	thunder.IncompleteConfig:  codes.InvalidArgument,
	thunder.PrivilegedRequest: codes.PermissionDenied,
	thunder.DuplicateKey:      codes.AlreadyExists,
	thunder.BadRequest:        codes.InvalidArgument,
	thunder.PendingConditions: codes.FailedPrecondition,
	thunder.NotSupported:      codes.Unimplemented,
	thunder.Hibernated:        codes.FailedPrecondition,
	thunder.InProcess:         codes.FailedPrecondition,
	thunder.UnknownMethod:     codes.Unimplemented,
	thunder.InvalidParameter:  codes.InvalidArgument,
	thunder.Aborted:           codes.Canceled,
}

// codeOf returns the gRPC code of a number.
func codeOf(n thunder.Number) codes.Code {
	if code, known := statusCodes[n]; known {
		return code
	}
	return codes.Unknown
}

// statusError returns an error of the host as a gRPC status with Thunder's number;
// nil stays nil.
func statusError(err error) error {
	if err == nil {
		return nil
	}
	number := thunder.Of(err)
	code := codeOf(number)
	detail := &shellpb.Error{Code: int32(number)}
	switch {
	case errors.Is(err, shell.ErrBusy):
		code = codes.ResourceExhausted
		detail.Data = fmt.Appendf(nil, `{"retryAfterMs":%d}`, shell.RetryAfter.Milliseconds())
	case errors.Is(err, shell.ErrNoStateControl):
		code = codes.FailedPrecondition
	}
	return shellpb.ErrorWithDetail(code, err.Error(), detail)
}

// callStatusError returns the error of a call that was passed on. A plugin's own
// status is passed on as it is; a status inside another error is not the plugin's.
func callStatusError(err error) error {
	if answer, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
		return answer.GRPCStatus().Err()
	}
	return statusError(err)
}

// newStatus returns a gRPC status with Thunder's number.
func newStatus(number thunder.Number, message string) error {
	return shellpb.ErrorWithDetail(codeOf(number), message, &shellpb.Error{Code: int32(number)})
}
