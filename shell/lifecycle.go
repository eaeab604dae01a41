package shell

import (
	"fmt"
	"strings"

	"dormouse/statecontrol"
)

// State is where an instance stands. The texts are Thunder's, in lower case.
type State string

// Thunder's states.
const (
	Unavailable  State = "unavailable"
	Deactivated  State = "deactivated"
	Deactivation State = "deactivation"
	Activated    State = "activated"
	Activation   State = "activation"
	Precondition State = "precondition"
	Hibernated   State = "hibernated"
	Destroyed    State = "destroyed"
)

// States of ours; clients that speak Thunder's words see the state they came
// from.
const (
	Hibernating State = "hibernating"
	Waking      State = "waking"
)

// Event is what can happen to an instance.
type Event string

// The events of the lifecycle.
const (
	Adopt           Event = "adopt" // what an earlier host left running
	Activate        Event = "activate"
	Await           Event = "await" // what it was to be activated for is missing
	Lapse           Event = "lapse" // what it can't be without is lost
	Deactivate      Event = "deactivate"
	MakeUnavailable Event = "unavailable"
	Suspend         Event = "suspend"
	Resume          Event = "resume"
	Hibernate       Event = "hibernate"
	Wake            Event = "wake"
	MoveToDisk      Event = "move to disk" // from sleep in place to an image
	Evict           Event = "evict"        // its image has to make room
	Exit            Event = "exit"
	Destroy         Event = "destroy"
)

// verb is what an error says could not be done.
func (e Event) verb() string {
	if e == MakeUnavailable {
		return "make unavailable"
	}
	return string(e)
}

// Row says what one event does in one state.
type Row struct {
	Event Event
	From  State
	// During is the state while the work is done; empty when there is none.
	During State
	// Then is entered when the work succeeded, Else when it failed.
	Then, Else State
	// Needs is the state control state that the plugin must be in; empty when
	// any will do.
	NeedsControl statecontrol.State
}

// Lifecycle is all that can happen. What is not listed is refused with
// ErrIllegalState.
var Lifecycle = []Row{
	{Event: Activate, From: Deactivated, During: Activation, Then: Activated, Else: Deactivated},
	{Event: Activate, From: Precondition, During: Activation, Then: Activated, Else: Deactivated},
	{Event: Adopt, From: Deactivated, During: Activation, Then: Activated, Else: Deactivated},
	{Event: Await, From: Deactivated, Then: Precondition, Else: Deactivated},
	{Event: Lapse, From: Activated, During: Deactivation, Then: Precondition, Else: Deactivated},
	{Event: Deactivate, From: Activated, During: Deactivation, Then: Deactivated, Else: Deactivated},
	{Event: Deactivate, From: Precondition, Then: Deactivated, Else: Deactivated},
	{Event: Deactivate, From: Unavailable, Then: Deactivated, Else: Deactivated},
	{Event: MakeUnavailable, From: Deactivated, Then: Unavailable, Else: Deactivated},
	{Event: Suspend, From: Activated, Then: Activated, Else: Activated},
	{Event: Resume, From: Activated, Then: Activated, Else: Activated},
	{Event: Hibernate, From: Activated, During: Hibernating, Then: Hibernated, Else: Activated, NeedsControl: statecontrol.Suspended},
	{Event: Wake, From: Hibernated, During: Waking, Then: Activated, Else: Deactivated},
	{Event: MoveToDisk, From: Hibernated, Then: Hibernated, Else: Hibernated},
	{Event: Evict, From: Hibernated, Then: Deactivated, Else: Deactivated},
	{Event: Exit, From: Activated, During: Deactivation, Then: Deactivated, Else: Deactivated},
	{Event: Exit, From: Hibernating, During: Deactivation, Then: Deactivated, Else: Deactivated},
	{Event: Exit, From: Hibernated, During: Deactivation, Then: Deactivated, Else: Deactivated},
	{Event: Destroy, From: Activated, During: Deactivation, Then: Destroyed, Else: Destroyed},
	{Event: Destroy, From: Deactivated, Then: Destroyed, Else: Destroyed},
	{Event: Destroy, From: Precondition, Then: Destroyed, Else: Destroyed},
	{Event: Destroy, From: Unavailable, Then: Destroyed, Else: Destroyed},
}

// findRow returns the row for e in state from.
func findRow(e Event, from State) (Row, bool) {
	for _, row := range Lifecycle {
		if row.Event == e && row.From == from {
			return row, true
		}
	}
	return Row{}, false
}

// LifecycleDiagram is the lifecycle as a Mermaid state diagram, for the documentation.
func LifecycleDiagram() string {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n    [*] --> deactivated\n    [*] --> unavailable\n    [*] --> hibernated: an image from before\n")
	seen := make(map[string]bool)
	arrow := func(from, to State, label string) {
		line := fmt.Sprintf("    %s --> %s: %s\n", from, to, label)
		if !seen[line] {
			seen[line] = true
			b.WriteString(line)
		}
	}
	for _, row := range Lifecycle {
		label := string(row.Event)
		if row.NeedsControl != "" {
			label += " (" + string(row.NeedsControl) + ")"
		}
		if row.During == "" {
			arrow(row.From, row.Then, label)
			continue
		}
		arrow(row.From, row.During, label)
		if row.Then == row.Else {
			arrow(row.During, row.Then, "done")
			continue
		}
		arrow(row.During, row.Then, "done")
		arrow(row.During, row.Else, "failed")
	}
	return b.String()
}
