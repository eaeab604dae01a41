package shell

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dormouse/statecontrol"
)

// operate gives work its turn in the lane, for which it waits up to limit, and
// then as long again, which the caller's going away does not shorten. In a shell
// that closes, it waits for the one operation that still runs, until that ends.
func (s *Shell) operate(ctx context.Context, event Event, limit time.Duration, work func(context.Context) error) error {
	wait := ctx
	if !s.isClosing() {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	return s.lane.do(wait, event, func() error {
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
	row, ok := lookup(event, s.state)
	before := s.reason
	if ok && row.Needs != "" && s.control != row.Needs {
		ok = false
	}
	s.mu.Unlock()
	if !ok {
		return fmt.Errorf("cannot %s: %w", event.verb(), s.illegal(event))
	}
	if row.During != "" {
		s.enter(row.During, event, why, nil)
	}
	err := work(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", ErrTimedOut, err)
	}
	to, reason := row.Then, why
	if err != nil {
		to, reason = row.Else, reasonOf(event, err, why)
	}
	if to == s.State() {
		return err
	}
	if err != nil && to == Activated {
		if errors.Is(err, ErrExited) { // it did not survive what should have left it unharmed
			return s.step(ctx, Exit, reasonOfExit(err), s.bury(err))
		}
		reason = before // it runs on, for the reason it was started
	}
	s.enter(to, event, reason, err)
	return err
}

// illegal says why event is refused now.
func (s *Shell) illegal(event Event) error {
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

// enter assigns the state, remembers the transition and tells the observer.
func (s *Shell) enter(to State, event Event, why Reason, err error) {
	s.telling.Lock()
	defer s.telling.Unlock()
	s.mu.Lock()
	t := Transition{Callsign: s.Callsign(), Event: event, From: s.state, To: to, Reason: why, Err: err, At: time.Now()}
	s.state, s.reason, s.failure, s.since = to, why, err, t.At
	s.idle.enter(t)
	switch to {
	case Activation, Waking:
		s.generation++
	case Deactivated, Unavailable, Precondition, Destroyed:
		s.control, s.warmth.from = "", nil
	default:
	}
	if to == Activated && t.From != Hibernating {
		s.touch()
	}
	t.Control = s.control
	s.changes++
	s.remember(t)
	s.mu.Unlock()
	s.observe(t)
}

// controlled records that the plugin is suspended or resumed. News from a
// plugin that is on its way out is none.
func (s *Shell) controlled(to statecontrol.State) {
	if to != statecontrol.Suspended && to != statecontrol.Resumed {
		return
	}
	s.telling.Lock()
	defer s.telling.Unlock()
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
		s.touch()
	}
	t := Transition{Callsign: s.Callsign(), Event: event, From: s.state, To: s.state, Control: to, Reason: s.reason, At: time.Now()}
	s.changes++
	s.remember(t)
	s.mu.Unlock()
	s.observe(t)
}

// cuttable is ctx until limit has passed, or until the host shuts down: what only
// begins something, or can be asked again, keeps nobody waiting then. What moves a
// plugin between its process and its image is never cut, nor is its end.
func (s *Shell) cuttable(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cut := context.WithCancelCause(ctx)
	kept := context.AfterFunc(s.shutdown, func() { cut(errClosing) })
	ctx, cancel := context.WithTimeout(ctx, limit)
	return ctx, func() {
		kept()
		cancel()
		cut(nil)
	}
}

// cutShort is err, or errClosing where that is why the work of ctx failed.
func cutShort(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errClosing) {
		return errClosing
	}
	return err
}
