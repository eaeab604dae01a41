package shell

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dormouse/statecontrol"
)

// runInLane gives work its turn in the lane, for which it waits up to limit, and
// then as long again, which the caller's going away does not shorten. In a shell
// that closes, it waits for the one operation that still runs, until that ends.
func (s *Shell) runInLane(ctx context.Context, event Event, limit time.Duration, work func(context.Context) error) error {
	wait := ctx
	if !s.isClosing() {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	return s.lane.run(wait, event, func() error {
		if event != Deactivate && s.isClosing() {
			return fmt.Errorf("cannot %s: %w", event.verb(), errClosing)
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer cancel()
		return work(ctx)
	})
}

// step is the one place where the lifecycle state changes: it looks the event
// up, enters the state in between, does the work and enters the state that the
// row names for its outcome. The caller has the turn.
func (s *Shell) step(ctx context.Context, event Event, why Reason, work func(context.Context) error) error {
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
		s.enterState(row.During, event, why, nil)
	}
	err := work(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", ErrTimedOut, err)
	}
	to, reason := row.Then, why
	if err != nil {
		to, reason = row.Else, reasonAfter(event, err, why)
	}
	if to == s.State() {
		return err
	}
	if err != nil && to == Activated {
		if errors.Is(err, ErrExited) { // it did not survive what should have left it unharmed
			return s.step(ctx, Exit, exitReason(err), s.afterExit(err))
		}
		reason = before // it runs on, for the reason it was started
	}
	s.enterState(to, event, reason, err)
	return err
}

// illegalStateError says why event is refused now.
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

// enterState assigns the state, remembers the transition and tells the observer.
func (s *Shell) enterState(to State, event Event, why Reason, err error) {
	s.observerTurn.Lock()
	defer s.observerTurn.Unlock()
	s.mu.Lock()
	t := Transition{Callsign: s.Callsign(), Event: event, From: s.state, To: to, Reason: why, Err: err, At: time.Now()}
	s.state, s.reason, s.failure, s.since = to, why, err, t.At
	s.idle.enter(t)
	switch to {
	case Activation, Waking:
		s.generation++
	case Deactivated, Unavailable, Precondition, Destroyed:
		s.control, s.warmth.startedFrom = "", nil
	default:
	}
	if to == Activated && t.From != Hibernating {
		s.noteUse()
	}
	t.Control = s.control
	s.changes++
	s.appendHistory(t)
	s.mu.Unlock()
	s.reportTransition(t)
}

// recordControl records that the plugin is suspended or resumed. News from a
// plugin that is on its way out is none.
func (s *Shell) recordControl(to statecontrol.State) {
	if to != statecontrol.Suspended && to != statecontrol.Resumed {
		return
	}
	s.observerTurn.Lock()
	defer s.observerTurn.Unlock()
	s.mu.Lock()
	if s.control == to || s.state != Activation && s.state != Activated && s.state != Hibernating && s.state != Waking {
		s.mu.Unlock()
		return
	}
	event := Resume
	if to == statecontrol.Suspended {
		event = Suspend
	}
	s.control = to
	if !s.idle.controlled(to) {
		s.noteUse()
	}
	t := Transition{Callsign: s.Callsign(), Event: event, From: s.state, To: s.state, Control: to, Reason: s.reason, At: time.Now()}
	s.changes++
	s.appendHistory(t)
	s.mu.Unlock()
	s.reportTransition(t)
}

// untilShutdown is ctx until limit has passed, or until the host shuts down: what only
// begins something, or can be asked again, keeps nobody waiting then. What moves a
// plugin between its process and its image is never cut, nor is its end.
func (s *Shell) untilShutdown(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cut := context.WithCancelCause(ctx)
	kept := context.AfterFunc(s.shutdown, func() { cut(errClosing) })
	ctx, cancel := context.WithTimeout(ctx, limit)
	return ctx, func() {
		kept()
		cancel()
		cut(nil)
	}
}

// shutdownError is err, or errClosing where that is why the work of ctx failed.
func shutdownError(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errClosing) {
		return errClosing
	}
	return err
}
