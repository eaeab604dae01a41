package shell

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Inherited tells that an earlier host left something behind: Adopt must come
// before any other operation.
func (s *Shell) Inherited() bool {
	_, left := s.inherited()
	return left
}

func (s *Shell) inherited() (why Reason, left bool) {
	if s.process == nil {
		return "", false
	}
	return s.process.Inherited()
}

// Adopt takes over what an earlier host left, or ends it. The instance is then
// active for the same reason as before, or deactivated with the cause kept.
func (s *Shell) Adopt(ctx context.Context) error {
	why, left := s.inherited()
	if !left {
		return nil
	}
	return s.operate(ctx, Adopt, s.activationLimit(), func(ctx context.Context) error {
		err := s.step(ctx, Adopt, why, s.adopt)
		if err == nil {
			s.noteActivated(why)
		}
		return err
	})
}

// adopt is the work of an adoption.
func (s *Shell) adopt(ctx context.Context) error {
	limited, cancel := s.cuttable(ctx, time.Duration(s.Config().StartTimeout))
	defer cancel()
	info, err := s.process.Adopt(limited)
	if err != nil {
		return fmt.Errorf("cannot adopt: %w", cutShort(limited, err))
	}
	s.setInformation(info)
	s.began()
	if info.StateControl != nil {
		now, err := info.StateControl.State(limited)
		if err != nil {
			return fmt.Errorf("cannot adopt: %w", errors.Join(cutShort(limited, err), s.backend.Stop(ctx)))
		}
		s.controlled(now)
	}
	s.flight.open()
	return nil
}

// Leave is the last operation: a plugin that can run on without the host is let
// go once the calls to it have ended, any other is deactivated as by Shutdown.
func (s *Shell) Leave(ctx context.Context) error {
	s.close()
	return s.operate(ctx, Deactivate, s.deactivationLimit(), func(ctx context.Context) error {
		if s.State() != Activated || s.process == nil || !s.process.OutlivesHost() {
			return s.deactivate(ctx, Shutdown)
		}
		drained := s.stopping(ctx, s.flight.drain)
		s.flight.close()
		return errors.Join(drained, s.process.Leave(ctx))
	})
}

// noteActivated passes on that the plugin has become active.
func (s *Shell) noteActivated(why Reason) {
	if s.process != nil {
		s.process.NoteActivated(why)
	}
}
