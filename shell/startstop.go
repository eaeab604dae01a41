package shell

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dormouse/internal/timelimit"
	"dormouse/statecontrol"
)

// startWarmOrCold is the work of an activation: it does the work that comes before the start,
// starts the plugin warm if it can, and otherwise cold, and lets calls in. The state control
// starts in the state control, "" for that of the configuration. A failed cold start is passed to
// the post-mortem. After an error the plugin does not run.
func (s *Shell) startWarmOrCold(ctx context.Context, control statecontrol.State) error {
	if err := s.workBeforeStart(ctx); err != nil {
		return err
	}
	limited, cancel := s.contextUntilShutdown(ctx, s.activationTimeLimit())
	defer cancel()
	if !s.tryWarmStart(limited, control) {
		if err := shutdownErrorOr(limited, s.startColdAndMakeGolden(limited, control)); err != nil {
			s.runPostMortem(reasonForOutcome(Activate, err, Failure), err)
			return errors.Join(err, s.backend.Stop(ctx))
		}
	}
	s.inFlight.renewContexts()
	return nil
}

// workBeforeStart does what Options.BeforeStart says.
func (s *Shell) workBeforeStart(ctx context.Context) error {
	work := s.beforeStart(s.Config())
	if work == nil {
		return nil
	}
	limited, cancel := s.contextUntilShutdown(ctx, maxBetween)
	defer cancel()
	return shutdownErrorOr(limited, work(limited))
}

// startColdAndMakeGolden starts the plugin from its program: it launches and initializes
// the plugin, makes a golden image if one is wanted, and brings the state control to the
// wanted state. After an error a process may be left.
func (s *Shell) startColdAndMakeGolden(ctx context.Context, control statecontrol.State) error {
	if ctx.Err() != nil {
		return timelimit.EndError(ctx)
	}
	err := s.launchAndInitialize(ctx)
	if err == nil {
		err = s.makeGoldenOrRelaunch(ctx)
	}
	if err == nil {
		err = s.setControlAtStart(ctx, control)
	}
	if err == nil {
		s.recordStartForGoldenTrust()
	}
	return err
}

// launchAndInitialize starts a new process, keeps the plugin's description of itself, and
// initializes the plugin, all within the start timeout.
func (s *Shell) launchAndInitialize(ctx context.Context) error {
	ctx, cancel := timelimit.With(ctx, time.Duration(s.Config().StartTimeout))
	defer cancel()
	info, err := s.backend.Launch(ctx)
	if err != nil {
		return err
	}
	s.setInformation(info)
	return s.backend.Initialize(ctx)
}

// setControlAtStart resumes or suspends a plugin that has just started, and records the state
// of its state control. With wanted "" it resumes the plugin if its configuration says that it
// starts resumed. It does nothing without state control. The error wraps ErrInitialization.
func (s *Shell) setControlAtStart(ctx context.Context, wanted statecontrol.State) error {
	ctx, cancel := timelimit.With(ctx, time.Duration(s.Config().StartTimeout))
	defer cancel()
	control := s.information().StateControl
	if control == nil {
		return nil
	}
	now, err := control.State(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInitialization, err)
	}
	resumes := wanted == statecontrol.Resumed || wanted == "" && s.Config().StartsResumed()
	if now != statecontrol.Resumed && resumes {
		if err := control.Request(ctx, statecontrol.Resume); err != nil {
			return fmt.Errorf("%w: cannot resume: %w", ErrInitialization, err)
		}
		now = statecontrol.Resumed
	}
	if now == statecontrol.Resumed && wanted == statecontrol.Suspended {
		if err := control.Request(ctx, statecontrol.Suspend); err != nil {
			return fmt.Errorf("%w: cannot suspend: %w", ErrInitialization, err)
		}
		now = statecontrol.Suspended
	}
	if now != statecontrol.Resumed {
		now = statecontrol.Suspended // Thunder has no third state for an active plugin
	}
	s.recordAndReportControl(now)
	return nil
}

// drainAndEndPlugin is the work of a deactivation: it runs the post-mortem, waits for
// the calls in flight, deinitializes the plugin and stops it. Calls that don't end
// within the stop timeout are given up; their failure and that of Deinitialize are only
// logged. When the host ends, the calls and Deinitialize share one stop timeout.
func (s *Shell) drainAndEndPlugin(ctx context.Context, why Reason) error {
	s.runPostMortem(why, nil)
	s.updateGoldenTrustAtEnd(errorIfFailure(why))
	limited := ctx
	if s.isClosing() {
		var cancel context.CancelFunc
		limited, cancel = timelimit.With(ctx, time.Duration(s.Config().StopTimeout))
		defer cancel()
	}
	drained := s.runWithStopTimeout(limited, s.inFlight.drainCalls)
	s.inFlight.cancelAllUntilRenewed()
	told := s.runWithStopTimeout(limited, func(ctx context.Context) error { return s.backend.Deinitialize(ctx, why) })
	if err := errors.Join(drained, told); err != nil && !errors.Is(err, ErrExited) {
		s.log.Warn().Err(err).Msg("the plugin did not end in order")
	}
	return s.backend.Stop(ctx)
}

// runPostMortem lets the host examine a plugin that ends for the reason why, before its
// process is cleared away. err is nil for an end that was asked for. It does nothing
// without Options.PostMortem.
func (s *Shell) runPostMortem(why Reason, err error) {
	if s.onPostMortem == nil {
		return
	}
	s.onPostMortem(why, err, func() Evidence {
		if s.process == nil {
			return Evidence{}
		}
		return s.process.Evidence()
	})
}

// runWithStopTimeout runs one part of a deactivation within the stop timeout.
func (s *Shell) runWithStopTimeout(ctx context.Context, part func(context.Context) error) error {
	ctx, cancel := timelimit.With(ctx, time.Duration(s.Config().StopTimeout))
	defer cancel()
	return part(ctx)
}

// takeStateControlStep sends command to the plugin's state control, as the work of the step
// for event with the reason why, and records the new state. The error wraps ErrNoStateControl if the instance
// is not active or has no state control, and ErrIllegalState if the plugin is in that state
// already.
func (s *Shell) takeStateControlStep(ctx context.Context, event Event, command statecontrol.Command, why Reason) error {
	control := s.information().StateControl
	if s.State() == Hibernated {
		return fmt.Errorf("cannot %s: %w: it is hibernated, activate it first", event, ErrNoStateControl)
	}
	if s.State() != Activated || control == nil {
		return fmt.Errorf("cannot %s: %w", event, ErrNoStateControl)
	}
	return s.takeStep(ctx, event, why, func(ctx context.Context) error {
		s.setControlRequest(controlRequest{command.Target(), why})
		defer s.setControlRequest(controlRequest{})
		ctx, cancel := s.contextUntilShutdown(ctx, time.Duration(s.Config().CallTimeout))
		defer cancel()
		err := shutdownErrorOr(ctx, control.Request(ctx, command))
		if errors.Is(err, statecontrol.ErrIllegalState) {
			return fmt.Errorf("cannot %s: %w: it is already %s", event, ErrIllegalState, command.Target())
		}
		if err != nil {
			return fmt.Errorf("cannot %s: %w", event, err)
		}
		s.recordAndReportControl(command.Target())
		return nil
	})
}

// setControlRequest records which request to the plugin's state control is under way.
func (s *Shell) setControlRequest(r controlRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requested = r
}
