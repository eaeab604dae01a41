package controller

import (
	"dormouse/configs"
	"dormouse/internal/jsonrpc"
	"dormouse/supervisor"
)

// rosterTopics are the Controller's events about changes of the roster.
var rosterTopics = map[supervisor.RosterChangeKind]topic{
	supervisor.RosterCreated: {configs.ControllerCallsign, "plugincreated"},
	supervisor.RosterChanged: {configs.ControllerCallsign, "pluginchanged"},
	supervisor.RosterRemoved: {configs.ControllerCallsign, "pluginremoved"},
}

// rosterParams is the parameters of an event about a change of the roster.
type rosterParams struct {
	Callsign string `json:"callsign,omitempty"`
	Parent   string `json:"parent,omitempty"` // of a virtual plugin
}

// Roster sends the event about an instance that has come, has changed its description, or has gone.
// A subscriber with an index gets only those about the instance of that callsign. Subscribers of
// all events get none, since Thunder has no such event.
func (f *Front) Roster(change supervisor.RosterChange) {
	t, isEvent := rosterTopics[change.Kind]
	if !isEvent || !f.events.hasSubscribers(t) {
		return
	}
	whole := jsonrpc.MustMarshal(rosterParams{change.Callsign, change.Parent})
	f.events.queueForSubscribers(t, paramsByIndex(change.Callsign, whole, jsonrpc.MustMarshal(rosterParams{"", change.Parent})))
}
