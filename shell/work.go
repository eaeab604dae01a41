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

// start is the work of an activation.
func (s *Shell) start(ctx context.Context) error {
	s.backend.Configure(s.Config()) // with what was adjusted since the last time
	begin, cancel := s.cuttable(ctx, s.activationLimit())
	defer cancel()
	if !s.startWarm(begin) {
		if err := cutShort(begin, s.startCold(begin)); err != nil {
			s.document(reasonOf(Activate, err, Failure), err)
			return errors.Join(err, s.backend.Stop(ctx))
		}
	}
	s.flight.open()
	return nil
}

// startCold starts the plugin from nothing.
func (s *Shell) startCold(ctx context.Context) error {
	err := ctx.Err()
	if err == nil {
		err = s.launch(ctx)
	}
	if err == nil {
		err = s.preserve(ctx)
	}
	if err == nil {
		err = s.startControl(ctx)
	}
	if err == nil {
		s.began()
	}
	return err
}

// launch brings a new process to where Initialize has succeeded.
func (s *Shell) launch(ctx context.Context) error {
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

// startControl brings the plugin's state control, if it has one, to where its
// configuration wants it.
func (s *Shell) startControl(ctx context.Context) error {
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
	s.controlled(now)
	return nil
}

// end is the work of a deactivation. Calls that don't end in time are given up,
// but the plugin still gets to store what it wants to keep.
func (s *Shell) end(ctx context.Context, why Reason) error {
	s.document(why, nil) // while it is as it was
	s.judge(failureOf(why))
	drained := s.stopping(ctx, s.flight.drain)
	s.flight.close()
	told := s.stopping(ctx, func(ctx context.Context) error { return s.backend.Deinitialize(ctx, why) })
	if err := errors.Join(drained, told); err != nil && !errors.Is(err, ErrExited) {
		s.log.Warn().Err(err).Msg("the plugin did not end in order")
	}
	return s.backend.Stop(ctx)
}

// document lets the host look at a plugin before it is cleared away.
func (s *Shell) document(why Reason, err error) {
	if s.postMortem == nil {
		return
	}
	s.postMortem(why, err, func() Evidence {
		if s.process == nil {
			return Evidence{}
		}
		return s.process.Evidence()
	})
}

// stopping does one part of a deactivation within the stop timeout.
func (s *Shell) stopping(ctx context.Context, part func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.Config().StopTimeout))
	defer cancel()
	return part(ctx)
}

// request is suspend and resume.
func (s *Shell) request(ctx context.Context, event Event, command statecontrol.Command) error {
	control := s.information().StateControl
	if s.State() != Activated || control == nil {
		return fmt.Errorf("cannot %s: %w", event, ErrNoStateControl)
	}
	return s.step(ctx, event, Requested, func(ctx context.Context) error {
		ctx, cancel := s.cuttable(ctx, time.Duration(s.Config().CallTimeout))
		defer cancel()
		err := cutShort(ctx, control.Request(ctx, command))
		if errors.Is(err, statecontrol.ErrIllegalState) {
			return fmt.Errorf("cannot %s: %w: it is already %s", event, ErrIllegalState, command.Target())
		}
		if err != nil {
			return fmt.Errorf("cannot %s: %w", event, err)
		}
		s.controlled(command.Target())
		return nil
	})
}

// hibernate is the work of a hibernation: no new call is let in by now.
func (s *Shell) hibernate(ctx context.Context) error {
	err := s.flight.empty(ctx, ErrHibernated)
	if err == nil {
		err = s.process.Hibernate(ctx)
	}
	if err != nil {
		s.flight.refill()
	}
	return err
}

// wake is the work of a wake.
func (s *Shell) wake(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, s.hibernateLimit)
	defer cancel()
	info, err := s.process.Wake(limited)
	if err != nil {
		return fmt.Errorf("cannot wake: %w", errors.Join(err, s.backend.Stop(ctx)))
	}
	s.setInformation(info)
	s.flight.open()
	return nil
}
