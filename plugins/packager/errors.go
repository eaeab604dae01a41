package packager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"dormouse/internal/atomicfile"
	"dormouse/plugins/packager/records"
	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// Errors of operations on packages.
var (
	// ErrUnknown means that no package has that name.
	ErrUnknown = errors.New("there is no such package")
	// ErrRefused means that a rule forbids the operation; the text names the rule and the
	// option that lifts it, if one does.
	ErrRefused = errors.New("refused")
	// ErrNotPossible means that the operation does not fit what the package is now.
	ErrNotPossible = errors.New("not possible now")
	// ErrBadRequest means that the parameters are wrong.
	ErrBadRequest = errors.New("wrong parameters")
	// ErrNoRegistry means that a reference needs a registry, and none is configured.
	ErrNoRegistry = errors.New("no registry is configured")
	// ErrCanceled means that a client has canceled the operation.
	ErrCanceled = errors.New("canceled")
	// ErrInterrupted means that hosts ended twice while they worked on the operation.
	ErrInterrupted = errors.New("interrupted")
	// ErrTrial means that a new version did not stay active and healthy.
	ErrTrial = errors.New("the trial failed")
	// ErrTooBig means that an upload is larger than [packages] max-size allows.
	ErrTooBig = errors.New("the upload is too big")
)

// LiftableError is an ErrRefused that each of some options of the request lifts.
type LiftableError struct {
	error

	options []string
}

// liftable returns the error of a refusal that these options lift.
func liftable(err error, options ...string) error { return &LiftableError{err, options} }

// LiftedBy returns the options.
func (e *LiftableError) LiftedBy() []string { return e.options }

func (e *LiftableError) Unwrap() error { return e.error }

// optionsThatLift returns the options that lift the refusal that err is, nil for none.
func optionsThatLift(err error) []string {
	if refused, ok := errors.AsType[*LiftableError](err); ok {
		return refused.options
	}
	return nil
}

// InProgressError means that another operation on the package is under way.
type InProgressError struct {
	Package string
	Verb    records.Verb
	Phase   records.Phase
}

func (e *InProgressError) Error() string {
	return fmt.Sprintf("package %s: %s is under way (%s); wait for its end, or cancel it", e.Package, e.Verb, e.Phase)
}

// errorNumbers is the one map from errors to the numbers that clients get. The first that
// matches counts.
var errorNumbers = []struct {
	matches func(error) bool
	number  thunder.ErrorNumber
}{
	{isA[*InProgressError], thunder.InProgress},
	{wraps(ErrUnknown), thunder.UnknownKey},
	{wraps(ErrBadRequest), thunder.BadRequest},
	{wraps(ErrNoRegistry), thunder.Unavailable},
	{wraps(ErrRefused), thunder.IllegalState},
	{wraps(ErrTooBig), thunder.InvalidInputLength},
	{isA[*records.StateError], thunder.IllegalState},
	{wraps(ErrNotPossible), thunder.IllegalState},
	{wraps(shell.ErrUnavailable), thunder.Unavailable},
	{wraps(ErrCanceled), thunder.Aborted},
	{wraps(context.DeadlineExceeded), thunder.TimedOut},
	{wraps(fs.ErrNotExist), thunder.NotExist},
	{atomicfile.IsNoRoom, thunder.General},
}

func wraps(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// numbered returns err with the number that clients get.
func numbered(err error) error {
	if err == nil {
		return nil
	}
	for _, row := range errorNumbers {
		if row.matches(err) {
			return thunder.NewError(row.number, err)
		}
	}
	return thunder.WithNumber(err)
}
