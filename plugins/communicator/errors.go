package communicator

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/plugins/controller"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// Thunder's numbers of what the communicator itself refuses.
const (
	numberUnsupported = 44
	numberPrivileged  = 24
	numberBadRequest  = 30
)

var (
	errNoCallsign = numbered(numberBadRequest, "the metadata "+shellpb.CallsignKey+" must name the instance that the call is about")
	errCallsigns  = numbered(numberBadRequest, "the metadata "+shellpb.CallsignKey+" must name one instance, not several")
	errHostItself = numbered(numberPrivileged, "the host itself can't be activated, ended or put to sleep by a call")
	errNotOwn     = numbered(numberPrivileged, "only the plugin itself may do this, on its host socket")
	errReserved   = numbered(numberPrivileged, "only the host may call this")
	errNoGRPC     = numbered(numberUnsupported, "a part of the host serves no gRPC of its own")
	errNoQuestion = numbered(numberBadRequest, "a unary call has one message, this one has none")
	errSlow       = status.Error(codes.ResourceExhausted, "the watcher reads too slowly and has lost track; watch anew")
	errEnding     = status.Error(codes.Unavailable, "the host is ending")
)

// codeOf says what a number of Thunder's is in gRPC's terms.
var codeOf = map[int]codes.Code{
	2:                 codes.Unavailable,
	5:                 codes.FailedPrecondition,
	6:                 codes.Internal,
	11:                codes.DeadlineExceeded,
	12:                codes.Aborted,
	20:                codes.Unavailable,
	22:                codes.NotFound,
	numberPrivileged:  codes.PermissionDenied,
	23:                codes.InvalidArgument,
	29:                codes.AlreadyExists,
	numberBadRequest:  codes.InvalidArgument,
	31:                codes.FailedPrecondition,
	numberUnsupported: codes.Unimplemented,
	46:                codes.FailedPrecondition,
	47:                codes.FailedPrecondition,
	53:                codes.Unimplemented,
	54:                codes.InvalidArgument,
	58:                codes.Canceled,
}

// refusal is err, which the host made, as a client receives it; nil stays nil.
func refusal(err error) error {
	if err == nil {
		return nil
	}
	number := controller.Number(err)
	code, known := codeOf[number]
	detail := &shellpb.Error{Code: int32(number)}
	switch {
	case errors.Is(err, shell.ErrBusy):
		code = codes.ResourceExhausted
		detail.Data = fmt.Appendf(nil, `{"retryAfterMs":%d}`, shell.RetryAfter.Milliseconds())
	case errors.Is(err, shell.ErrNoStateControl):
		code = codes.FailedPrecondition
	case !known:
		code = codes.Unknown
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

func numbered(number int, message string) error {
	return shellpb.Status(codeOf[number], message, &shellpb.Error{Code: int32(number)})
}
