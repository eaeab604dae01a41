package shell

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Hibernate turns the suspended plugin into an image on disk. A limit of 0
// means the host's own.
func (s *Shell) Hibernate(ctx context.Context, why Reason, limit time.Duration) error {
	if limit <= 0 || limit > s.hibernateLimit {
		limit = s.hibernateLimit
	}
	return s.runInLane(ctx, Hibernate, limit, func(ctx context.Context) error {
		if s.process == nil {
			return fmt.Errorf("cannot hibernate: %w", ErrBuiltIn)
		}
		return s.step(ctx, Hibernate, why, s.hibernatePlugin)
	})
}

// Evict gives the image of a hibernated plugin up, to make room: the plugin is lost
// as after a crash, and can't be told. why is kept as the reason.
func (s *Shell) Evict(ctx context.Context, why error) error {
	return s.runInLane(ctx, Evict, s.endLimit(), func(ctx context.Context) error {
		var dropped error
		err := s.step(ctx, Evict, Automatic, func(ctx context.Context) error {
			dropped = s.process.EndSleep(ctx)
			return errors.Join(why, dropped)
		})
		if s.State() == Deactivated && errors.Is(err, why) {
			s.log.Warn().Err(err).Msg("dropped the image of the hibernated plugin, which is lost")
			return dropped
		}
		return err
	})
}

// MoveToDisk turns a plugin that sleeps in place into an image on disk, without its
// being active in between. It does nothing when there is an image already. A limit
// of 0 means the host's own.
func (s *Shell) MoveToDisk(ctx context.Context, why Reason, limit time.Duration) error {
	if limit <= 0 || limit > s.hibernateLimit {
		limit = s.hibernateLimit
	}
	return s.runInLane(ctx, MoveToDisk, limit, func(ctx context.Context) error {
		if s.process == nil {
			return fmt.Errorf("cannot move to disk: %w", ErrBuiltIn)
		}
		if s.State() == Hibernated && !s.sleepsInPlace() {
			return nil
		}
		err := s.step(ctx, MoveToDisk, why, s.process.MoveToDisk)
		switch {
		case errors.Is(err, ErrExited): // it did not survive what should have left it asleep
			return s.step(ctx, Exit, exitReason(err), s.afterExit(err))
		case errors.Is(err, ErrAwake):
			return errors.Join(err, s.activateInTurn(ctx, Failure))
		case err == nil:
			s.log.Info().Msg("went from sleep in place to an image")
		}
		return err
	})
}

// sleepsInPlace tells whether the plugin, which is hibernated, sleeps where it is, and so
// can end.
func (s *Shell) sleepsInPlace() bool {
	sleep := s.process.Sleep()
	return sleep != nil && sleep.Kind == InPlace
}

// HibernationObstacle tells what would stop a hibernation now, nil for nothing that is known.
// It waits for no operation and wakes nothing.
func (s *Shell) HibernationObstacle() error {
	if s.process == nil {
		return ErrBuiltIn
	}
	if s.State() != Activated {
		return nil
	}
	if err := s.process.HibernationObstacle(); s.State() == Activated { // what was found may be half of an end
		return err
	}
	return nil
}
