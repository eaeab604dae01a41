package tasks

import "dormouse/plugins/tasks/taskspb"

// Events are the things that may happen to a task, as a set.
type Events uint8

// The events, as QHAna's programs name them.
const (
	StatusEvent  Events = 1 << iota // the task has ended
	StepsEvent                      // there is another step, or one is cleared or submitted
	DetailsEvent                    // log, progress, data, links or title are others
)

// eventNames are the names of the events in the order in which they are sent at the end of a
// task.
var eventNames = []struct {
	event Events
	name  string
}{{StatusEvent, "status"}, {DetailsEvent, "details"}, {StepsEvent, "steps"}}

// Names returns the names of the events in the set.
func (e Events) Names() (names []string) {
	for _, n := range eventNames {
		if e&n.event != 0 {
			names = append(names, n.name)
		}
	}
	return names
}

// EventsNamed returns the event of that name, all for "", and false for a name that there is not.
func EventsNamed(name string) (Events, bool) {
	if name == "" {
		return 0, true
	}
	for _, n := range eventNames {
		if n.name == name {
			return n.event, true
		}
	}
	return 0, false
}

// Change is one change of a task, as the transaction sees it that makes the change.
type Change struct {
	Task, Callsign string
	Status         taskspb.Status
	Revision       uint64
	Events         Events
}
