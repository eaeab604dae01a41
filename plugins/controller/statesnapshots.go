package controller

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"

	"dormouse/shell"
	"dormouse/statecontrol"
)

// stateSnapshots is the state of each instance in the events that were sent last. The
// lock is held while an event is published and while a subscriber is added, so that
// a new subscriber misses no event and gets none twice.
type stateSnapshots struct {
	sync.Mutex

	byCallsign map[string]stateSnapshot
}

// stateSnapshot is the state of one instance.
type stateSnapshot struct {
	active  bool
	reason  shell.Reason
	control statecontrol.State
	// ownStateChange is set once the plugin itself has sent an event statechange.
	ownStateChange bool
}

// noteOwnStateChange records that the plugin itself sends events statechange.
func (s *stateSnapshots) noteOwnStateChange(callsign string) {
	s.Lock()
	defer s.Unlock()
	if s.byCallsign == nil {
		s.byCallsign = make(map[string]stateSnapshot)
	}
	now := s.byCallsign[callsign]
	now.ownStateChange = true
	s.byCallsign[callsign] = now
}

// recordOrForget records the state after a transition; a destroyed instance is forgotten. An
// instance that is being hibernated still counts as active. The caller holds the lock.
func (s *stateSnapshots) recordOrForget(t shell.Transition) {
	if s.byCallsign == nil {
		s.byCallsign = make(map[string]stateSnapshot)
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

// eventParamsForNewSubscriber returns the parameters of the events with the present state of
// each active instance, for a new subscriber of the topic with that index. Only the
// topics of state changes have such events. The caller holds the lock.
func (s *stateSnapshots) eventParamsForNewSubscriber(t topic, index string) []json.RawMessage {
	var events []json.RawMessage
	for _, callsign := range slices.Sorted(maps.Keys(s.byCallsign)) {
		now := s.byCallsign[callsign]
		switch {
		case !now.active || index != "" && index != callsign:
		case t == stateChange && index == "":
			events = append(events, marshalStateChange(callsign, shell.Activated, now.reason))
		case t == stateChange:
			events = append(events, marshalStateChange("", shell.Activated, now.reason))
		case t == stateControlChange && index != "" && now.control != "":
			events = append(events, marshalStateControlChange("", now.control))
		}
	}
	return events
}
