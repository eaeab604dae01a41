package shell

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Hibernate puts the suspended plugin to sleep, on disk or in place as its configuration
// says. A limit of 0 means the host's own.
func (s *Shell) Hibernate(ctx context.Context, why Reason, limit time.Duration) error {
	return s.runInLane(ctx, Hibernate, s.hibernationTimeLimit(limit), func(ctx context.Context) error {
		if s.process == nil {
			return fmt.Errorf("cannot hibernate: %w", ErrBuiltIn)
		}
		return s.takeStep(ctx, Hibernate, why, s.hibernatePlugin)
	})
}

// MoveToDisk turns a sleep in place into an image on disk; the plugin does not become
// active for that. It does nothing if there is an image already. A limit of 0 means the
// host's own.
func (s *Shell) MoveToDisk(ctx context.Context, why Reason, limit time.Duration) error {
	return s.runInLane(ctx, MoveToDisk, s.hibernationTimeLimit(limit), func(ctx context.Context) error {
		if s.process == nil {
			return fmt.Errorf("cannot move to disk: %w", ErrBuiltIn)
		}
		if s.State() == Hibernated && !s.sleepsInPlace() {
			return nil
		}
		err := s.takeStep(ctx, MoveToDisk, why, s.process.MoveToDisk)
		switch {
		case errors.Is(err, ErrExited): // the plugin did not survive the attempt
			return s.takeStepAfterExit(ctx, err)
		case errors.Is(err, ErrAwake):
			return errors.Join(err, s.activateInTurn(ctx, Failure))
		case err == nil:
			s.log.Info().Msg("went from sleep in place to an image")
		}
		return err
	})
}

// EvictImage gives up the image of a hibernated plugin to make room: the plugin is lost as
// after a crash, and is not told. The status keeps why as its error.
func (s *Shell) EvictImage(ctx context.Context, why error) error {
	return s.runInLane(ctx, Evict, s.ownEndTimeLimit(), func(ctx context.Context) error {
		return s.takeStepWithCause(ctx, Evict, cause{Automatic, why}, func(ctx context.Context) error {
			err := s.process.EndWithoutWake(ctx)
			s.log.Warn().Err(errors.Join(why, err)).Msg("dropped the image of the hibernated plugin, which is lost")
			return err
		})
	})
}

// HibernationObstacle returns an obstacle that is certain to make a hibernation fail now,
// nil if none is known. It waits for no operation and wakes nothing.
func (s *Shell) HibernationObstacle() error {
	if s.process == nil {
		return ErrBuiltIn
	}
	if s.State() != Activated {
		return nil
	}
	if err := s.process.HibernationObstacle(); s.State() == Activated { // otherwise the plugin was ending meanwhile
		return err
	}
	return nil
}

// sleepsInPlace reports whether the hibernated plugin sleeps in place.
func (s *Shell) sleepsInPlace() bool {
	sleep := s.process.Sleep()
	return sleep != nil && sleep.Kind == InPlace
}

// hibernationTimeLimit returns the time limit of a hibernation, at most the host's own.
func (s *Shell) hibernationTimeLimit(wanted time.Duration) time.Duration {
	if wanted <= 0 {
		return s.hibernateTimeLimit
	}
	return min(wanted, s.hibernateTimeLimit)
}

// hibernatePlugin is the work of a hibernation: it waits until nothing is in flight and
// puts the plugin to sleep. New calls are refused or held already.
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

// wakePlugin is the work of a wake: it brings the plugin back and lets calls in again. After
// an error the plugin neither runs nor sleeps.
func (s *Shell) wakePlugin(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, s.hibernateTimeLimit)
	defer cancel()
	info, err := s.process.Wake(limited)
	if err != nil {
		return fmt.Errorf("cannot wake: %w", errors.Join(err, s.backend.Stop(ctx)))
	}
	s.setInformation(info)
	s.inFlight.reopen()
	return nil
}

// wakeBeforeEnd wakes a hibernated plugin so that it can end in order. A plugin that can't be
// woken has ended already.
func (s *Shell) wakeBeforeEnd(ctx context.Context, why Reason) {
	if s.State() != Hibernated {
		return
	}
	if err := s.takeStep(ctx, Wake, why, s.wakePlugin); err != nil {
		s.log.Warn().Err(err).Msg("could not wake the plugin to deactivate it")
	}
}
