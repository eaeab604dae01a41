package controller

import (
	"encoding/json"

	"dormouse/configs"
	"dormouse/internal/jsonrpc"
	"dormouse/plugins/controller/dialect"
	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/statecontrol"
	"dormouse/supervisor"
)

var _ supervisor.Listener = (*Front)(nil)

// Events of the callsign Controller.
var (
	stateChange        = topic{configs.ControllerCallsign, "statechange"}
	stateControlChange = topic{configs.ControllerCallsign, "statecontrolstatechange"}
	subsystemChange    = topic{configs.ControllerCallsign, "subsystemchange"}
	allEvents          = topic{configs.ControllerCallsign, "all"}
)

// controlChanged is the event of every callsign whose plugin has state control.
const controlChanged = controlPrefix + "statechanged"

// Transition tells the subscribers of the Controller's events.
func (f *Front) Transition(t shell.Transition) {
	f.countTransition(t)
	f.snapshots.Lock()
	defer f.snapshots.Unlock()
	f.snapshots.update(t)
	if t.From == t.To {
		if t.To != shell.Activation { // who is not active yet is not told of
			f.publishControlState(t)
		}
		return
	}
	f.publishState(t)
	if t.From == shell.Activation {
		f.publishControlState(t)
	}
}

func (f *Front) publishState(t shell.Transition) {
	state, news := announcedState(t)
	if !news || !f.events.hasSubscribers(stateChange) && !f.events.hasSubscribers(allEvents) {
		return
	}
	f.events.publish(stateChange, paramsByIndex(t.Callsign,
		marshalChange(t.Callsign, state, t.Reason, false), marshalChange(t.Callsign, state, t.Reason, true)))
	f.publishAll(t.Callsign, stateChange.event, jsonrpc.MustMarshal(change{State: string(state), Reason: thunder.PascalCase(string(t.Reason))}))
}

// Notification passes an event of a plugin on to those who registered for it
// with its callsign.
func (f *Front) Notification(callsign string, n shell.Notification) {
	t := topic{callsign, n.Event}
	if !f.events.hasSubscribers(t) && !f.events.hasSubscribers(allEvents) {
		return
	}
	if len(n.Params) > 0 && !jsonrpc.Valid(n.Params) {
		f.log.Warn().Str("callsign", callsign).Str("event", n.Event).Msg("dropped an event whose parameters are not JSON")
		return
	}
	f.events.publish(t, func(s subscription) (json.RawMessage, bool) {
		return n.Params, n.Index == "" || n.Index == s.index
	})
	f.publishAll(callsign, n.Event, n.Params)
}

// Subsystems tells the subscribers which have changed; with an index, only who
// asked for that one.
func (f *Front) Subsystems(changed []supervisor.Subsystem) {
	if len(changed) == 0 || !f.events.hasSubscribers(subsystemChange) {
		return
	}
	whole := jsonrpc.MustMarshal(changed)
	f.events.publish(subsystemChange, func(s subscription) (json.RawMessage, bool) {
		if s.index == "" {
			return whole, true
		}
		for _, one := range changed {
			if one.Name == s.index {
				return jsonrpc.MustMarshal([]supervisor.Subsystem{one}), true
			}
		}
		return nil, false
	})
}

// change is what is said of a new state. Who registered for one callsign is not
// told which one it is.
type change struct {
	Callsign string `json:"callsign,omitempty"`
	State    string `json:"state"`
	Reason   string `json:"reason,omitempty"`
}

func marshalChange(callsign string, to shell.State, why shell.Reason, alone bool) json.RawMessage {
	c := change{callsign, thunder.PascalCase(string(to)), thunder.PascalCase(string(why))}
	if alone {
		c.Callsign = ""
	}
	return jsonrpc.MustMarshal(c)
}

func marshalControlChange(callsign string, to statecontrol.State, alone bool) json.RawMessage {
	return marshalChange(callsign, shell.State(to), "", alone)
}

// tellControl tells that a plugin is suspended or resumed, in the Controller's
// name and in its own, but not once more to those who are told everything.
func (f *Front) publishControlState(t shell.Transition) {
	if t.Control != statecontrol.Suspended && t.Control != statecontrol.Resumed {
		return
	}
	alone := marshalControlChange(t.Callsign, t.Control, true)
	f.events.publish(stateControlChange, paramsByIndex(t.Callsign, marshalControlChange(t.Callsign, t.Control, false), alone))
	f.events.publish(topic{t.Callsign, controlChanged}, func(s subscription) (json.RawMessage, bool) {
		return alone, s.index == ""
	})
}

// publishAll renders the event once for each dialect that somebody speaks.
func (f *Front) publishAll(callsign, event string, params json.RawMessage) {
	if !f.events.hasSubscribers(allEvents) {
		return
	}
	whole := make(map[dialect.Dialect]json.RawMessage, 2)
	f.events.publish(allEvents, func(s subscription) (json.RawMessage, bool) {
		if s.index != "" && s.index != callsign {
			return nil, false
		}
		d := s.socket.from.dialect
		if whole[d] == nil {
			whole[d] = jsonrpc.MustMarshal(d.AllEvent(callsign, event, params))
		}
		return whole[d], true
	})
}

// announced tells whether a transition is news to clients, and as which state:
// those into a state in between are not, nor is a hibernation that failed and
// changed nothing, nor that an instance begins or ends to wait. One that its
// conditions ended has been deactivated, also when it then waits for them.
func announcedState(t shell.Transition) (shell.State, bool) {
	switch t.To {
	case shell.Deactivated:
		return t.To, t.From != shell.Precondition
	case shell.Hibernated, shell.Unavailable, shell.Destroyed:
		return t.To, true
	case shell.Activated:
		return t.To, t.From != shell.Hibernating
	case shell.Precondition:
		return shell.Deactivated, t.From == shell.Deactivation
	default:
		return "", false
	}
}

// either sends whole to subscribers of everything and alone to those who
// registered for the callsign, who know which one it is.
func paramsByIndex(callsign string, whole, alone json.RawMessage) func(subscription) (json.RawMessage, bool) {
	return func(s subscription) (json.RawMessage, bool) {
		switch s.index {
		case "":
			return whole, true
		case callsign:
			return alone, true
		}
		return nil, false
	}
}
