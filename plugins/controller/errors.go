package controller

import (
	"context"
	"errors"

	"dormouse/hibernate"
	"dormouse/shell"
	"dormouse/statecontrol"
	"dormouse/supervisor"
)

// number is an error number of Thunder's, or one of the conditions below that
// the dialects number differently.
type number int

// Thunder's numbers that the host itself answers with.
const (
	general            number = 1
	unavailable        number = 2
	illegalState       number = 5
	openingFailed      number = 6
	timedOut           number = 11
	inProgress         number = 12
	destructionFailed  number = 18
	closingFailed      number = 19
	processTerminated  number = 20
	unknownKey         number = 22
	incompleteConfig   number = 23
	privilegedRequest  number = 24
	duplicateKey       number = 29
	badRequest         number = 30
	pendingConditions  number = 31
	invalidSignature   number = 38
	invalidDesignator  number = 41
	notExist           number = 43
	notSupported       number = 44
	hibernated         number = 46
	inProcess          number = 47
	failedRegistered   number = 48
	failedUnregistered number = 49
	parseFailure       number = 50
	invalidEnvelope    number = 52
	unknownMethod      number = 53
	invalidParameter   number = 54
	internalError      number = 55
	parsingEnvelope    number = 56
	aborted            number = 58
)

// Conditions for which a dialect has its own number, or its own text.
const (
	callNotActive  number = -1 // a call to an instance that is not active
	callHibernated number = -2 // a call to a hibernated instance
	noStateControl number = -3 // suspend or resume without state control
	notJSON        number = -4 // a message that is not JSON
	notRequest     number = -5 // JSON that is not a request
)

// fault is an error on its way to a client.
type fault struct {
	number number
	// cause is for a person: what happened and what can be done. May be nil.
	cause error
}

func (f *fault) Error() string {
	if f.cause == nil {
		return conditions[f.number].name
	}
	return f.cause.Error()
}

func (f *fault) Unwrap() error { return f.cause }

// numbers says what Go errors are called on the wire. The first that matches
// counts.
var numbers = []struct {
	err    error
	number number
}{
	{shell.ErrPending, pendingConditions},
	{shell.ErrIllegalState, illegalState},
	{statecontrol.ErrIllegalState, illegalState},
	{shell.ErrInProgress, inProgress},
	{shell.ErrBusy, inProgress},
	{shell.ErrNoStateControl, noStateControl},
	{shell.ErrInProcess, inProcess},
	{shell.ErrNotSupported, notSupported},
	{hibernate.ErrUnsupported, notSupported},
	{hibernate.ErrObstacle, notSupported},
	{errors.ErrUnsupported, notSupported},
	{supervisor.ErrUnknown, unknownKey},
	{supervisor.ErrExists, duplicateKey},
	{supervisor.ErrNotCloneable, general},
	{supervisor.ErrNotAnObject, incompleteConfig},
	{shell.ErrUnknownMethod, unknownMethod},
	{shell.ErrInvalidParams, invalidParameter},
	{shell.ErrInstantiation, openingFailed},
	{shell.ErrInitialization, openingFailed},
	{shell.ErrTimedOut, timedOut},
	{shell.ErrHibernated, hibernated},
	{shell.ErrUnavailable, unavailable},
	{shell.ErrExited, processTerminated},
	{supervisor.ErrNotControlled, privilegedRequest},
	{context.DeadlineExceeded, timedOut},
	{context.Canceled, aborted},
}

// faultOf finds the number of err, which is not nil.
func faultOf(err error) *fault {
	if f, ok := errors.AsType[*fault](err); ok {
		return f
	}
	for _, known := range numbers {
		if errors.Is(err, known.err) {
			return &fault{known.number, err}
		}
	}
	return &fault{general, err}
}

// faultOfCall is faultOf for a call that an instance was to take.
func faultOfCall(err error) *fault {
	f := faultOf(err)
	switch f.number {
	case unavailable, processTerminated:
		f.number = callNotActive
	case hibernated:
		f.number = callHibernated
	default:
	}
	return f
}

// bare tells that the cause says no more than the number does.
func (f *fault) bare() bool {
	if f.cause == nil {
		return true
	}
	for _, known := range numbers {
		if f.cause == known.err { //nolint:errorlint // a wrapped one says more
			return true
		}
	}
	return false
}
