package controller

import "dormouse/configs"

// access is what a caller may do. Each level includes those before it.
type access int

const (
	accessRead    access = 1 + iota // see states, figures and the host's events
	accessCall                      // call plugins and get their events
	accessOperate                   // move instances along their lifecycle
	accessAdmin                     // change what instances there are, their configuration, the host
)

// hasAccess reports whether the caller may call methods that need that access. Today
// every caller has all access, because the host listens on loopback addresses only. A
// method for which no access is set may not be called.
func (from caller) hasAccess(needed access) bool { return needed != 0 }

// neededAccess returns the access that a caller needs for the request: writeAccess to
// write a variable, and only accessRead to subscribe to the Controller's events.
func (m *method) neededAccess(r request) access {
	switch {
	case m.form == variable && r.raw != nil:
		return m.writeAccess
	case m.access == accessCall && r.shell.Callsign() == configs.ControllerCallsign:
		return accessRead // the Controller's events are the host's own
	}
	return m.access
}
