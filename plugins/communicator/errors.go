package communicator

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/supervisor"
)

var (
	errNoCallsign = statusWithNumber(thunder.BadRequest, "the metadata "+shellpb.CallsignKey+" must name the instance that the call is about")
	errCallsigns  = statusWithNumber(thunder.BadRequest, "the metadata "+shellpb.CallsignKey+" must name one instance, not several")
	errHostItself = statusWithNumber(thunder.PrivilegedRequest, "the host itself can't be activated, ended or put to sleep by a call")
	errNotOwn     = statusWithNumber(thunder.PrivilegedRequest, "only the plugin itself may do this, on its host socket")
	errReserved   = statusWithNumber(thunder.PrivilegedRequest, "only the host may call this")
	errNoGRPC     = statusWithNumber(thunder.NotSupported, "a part of the host serves no gRPC of its own")
	errNoMessage  = statusWithNumber(thunder.BadRequest, "a unary call has one message, this one has none")
	errTooLarge   = shellpb.ErrorWithDetail(codes.ResourceExhausted, fmt.Sprintf("the message has more than %d bytes", shellpb.MaxMessage), &shellpb.Error{Code: int32(thunder.InvalidInputLength)})
	errTooSlow    = shellpb.ErrorWithDetail(codes.ResourceExhausted, "the watcher reads too slowly and has lost track; watch anew", &shellpb.Error{Code: int32(thunder.Aborted)})
	errCut        = statusWithNumber(thunder.RPCCallFailed, "the call was delivered, and the host ended before the answer came")
	errEnding     = statusWithNumber(thunder.Unavailable, "the host is ending")
)

// statusCodes is the gRPC code of each number. Numbers without one get Unknown.
var statusCodes = map[thunder.ErrorNumber]codes.Code{
	thunder.Unavailable:       codes.Unavailable,
	thunder.IllegalState:      codes.FailedPrecondition,
	thunder.OpeningFailed:     codes.Internal,
	thunder.TimedOut:          codes.DeadlineExceeded,
	thunder.InProgress:        codes.Aborted,
	thunder.ProcessTerminated: codes.Unavailable,
	thunder.UnknownKey:        codes.NotFound,
	thunder.IncompleteConfig:  codes.InvalidArgument,
	thunder.PrivilegedRequest: codes.PermissionDenied,
	thunder.RPCCallFailed:     codes.Unknown,
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

// numbers is the number of each gRPC code, for errors that have none: those of gRPC itself,
// and a plugin's own. Codes without one get General.
var numbers = map[codes.Code]thunder.ErrorNumber{
	codes.Canceled:           thunder.Aborted,
	codes.InvalidArgument:    thunder.InvalidParameter,
	codes.DeadlineExceeded:   thunder.TimedOut,
	codes.NotFound:           thunder.NotExist,
	codes.AlreadyExists:      thunder.DuplicateKey,
	codes.PermissionDenied:   thunder.PrivilegedRequest,
	codes.ResourceExhausted:  thunder.InvalidInputLength, // gRPC says so of a message that is too large
	codes.FailedPrecondition: thunder.IllegalState,
	codes.Aborted:            thunder.InProgress,
	codes.OutOfRange:         thunder.InvalidRange,
	codes.Unimplemented:      thunder.UnknownMethod,
	codes.Unavailable:        thunder.Unavailable,
	codes.Unauthenticated:    thunder.Unauthenticated,
}

// grpcCode returns the gRPC code of a number.
func grpcCode(n thunder.ErrorNumber) codes.Code {
	if code, known := statusCodes[n]; known {
		return code
	}
	return codes.Unknown
}

// statusFromError returns an error of the host as a gRPC status with Thunder's number, and
// with the data that clients get of it; nil stays nil.
func statusFromError(err error) error {
	if err == nil {
		return nil
	}
	number := thunder.NumberOrPluginCode(err)
	code := grpcCode(number)
	_, sleepsOn := errors.AsType[*shell.AsleepError](err)
	detail := &shellpb.Error{Code: int32(number), Data: thunder.DataOf(err).JSONOrNil()}
	switch {
	case sleepsOn: // the same call may succeed later
		code = codes.Unavailable
	case errors.Is(err, shell.ErrBusy):
		code = codes.ResourceExhausted
	case errors.Is(err, supervisor.ErrTooManyClones), errors.Is(err, supervisor.ErrTooManyVirtuals):
		code = codes.ResourceExhausted
	case errors.Is(err, shell.ErrNoStateControl):
		code = codes.FailedPrecondition
	}
	return shellpb.ErrorWithDetail(code, err.Error(), detail)
}

// statusFromForwardedCall returns the error of a forwarded call as a gRPC status. A
// plugin's own status is passed on as it is; an error that only wraps a status is the
// host's.
func statusFromForwardedCall(err error) error {
	if answer, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
		return answer.GRPCStatus().Err()
	}
	return statusFromError(err)
}

// withNumber returns an error as a gRPC status with Thunder's number: that of its gRPC code if
// it has no details. A plugin's status with details of its own stays as it is, and nil stays nil.
func withNumber(err error) error {
	if err == nil {
		return nil
	}
	s, isStatus := status.FromError(err)
	if !isStatus {
		s = status.FromContextError(err)
	}
	if len(s.Proto().GetDetails()) > 0 {
		return s.Err()
	}
	number, known := numbers[s.Code()]
	if !known {
		number = thunder.General
	}
	return shellpb.ErrorWithDetail(s.Code(), s.Message(), &shellpb.Error{Code: int32(number)})
}

// statusWithNumber returns a gRPC status with Thunder's number.
func statusWithNumber(number thunder.ErrorNumber, message string) error {
	return shellpb.ErrorWithDetail(grpcCode(number), message, &shellpb.Error{Code: int32(number)})
}
