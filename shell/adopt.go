package shell

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// NeedsAdoption tells that an earlier host left something behind: Adopt must come
// before any other operation.
func (s *Shell) NeedsAdoption() bool {
	_, left := s.inheritedReason()
	return left
}

func (s *Shell) inheritedReason() (why Reason, left bool) {
	if s.process == nil {
		return "", false
	}
	return s.process.Inherited()
}

// Adopt takes over what an earlier host left, or ends it. The instance is then
// active for the same reason as before, or deactivated with the cause kept.
func (s *Shell) Adopt(ctx context.Context) error {
	why, left := s.inheritedReason()
	if !left {
		return nil
	}
	return s.runInLane(ctx, Adopt, s.activationLimit(), func(ctx context.Context) error {
		err := s.step(ctx, Adopt, why, s.adoptPlugin)
		if err == nil {
			s.noteActivated(why)
		}
		return err
	})
}

// adoptPlugin is the work of an adoption.
func (s *Shell) adoptPlugin(ctx context.Context) error {
	limited, cancel := s.untilShutdown(ctx, time.Duration(s.Config().StartTimeout))
	defer cancel()
	info, err := s.process.Adopt(limited)
	if err != nil {
		return fmt.Errorf("cannot adopt: %w", shutdownError(limited, err))
	}
	s.setInformation(info)
	s.noteStart()
	if info.StateControl != nil {
		now, err := info.StateControl.State(limited)
		if err != nil {
			return fmt.Errorf("cannot adopt: %w", errors.Join(shutdownError(limited, err), s.backend.Stop(ctx)))
		}
		s.recordControl(now)
	}
	s.inFlight.open()
	return nil
}

// Leave is the last operation: a plugin that can run on without the host is let
// go once the calls to it have ended, any other is deactivated as by Shutdown.
func (s *Shell) Leave(ctx context.Context) error {
	s.beginClosing()
	return s.runInLane(ctx, Deactivate, s.deactivationLimit(), func(ctx context.Context) error {
		if s.State() != Activated || s.process == nil || !s.process.OutlivesHost() {
			return s.deactivateInTurn(ctx, Shutdown)
		}
		drained := s.withStopTimeout(ctx, s.inFlight.drainCalls)
		s.inFlight.cancelAll()
		return errors.Join(drained, s.process.Leave(ctx))
	})
}

// noteActivated passes on that the plugin has become active.
func (s *Shell) noteActivated(why Reason) {
	if s.process != nil {
		s.process.NoteActivated(why)
	}
}
