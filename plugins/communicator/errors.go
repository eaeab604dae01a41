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
	errNoCallsign = numbered(thunder.BadRequest, "the metadata "+shellpb.CallsignKey+" must name the instance that the call is about")
	errCallsigns  = numbered(thunder.BadRequest, "the metadata "+shellpb.CallsignKey+" must name one instance, not several")
	errHostItself = numbered(thunder.PrivilegedRequest, "the host itself can't be activated, ended or put to sleep by a call")
	errNotOwn     = numbered(thunder.PrivilegedRequest, "only the plugin itself may do this, on its host socket")
	errReserved   = numbered(thunder.PrivilegedRequest, "only the host may call this")
	errNoGRPC     = numbered(thunder.NotSupported, "a part of the host serves no gRPC of its own")
	errNoQuestion = numbered(thunder.BadRequest, "a unary call has one message, this one has none")
	errSlow       = status.Error(codes.ResourceExhausted, "the watcher reads too slowly and has lost track; watch anew")
	errEnding     = status.Error(codes.Unavailable, "the host is ending")
)

// statusCodes is the status of gRPC for each number; all others are Unknown.
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

// codeOf returns the status of gRPC for a number.
func codeOf(n thunder.Number) codes.Code {
	if code, known := statusCodes[n]; known {
		return code
	}
	return codes.Unknown
}

// refusal is err, which the host made, as a client receives it; nil stays nil.
func refusal(err error) error {
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
	return shellpb.Status(code, err.Error(), detail)
}

// refusalOfCall is refusal where err may also be what the plugin itself answered.
// A status inside another error is only a part of the story.
func refusalOfCall(err error) error {
	if answer, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
		return answer.GRPCStatus().Err()
	}
	return refusal(err)
}

func numbered(number thunder.Number, message string) error {
	return shellpb.Status(codeOf(number), message, &shellpb.Error{Code: int32(number)})
}
