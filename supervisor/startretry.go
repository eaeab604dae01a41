package supervisor

import (
	"errors"
	"time"

	"dormouse/internal/atomicfile"
	"dormouse/shell"
)

// How soon a start is repeated that failed for a cause which passes: after firstStartRetry, then
// after twice as long each time, up to maxStartRetry.
const (
	firstStartRetry = 2 * time.Second
	maxStartRetry   = time.Minute
)

// startRetry is what an instance has of starts that fail because a disk is full, or because what is
// left of the plugin before has not ended. The host repeats those of its own, whatever the restart
// policy, and does not count them as restarts: the plugin is not to blame.
type startRetry struct {
	byHost bool // the activation under way, or the last one, is the host's own
	waits  bool // the host repeats its start until the cause has passed
	times  int  // it was repeated
}

// note notes a transition, and reports whether the start that it ends is to be repeated.
func (r *startRetry) note(t shell.Transition) (repeat bool) {
	switch {
	case t.To == shell.Activation:
		r.byHost = isHostsOwnStart(t.Reason)
	case t.To == shell.Deactivated && t.Event == shell.Activate && passes(t.Err):
		r.waits = r.waits || r.byHost
		return r.waits
	case t.To == shell.Deactivated || t.To == shell.Activated:
		*r = startRetry{}
	}
	return false
}

// passes reports whether a start fails for a cause that passes by itself.
func passes(err error) bool {
	return atomicfile.IsNoRoom(err) || errors.Is(err, shell.ErrUnended)
}

// isHostsOwnStart reports whether the host itself started the plugin for that reason.
func isHostsOwnStart(why shell.Reason) bool {
	return why == shell.Startup || why == shell.Automatic || why == shell.Conditions
}

// planStartRetry has an instance started again after a pause. The caller holds mu.
func (r *restarts) planStartRetry(sh *shell.Shell, state *restartState) {
	pause := min(firstStartRetry<<min(state.retry.times, 10), maxStartRetry)
	state.retry.times++
	r.s.log.Info().Str("callsign", sh.Callsign()).Stringer("in", pause).Msg("will start the plugin again, in case what was in its way has passed then")
	r.restartLater(sh, state, pause, func() {})
}
