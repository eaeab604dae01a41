package controller

import (
	"encoding/json"

	"dormouse/configs"
	"dormouse/internal/jsonrpc"
	"dormouse/plugins/access"
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

// controlChanged is the name of the event that every plugin with state control has.
const controlChanged = controlPrefix + "statechanged"

// Transition sends the events about a transition to their subscribers: of the
// Controller, and the plugin's own about its state control. It also counts the
// transition for the metrics.
func (f *Front) Transition(t shell.Transition) {
	f.updateCounts(t)
	f.snapshots.Lock()
	defer f.snapshots.Unlock()
	f.snapshots.recordOrForget(t)
	if t.From == t.To {
		if t.To != shell.Activation { // an instance that is still starting has no state control yet
			f.publishStateControlChange(t)
		}
		return
	}
	f.publishStateChangeIfAnnounced(t)
	if t.From == shell.Activation {
		f.publishStateControlChange(t)
	}
}

// publishStateChangeIfAnnounced sends the events statechange and all, if announcedState
// names a state for the transition.
func (f *Front) publishStateChangeIfAnnounced(t shell.Transition) {
	state, announced := announcedState(t)
	if !announced || !f.events.hasSubscribers(stateChange) && !f.events.hasSubscribers(allEvents) {
		return
	}
	f.events.queueForSubscribers(stateChange, paramsByIndex(t.Callsign,
		marshalStateChange(t.Callsign, state, t.Reason), marshalStateChange("", state, t.Reason)))
	f.publishAllEvent(access.Read, t.Callsign, stateChange.event, jsonrpc.MustMarshal(changeParams{State: string(state), Reason: thunder.PascalCase(string(t.Reason))}))
}

// Notification sends an event of a plugin to the clients that registered for it with
// the plugin's callsign, and to the subscribers of all events. An event with an index
// reaches of the former only those that registered with that index. An event whose
// parameters are not JSON is logged and dropped.
func (f *Front) Notification(callsign string, n shell.Notification) {
	if n.Event == stateChange.event {
		f.snapshots.noteOwnStateChange(callsign)
	}
	t := topic{callsign, n.Event}
	if !f.events.hasSubscribers(t) && !f.events.hasSubscribers(allEvents) {
		return
	}
	if len(n.Params) > 0 && !jsonrpc.IsJSONInUTF8(n.Params) {
		f.log.Warn().Str("callsign", callsign).Str("event", n.Event).Msg("dropped an event whose parameters are not JSON")
		return
	}
	f.events.queueForSubscribers(t, func(s subscription) (json.RawMessage, bool) {
		return n.Params, n.Index == "" || n.Index == s.index
	})
	needed := access.Call
	if sh, ok := f.supervisor.Shell(callsign); ok && sh.IsBuiltIn() {
		needed = access.Read
	}
	f.publishAllEvent(needed, callsign, n.Event, n.Params)
}

// Subsystems sends the subsystems that changed to their subscribers. A subscriber
// with an index gets only the subsystem of that name.
func (f *Front) Subsystems(changed []supervisor.Subsystem) {
	if len(changed) == 0 || !f.events.hasSubscribers(subsystemChange) {
		return
	}
	whole := jsonrpc.MustMarshal(changed)
	f.events.queueForSubscribers(subsystemChange, func(s subscription) (json.RawMessage, bool) {
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

// changeParams is the parameters of an event about a new state.
type changeParams struct {
	Callsign string `json:"callsign,omitempty"`
	State    string `json:"state"`
	Reason   string `json:"reason,omitempty"`
}

// marshalStateChange returns the parameters of statechange. An empty callsign is left
// out: a client that registered for one callsign gets them without it.
func marshalStateChange(callsign string, to shell.State, why shell.Reason) json.RawMessage {
	return jsonrpc.MustMarshal(changeParams{callsign, thunder.PascalCase(string(to)), thunder.PascalCase(string(why))})
}

// marshalStateControlChange returns the parameters of statecontrolstatechange. An empty
// callsign is left out.
func marshalStateControlChange(callsign string, to statecontrol.State) json.RawMessage {
	return marshalStateChange(callsign, shell.State(to), "")
}

// publishStateControlChange sends that a plugin was suspended or resumed, as an event
// of the Controller and as one of the plugin, in R4 also as the plugin's statechange
// unless the plugin sends events of that name itself. Subscribers of all events get none.
// The caller holds the lock of the snapshots.
func (f *Front) publishStateControlChange(t shell.Transition) {
	if t.Control != statecontrol.Suspended && t.Control != statecontrol.Resumed {
		return
	}
	alone := marshalStateControlChange("", t.Control)
	f.events.queueForSubscribers(stateControlChange, paramsByIndex(t.Callsign, marshalStateControlChange(t.Callsign, t.Control), alone))
	f.events.queueForSubscribers(topic{t.Callsign, controlChanged}, func(s subscription) (json.RawMessage, bool) {
		return alone, s.index == ""
	})
	if f.snapshots.byCallsign[t.Callsign].ownStateChange {
		return
	}
	suspended := jsonrpc.MustMarshal(suspendedParams{t.Control == statecontrol.Suspended})
	f.events.queueForSubscribers(topic{t.Callsign, stateChange.event}, func(s subscription) (json.RawMessage, bool) {
		return suspended, s.index == "" && s.socket.from.dialect.HasStateProperty()
	})
}

// suspendedParams is the parameters of a plugin's own event statechange, which clients of
// Thunder up to R4 get.
type suspendedParams struct {
	Suspended bool `json:"suspended"`
}

// publishAllEvent sends an event of any callsign as the event all to the subscribers
// of all events that have the role needed for the callsign, in the dialect of each one's
// websocket.
func (f *Front) publishAllEvent(needed access.Role, callsign, event string, params json.RawMessage) {
	if !f.events.hasSubscribers(allEvents) {
		return
	}
	whole := make(map[dialect.Dialect]json.RawMessage, 2)
	f.events.queueForSubscribers(allEvents, func(s subscription) (json.RawMessage, bool) {
		if s.index != "" && s.index != callsign || !s.socket.hasRole(needed, callsign) {
			return nil, false
		}
		d := s.socket.from.dialect
		if whole[d] == nil {
			whole[d] = jsonrpc.MustMarshal(d.AllEventParams(callsign, event, params))
		}
		return whole[d], true
	})
}

// announcedState returns the state that the event of a transition names, and whether
// there is an event. There is none for transitional states, for a hibernation that
// failed, and for the beginning and end of waiting for preconditions. An instance that
// a lost requirement has ended is announced as deactivated, though it then waits for
// its preconditions.
func announcedState(t shell.Transition) (state shell.State, announced bool) {
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

// paramsByIndex returns a function that returns the parameters of an event for a
// subscription: withoutIndex if that has no index, withIndex if its index is the
// callsign. Subscriptions with another index get no event.
func paramsByIndex(callsign string, withoutIndex, withIndex json.RawMessage) func(subscription) (json.RawMessage, bool) {
	return func(s subscription) (json.RawMessage, bool) {
		switch s.index {
		case "":
			return withoutIndex, true
		case callsign:
			return withIndex, true
		}
		return nil, false
	}
}
