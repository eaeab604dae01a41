package shell

import (
	"context"
	"fmt"

	"dormouse/configs"
)

// configure is the event under which a configuration waits for its turn. It
// changes no state.
const configure Event = "configure"

// Configure replaces what the instance was made from, all but the callsign. It
// returns ErrIllegalState while there is a plugin, running or hibernated, that
// was made from the old: the next activation sees the new one.
func (s *Shell) Configure(ctx context.Context, c configs.Plugin) error {
	c.Callsign = s.callsign
	return s.operate(ctx, configure, s.endLimit(), func(context.Context) error {
		switch state := s.State(); state {
		case Deactivated, Unavailable, Precondition:
			s.backend.Configure(c)
			s.config.Store(&c)
			return nil
		default:
			return fmt.Errorf("cannot configure: %w: it is %s", ErrIllegalState, state)
		}
	})
}

// Adjust takes over from c what may change whatever the instance does: its start
// mode, startup order, whether it is resumed, what calls and failed wakes do, its
// restart policy, its timeouts and what happens when it is idle. All the rest of c is left aside.
func (s *Shell) Adjust(c configs.Plugin) {
	for {
		old := s.config.Load()
		now := *old
		now.StartMode, now.StartupOrder, now.Resume = c.StartMode, c.StartupOrder, c.Resume
		now.OnCall, now.OnFailedWake, now.Restart = c.OnCall, c.OnFailedWake, c.Restart
		now.Idling = c.Idling
		now.StartTimeout, now.StopTimeout, now.CallTimeout = c.StartTimeout, c.StopTimeout, c.CallTimeout
		if s.config.CompareAndSwap(old, &now) {
			return
		}
	}
}

// Prepare replaces the plugin's own table for the next activation, whatever the
// instance does now.
func (s *Shell) Prepare(table map[string]any) {
	for {
		old := s.config.Load()
		now := *old
		now.Configuration = table
		if s.config.CompareAndSwap(old, &now) {
			return
		}
	}
}

// Destroy ends the instance for good: a plugin that runs is deactivated first,
// one that is hibernated is woken for that. A destroyed shell refuses everything;
// Close is still to be called.
func (s *Shell) Destroy(ctx context.Context, why Reason) error {
	return s.operate(ctx, Destroy, s.deactivationLimit(), func(ctx context.Context) error {
		s.rouse(ctx, why)
		err := s.finish(ctx, Destroy, why)
		if w, ok := s.warmer(); ok && s.State() == Destroyed {
			w.DropGolden(errDestroyed)
		}
		return err
	})
}
