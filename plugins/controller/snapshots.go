package controller

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"

	"dormouse/shell"
	"dormouse/statecontrol"
)

// snapshots is the state of each instance as subscribers were last told. Publishing
// an event and adding a subscriber hold the lock, so that a new subscriber misses
// no event and gets none twice.
type snapshots struct {
	sync.Mutex

	byCallsign map[string]snapshot
}

// snapshot is the state of one instance.
type snapshot struct {
	active  bool
	reason  shell.Reason
	control statecontrol.State
}

// update keeps the state after a transition. The caller holds the lock.
func (s *snapshots) update(t shell.Transition) {
	if s.byCallsign == nil {
		s.byCallsign = make(map[string]snapshot)
	}
	now := s.byCallsign[t.Callsign]
	now.control = t.Control
	switch {
	case t.To == shell.Destroyed:
		delete(s.byCallsign, t.Callsign)
		return
	case t.From == t.To, t.To == shell.Hibernating: // for clients still active
	default:
		now.active, now.reason = t.To == shell.Activated, t.Reason
	}
	s.byCallsign[t.Callsign] = now
}

// eventsFor returns the parameters of the events that tell a new subscriber of the
// topic the present state. The caller holds the lock.
func (s *snapshots) eventsFor(t topic, index string) []json.RawMessage {
	var events []json.RawMessage
	for _, callsign := range slices.Sorted(maps.Keys(s.byCallsign)) {
		now := s.byCallsign[callsign]
		switch {
		case !now.active || index != "" && index != callsign:
		case t == stateChange && index == "":
			events = append(events, marshalChange(callsign, shell.Activated, now.reason))
		case t == stateChange:
			events = append(events, marshalChange("", shell.Activated, now.reason))
		case t == stateControlChange && index != "" && now.control != "":
			events = append(events, marshalControlChange("", now.control))
		}
	}
	return events
}
