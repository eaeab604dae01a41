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

// Invoke runs a method of the plugin within the instance's call timeout. The error is a
// *PluginError if the plugin answered with an error. It wraps ErrUnavailable, ErrHibernated
// or ErrBusy if the instance takes no call now, ErrInvalidParams if a type of the plugin does not
// allow the parameters, ErrNotAnswered if the plugin ended before it
// answered, and is a *CallTimeoutError if no answer came in time.
func (s *Shell) Invoke(ctx context.Context, c Call) (result json.RawMessage, err error) {
	send := func(ctx context.Context) (err error) {
		result, err = s.backend.Invoke(ctx, c)
		return err
	}
	if c.Callsign == "" {
		if send, err = s.checkedBy(func(now contract) error { return now.check(c.Method, c.Params) }, send); err != nil {
			return nil, err
		}
	}
	if s.virtual != nil {
		err = s.sendVirtual(ctx, send)
	} else {
		err = s.admitAndCallPlugin(ctx, len(c.Params), send)
	}
	if c.Callsign == "" {
		s.rememberMethodFromError(c.Method, err)
	}
	return result, err
}

// admitAndCallPlugin admits one call and runs send within the call timeout. The call
// occupies messageBytes of the hold queue while it has to wait, and counts as use of the
// plugin.
func (s *Shell) admitAndCallPlugin(ctx context.Context, messageBytes int, send func(context.Context) error) error {
	enter := func(ctx context.Context) (context.Context, error) { return s.admitCallOrWait(ctx, messageBytes) }
	return s.sendWithinCallTimeout(ctx, enter, s.inFlight.leaveCall, func(ctx context.Context) error {
		defer s.noteUse()
		return send(ctx)
	})
}

// callAsProbe runs send within the call timeout if the instance is active, and otherwise
// returns ErrHibernated or ErrUnavailable. The call does not count as use of the plugin,
// and never wakes the instance or waits for it.
func (s *Shell) callAsProbe(ctx context.Context, send func(context.Context) error) error {
	enter := func(context.Context) (context.Context, error) { return s.enterProbeIfActive() }
	return s.sendWithinCallTimeout(ctx, enter, s.inFlight.leaveProbe, send)
}

// sendWithinCallTimeout runs enter, which counts the call as in flight until leave, and then
// send, both within the call timeout. Send is ended early when the context ends that enter returned;
// the error is then errEnded, or errEndedBefore if that of send wraps ErrNotDelivered. After the
// timeout the error is a *CallTimeoutError.
func (s *Shell) sendWithinCallTimeout(ctx context.Context, enter func(context.Context) (end context.Context, err error), leave func(), send func(context.Context) error) error {
	timeout := time.Duration(s.Config().CallTimeout)
	limit := timeout.String()
	if by, set := ctx.Deadline(); set && time.Until(by) < timeout {
		limit = "the caller's own deadline"
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	end, err := enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	defer context.AfterFunc(end, cancel)()
	err = send(ctx)
	_, answered := errors.AsType[*PluginError](err)
	delivered := !errors.Is(err, ErrNotDelivered)
	switch {
	case err == nil || answered:
		return err
	case end.Err() != nil && delivered:
		return errEnded
	case end.Err() != nil:
		return errEndedBefore
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &CallTimeoutError{Delivered: delivered, why: "no answer from the plugin within " + limit}
	}
	return err
}

// admitCallOrWait decides for every call whether it is delivered, held or refused; a
// held call waits here until ctx ends. After a nil error the call counts as in flight
// until inFlight.leaveCall, and must be given up when the returned context ends.
func (s *Shell) admitCallOrWait(ctx context.Context, messageBytes int) (end context.Context, err error) {
	end, held, err := s.admitOrHold(messageBytes, mayWaitForStart(ctx), mayWaitForReplacement(ctx))
	if held == nil {
		return end, err
	}
	return s.awaitAdmission(ctx, held)
}

// admitOrHold admits a call, adds it to the hold queue or refuses it: one of the three
// results is set. State, count and queue are read under one lock, so that an operation that
// leaves Activated sees every admitted call, and no call overtakes the held ones.
func (s *Shell) admitOrHold(messageBytes int, waitsForStart, waitsForReplacement bool) (end context.Context, held *heldCall, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wakes := s.Config().OnCall == configs.OnCallWake
	if !s.state.TakesCalls() {
		if why := s.refusal(); why != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, why)
		}
	}
	switch {
	case s.replacing && waitsForReplacement, s.startExpected && waitsForStart:
		held, err = s.holdCall(messageBytes)
		return nil, held, err
	case s.startExpected, s.replacing:
		return nil, nil, fmt.Errorf("%w: it is %s", ErrUnavailable, s.state)
	case s.state.TakesCalls() && len(s.held.calls) == 0:
		s.resumeIdleInBackground()
		return s.inFlight.enterCall(), nil, nil
	case s.state.TakesCalls():
	case s.state == Hibernated:
		if err := s.whyCallDoesNotWake(wakes); err != nil {
			return nil, nil, err
		}
	case !wakes && s.state == Hibernating:
		return nil, nil, ErrHibernated
	case !wakes || !s.state.HoldsCalls():
		return nil, nil, fmt.Errorf("%w: it is %s", ErrUnavailable, s.state)
	}
	if held, err = s.holdCall(messageBytes); err == nil {
		s.startWakeUnlessUnderWay()
	}
	return nil, held, err
}

// DeliversCalls reports whether a call that comes now is delivered, at once or when the
// instance has been started or woken.
func (s *Shell) DeliversCalls() bool {
	if s.virtual != nil {
		return s.whyNoVirtualCall() == nil && s.virtual.Parent().DeliversCalls()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.startExpected || s.replacing || s.state.TakesCalls() || s.state.HoldsCalls() && s.Config().OnCall == configs.OnCallWake
}

// enterProbeIfActive counts a probe (health, Exists) as in flight if the instance is
// active, and otherwise returns ErrHibernated or ErrUnavailable. It never wakes the
// instance or waits for it. The probe counts until inFlight.leaveProbe, and must be given
// up when the returned context ends.
func (s *Shell) enterProbeIfActive() (end context.Context, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state.TakesCalls():
		return s.inFlight.enterProbe(), nil
	case s.state.IsInSleepCycle():
		return nil, ErrHibernated
	}
	return nil, fmt.Errorf("%w: it is %s", ErrUnavailable, s.state)
}

// isProbeMethod reports whether calls of the gRPC method (health, Exists) are probes, which
// neither wake the plugin nor keep it awake.
func isProbeMethod(method string) bool {
	return method == shellpb.Dispatcher_Exists_FullMethodName || strings.HasPrefix(method, "/grpc.health.v1.Health/")
}

// maxReportDelay is how long WaitForReports waits at most.
const maxReportDelay = time.Second

// WaitForReports returns when the observer knows the present state and every event that the
// plugin sent before, after one second at the latest. A subscriber that is added afterwards
// gets only later events. An active plugin is asked, as a probe; any other plugin sends no events.
func (s *Shell) WaitForReports(ctx context.Context) {
	if s.virtual != nil {
		s.virtual.Parent().WaitForReports(ctx) // the plugin's events come through the parent
		s.WaitForTransitions()
		return
	}
	ctx, cancel := context.WithTimeout(ctx, maxReportDelay)
	defer cancel()
	_ = s.callAsProbe(ctx, func(ctx context.Context) error {
		_, err := s.backend.Exists(ctx, "") // any answer of the plugin comes after its events
		return err
	})
	s.WaitForTransitions()
}

// WaitForTransitions returns when the observer knows the present state.
func (s *Shell) WaitForTransitions() {
	s.observing.Lock()
	defer s.observing.Unlock()
}

// maxKnownMethods is the number of methods of which an instance remembers whether they
// exist.
const maxKnownMethods = 1024

// Exists reports whether the plugin has the method, without waking it. While the plugin
// sleeps, Exists answers from earlier calls of the method, and returns ErrHibernated if
// there were none. The error wraps ErrUnavailable if the instance is neither active nor
// asleep.
func (s *Shell) Exists(ctx context.Context, method string) (exists bool, err error) {
	if s.virtual != nil {
		exists, err = s.existsVirtually(ctx, method)
	} else {
		err = s.callAsProbe(ctx, func(ctx context.Context) error {
			exists, err = s.backend.Exists(ctx, method)
			return err
		})
	}
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

// rememberMethodFromError remembers whether the method exists, if err, the outcome of a
// call, shows that.
func (s *Shell) rememberMethodFromError(method string, err error) {
	switch {
	case err == nil:
		s.rememberMethod(method, true)
	case errors.Is(err, ErrUnknownMethod):
		s.rememberMethod(method, false)
	}
}

// rememberMethod remembers whether the method exists, for Exists while the plugin sleeps.
// It ignores new methods once maxKnownMethods are known.
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
