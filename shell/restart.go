package shell

import (
	"context"
	"fmt"
)

// restartEvent is the event under which a restart waits for its turn. It changes no
// state by itself.
const restartEvent Event = "restart"

// RestartIf activates an instance whose plugin has ended by itself, if still, which
// is asked when its turn has come, says that nobody wanted anything else of it
// meanwhile.
func (s *Shell) RestartIf(ctx context.Context, still func() bool) error {
	return s.runInLane(ctx, restartEvent, s.activationLimit(), func(ctx context.Context) error {
		if s.State() != Deactivated || !still() {
			return nil
		}
		return s.activateInTurn(ctx, Automatic)
	})
}

// NoteRestartsGivenUp adds to the status of an instance that is down why it will not be
// started by itself any more.
func (s *Shell) NoteRestartsGivenUp(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != Deactivated || s.failure == nil {
		return
	}
	s.failure = fmt.Errorf("%w; %s", s.failure, why)
	s.changes++
}
