package shell

import (
	"context"
	"errors"
	"fmt"

	"dormouse/statecontrol"
)

// PutImageBack lets the plugin sleep again in the image of that generation, which was put
// aside; 0 stands for the newest. It returns the generation. The error wraps ErrBuiltIn for a
// built-in, ErrIllegalState unless the instance is deactivated or waits for its requirements,
// and hibernate.ErrNoImage if no such image is there.
func (s *Shell) PutImageBack(ctx context.Context, why Reason, generation uint64) (putBack uint64, err error) {
	if s.process == nil {
		return 0, fmt.Errorf("cannot put an image back: %w", ErrBuiltIn)
	}
	if s.unstartable != nil {
		return 0, fmt.Errorf("cannot put an image back: %w: %w", ErrIllegalState, s.unstartable)
	}
	err = s.runInLane(ctx, PutBack, s.hibernateTimeLimit, func(ctx context.Context) error {
		return s.takeStep(ctx, PutBack, why, func(context.Context) (err error) {
			if putBack, err = s.process.PutImageBack(generation); err != nil {
				return fmt.Errorf("cannot put an image back: %w", err)
			}
			s.mu.Lock()
			s.control = statecontrol.Suspended
			s.mu.Unlock()
			s.loadKnownInformation()
			return nil
		})
	})
	if err == nil && putBack == 0 { // another caller's request has just done it
		err = errors.New("cannot put an image back: one was put back just now")
	}
	return putBack, err
}
