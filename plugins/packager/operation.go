package packager

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"dormouse/internal/failpoint"
	"dormouse/plugins/packager/manifest"
	"dormouse/plugins/packager/records"
	"dormouse/shell"
)

// operation is one operation under way, with the goroutine that works on it.
type operation struct {
	p       *Packager
	name    string // of the package; only the goroutine changes it
	request records.Request
	begun   time.Time
	from    string // the version before
	to      string // the version after, once it is known

	switchBegun time.Time            // when the first instance may have been replaced
	began       map[string]time.Time // when each instance began in the version after

	ctx       context.Context // ends when the operation is canceled or the host stops
	cancel    context.CancelCauseFunc
	canceled  atomic.Bool
	entered   bool             // its record says so, or said so; Packager.mu guards it
	failed    *records.Failure // of the operation before; nil if that did not fail
	committed bool             // it can't be canceled any more; Packager.mu guards it
	unchanged bool             // what was to be installed is installed already
	done      chan struct{}
}

// starts is how many hosts begin an operation before it counts as interrupted: one that ends
// the host must not do so for ever.
const starts = 2

// begin begins the operation that a client asks for and returns at once. Of a package only one
// operation is under way: the error is an *InProgressError for a second.
func (p *Packager) begin(name string, r records.Request) error {
	return p.beginSeen(peeked{Manifest: manifest.Manifest{Name: name}}, r)
}

// beginSeen is begin for a package of which more than the name may be known already.
func (p *Packager) beginSeen(seen peeked, r records.Request) error {
	if r.ID == "" {
		r.ID = rand.Text()
	}
	if err := p.openDirs(); err != nil {
		return err
	}
	o, err := p.reserve(seen.Name, r)
	if err != nil {
		return err
	}
	if err := o.enter(); err != nil {
		o.release()
		return err
	}
	o.takeSeenFlows(seen)
	failpoint.Hit("package.asked")
	o.noteEntered()
	p.active.Go(o.run)
	return nil
}

// noteEntered notes that the record shows the operation until it has ended.
func (o *operation) noteEntered() {
	o.p.mu.Lock()
	defer o.p.mu.Unlock()
	o.entered = true
}

// reserve makes the operation the one of its package.
func (p *Packager) reserve(name string, r records.Request) (*operation, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.waitUntilFreeLocked(name); err != nil {
		return nil, err
	}
	if p.closed {
		return nil, fmt.Errorf("%w: %w", shell.ErrUnavailable, errClosed)
	}
	o := &operation{p: p, name: name, request: r, begun: p.options.Clock().UTC(), done: make(chan struct{})}
	o.ctx, o.cancel = context.WithCancelCause(p.ctx)
	p.running[name] = o
	return o, nil
}

// waitUntilFreeLocked returns an *InProgressError if an operation on the package is under way. It
// waits for one that has ended and only tidies up. The caller holds mu, which is free meanwhile.
func (p *Packager) waitUntilFreeLocked(name string) error {
	for p.running[name] != nil {
		other := p.running[name]
		record, _ := p.records.Get(name)
		if record.Operation != nil || !other.entered {
			return other.inProgressError(record)
		}
		p.mu.Unlock()
		<-other.done
		p.mu.Lock()
	}
	return nil
}

// inProgressError returns the error for a second operation.
func (o *operation) inProgressError(record records.Record) error {
	phase := records.Waiting
	if record.Operation != nil {
		phase = record.Operation.Phase
	}
	return &InProgressError{o.name, o.request.Verb, phase}
}

// release ends the reservation of the package.
func (o *operation) release() {
	o.cancel(nil)
	o.p.mu.Lock()
	delete(o.p.running, o.name)
	delete(o.p.claims, o.name)
	o.p.mu.Unlock()
	close(o.done)
}

// verbEvents is how an operation on a package begins, by its verb; an installation of a
// package of which nothing serves begins with records.Ask.
var verbEvents = map[records.Verb]records.Event{
	records.Install:   records.Prepare,
	records.Upgrade:   records.Prepare,
	records.Rollback:  records.Restore,
	records.Uninstall: records.Prepare,
	records.Enable:    records.Prepare,
	records.Disable:   records.Prepare,
}

// enter writes the operation into the record of its package.
func (o *operation) enter() error {
	record, _ := o.p.records.Get(o.name)
	if record.Operation != nil { // an earlier host's, which this one has not taken up yet
		return &InProgressError{o.name, record.Operation.Request.Verb, record.Operation.Phase}
	}
	event, phase := verbEvents[o.request.Verb], records.Waiting
	if isInstall(o.request.Verb) {
		o.request.Verb = records.Upgrade
		if record.Serving == nil {
			o.request.Verb, event = records.Install, records.Ask
		}
	}
	if record.State == records.Absent && event != records.Ask {
		return fmt.Errorf("%w: %s", ErrUnknown, o.name)
	}
	if err := o.checkPossible(record); err != nil {
		return err
	}
	if record.Serving != nil {
		o.from = record.Serving.Version
	}
	if o.request.Verb == records.Rollback && record.CanRollback {
		if err := o.claimForRollback(record); err != nil {
			return err
		}
	}
	return o.step(event, func(r *records.Record) error {
		switch o.request.Verb {
		case records.Rollback:
			phase = records.Restoring
		case records.Disable:
			r.Disabled = true
			phase = records.Ending
		case records.Enable:
			r.Disabled = false
			phase = records.Starting
		default:
		}
		r.Operation = &records.Operation{Request: o.request, Phase: phase, From: o.from, Starts: 1, Begun: o.begun}
		return nil
	})
}

// checkPossible returns an error if the verb does not fit what the package is.
func (o *operation) checkPossible(r records.Record) error {
	switch o.request.Verb {
	case records.Rollback:
		if r.Failure != nil && r.Failure.Request.Verb == records.Rollback && r.State == records.Failed { // its data is back already
			return nil
		}
		if r.State != records.Failed || !r.CanRollback || r.Previous == nil {
			return fmt.Errorf("%w: %s is %s; only a failed upgrade can be rolled back, and only while the version before is kept", ErrNotPossible, o.name, r.Status())
		}
	case records.Enable:
		if !r.Disabled {
			return fmt.Errorf("%w: %s is not disabled", ErrNotPossible, o.name)
		}
	case records.Disable:
		if r.Disabled {
			return fmt.Errorf("%w: %s is disabled already", ErrNotPossible, o.name)
		}
	default:
	}
	return nil
}

// isInstall reports whether the verb brings a version.
func isInstall(v records.Verb) bool { return v == records.Install || v == records.Upgrade }

// work is what an operation does, by its verb.
var work = map[records.Verb]func(*operation) error{
	records.Install:   (*operation).install,
	records.Upgrade:   (*operation).install,
	records.Rollback:  (*operation).rollBack,
	records.Uninstall: (*operation).uninstall,
	records.Enable:    (*operation).enable,
	records.Disable:   (*operation).disable,
}

// run works on the operation until its end. When the host stops meanwhile, the record stays as
// it is, and the next host goes on.
func (o *operation) run() {
	defer o.autoRollBack()
	defer o.release()
	record, _ := o.p.records.Get(o.name)
	o.failed = record.Failure
	err := work[o.request.Verb](o)
	if err != nil && o.p.ctx.Err() != nil {
		return
	}
	if err != nil && o.canceled.Load() {
		err = ErrCanceled
	}
	o.end(err)
}

// end records how the operation ended. It tries until the store takes it or the host stops.
func (o *operation) end(err error) {
	wait := 100 * time.Millisecond
	for {
		rerr := o.recordEnd(err)
		if rerr == nil {
			break
		}
		o.p.log.Error().Err(rerr).Str("package", o.name).Msg("cannot record how the operation ended, trying again")
		select {
		case <-o.p.ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, 10*time.Second)
	}
	o.withdrawFlowsOfNone()
	o.removeSpentUploads()
	o.noteEnded(err)
	o.p.collect(o.name)
}

// recordEnd takes the last step of the operation.
func (o *operation) recordEnd(err error) error {
	record, found := o.p.records.Get(o.name)
	switch {
	case !found: // its last step is done: it was uninstalled
		return nil
	case err == nil && record.Operation == nil:
		return nil
	case err == nil:
		return o.step(o.successEvent(record), func(r *records.Record) error {
			r.Operation, r.Failure = nil, nil
			if r.State == records.Installing && (!r.Disabled || !r.CanRollback) { // else it has yet to run
				r.Serving.Good, r.CanRollback, r.Was = true, false, nil
			}
			return nil
		})
	case errors.Is(err, ErrCanceled):
		return o.step(records.Cancel, func(r *records.Record) error {
			r.Operation = nil
			return nil
		})
	}
	event := records.Fail
	if record.State == records.Installed || record.State == records.Failed {
		event = records.Leave
	}
	return o.step(event, func(r *records.Record) error {
		if r.Failure == nil || r.Failure.Request.ID != o.request.ID { // it may be noted already
			r.Failure = o.failure(*r, err)
		}
		if r.Operation.Was != nil {
			r.Was = r.Operation.Was
		}
		r.Operation = nil
		return nil
	})
}

// successEvent returns the event of an end in order: what changed nothing of the version only
// leaves.
func (o *operation) successEvent(r records.Record) records.Event {
	if r.State == records.Installing || r.State == records.Removing {
		return records.Succeed
	}
	return records.Leave
}

// failure returns what is kept of an operation that failed.
func (o *operation) failure(r records.Record, err error) *records.Failure {
	f := &records.Failure{Request: o.request, Version: o.request.Version, Reason: err.Error(), Options: optionsThatLift(err), At: o.p.options.Clock().UTC()}
	if r.Operation != nil {
		f.Phase = r.Operation.Phase
		if r.Operation.Target != nil {
			f.Version = r.Operation.Target.Version
		}
	}
	if logged, ok := errors.AsType[*loggedError](err); ok {
		f.Log = logged.lines
	}
	return f
}

// noteEnded logs the end and adds it to the history.
func (o *operation) noteEnded(err error) {
	ended := records.Ended{
		Package: o.name, Request: o.request, From: o.from, To: o.to, Result: "done",
		Begun: o.begun, Ended: o.p.options.Clock().UTC(),
	}
	level := zerolog.InfoLevel
	switch {
	case errors.Is(err, ErrCanceled):
		ended.Result = "canceled"
	case err != nil:
		ended.Result, ended.Reason = "failed", err.Error()
		level = zerolog.ErrorLevel
		if to := o.rollsBackTo(); to != "" {
			ended.Reason += "; now follows a rollback to version " + to + ", as auto-rollback in [packages] says"
		}
	case o.unchanged:
		ended.Reason = "just these bytes are installed already"
	}
	o.p.log.WithLevel(level).Err(err).Str("package", o.name).Str("verb", string(o.request.Verb)).Str("from", o.from).Str("to", o.to).Msg(ended.Result)
	if err := o.p.records.NoteEnded(ended); err != nil {
		o.p.log.Error().Err(err).Str("package", o.name).Msg("cannot add the operation to the history")
	}
	o.p.operationEnded(ended)
}

// step changes the record of the operation's package.
func (o *operation) step(e records.Event, apply func(*records.Record) error) error {
	_, err := o.p.records.Step(o.name, e, apply)
	return err
}

// enterPhase records that the operation has come to a phase. The error says that the operation
// was canceled or that the host stops, or that the phase can't be recorded.
func (o *operation) enterPhase(phase records.Phase, apply ...func(*records.Record)) error {
	if phase.CanCancel() && o.ctx.Err() != nil {
		return context.Cause(o.ctx)
	}
	return o.step(records.Note, func(r *records.Record) error {
		r.Operation.Phase = phase
		for _, change := range apply {
			change(r)
		}
		return nil
	})
}

// Cancel ends the operation on a package before its switch. It returns at once; the end of the
// operation is told as an event.
func (p *Packager) Cancel(name string) error {
	p.mu.Lock()
	o := p.running[name]
	p.mu.Unlock()
	record, found := p.records.Get(name)
	switch {
	case !found:
		return fmt.Errorf("%w: %s", ErrUnknown, name)
	case o == nil || record.Operation == nil:
		return fmt.Errorf("%w: no operation on %s is under way", ErrNotPossible, name)
	case !record.Operation.Phase.CanCancel() || !o.cancelUnlessCommitted():
		return fmt.Errorf("%w: %s of %s is %s, which can't be canceled any more", ErrNotPossible, o.request.Verb, name, record.Operation.Phase)
	}
	return nil
}

// cancelUnlessCommitted cancels the operation and returns true, or false if it is too late.
func (o *operation) cancelUnlessCommitted() bool {
	o.p.mu.Lock()
	defer o.p.mu.Unlock()
	if o.committed {
		return false
	}
	o.canceled.Store(true)
	o.cancel(ErrCanceled)
	return true
}

// commit makes the operation one that can't be canceled any more. The error says that it was
// canceled already, or that the host stops.
func (o *operation) commit() error {
	o.p.mu.Lock()
	defer o.p.mu.Unlock()
	if o.ctx.Err() != nil {
		return context.Cause(o.ctx)
	}
	o.committed = true
	return nil
}

// loggedError is an error with the last lines that the plugin wrote.
type loggedError struct {
	error

	lines []string
}

func (e *loggedError) Unwrap() error { return e.error }
