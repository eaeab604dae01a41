package controller

import (
	"encoding/json"

	"dormouse/internal/jsonrpc"
	"dormouse/shell"
	"dormouse/statecontrol"
	"dormouse/supervisor"
)

var _ supervisor.Listener = (*Front)(nil)

// Events of the callsign Controller.
var (
	stateChange        = topic{Callsign, "statechange"}
	stateControlChange = topic{Callsign, "statecontrolstatechange"}
	allEvents          = topic{Callsign, "all"}
)

// Transition tells the subscribers of the Controller's events.
func (f *Front) Transition(t shell.Transition) {
	f.count(t)
	if t.From == t.To {
		f.controlChanged(t)
		return
	}
	if !announced(t) || !f.events.any(stateChange) && !f.events.any(allEvents) {
		return
	}
	type change struct {
		Callsign string `json:"callsign,omitempty"`
		State    string `json:"state"`
		Reason   string `json:"reason"`
	}
	c := change{State: pascal(string(t.To)), Reason: pascal(string(t.Reason))}
	alone := marshal(c)
	c.Callsign = t.Callsign
	f.events.publish(stateChange, either(t.Callsign, marshal(c), alone))
	f.publishAll(t.Callsign, stateChange.event, marshal(change{State: string(t.To), Reason: c.Reason}))
}

// Notification passes an event of a plugin on to those who registered for it
// with its callsign.
func (f *Front) Notification(callsign string, n shell.Notification) {
	t := topic{callsign, n.Event}
	if !f.events.any(t) && !f.events.any(allEvents) {
		return
	}
	if len(n.Params) > 0 && !jsonrpc.Valid(n.Params) {
		f.log.Warn().Str("callsign", callsign).Str("event", n.Event).Msg("dropped an event whose parameters are not JSON")
		return
	}
	f.events.publish(t, func(index string) (json.RawMessage, bool) {
		return n.Params, n.Index == "" || n.Index == index
	})
	f.publishAll(callsign, n.Event, n.Params)
}

// Subsystems tells the subscribers which have changed.
func (f *Front) Subsystems([]supervisor.Subsystem) {}

func (f *Front) controlChanged(t shell.Transition) {
	if t.Control != statecontrol.Suspended && t.Control != statecontrol.Resumed {
		return
	}
	type change struct {
		Callsign string `json:"callsign,omitempty"`
		State    string `json:"state"`
	}
	state := pascal(string(t.Control))
	f.events.publish(stateControlChange, either(t.Callsign, marshal(change{t.Callsign, state}), marshal(change{State: state})))
}

func (f *Front) publishAll(callsign, event string, params json.RawMessage) {
	if !f.events.any(allEvents) {
		return
	}
	whole := marshal(f.dialect.all(callsign, event, params))
	f.events.publish(allEvents, func(index string) (json.RawMessage, bool) {
		return whole, index == "" || index == callsign
	})
}

// announced tells whether a transition is news to clients: those into a state
// in between are not, nor is a hibernation that failed and changed nothing.
func announced(t shell.Transition) bool {
	switch t.To {
	case shell.Deactivated, shell.Hibernated, shell.Unavailable:
		return true
	case shell.Activated:
		return t.From != shell.Hibernating
	default:
		return false
	}
}

// either sends whole to subscribers of everything and alone to those who
// registered for the callsign, who know which one it is.
func either(callsign string, whole, alone json.RawMessage) func(string) (json.RawMessage, bool) {
	return func(index string) (json.RawMessage, bool) {
		switch index {
		case "":
			return whole, true
		case callsign:
			return alone, true
		}
		return nil, false
	}
}
