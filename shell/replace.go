package shell

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dormouse/configs"
	"dormouse/statecontrol"
)

// Replace ends the plugin and starts it with the configuration to, in one turn, and leaves the
// instance in the state that it was in. Calls under way are answered by the old plugin, later
// ones wait for the new one, whatever the key on-call says. Instances that require this one
// stay active. The work between, which may be nil, is done while nothing of the plugin runs.
//
// A hibernated plugin is woken to end, and the new one is put to sleep after its start; if that
// fails, which is logged, it stays suspended. If the wake can't be now, the error is an
// *AsleepError and nothing has changed. Of an instance that is down only the configuration
// changes.
//
// If between fails, the old plugin is started again and its error is returned. If the new
// plugin does not start, the instance is deactivated with the new configuration. If the new one
// must wait for its requirements, the error wraps ErrPending. Between ends early when ctx ends;
// all other work goes on then.
func (s *Shell) Replace(ctx context.Context, why Reason, to configs.Plugin, between func(context.Context) error) error {
	return s.replace(ctx, replacement{Shell: s, why: why, to: &to}, between)
}

// ReplaceForTrial is Replace, but leaves the plugin that replaces a hibernated one awake and
// suspended, so that the caller sees whether it stays. Hibernate puts it to sleep after that.
func (s *Shell) ReplaceForTrial(ctx context.Context, why Reason, to configs.Plugin, between func(context.Context) error) error {
	return s.replace(ctx, replacement{Shell: s, why: why, to: &to, staysAwake: true}, between)
}

// replace runs a replacement by another configuration, with the work between, in its turn.
func (s *Shell) replace(ctx context.Context, r replacement, between func(context.Context) error) error {
	r.to.Callsign = s.callsign
	if between == nil {
		between = doNothing
	}
	r.between = func(turn context.Context) error {
		turn, cancel := s.contextUntilShutdown(turn, maxBetween)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		return shutdownErrorOr(turn, between(turn))
	}
	return s.runInLane(ctx, Replace, s.replacementTimeLimit()+maxBetween, func(ctx context.Context) error {
		err := r.replaceHoldingTurn(ctx)
		if err != nil && !errors.Is(err, ErrPending) {
			return fmt.Errorf("cannot replace: %w", err)
		}
		return err
	})
}

// Restart ends the plugin and starts it anew as it is configured, in one turn, or starts it if
// it does not run. A hibernated plugin is woken to end. Calls wait as with Replace, and
// instances that require this one stay active. The error is as that of Activate.
func (s *Shell) Restart(ctx context.Context, why Reason) error {
	if s.virtual != nil {
		return s.restartVirtual(ctx, why)
	}
	return s.runInLane(ctx, RestartEvent, s.replacementTimeLimit(), func(ctx context.Context) error {
		if !s.State().IsInitialized() {
			return s.activateHoldingTurn(ctx, why)
		}
		r := replacement{Shell: s, why: why, between: doNothing}
		if err := r.replaceInitialized(ctx); err != nil {
			return fmt.Errorf("cannot restart: %w", err)
		}
		return nil
	})
}

// replacement is one run of Replace or Restart. The caller of its methods has the turn.
type replacement struct {
	*Shell
	why     Reason
	to      *configs.Plugin // nil for the present configuration
	between func(context.Context) error
	// staysAwake says that the new plugin is not put to sleep although the old one slept.
	staysAwake bool
	// The plugin is to start with this state control, "" for that of its configuration, and the
	// host is to be as far with suspending it.
	control statecontrol.State
	phase   idlePhase
}

// replaceHoldingTurn is Replace for a caller that has the turn.
func (r *replacement) replaceHoldingTurn(ctx context.Context) error {
	switch state := r.State(); {
	case state.IsDown():
		if err := r.between(ctx); err != nil {
			return fmt.Errorf("%w; it is %s as it was", err, state)
		}
		r.takeConfig()
		return nil
	case !state.IsInitialized():
		return fmt.Errorf("%w: it is %s", ErrIllegalState, state)
	}
	var slept *Sleep
	if r.State() == Hibernated {
		slept = r.process.Sleep()
	}
	r.phase = r.idlePhase()
	_, r.control = r.StateAndControl()
	err := r.replaceInitialized(ctx)
	if slept != nil && r.State() == Activated && (err != nil || !r.staysAwake) {
		err = errors.Join(err, r.sleepAgain(ctx, slept.Kind))
	}
	return err
}

// replaceInitialized replaces a plugin that runs or sleeps by one that runs, and holds the
// calls that come meanwhile.
func (r *replacement) replaceInitialized(ctx context.Context) error {
	r.setReplacing(true)
	err := r.endAndStart(ctx)
	r.admitOrRefuseAfterReplacement(err) //nolint:contextcheck // a resume that it begins takes its own turn
	return err
}

// endAndStart ends the plugin, does the work between, and starts the new plugin, or the old one
// again.
func (r *replacement) endAndStart(ctx context.Context) error {
	if r.State() == Hibernated {
		if err := r.wakeToReplace(ctx, r.why); err != nil {
			return err
		}
	}
	var err error
	if r.State() == Activated { // otherwise the image had to be given up
		err = r.takeStep(ctx, Replace, r.why, r.answerCallsAndEndPlugin)
	}
	if err == nil {
		err = r.between(ctx)
	}
	if err == nil {
		r.takeConfig()
		return r.start(ctx)
	}
	if again := r.start(ctx); again != nil {
		return fmt.Errorf("%w; the plugin could not be started again as it was: %w", err, again)
	}
	return fmt.Errorf("%w; the plugin was started again as it was", err)
}

// answerCallsAndEndPlugin is the work of the step that ends the old plugin: it waits for the
// calls in flight up to the call timeout, and ends the plugin.
func (r *replacement) answerCallsAndEndPlugin(ctx context.Context) error {
	limited, cancel := r.contextUntilShutdown(ctx, time.Duration(r.Config().CallTimeout))
	_ = r.inFlight.drainCalls(limited) // what is left has one stop timeout more
	cancel()
	return r.drainAndEndPlugin(ctx, r.why)
}

// takeConfig makes the new configuration the present one, and removes a golden image that does
// not fit it. The plugin neither runs nor sleeps.
func (r *replacement) takeConfig() {
	if r.to == nil {
		return
	}
	keys, _ := r.Config().DifferingKeys(*r.to)
	r.config.Store(r.to)
	if r.process == nil || len(keys) == 0 {
		return
	}
	r.process.RemoveStaleGolden()
	r.distrustNewGoldens(nil) // that was about another plugin
}

// start starts the plugin with the present configuration. If requirements are not met, the
// instance is left in Precondition and the error wraps ErrPending.
func (r *replacement) start(ctx context.Context) error {
	if r.shutdown.Err() != nil {
		return errClosing
	}
	if err := r.probeAndCheckOrEnterPrecondition(ctx, Replace, r.why); err != nil {
		return err
	}
	if err := r.takeStep(ctx, Replace, r.why, func(ctx context.Context) error { return r.startWarmOrCold(ctx, r.control) }); err != nil {
		return err
	}
	if _, control := r.StateAndControl(); control == statecontrol.Suspended && r.phase.isSuspended() {
		r.setIdlePhase(r.phase)
	}
	r.saveActivationReason(r.why)
	return r.endIfRequirementsLostInStart(ctx)
}

// sleepAgain puts the new plugin to sleep, on disk if the old one slept there. A failure that
// leaves the plugin running is only logged.
func (r *replacement) sleepAgain(ctx context.Context, kind SleepKind) error {
	limited, cancel := context.WithTimeout(ctx, r.hibernateTimeLimit)
	defer cancel()
	err := r.takeStep(limited, Hibernate, r.why, r.drainAndHibernate)
	if err == nil && kind == Stored && r.sleepsInPlace() {
		err = r.moveToDiskHoldingTurn(limited, r.why)
	}
	if err != nil && r.State().IsInitialized() {
		r.log.Warn().Err(err).Msg("the plugin that replaced a hibernated one could not be put to sleep as that was")
		return nil
	}
	return err
}

// setReplacing records whether all calls that come wait for the new plugin.
func (s *Shell) setReplacing(replacing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replacing = replacing
}

// isReplacing reports whether calls wait for the plugin that replaces the present one.
func (s *Shell) isReplacing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replacing
}

// admitOrRefuseAfterReplacement ends the wait of the calls for the new plugin: it admits them
// if the instance is active, and otherwise refuses them, since the replacement ended with err.
// Calls that a wake holds, too, go on waiting if the instance still sleeps.
func (s *Shell) admitOrRefuseAfterReplacement(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replacing = false
	var answer func() admission
	switch {
	case s.state.TakesCalls():
		answer = func() admission { return admission{end: s.inFlight.enterCall()} }
		if len(s.held.calls) > 0 {
			s.resumeIdleInBackground()
		}
	case s.state == Hibernated && s.held.waking:
		return
	case s.state == Hibernated:
		answer = func() admission { return admission{err: err} }
	default:
		refusal := s.notStartedError()
		answer = func() admission { return admission{err: refusal} }
	}
	s.answerAndClearHeldCalls(answer)
}

// notHeldForReplacement is the key of contexts whose calls don't wait for a replacement.
type notHeldForReplacement struct{}

// RefuseUntilReplaced returns a context whose calls don't wait until a plugin is replaced. It
// is for the calls of a plugin to its own instance: the replacement may wait for them.
func RefuseUntilReplaced(ctx context.Context) context.Context {
	return context.WithValue(ctx, notHeldForReplacement{}, true)
}

// mayWaitForReplacement reports whether calls under ctx may wait until a plugin is replaced.
func mayWaitForReplacement(ctx context.Context) bool {
	return ctx.Value(notHeldForReplacement{}) == nil
}

// replacementTimeLimit returns how long a replacement may take at most, without the work
// between: a wake, the calls, an end, two starts and a hibernation.
func (s *Shell) replacementTimeLimit() time.Duration {
	return 2*s.hibernateTimeLimit + time.Duration(s.Config().CallTimeout) + s.endTimeLimitAlone() + 2*s.activationTimeLimit()
}
