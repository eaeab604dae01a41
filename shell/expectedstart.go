package shell

import (
	"context"
	"errors"
	"fmt"

	"dormouse/internal/timelimit"
)

// startEvent is the event under which the start by the host waits for its turn. It changes
// no state itself, and requests of clients don't join it.
const startEvent Event = "start"

// ExpectStart records that the host is about to start the deactivated instance, by
// StartIfExpected. Until the instance has started or its start is no longer expected, its
// calls wait, whatever its key on-call says. It does nothing in any other state, or if the
// instance is unstartable.
func (s *Shell) ExpectStart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.startExpected = s.virtual == nil && s.state == Deactivated && !s.closing && s.Unstartable() == nil
}

// IsStartExpected reports whether the host is yet to start the instance.
func (s *Shell) IsStartExpected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.startExpected
}

// StartIfExpected activates the instance if its start is still expected when the turn comes:
// a client may have activated or deactivated the instance before. If the error wraps
// ErrPending, the instance waits for its requirements and its start is still expected.
func (s *Shell) StartIfExpected(ctx context.Context) error {
	return s.runInLane(ctx, startEvent, s.activationTimeLimit(), func(ctx context.Context) error {
		if !s.IsStartExpected() {
			return nil
		}
		return s.activateHoldingTurn(ctx, Startup)
	})
}

// EndExpectedStart records that the host does not start the instance any more. Calls that
// waited for that are refused.
func (s *Shell) EndExpectedStart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endExpectedStart()
}

// endExpectedStart ends the wait of the calls for an expected start: it admits them if the
// instance is active, and otherwise refuses them. The caller holds mu.
func (s *Shell) endExpectedStart() {
	if !s.startExpected {
		return
	}
	s.startExpected = false
	refusal := s.notStartedError()
	s.answerAndClearHeldCalls(func() admission {
		if s.state.TakesCalls() {
			return admission{end: s.inFlight.enterCall()}
		}
		return admission{err: refusal}
	})
}

// notStartedError says why the instance takes no call although a start was expected. The
// caller holds mu.
func (s *Shell) notStartedError() error {
	switch {
	case s.closing:
		return errClosing
	case s.failure != nil && s.state == Deactivated:
		return fmt.Errorf("%w: the host could not start it: %v", ErrUnavailable, s.failure) //nolint:errorlint // a call has not failed to start anything
	}
	return fmt.Errorf("%w: it is %s", ErrUnavailable, s.state)
}

// endExpectedStartIfDecided ends the expected start once a state shows its outcome. The
// caller holds mu and has just entered the state.
func (s *Shell) endExpectedStartIfDecided() {
	switch s.state {
	case Activation, Precondition:
	default:
		s.endExpectedStart()
	}
}

// heldCallTimeoutError says that a held call waited too long for ctx.
func (s *Shell) heldCallTimeoutError(ctx context.Context) error {
	switch {
	case !errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", ErrNotDelivered, timelimit.EndError(ctx))
	case s.isReplacing():
		return &CallTimeoutError{why: "the plugin is being replaced, and the new one does not run yet"}
	case s.IsStartExpected():
		return &CallTimeoutError{why: "the host is still starting, and has not started the instance yet"}
	}
	return &CallTimeoutError{why: fmt.Sprintf("it is still %s", s.State())}
}

// notHeldForStart is the key of contexts whose calls don't wait for an expected start.
type notHeldForStart struct{}

// RefuseUntilStarted returns a context whose calls don't wait for an expected start. It is
// for the calls of a plugin that is itself starting: the instance it calls may start after
// it.
func RefuseUntilStarted(ctx context.Context) context.Context {
	return context.WithValue(ctx, notHeldForStart{}, true)
}

// mayWaitForStart reports whether calls under ctx may wait for an expected start.
func mayWaitForStart(ctx context.Context) bool { return ctx.Value(notHeldForStart{}) == nil }
