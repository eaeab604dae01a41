package shell

import (
	"context"
	"fmt"
)

// RestartEvent is the event under which a restart waits for its turn. It changes no
// state itself.
const RestartEvent Event = "restart"

// RestartIf activates an instance after its plugin has ended by itself. It does nothing if,
// when the turn comes, the instance is not deactivated or wanted returns false.
func (s *Shell) RestartIf(ctx context.Context, wanted func() bool) error {
	return s.runInLane(ctx, RestartEvent, s.activationTimeLimit(), func(ctx context.Context) error {
		if s.State() != Deactivated || !wanted() {
			return nil
		}
		return s.activateHoldingTurn(ctx, Automatic)
	})
}

// NoteRestartsGivenUp adds to the error in the status why the instance is not restarted any
// more. It does nothing unless the instance was deactivated by a failure.
func (s *Shell) NoteRestartsGivenUp(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != Deactivated || s.failure == nil {
		return
	}
	s.failure = fmt.Errorf("%w; %s", s.failure, why)
	s.changes++
}
