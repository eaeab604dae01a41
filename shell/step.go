package shell

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"dormouse/internal/timelimit"
	"dormouse/statecontrol"
)

// runInLane gives work its turn in the lane, see lane.waitAndRunOrJoin. The caller waits
// up to limit for the turn; from then on work has as long again, even if the caller goes
// away. Work that does not end overrunLimit after that, since it waits for the kernel, goes
// on without the caller, which gets ErrTimedOut. While the shell is closing only Deactivate
// is not refused, and other work that is under way is given up after the start timeout.
//
// A virtual plugin has operations of its own, see operateVirtual; all others end here.
func (s *Shell) runInLane(ctx context.Context, event Event, limit time.Duration, work func(context.Context) error) error {
	if s.virtual != nil {
		return s.refuseVirtual(event)
	}
	return s.runTurn(ctx, event, limit, work)
}

// runTurn is runInLane for every instance.
func (s *Shell) runTurn(ctx context.Context, event Event, limit time.Duration, work func(context.Context) error) error {
	wait, cancel := timelimit.With(ctx, limit)
	defer cancel()
	err := s.lane.waitAndRunOrJoin(wait, event, limit+overrunLimit, func() error {
		if event != Deactivate && s.isClosing() {
			return fmt.Errorf("cannot %s: %w", event.verb(), errClosing)
		}
		ctx, cancel := timelimit.With(context.WithoutCancel(ctx), limit)
		defer cancel()
		if event == Deactivate {
			return work(ctx)
		}
		ctx, cancel = s.contextUntilLeft(ctx)
		defer cancel()
		err := work(ctx)
		if err != nil && errors.Is(context.Cause(ctx), errClosing) && !errors.Is(err, errClosing) {
			return fmt.Errorf("%w: %w", errClosing, err)
		}
		return err
	})
	if errors.Is(err, errOverrun) {
		return fmt.Errorf("cannot %s: %w: it does not end within its %s, and no other operation begins before it ends", event.verb(), ErrTimedOut, limit)
	}
	return err
}

// overrunLimit is how long work may take to end after its context.
const overrunLimit = 10 * time.Second

// errOverrun means that an operation does not end.
var errOverrun = errors.New("the operation does not end")

// contextUntilLeft returns ctx, which also ends a start timeout after the host begins to stop
// or to leave the plugin: no operation may hold up the end of the host for longer.
func (s *Shell) contextUntilLeft(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	forget := context.AfterFunc(s.leaving, func() {
		late := time.NewTimer(time.Duration(s.Config().StartTimeout))
		defer late.Stop()
		select {
		case <-late.C:
			cancel(errClosing)
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		forget()
		cancel(nil)
	}
}

// cause is why a step is taken. The status keeps err even if the work of the step
// succeeds; err is nil for a step that was asked for.
type cause struct {
	reason Reason
	err    error
}

// takeStep is takeStepWithCause for a step that was asked for, with the reason why.
func (s *Shell) takeStep(ctx context.Context, event Event, why Reason, work func(context.Context) error) error {
	return s.takeStepWithCause(ctx, event, cause{reason: why}, work)
}

// takeStepWithCause changes the lifecycle state by the lifecycle table's row for event in
// the present state: it enters the row's During state, does the work, and enters Then or
// the row's end for the error. If the plugin did not survive work that would have left it
// active, the step for its exit follows. It returns the error of the work, or ErrIllegalState if there is no such
// row. The caller has the turn.
func (s *Shell) takeStepWithCause(ctx context.Context, event Event, why cause, work func(context.Context) error) error {
	s.mu.Lock()
	row, ok := findRow(event, s.state)
	before := s.reason
	if ok && row.NeedsControl != "" && s.control != row.NeedsControl {
		ok = false
	}
	s.mu.Unlock()
	if !ok {
		return fmt.Errorf("cannot %s: %w", event.verb(), s.illegalStateError(event))
	}
	if row.During != "" {
		s.enterAndReportState(row.During, event, why.reason, nil)
	}
	err := work(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", ErrTimedOut, err)
	}
	to, reason := row.stateAfter(err), why.reason
	if err != nil {
		reason = reasonForOutcome(event, err, why.reason)
	}
	if to == s.State() {
		return err
	}
	if err != nil && to == Activated && errors.Is(err, ErrExited) { // the plugin did not survive the attempt
		return s.stopAfterExit(ctx, err)
	}
	if err != nil && to.IsInitialized() {
		reason = before // the plugin runs or sleeps on, for the same reason as before
	}
	s.enterAndReportState(to, event, reason, errors.Join(why.err, err))
	return err
}

// stopAfterExit takes the step that follows the end of the plugin's process: it gives
// up the calls in flight, runs the post-mortem and clears the process away. It always
// returns exit, joined with the errors of that. The caller has the turn.
func (s *Shell) stopAfterExit(ctx context.Context, exit error) (exitAndMore error) {
	err := s.takeStepWithCause(ctx, Exit, cause{reasonForExit(exit), exit}, func(ctx context.Context) error {
		s.inFlight.cancelAllUntilRenewed()
		s.runPostMortem(reasonForExit(exit), exit)
		s.updateGoldenTrustAtEnd(exit)
		return s.backend.Stop(ctx)
	})
	return errors.Join(exit, err)
}

// doNothing is the work of a step that only changes the state.
func doNothing(context.Context) error { return nil }

// illegalStateError returns the ErrIllegalState that says why event is refused now.
func (s *Shell) illegalStateError(event Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if event == Hibernate && s.state == Activated {
		if s.control == "" {
			return fmt.Errorf("%w: the plugin has no state control, only a suspended plugin can be hibernated", ErrIllegalState)
		}
		return fmt.Errorf("%w: it is %s, suspend it first", ErrIllegalState, s.control)
	}
	return fmt.Errorf("%w: it is %s", ErrIllegalState, s.state)
}

// enterAndReportState sets the state, adds the transition to the history, and reports it
// to the log and the observer. A state that begins with a new process makes the shell
// ignore the exits of earlier ones; a state without a plugin clears the state control.
func (s *Shell) enterAndReportState(to State, event Event, why Reason, err error) {
	s.observing.Lock()
	defer s.observing.Unlock()
	s.enterAndReportStateLocked(to, event, why, err)
}

// enterAndReportStateLocked is enterAndReportState for a caller that holds observing.
func (s *Shell) enterAndReportStateLocked(to State, event Event, why Reason, err error) {
	s.mu.Lock()
	t := Transition{Callsign: s.Callsign(), Event: event, From: s.state, To: to, Reason: why, Err: err, At: time.Now()}
	s.state, s.reason, s.failure, s.since = to, why, err, t.At
	s.idle.updateForTransition(t)
	switch {
	case to == Activation:
		s.knownMethods = nil // the program may have changed
		s.generation++
	case to == Waking:
		s.generation++
	case to.IsDown(), to == Destroyed:
		s.control, s.warmStarts.startedFrom = "", nil
	}
	if to != Hibernated && to != Waking && (event != Retire || to != Deactivation) {
		s.forgetFailedWakes()
	}
	if to == Activated && t.From != Hibernating {
		s.noteUse()
	}
	t.Control = s.control
	s.changes++
	s.appendHistory(t)
	s.endExpectedStartIfDecided()
	s.mu.Unlock()
	s.logAndObserveTransition(t)
}

// recordAndReportControl records that the plugin has suspended or resumed, and reports
// that as a transition with its own reason; the status keeps the reason of its state. It
// counts as use of the plugin unless the host itself suspended it because it was idle.
// Other states, an unchanged state, and a plugin that does not run are ignored.
func (s *Shell) recordAndReportControl(to statecontrol.State) {
	if to != statecontrol.Suspended && to != statecontrol.Resumed {
		return
	}
	s.observing.Lock()
	defer s.observing.Unlock()
	s.mu.Lock()
	if s.control == to || !s.state.IsRunning() {
		s.mu.Unlock()
		return
	}
	event := Resume
	if to == statecontrol.Suspended {
		event = Suspend
	}
	s.control = to
	if !s.idle.updateForControl(to) {
		s.noteUse()
	}
	t := Transition{Callsign: s.Callsign(), Event: event, From: s.state, To: s.state, Control: to, Reason: s.reasonForControl(to), At: time.Now()}
	s.changes++
	s.appendHistory(t)
	s.mu.Unlock()
	s.logAndObserveTransition(t)
}

// controlRequest is a request to a plugin's state control that is under way.
type controlRequest struct {
	target statecontrol.State // empty for no request
	reason Reason
}

// reasonForControl returns the reason why the plugin's state control is now in the state
// to: that of the start, or of the request for that state, which the plugin may report
// before it answers. A plugin that changes the state by itself does so automatically. The
// caller holds mu.
func (s *Shell) reasonForControl(to statecontrol.State) Reason {
	switch {
	case s.state == Activation:
		return s.reason
	case s.requested.target == to:
		return s.requested.reason
	}
	return Automatic
}

// logAndObserveTransition writes the one log line of a transition, as an error if it has
// one, and tells the observer.
func (s *Shell) logAndObserveTransition(t Transition) {
	level := zerolog.InfoLevel
	if t.Err != nil {
		level = zerolog.ErrorLevel
	}
	log := s.log.With().Str("reason", string(t.Reason)).Logger()
	if t.From == t.To {
		log.WithLevel(level).Err(t.Err).Msg(string(t.Control))
	} else {
		log.WithLevel(level).Err(t.Err).Str("from", string(t.From)).Msg(string(t.To))
	}
	s.observer.Transition(t)
}

// contextUntilShutdown returns ctx with a deadline after limit, which also ends when the
// host shuts down. It is for work that can be given up, such as a start or a call to the
// plugin; hibernation, wake and stop are never given up.
func (s *Shell) contextUntilShutdown(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancelFor := context.WithCancelCause(ctx)
	forget := context.AfterFunc(s.shutdown, func() { cancelFor(errClosing) })
	ctx, cancel := timelimit.With(ctx, limit)
	return ctx, func() {
		forget()
		cancel()
		cancelFor(nil)
	}
}

// shutdownErrorOr returns errClosing if the shutdown of the host made the work under ctx
// fail with err, and otherwise err.
func shutdownErrorOr(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errClosing) {
		return errClosing
	}
	return err
}
