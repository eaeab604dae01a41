package records

import "fmt"

// State is how far a package is. Clients read the texts in upper case.
type State string

// The states of a package. A package that is not known is Absent.
const (
	Absent     State = ""
	Pending    State = "pending"    // its first installation is asked for
	Installing State = "installing" // its instances are not ready, or change their version
	Installed  State = "installed"
	Failed     State = "failed"
	Removing   State = "removing"
)

// States holds every state, Absent first.
var States = []State{Absent, Pending, Installing, Installed, Failed, Removing}

// Event is what happens to a package.
type Event string

// The events of a package.
const (
	Ask     Event = "ask"     // an installation of what is not installed is asked for
	Begin   Event = "begin"   // the work on the request begins
	Prepare Event = "prepare" // an operation begins beside what is installed
	Note    Event = "note"    // an operation has come further, or a property changes
	Switch  Event = "switch"  // another version takes over
	Succeed Event = "succeed" // an operation has ended well
	Leave   Event = "leave"   // an operation ends without a change of what is installed
	Fail    Event = "fail"    // an operation has failed
	Cancel  Event = "cancel"  // an operation is given up since a client asks for it
	Restore Event = "restore" // the version before is put back
	Remove  Event = "remove"  // what is installed goes
	Insert  Event = "insert"  // what lies on the disk becomes known
	Discard Event = "discard" // the record goes, and nothing else
	Adjourn Event = "adjourn" // a switch is put off: nothing was replaced yet
)

// Events holds every event.
var Events = []Event{Ask, Begin, Prepare, Note, Switch, Succeed, Leave, Fail, Cancel, Restore, Remove, Insert, Discard, Adjourn}

// Row is one line of the table: what one event does in one state.
type Row struct {
	Event    Event
	From, To State
}

// Table holds which state follows which. An event without a row for the present state is
// refused with a *StateError.
var Table = []Row{
	{Ask, Absent, Pending},
	{Ask, Failed, Pending},
	{Begin, Pending, Installing},
	{Succeed, Installing, Installed},
	{Fail, Pending, Failed},
	{Fail, Installing, Failed},
	{Cancel, Pending, Absent},
	{Cancel, Installing, Absent},

	{Prepare, Installed, Installed},
	{Prepare, Failed, Failed},
	{Leave, Installed, Installed},
	{Leave, Failed, Failed},
	{Cancel, Installed, Installed},
	{Cancel, Failed, Failed},
	{Switch, Installed, Installing},
	{Switch, Failed, Installing},
	{Adjourn, Installing, Installed},
	{Restore, Failed, Installing},
	{Restore, Installing, Installing},

	{Remove, Installed, Removing},
	{Remove, Failed, Removing},
	{Succeed, Removing, Absent},
	{Fail, Removing, Failed},

	{Insert, Absent, Installed},
	{Insert, Installed, Installed},
	{Insert, Failed, Installed},
	{Discard, Installed, Absent},
	{Discard, Failed, Absent},

	{Note, Pending, Pending},
	{Note, Installing, Installing},
	{Note, Installed, Installed},
	{Note, Failed, Failed},
	{Note, Removing, Removing},
}

// StateError means that an event is not possible in the state of a package.
type StateError struct {
	Package string
	Event   Event
	State   State
}

func (e *StateError) Error() string {
	if e.State == Absent {
		return fmt.Sprintf("package %s is not installed", e.Package)
	}
	return fmt.Sprintf("package %s is %s, which does not allow to %s it", e.Package, e.State, e.Event)
}

// next returns the state that follows an event.
func next(e Event, from State) (to State, allowed bool) {
	for _, row := range Table {
		if row.Event == e && row.From == from {
			return row.To, true
		}
	}
	return from, false
}
