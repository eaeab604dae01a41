package shell

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"dormouse/configs"
)

// heldCalls is how many calls may wait for one instance to wake.
const heldCalls = 256

// Invoke runs a method of the plugin, within the instance's call timeout. It
// returns ErrUnavailable or ErrHibernated when nothing can take the call, and
// a *PluginError when the plugin took it and answered with an error.
func (s *Shell) Invoke(ctx context.Context, c Call) (json.RawMessage, error) {
	var result json.RawMessage
	err := s.call(ctx, func(ctx context.Context) (err error) {
		result, err = s.backend.Invoke(ctx, c)
		return err
	})
	return result, err
}

// Exists tells whether the plugin has the method; the errors are Invoke's.
func (s *Shell) Exists(ctx context.Context, method string) (bool, error) {
	var exists bool
	err := s.call(ctx, func(ctx context.Context) (err error) {
		exists, err = s.backend.Exists(ctx, method)
		return err
	})
	return exists, err
}

func (s *Shell) call(ctx context.Context, deliver func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.Config().CallTimeout))
	defer cancel()
	end, err := s.admit(ctx)
	if err != nil {
		return err
	}
	defer s.flight.leave()
	stop := context.AfterFunc(end, cancel)
	defer stop()
	err = deliver(ctx)
	_, answered := errors.AsType[*PluginError](err)
	switch {
	case err == nil || answered:
		return err
	case end.Err() != nil:
		return errEnded
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%w: no answer from the plugin within %s", ErrTimedOut, s.Config().CallTimeout)
	}
	return err
}

// admit is the one place that decides what a call meets. After a nil error the
// call is counted as in flight until flight.leave; the context it returns ends
// when running calls are to be given up.
func (s *Shell) admit(ctx context.Context) (context.Context, error) {
	held := false
	defer func() {
		if held {
			s.held.Add(-1)
		}
	}()
	for {
		end, state := s.board()
		wakes := s.Config().OnCall == configs.OnCallWake
		switch {
		case end != nil:
			return end, nil
		case !wakes && (state == Hibernated || state == Hibernating):
			return nil, ErrHibernated
		case !wakes, state != Hibernated && state != Hibernating && state != Waking && state != Activation:
			return nil, fmt.Errorf("%w: it is %s", ErrUnavailable, state)
		}
		if !held {
			held = true
			if s.held.Add(1) > heldCalls {
				return nil, ErrBusy
			}
		}
		if err := s.awaken(ctx); err != nil {
			return nil, err
		}
	}
}

// board lets the call in when the instance is activated. State and count are
// one: whoever leaves Activated may rely on seeing every call that got in.
func (s *Shell) board() (end context.Context, state State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == Activated {
		end = s.flight.enter()
	}
	return end, s.state
}

// awaken returns when the operations that came before are over and the
// instance, if they leave it hibernated, is awake. The call may give up before
// that; the waking goes on.
func (s *Shell) awaken(ctx context.Context) error {
	woken := make(chan error, 1)
	begun := s.later(func() {
		woken <- s.operate(ctx, Wake, s.activationLimit(), func(ctx context.Context) error {
			if s.State() != Hibernated {
				return nil
			}
			return s.activate(ctx, Automatic)
		})
	})
	if !begun {
		return errClosing
	}
	var err error
	select {
	case err = <-woken:
	case <-ctx.Done():
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%w: it is still %s", ErrTimedOut, s.State())
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("cannot wake the instance for the call: %w", err)
	}
	return nil
}
