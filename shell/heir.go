package shell

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Heir is a Backend whose plugin may outlive the host that started it.
type Heir interface {
	// Activated is called each time the plugin has become active, and why: the
	// next host will want to know.
	Activated(why Reason)
	// Inherited tells whether an earlier host left something to decide about, and
	// why the plugin was active.
	Inherited() (why Reason, left bool)
	// Adopt takes the plugin over that an earlier host left running. After an error
	// nothing of it runs any more, and the error says why it was not taken over.
	Adopt(ctx context.Context) (Information, error)
	// Stays tells whether the plugin would run on without this host.
	Stays() bool
	// Leave lets go of the running plugin, without a word to it.
	Leave(ctx context.Context) error
}

// Inherited tells that an earlier host left something behind: Adopt must come
// before any other operation.
func (s *Shell) Inherited() bool {
	_, left := s.inherited()
	return left
}

func (s *Shell) inherited() (why Reason, left bool) {
	if heir, ok := s.backend.(Heir); ok {
		return heir.Inherited()
	}
	return "", false
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
			s.activated(why)
		}
		return err
	})
}

// adopt is the work of an adoption.
func (s *Shell) adopt(ctx context.Context) error {
	heir := s.backend.(Heir) //nolint:errcheck // whoever has inherited is one
	limited, cancel := s.cuttable(ctx, time.Duration(s.Config().StartTimeout))
	defer cancel()
	info, err := heir.Adopt(limited)
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
		heir, ok := s.backend.(Heir)
		if s.State() != Activated || !ok || !heir.Stays() {
			return s.deactivate(ctx, Shutdown)
		}
		drained := s.stopping(ctx, s.flight.drain)
		s.flight.close()
		return errors.Join(drained, heir.Leave(ctx))
	})
}

// activated passes on that the plugin has become active.
func (s *Shell) activated(why Reason) {
	if heir, ok := s.backend.(Heir); ok {
		heir.Activated(why)
	}
}
