package controller

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"

	"dormouse/shell"
	"dormouse/statecontrol"
)

// standing is where the instances stand as their subscribers were told. Whoever
// tells or asks holds the lock, so that a newcomer misses nothing and hears
// nothing twice.
type snapshots struct {
	sync.Mutex

	byCallsign map[string]snapshot
}

type snapshot struct {
	active  bool
	reason  shell.Reason
	control statecontrol.State
}

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
	case t.From == t.To, t.To == shell.Hibernating: // active until it sleeps
	default:
		now.active, now.reason = t.To == shell.Activated, t.Reason
	}
	s.byCallsign[t.Callsign] = now
}

// snapshot is what a new subscriber of the topic is told at once.
func (s *snapshots) eventsFor(t topic, index string) []json.RawMessage {
	var news []json.RawMessage
	for _, callsign := range slices.Sorted(maps.Keys(s.byCallsign)) {
		now, alone := s.byCallsign[callsign], index == callsign
		switch {
		case !now.active || index != "" && !alone:
		case t == stateChange:
			news = append(news, marshalChange(callsign, shell.Activated, now.reason, alone))
		case t == stateControlChange && alone && now.control != "":
			news = append(news, marshalControlChange(callsign, now.control, alone))
		}
	}
	return news
}
