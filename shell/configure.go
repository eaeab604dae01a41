package shell

import (
	"context"
	"fmt"

	"dormouse/configs"
)

// configureEvent is the event under which a new configuration waits for its turn. It
// changes no state.
const configureEvent Event = "configure"

// Configure replaces the instance's configuration, all but the callsign, and removes a
// golden image that the new one makes useless. It returns ErrIllegalState while the plugin
// runs or sleeps.
func (s *Shell) Configure(ctx context.Context, c configs.Plugin) error {
	c.Callsign = s.callsign
	return s.runInLane(ctx, configureEvent, s.endTimeLimitAlone(), func(context.Context) error {
		if state := s.State(); !state.IsDown() {
			return fmt.Errorf("cannot configure: %w: it is %s", ErrIllegalState, state)
		}
		s.config.Store(&c)
		if s.process != nil {
			s.process.RemoveStaleGolden()
		}
		return nil
	})
}

// AdjustConfig takes over the keys of c that may change while the plugin runs, see
// configs.UseAdjust. All other keys stay as they are.
func (s *Shell) AdjustConfig(c configs.Plugin) {
	s.changeConfig(func(now *configs.Plugin) { *now = now.WithAdjustableKeysOf(c) })
}

// SetNextConfiguration replaces the plugin's own table, which the plugin gets at its next
// activation.
func (s *Shell) SetNextConfiguration(table map[string]any) {
	s.changeConfig(func(now *configs.Plugin) { now.Configuration = table })
}

// changeConfig applies change to a copy of the configuration and stores the copy.
func (s *Shell) changeConfig(change func(*configs.Plugin)) {
	for {
		old := s.config.Load()
		now := *old
		change(&now)
		if s.config.CompareAndSwap(old, &now) {
			return
		}
	}
}
