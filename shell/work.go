package shell

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dormouse/statecontrol"
)

// What follows is the work of the steps: it asks the backend for what the
// lifecycle has decided, and changes no state.

// startPlugin is the work of an activation.
func (s *Shell) startPlugin(ctx context.Context) error {
	begin, cancel := s.untilShutdown(ctx, s.activationLimit())
	defer cancel()
	if !s.tryWarmStart(begin) {
		if err := shutdownError(begin, s.coldStart(begin)); err != nil {
			s.runPostMortem(reasonAfter(Activate, err, Failure), err)
			return errors.Join(err, s.backend.Stop(ctx))
		}
	}
	s.inFlight.open()
	return nil
}

// coldStart starts the plugin from nothing.
func (s *Shell) coldStart(ctx context.Context) error {
	err := ctx.Err()
	if err == nil {
		err = s.launchAndInitialize(ctx)
	}
	if err == nil {
		err = s.makeGolden(ctx)
	}
	if err == nil {
		err = s.startStateControl(ctx)
	}
	if err == nil {
		s.noteStart()
	}
	return err
}

// launchAndInitialize brings a new process to where Initialize has succeeded.
func (s *Shell) launchAndInitialize(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.Config().StartTimeout))
	defer cancel()
	info, err := s.backend.Launch(ctx)
	if err != nil {
		return err
	}
	s.setInformation(info)
	s.forgetMethods()
	return s.backend.Initialize(ctx)
}

// startStateControl brings the plugin's state control, if it has one, to where its
// configuration wants it.
func (s *Shell) startStateControl(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.Config().StartTimeout))
	defer cancel()
	control := s.information().StateControl
	if control == nil {
		return nil
	}
	now, err := control.State(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInitialization, err)
	}
	if now != statecontrol.Resumed && s.Config().Resumed() {
		if err := control.Request(ctx, statecontrol.Resume); err != nil {
			return fmt.Errorf("%w: cannot resume: %w", ErrInitialization, err)
		}
		now = statecontrol.Resumed
	}
	if now != statecontrol.Resumed {
		now = statecontrol.Suspended // Thunder knows no third one for an active plugin
	}
	s.recordControl(now)
	return nil
}

// endPlugin is the work of a deactivation. Calls that don't end in time are given up,
// but the plugin still gets to store what it wants to keep.
func (s *Shell) endPlugin(ctx context.Context, why Reason) error {
	s.runPostMortem(why, nil) // while it is as it was
	s.reviewWarmStart(failureError(why))
	drained := s.withStopTimeout(ctx, s.inFlight.drainCalls)
	s.inFlight.cancelAll()
	told := s.withStopTimeout(ctx, func(ctx context.Context) error { return s.backend.Deinitialize(ctx, why) })
	if err := errors.Join(drained, told); err != nil && !errors.Is(err, ErrExited) {
		s.log.Warn().Err(err).Msg("the plugin did not end in order")
	}
	return s.backend.Stop(ctx)
}

// runPostMortem lets the host look at a plugin before it is cleared away.
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

// withStopTimeout does one part of a deactivation within the stop timeout.
func (s *Shell) withStopTimeout(ctx context.Context, part func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.Config().StopTimeout))
	defer cancel()
	return part(ctx)
}

// requestControl is suspend and resume.
func (s *Shell) requestControl(ctx context.Context, event Event, command statecontrol.Command) error {
	control := s.information().StateControl
	if s.State() != Activated || control == nil {
		return fmt.Errorf("cannot %s: %w", event, ErrNoStateControl)
	}
	return s.step(ctx, event, Requested, func(ctx context.Context) error {
		ctx, cancel := s.untilShutdown(ctx, time.Duration(s.Config().CallTimeout))
		defer cancel()
		err := shutdownError(ctx, control.Request(ctx, command))
		if errors.Is(err, statecontrol.ErrIllegalState) {
			return fmt.Errorf("cannot %s: %w: it is already %s", event, ErrIllegalState, command.Target())
		}
		if err != nil {
			return fmt.Errorf("cannot %s: %w", event, err)
		}
		s.recordControl(command.Target())
		return nil
	})
}

// hibernatePlugin is the work of a hibernation: no new call is let in by now.
func (s *Shell) hibernatePlugin(ctx context.Context) error {
	err := s.inFlight.endStreamsAndDrain(ctx, ErrHibernated)
	if err == nil {
		err = s.process.Hibernate(ctx)
	}
	if err != nil {
		s.inFlight.readmitStreams()
	}
	return err
}

// wakePlugin is the work of a wake.
func (s *Shell) wakePlugin(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, s.hibernateLimit)
	defer cancel()
	info, err := s.process.Wake(limited)
	if err != nil {
		return fmt.Errorf("cannot wake: %w", errors.Join(err, s.backend.Stop(ctx)))
	}
	s.setInformation(info)
	s.inFlight.open()
	return nil
}
