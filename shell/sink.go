package shell

import (
	"context"
	"errors"

	"dormouse/statecontrol"
)

// sink is the shell as its backend sees it.
type sink struct{ s *Shell }

// Exited gives the running calls up at once, for an operation may be waiting
// for them. The rest has its turn in the lane, however long that takes.
func (k sink) Exited(err error) {
	s := k.s
	s.mu.Lock()
	generation := s.generation
	s.mu.Unlock()
	s.flight.close()
	s.later(func() {
		_ = s.lane.do(context.Background(), Exit, func() error {
			state := s.State()
			runs := state == Activated || state == Hibernated && s.inPlace()
			s.mu.Lock()
			stale := s.generation != generation || !runs
			s.mu.Unlock()
			if stale {
				return nil
			}
			ctx, cancel := context.WithTimeout(context.Background(), s.deactivationLimit())
			defer cancel()
			return s.step(ctx, Exit, reasonOfExit(err), s.bury(err))
		})
	})
}

// bury is the work after an end that nobody asked for.
func (s *Shell) bury(cause error) func(context.Context) error {
	return func(ctx context.Context) error {
		s.flight.close()
		s.document(reasonOfExit(cause), cause)
		s.judge(cause)
		return errors.Join(cause, s.backend.Stop(ctx))
	}
}

func (k sink) Notify(n Notification) { k.s.observer.Notification(k.s.Callsign(), n) }

func (k sink) ControlChanged(to statecontrol.State) { k.s.controlled(to) }
