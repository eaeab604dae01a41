package shell

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Deepen turns a plugin that sleeps in place into an image on disk, without its
// being active in between. It does nothing when there is an image already. A limit
// of 0 means the host's own.
func (s *Shell) Deepen(ctx context.Context, why Reason, limit time.Duration) error {
	if limit <= 0 || limit > s.hibernateLimit {
		limit = s.hibernateLimit
	}
	return s.operate(ctx, Deepen, limit, func(ctx context.Context) error {
		deepener, ok := s.hibernator.(Deepener)
		if !ok {
			return fmt.Errorf("cannot deepen the sleep: %w", ErrNotSupported)
		}
		if s.State() == Hibernated && !s.inPlace() {
			return nil
		}
		err := s.step(ctx, Deepen, why, deepener.Deepen)
		switch {
		case errors.Is(err, ErrExited): // it did not survive what should have left it asleep
			return s.step(ctx, Exit, reasonOfExit(err), s.bury(err))
		case errors.Is(err, ErrAwake):
			return errors.Join(err, s.activate(ctx, Failure))
		case err == nil:
			s.log.Info().Msg("went from sleep in place to an image")
		}
		return err
	})
}

// inPlace tells whether the plugin, which is hibernated, sleeps where it is, and so
// can end.
func (s *Shell) inPlace() bool {
	image := s.hibernator.Image()
	return image != nil && image.InPlace
}
