package shell

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Hibernate ends the streams, waits until no call is in flight, and puts the plugin to
// sleep, on disk or in place as its configuration says. Limit bounds all of that; 0 means
// the host's own limit. The error wraps ErrBuiltIn for a built-in and ErrIllegalState
// unless the plugin is active and suspended.
func (s *Shell) Hibernate(ctx context.Context, why Reason, limit time.Duration) error {
	return s.runInLane(ctx, Hibernate, s.hibernationTimeLimit(limit), func(ctx context.Context) error {
		if s.process == nil {
			return fmt.Errorf("cannot hibernate: %w", ErrBuiltIn)
		}
		return s.takeStep(ctx, Hibernate, why, s.drainAndHibernate)
	})
}

// MoveToDisk turns a sleep in place into an image on disk; the instance stays hibernated
// meanwhile. It does nothing if there is an image already. After an error the plugin sleeps
// in place as before, unless the error wraps ErrExited (the instance is deactivated) or
// ErrAwake (the instance is active). A limit of 0 means the host's own.
func (s *Shell) MoveToDisk(ctx context.Context, why Reason, limit time.Duration) error {
	return s.runInLane(ctx, MoveToDisk, s.hibernationTimeLimit(limit), func(ctx context.Context) error {
		if s.process == nil {
			return fmt.Errorf("cannot move to disk: %w", ErrBuiltIn)
		}
		if s.State() == Hibernated && !s.sleepsInPlace() {
			return nil
		}
		return s.moveToDiskHoldingTurn(ctx, why)
	})
}

// moveToDiskHoldingTurn is MoveToDisk for a plugin that sleeps in place, for a caller that has
// the turn.
func (s *Shell) moveToDiskHoldingTurn(ctx context.Context, why Reason) error {
	err := s.takeStep(ctx, MoveToDisk, why, s.process.MoveToDisk)
	switch {
	case errors.Is(err, ErrExited): // the plugin did not survive the attempt
		return s.stopAfterExit(ctx, err)
	case errors.Is(err, ErrAwake):
		return errors.Join(err, s.activateHoldingTurn(ctx, Failure))
	case err == nil:
		s.log.Info().Msg("went from sleep in place to an image")
	}
	return err
}

// endWithoutWake gives up what a hibernated plugin sleeps in, because of why, and reports the
// loss. The caller has the turn.
func (s *Shell) endWithoutWake(ctx context.Context, why cause) error {
	return s.takeStepWithCause(ctx, Evict, why, func(ctx context.Context) error {
		asleep := s.process.Sleep()
		err := s.process.EndWithoutWake(ctx)
		s.reportLoss(asleep, Loss{Cause: errors.Join(why.err, err)})
		return err
	})
}

// EvictImage gives up the image of a hibernated plugin to make room: the plugin is lost as
// after a crash, and is not told. The instance is deactivated, with why as the error in its
// status. EvictImage returns ErrIllegalState unless the instance is hibernated.
func (s *Shell) EvictImage(ctx context.Context, why error) error {
	return s.runInLane(ctx, Evict, s.endTimeLimitAlone(), func(ctx context.Context) error {
		return s.endWithoutWake(ctx, cause{Automatic, why})
	})
}

// HibernationObstacle returns an obstacle that is certain to make a hibernation fail now,
// ErrBuiltIn for a built-in. It returns nil if no obstacle is known or the instance is not
// active. It waits for no operation and wakes nothing.
func (s *Shell) HibernationObstacle() (obstacle error) {
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

// hibernationTimeLimit returns the time limit of a hibernation: the wanted one, or the
// host's own if that is shorter or none is wanted.
func (s *Shell) hibernationTimeLimit(wanted time.Duration) time.Duration {
	if wanted <= 0 {
		return s.hibernateTimeLimit
	}
	return min(wanted, s.hibernateTimeLimit)
}

// drainAndHibernate is the work of a hibernation: it ends the streams, waits until no
// call is in flight, and puts the plugin to sleep. New calls are refused or held
// already. After an error new streams are let in again.
func (s *Shell) drainAndHibernate(ctx context.Context) error {
	err := s.inFlight.endStreamsAndDrain(ctx, ErrHibernated)
	if err == nil {
		err = s.process.Hibernate(ctx)
	}
	if err != nil {
		s.inFlight.readmitStreams()
	}
	return err
}
