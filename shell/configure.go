package shell

import (
	"context"
	"fmt"

	"dormouse/configs"
)

// configureEvent is the event under which a configuration waits for its turn. It
// changes no state.
const configureEvent Event = "configure"

// Configure replaces what the instance was made from, all but the callsign. It
// returns ErrIllegalState while there is a plugin, running or hibernated, that
// was made from the old: the next activation sees the new one.
func (s *Shell) Configure(ctx context.Context, c configs.Plugin) error {
	c.Callsign = s.callsign
	return s.runInLane(ctx, configureEvent, s.endLimit(), func(context.Context) error {
		switch state := s.State(); state {
		case Deactivated, Unavailable, Precondition:
			s.config.Store(&c)
			if s.process != nil {
				s.process.RemoveStaleGolden()
			}
			return nil
		default:
			return fmt.Errorf("cannot configure: %w: it is %s", ErrIllegalState, state)
		}
	})
}

// AdjustConfig takes over the adjustable keys of c, see configs.UseAdjust, whatever the
// instance does. All other keys stay as they are.
func (s *Shell) AdjustConfig(c configs.Plugin) {
	for {
		old := s.config.Load()
		now := old.Adjust(c)
		if s.config.CompareAndSwap(old, &now) {
			return
		}
	}
}

// SetNextConfiguration replaces the plugin's own table for the next activation, whatever the
// instance does now.
func (s *Shell) SetNextConfiguration(table map[string]any) {
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
	return s.runInLane(ctx, Destroy, s.deactivationLimit(), func(ctx context.Context) error {
		s.wakeToEnd(ctx, why)
		err := s.endInstance(ctx, Destroy, why)
		if s.wantsWarmStart() && s.State() == Destroyed {
			s.process.InvalidateGolden(errDestroyed)
		}
		return err
	})
}
