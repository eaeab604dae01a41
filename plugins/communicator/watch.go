package communicator

import (
	"context"
	"time"

	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// watchStates sends where an instance stands, or each one when callsign is
// empty, and then every change. The watcher is there before the present is looked
// at, so that nothing falls in between; what it is told of twice is left out.
func (e *endpoint) watchStates(ctx context.Context, callsign string, send func(*shellpb.StateChange) error) error {
	w := e.transitions.subscribe(e.own == "", func(t shell.Transition) bool { return callsign == "" || t.Callsign == callsign })
	seen := make(map[string]time.Time) // when the last change that a client knows of was made
	first := func() error {
		for _, sh := range e.Supervisor.Shells() {
			if callsign != "" && sh.Callsign() != callsign {
				continue
			}
			st := sh.Brief()
			seen[sh.Callsign()] = lastOf(st)
			present := shell.Transition{Callsign: sh.Callsign(), To: st.State, Control: st.Control, Reason: st.Reason}
			if err := send(changeOf(present)); err != nil {
				return err
			}
		}
		return nil
	}
	return watch(ctx, e.Communicator, &e.transitions, w, first, func(t shell.Transition) error {
		if !t.At.After(seen[t.Callsign]) {
			return nil
		}
		return send(changeOf(t))
	})
}

// lastOf is when the status became what it is.
func lastOf(st shell.Status) time.Time {
	if len(st.History) == 0 {
		return time.Time{}
	}
	return st.History[len(st.History)-1].At
}
