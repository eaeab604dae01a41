package shell

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"dormouse/configs"
	"dormouse/shell/shellpb"
)

// Invoke runs a method of the plugin, within the instance's call timeout. It
// returns ErrUnavailable or ErrHibernated when nothing can take the call, and
// a *PluginError when the plugin took it and answered with an error.
func (s *Shell) Invoke(ctx context.Context, c Call) (json.RawMessage, error) {
	var result json.RawMessage
	err := s.callPlugin(ctx, len(c.Params), func(ctx context.Context) (err error) {
		result, err = s.backend.Invoke(ctx, c)
		return err
	})
	s.rememberOutcome(c.Method, err)
	return result, err
}

// callPlugin delivers what takes so many bytes while it waits.
func (s *Shell) callPlugin(ctx context.Context, bytes int, deliver func(context.Context) error) error {
	ctx, cancel, limit := s.limited(ctx)
	defer cancel()
	end, err := s.admit(ctx, bytes)
	if err != nil {
		return err
	}
	defer s.inFlight.leaveCall()
	defer s.noteUse()
	return s.deliver(ctx, cancel, admission{end: end}, limit, deliver)
}

// limited is ctx until the call timeout at the latest; limit says whose time it is.
func (s *Shell) limited(ctx context.Context) (limited context.Context, cancel context.CancelFunc, limit string) {
	timeout := time.Duration(s.Config().CallTimeout)
	limit = timeout.String()
	if by, set := ctx.Deadline(); set && time.Until(by) < timeout {
		limit = "the caller's own deadline"
	}
	limited, cancel = context.WithTimeout(ctx, timeout)
	return limited, cancel, limit
}

// deliver makes a call that was let in, within limit.
func (s *Shell) deliver(ctx context.Context, cancel context.CancelFunc, let admission, limit string, deliver func(context.Context) error) error {
	stop := context.AfterFunc(let.end, cancel) //nolint:contextcheck // it ends with the plugin, not with the caller
	defer stop()
	err := deliver(ctx)
	_, answered := errors.AsType[*PluginError](err)
	switch {
	case err == nil || answered:
		return err
	case let.end.Err() != nil:
		return errEnded
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%w: no answer from the plugin within %s", ErrTimedOut, limit)
	}
	return err
}

// admit is the one place that decides what a call meets. After a nil error the
// call is counted as in flight until flight.leave; the context it returns ends
// when running calls are to be given up.
func (s *Shell) admit(ctx context.Context, bytes int) (context.Context, error) {
	end, held, err := s.admitOrHold(bytes)
	if held == nil {
		return end, err
	}
	return s.awaitAdmission(ctx, held)
}

// admitOrHold lets a call in, has it wait or refuses it. State, count and queue are
// one: whoever leaves Activated may rely on seeing every call that got in, and no
// call overtakes those that wait.
func (s *Shell) admitOrHold(bytes int) (end context.Context, waits *heldCall, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wakes := s.Config().OnCall == configs.OnCallWake
	switch {
	case s.state == Activated && len(s.held.calls) == 0:
		s.resumeInBackground()
		return s.inFlight.enterCall(), nil, nil
	case s.state == Activated:
	case !wakes && (s.state == Hibernated || s.state == Hibernating):
		return nil, nil, ErrHibernated
	case !wakes || !holds(s.state):
		return nil, nil, fmt.Errorf("%w: it is %s", ErrUnavailable, s.state)
	}
	waits, err = s.holdCall(bytes)
	return nil, waits, err
}

// enterIfActive lets in what is no use of the plugin, and neither wakes it nor waits.
func (s *Shell) enterIfActive() (end context.Context, state State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == Activated {
		end = s.inFlight.enterCall()
	}
	return end, s.state
}

// maxKnownMethods is of how many methods an instance remembers whether there are.
const maxKnownMethods = 1024

// Exists tells whether the plugin has the method. It is no use of the plugin: it
// neither wakes it nor waits. Of one that sleeps it tells what is known, and
// returns ErrHibernated for what is not.
func (s *Shell) Exists(ctx context.Context, method string) (exists bool, err error) {
	err = s.callWithoutUse(ctx, func(ctx context.Context) error {
		exists, err = s.backend.Exists(ctx, method)
		return err
	})
	switch {
	case err == nil:
		s.rememberMethod(method, exists)
	case errors.Is(err, ErrHibernated):
		s.mu.Lock()
		defer s.mu.Unlock()
		if known, ok := s.knownMethods[method]; ok {
			return known, nil
		}
	}
	return exists, err
}

// isProbe tells which calls of a plugin are none of use: whoever asks whether
// it is well does not want it to wake, nor keeps it from falling asleep.
func isProbe(method string) bool {
	return method == shellpb.Dispatcher_Exists_FullMethodName || strings.HasPrefix(method, "/grpc.health.v1.Health/")
}

// callWithoutUse delivers what is no use of the plugin, if it is awake.
func (s *Shell) callWithoutUse(ctx context.Context, deliver func(context.Context) error) error {
	ctx, cancel, limit := s.limited(ctx)
	defer cancel()
	end, state := s.enterIfActive()
	if end == nil {
		return notActiveError(state)
	}
	defer s.inFlight.leaveCall()
	return s.deliver(ctx, cancel, admission{end: end}, limit, deliver)
}

// notActiveError is the error of what does not wake an instance.
func notActiveError(state State) error {
	switch state {
	case Hibernating, Hibernated, Waking:
		return ErrHibernated
	default:
		return fmt.Errorf("%w: it is %s", ErrUnavailable, state)
	}
}

// rememberOutcome takes from the outcome of a call whether there is such a method.
func (s *Shell) rememberOutcome(method string, err error) {
	switch {
	case err == nil:
		s.rememberMethod(method, true)
	case errors.Is(err, ErrUnknownMethod):
		s.rememberMethod(method, false)
	}
}

func (s *Shell) rememberMethod(method string, exists bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.knownMethods == nil {
		s.knownMethods = make(map[string]bool)
	}
	if _, known := s.knownMethods[method]; known || len(s.knownMethods) < maxKnownMethods {
		s.knownMethods[method] = exists
	}
}

// forgetMethods is for a program that may be another than before.
func (s *Shell) forgetMethods() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.knownMethods = nil
}
