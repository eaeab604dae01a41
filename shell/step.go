package shell

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dormouse/statecontrol"
)

// operate gives work its turn in the lane and a deadline that the caller's
// going away does not shorten.
func (s *Shell) operate(ctx context.Context, event Event, limit time.Duration, work func(context.Context) error) error {
	wait, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return s.lane.do(wait, event, func() error {
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
	from := s.state
	row, ok := lookup(event, from)
	if ok && row.Needs != "" && s.control != row.Needs {
		ok = false
	}
	s.mu.Unlock()
	if !ok {
		return fmt.Errorf("cannot %s: %w", event, s.illegal(event))
	}
	if row.During != "" {
		s.enter(row.During, event, why, nil)
	}
	err := work(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", ErrTimedOut, err)
	}
	switch {
	case err == nil && row.Then != row.From:
		s.enter(row.Then, event, why, nil)
	case errors.Is(err, ErrExited) && row.Else == Activated && row.During != "":
		// The plugin did not survive what should have left it unharmed.
		return s.step(ctx, Exit, Failure, func(ctx context.Context) error {
			return errors.Join(err, s.backend.Stop(ctx))
		})
	case err != nil && row.During != "":
		s.enter(row.Else, event, reasonOf(event, err, why), err)
	}
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
	t := Transition{Callsign: s.Callsign(), Event: event, To: to, At: time.Now(), Err: err}
	s.mu.Lock()
	t.From = s.state
	back := event == Hibernate && to == Activated
	s.state = to
	s.since = t.At
	switch {
	case back:
		s.failure = err
	case to == Activation || to == Waking:
		s.generation++
		s.failure = nil
		s.reason = why
	case to != Hibernating:
		s.failure = err
		s.reason = why
	}
	if to == Deactivated || to == Unavailable {
		s.control = ""
	}
	t.Reason, t.Control = s.reason, s.control
	s.remember(t)
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	s.observe(t)
}

// controlled records that the plugin is suspended or resumed. News from a
// plugin that is on its way out is none.
func (s *Shell) controlled(to statecontrol.State) {
	if to != statecontrol.Suspended && to != statecontrol.Resumed {
		return
	}
	s.mu.Lock()
	if s.control == to || s.state != Activated && s.state != Activation && s.state != Waking {
		s.mu.Unlock()
		return
	}
	event := Resume
	if to == statecontrol.Suspended {
		event = Suspend
	}
	s.control = to
	t := Transition{Callsign: s.Callsign(), Event: event, From: s.state, To: s.state, Control: to, Reason: s.reason, At: time.Now()}
	s.remember(t)
	s.mu.Unlock()
	s.observe(t)
}
