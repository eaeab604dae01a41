package supervisor

import (
	"time"

	"dormouse/internal/atomicfile"
	"dormouse/shell"
)

// How soon a start is repeated that failed because a disk was full: after firstRoomRetry, then
// after twice as long each time, up to maxRoomRetry.
const (
	firstRoomRetry = 2 * time.Second
	maxRoomRetry   = time.Minute
)

// roomRetry is what an instance has of starts that fail because a disk is full. The host
// repeats those of its own, whatever the restart policy, and does not count them as restarts:
// the plugin is not to blame.
type roomRetry struct {
	byHost bool // the activation under way, or the last one, is the host's own
	waits  bool // the host repeats its start until there is room
	times  int  // it was repeated
}

// note notes a transition, and reports whether the start that it ends is to be repeated.
func (r *roomRetry) note(t shell.Transition) (repeat bool) {
	switch {
	case t.To == shell.Activation:
		r.byHost = isHostsOwnStart(t.Reason)
	case t.To == shell.Deactivated && t.Event == shell.Activate && atomicfile.IsNoRoom(t.Err):
		r.waits = r.waits || r.byHost
		return r.waits
	case t.To == shell.Deactivated || t.To == shell.Activated:
		*r = roomRetry{}
	}
	return false
}

// isHostsOwnStart reports whether the host itself started the plugin for that reason.
func isHostsOwnStart(why shell.Reason) bool {
	return why == shell.Startup || why == shell.Automatic || why == shell.Conditions
}

// planRoomRetry has an instance started again after a pause. The caller holds mu.
func (r *restarts) planRoomRetry(sh *shell.Shell, state *restartState) {
	pause := min(firstRoomRetry<<min(state.room.times, 10), maxRoomRetry)
	state.room.times++
	r.s.log.Info().Str("callsign", sh.Callsign()).Stringer("in", pause).Msg("will start the plugin again, in case the disk has room then")
	r.restartLater(sh, state, pause, func() {})
}
