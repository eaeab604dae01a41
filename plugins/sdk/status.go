package sdk

import (
	"dormouse/shell/shellpb"
	"dormouse/statecontrol"
)

// State is a state of an instance.
type State string

// The states of an instance. Activation, deactivation, hibernating and waking lead
// from one state to another.
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

// Change is the state of an instance after a change.
type Change struct {
	Callsign string
	State    State
	// Control is the state of the plugin's state control. It is empty if the plugin
	// has none or is not active.
	Control statecontrol.State
	Reason  Reason
}

// Status is the state and the configuration of an instance.
type Status struct {
	Change
	// Error is the error that led to the state, empty if none did.
	Error string
	// Class is the name that the plugin gives itself, Locator the path of its
	// program.
	Class, Locator string
	Version        Version
	// StartMode is the state that the instance gets when the host starts:
	// unavailable, deactivated or activated. If Resumed is true, the plugin is
	// resumed then.
	StartMode     State
	Resumed       bool
	Configuration Configuration
	Paths         Paths
	// The subsystems that must be up for the plugin, the states of subsystems that
	// end it, and the subsystems that it sets.
	Preconditions, Terminations, Controls []string
	// Requires are the instances that must be active for this instance to be
	// active.
	Requires []string
	// Parent is the instance whose virtual plugin this one is, empty for any other.
	Parent string
}

// Paths are the paths of an instance's directories; see Instance.
type Paths struct{ Persistent, Volatile, Data string }

// changeFromWire returns the change that a message of the host describes.
func changeFromWire(c *shellpb.StateChange) Change {
	return Change{
		Callsign: c.GetCallsign(),
		State:    State(c.GetState().Words()),
		Control:  statecontrol.State(c.GetControl().Words()),
		Reason:   Reason(c.GetReason().Words()),
	}
}

// statusFromWire returns the status that a message of the host describes.
func statusFromWire(s *shellpb.StatusResponse) Status {
	v := s.GetVersion()
	return Status{
		Change: Change{
			Callsign: s.GetCallsign(),
			State:    State(s.GetState().Words()),
			Control:  statecontrol.State(s.GetControl().Words()),
			Reason:   Reason(s.GetReason().Words()),
		},
		Error:         s.GetError(),
		Class:         s.GetClass(),
		Locator:       s.GetLocator(),
		Version:       Version{v.GetMajor(), v.GetMinor(), v.GetPatch()},
		StartMode:     State(s.GetStartMode().Words()),
		Resumed:       s.GetResumed(),
		Configuration: s.GetConfiguration(),
		Paths:         Paths{s.GetPaths().GetPersistent(), s.GetPaths().GetVolatile(), s.GetPaths().GetData()},
		Preconditions: s.GetPreconditions(),
		Terminations:  s.GetTerminations(),
		Controls:      s.GetControls(),
		Requires:      s.GetRequires(),
		Parent:        s.GetParent(),
	}
}
