package thunder

import (
	"cmp"
	"context"
	"errors"

	"dormouse/hibernate"
	"dormouse/plugins/peer"
	"dormouse/shell"
	"dormouse/statecontrol"
	"dormouse/supervisor"
)

// Error is an error with its error number, which clients get.
type Error struct {
	Number ErrorNumber
	// Cause is the error behind the number, for people to read. It may be nil.
	Cause error
}

// NewError returns an error with that number; cause may be nil.
func NewError(n ErrorNumber, cause error) *Error { return &Error{n, cause} }

// Error returns the text of the cause, or the name of the number if there is no cause.
func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Number.Name()
	}
	return e.Cause.Error()
}

func (e *Error) Unwrap() error { return e.Cause }

// sentinels is the number of each error that the host's packages return. The first
// entry that an error matches counts.
var sentinels = []struct {
	err    error
	number ErrorNumber
}{
	{shell.ErrHibernated, Hibernated}, // first: the cause of a failed wake may be anything
	{shell.ErrPending, PendingConditions},
	{shell.ErrIllegalState, IllegalState},
	{statecontrol.ErrIllegalState, IllegalState},
	{shell.ErrInProgress, InProgress},
	{shell.ErrBusy, InProgress},
	{peer.ErrNoMemory, InProgress},
	{shell.ErrNoStateControl, NoStateControl},
	{shell.ErrBuiltIn, InProcess},
	{shell.ErrNotSupported, NotSupported},
	{hibernate.ErrUnsupported, NotSupported},
	{hibernate.ErrObstacle, NotSupported},
	{errors.ErrUnsupported, NotSupported},
	{supervisor.ErrUnknown, UnknownKey},
	{supervisor.ErrExists, DuplicateKey},
	{supervisor.ErrNotCloneable, General},
	{supervisor.ErrTooManyClones, General},
	{supervisor.ErrTooManyVirtuals, General},
	{supervisor.ErrNoParent, IllegalState},
	{supervisor.ErrBadVirtual, BadRequest},
	{shell.ErrRefused, IllegalState},
	{supervisor.ErrNotAnObject, IncompleteConfig},
	{shell.ErrUnknownMethod, UnknownMethod},
	{shell.ErrInvalidParams, InvalidParameter},
	{supervisor.ErrNotProvided, NotSupported},
	{shell.ErrInstantiation, OpeningFailed},
	{shell.ErrInitialization, OpeningFailed},
	{shell.ErrTimedOut, TimedOut},
	{shell.ErrNotAnswered, RPCCallFailed},
	{shell.ErrUnavailable, Unavailable},
	{shell.ErrExited, ProcessTerminated},
	{supervisor.ErrNotControlled, PrivilegedRequest},
	{shell.ErrNotDelivered, Unavailable},
	{context.DeadlineExceeded, TimedOut},
	{context.Canceled, Aborted},
}

// WithNumber returns err, which is not nil, with a number: that of the *Error that err
// wraps, else that of the first sentinel that err wraps, else General.
func WithNumber(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	for _, sentinel := range sentinels {
		if errors.Is(err, sentinel.err) {
			return &Error{sentinel.number, err}
		}
	}
	return &Error{General, err}
}

// WithoutDetails returns err, which is not nil, for a client that may not see paths,
// configuration or a plugin's output: the number stays, and of the host's own errors the
// sentinel. A plugin's answer and what is wrong with the request stay as they are.
func WithoutDetails(err error) error {
	numbered, ok := errors.AsType[*Error](err)
	if _, answered := errors.AsType[*shell.PluginError](err); answered && !ok {
		return err
	}
	if !ok {
		numbered = WithNumber(err)
	}
	if asleep, ok := errors.AsType[*shell.AsleepError](err); ok { // it still says when to try again
		return &Error{numbered.Number, &shell.AsleepError{Cause: shell.ErrHibernated, At: asleep.At, RetryAt: asleep.RetryAt}}
	}
	for _, sentinel := range sentinels {
		switch {
		case !errors.Is(err, sentinel.err):
		case sentinel.number == InvalidParameter, sentinel.number == UnknownMethod:
			return numbered
		default:
			return &Error{numbered.Number, sentinel.err}
		}
	}
	if numbered.Number == General {
		return &Error{General, nil}
	}
	return numbered
}

// WithCallNumber returns err, the error of a call to a plugin, with a number as WithNumber
// does. If the instance is not active the number is CallNotActive, or CallHibernated.
func WithCallNumber(err error) *Error {
	e := WithNumber(err)
	switch e.Number {
	case Unavailable, ProcessTerminated:
		return &Error{CallNotActive, e.Cause}
	case Hibernated:
		return &Error{CallHibernated, e.Cause}
	default:
		return e
	}
}

// NumberOrPluginCode returns the number of err, which is not nil: one of Thunder's, never a
// variant, or the code that a plugin answered. A JSON-RPC code is negative.
func NumberOrPluginCode(err error) ErrorNumber {
	e := WithNumber(err)
	if answer, ok := errors.AsType[*shell.PluginError](err); ok && e.Number == General {
		return cmp.Or(ErrorNumber(answer.Code), General)
	}
	if e.Number < 0 {
		return ErrorNumber(e.Number.R4Error().Code)
	}
	return e.Number
}

// CauseAddsToNumber reports whether the cause says more than the number does: there is
// a cause, and it is not one of the host's sentinel errors alone.
func (e *Error) CauseAddsToNumber() bool {
	for _, sentinel := range sentinels {
		if e.Cause == sentinel.err { //nolint:errorlint // a wrapped one says more
			return false
		}
	}
	return e.Cause != nil
}
