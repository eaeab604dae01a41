package sdk

import (
	"dormouse/shell/shellpb"
	"dormouse/statecontrol"
)

// State is where an instance stands.
type State string

// The states of an instance. The last two are on the way from one to another.
const (
	StateUnavailable  State = "unavailable"
	StateDeactivated  State = "deactivated"
	StateActivated    State = "activated"
	StateDeactivation State = "deactivation"
	StateActivation   State = "activation"
	StatePrecondition State = "precondition"
	StateHibernated   State = "hibernated"
	StateDestroyed    State = "destroyed"
	StateHibernating  State = "hibernating"
	StateWaking       State = "waking"
)

// Change is where an instance stands after a change of it.
type Change struct {
	Callsign string
	State    State
	// Control is the plugin's state control, empty when it has none or is not
	// active.
	Control statecontrol.State
	Reason  Reason
}

// Status is an instance as the host sees it.
type Status struct {
	Change
	// Error is what went wrong on the way to the state, empty when nothing did.
	Error string
	// Class is the plugin's own name, Locator its program.
	Class, Locator string
	Version        Version
	// StartMode is the state, unavailable, deactivated or activated, that the
	// instance is given when the host starts. With Resumed it is resumed then.
	StartMode     State
	Resumed       bool
	Configuration Configuration
	Paths         Paths
	// The subsystems that the plugin needs, ends with and sets.
	Preconditions, Terminations, Controls []string
	// Requires are the callsigns that must be active for this instance to be.
	Requires []string
}

// Paths are the directories of an instance.
type Paths struct{ Persistent, Volatile, Data string }

// Subsystem is a condition of the host, such as "Network", that is up or down.
type Subsystem struct {
	Name   string
	Active bool
}

func changeOf(c *shellpb.StateChange) Change {
	return Change{
		Callsign: c.GetCallsign(),
		State:    wireStates[c.GetState()],
		Control:  wireControls[c.GetControl()],
		Reason:   Reason(c.GetReason().Words()),
	}
}

func statusOf(s *shellpb.StatusResponse) Status {
	v := s.GetVersion()
	return Status{
		Change: Change{
			Callsign: s.GetCallsign(),
			State:    wireStates[s.GetState()],
			Control:  wireControls[s.GetControl()],
			Reason:   Reason(s.GetReason().Words()),
		},
		Error:         s.GetError(),
		Class:         s.GetClass(),
		Locator:       s.GetLocator(),
		Version:       Version{v.GetMajor(), v.GetMinor(), v.GetPatch()},
		StartMode:     startModes[s.GetStartMode()],
		Resumed:       s.GetResumed(),
		Configuration: s.GetConfiguration(),
		Paths:         pathsOf(s.GetPaths()),
		Preconditions: s.GetPreconditions(),
		Terminations:  s.GetTerminations(),
		Controls:      s.GetControls(),
		Requires:      s.GetRequires(),
	}
}

func pathsOf(p *shellpb.Paths) Paths {
	return Paths{Persistent: p.GetPersistent(), Volatile: p.GetVolatile(), Data: p.GetData()}
}

func subsystemsOf(r *shellpb.SubsystemsResponse) []Subsystem {
	all := make([]Subsystem, len(r.GetSubsystems()))
	for i, s := range r.GetSubsystems() {
		all[i] = Subsystem{s.GetName(), s.GetActive()}
	}
	return all
}

var wireStates = map[shellpb.State]State{
	shellpb.State_STATE_UNAVAILABLE:  StateUnavailable,
	shellpb.State_STATE_DEACTIVATED:  StateDeactivated,
	shellpb.State_STATE_ACTIVATED:    StateActivated,
	shellpb.State_STATE_DEACTIVATION: StateDeactivation,
	shellpb.State_STATE_ACTIVATION:   StateActivation,
	shellpb.State_STATE_PRECONDITION: StatePrecondition,
	shellpb.State_STATE_HIBERNATED:   StateHibernated,
	shellpb.State_STATE_DESTROYED:    StateDestroyed,
	shellpb.State_STATE_HIBERNATING:  StateHibernating,
	shellpb.State_STATE_WAKING:       StateWaking,
}

var wireControls = map[shellpb.Control]statecontrol.State{
	shellpb.Control_CONTROL_SUSPENDED: statecontrol.Suspended,
	shellpb.Control_CONTROL_RESUMED:   statecontrol.Resumed,
}

var startModes = map[shellpb.StartMode]State{
	shellpb.StartMode_START_MODE_UNAVAILABLE: StateUnavailable,
	shellpb.StartMode_START_MODE_DEACTIVATED: StateDeactivated,
	shellpb.StartMode_START_MODE_ACTIVATED:   StateActivated,
}
