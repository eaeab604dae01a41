package shell

import (
	"dormouse/hibernate"
	"dormouse/statecontrol"
)

// State is the lifecycle state of an instance. The texts are Thunder's, in lower case.
type State string

// The states that Thunder has, too.
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

// The states that only Dormouse has. Thunder's clients get the state from which the
// instance came in their place.
const (
	Hibernating State = "hibernating"
	Waking      State = "waking"
)

// traits are the properties of a state that the methods of State report.
type traits struct {
	down, transitional, running, initialized, inSleepCycle bool
	holdsCalls, needsRequirements                          bool
}

// stateTraits has a row for each state but Destroyed, which has none of the properties.
var stateTraits = map[State]traits{
	Unavailable:  {down: true},
	Deactivated:  {down: true},
	Precondition: {down: true},
	Activation:   {transitional: true, running: true, holdsCalls: true, needsRequirements: true},
	Activated:    {running: true, initialized: true, needsRequirements: true},
	Hibernating:  {transitional: true, running: true, initialized: true, inSleepCycle: true, holdsCalls: true},
	Hibernated:   {initialized: true, inSleepCycle: true, holdsCalls: true},
	Waking:       {transitional: true, running: true, initialized: true, inSleepCycle: true, holdsCalls: true, needsRequirements: true},
	Deactivation: {transitional: true},
}

// TakesCalls reports whether the plugin takes calls in this state.
func (s State) TakesCalls() bool { return s == Activated }

// HoldsCalls reports whether a call that arrives in this state may wait until the
// instance is active.
func (s State) HoldsCalls() bool { return stateTraits[s].holdsCalls }

// IsDown reports whether the plugin neither runs nor sleeps, and can be activated or
// configured.
func (s State) IsDown() bool { return stateTraits[s].down }

// IsTransitional reports whether an operation is under way in this state.
func (s State) IsTransitional() bool { return stateTraits[s].transitional }

// IsRunning reports whether the plugin has a process that runs and is not being stopped. A
// plugin that sleeps in place is not running.
func (s State) IsRunning() bool { return stateTraits[s].running }

// IsInitialized reports whether the plugin has been initialized and is not being
// stopped. A plugin that sleeps is initialized.
func (s State) IsInitialized() bool { return stateTraits[s].initialized }

// NeedsRequirements reports whether the requirements of the instance must hold in this
// state. They need not hold while the plugin sleeps or is being stopped.
func (s State) NeedsRequirements() bool { return stateTraits[s].needsRequirements }

// IsInSleepCycle reports whether the plugin sleeps, goes to sleep or wakes.
func (s State) IsInSleepCycle() bool { return stateTraits[s].inSleepCycle }

// Event names something that happens to an instance: an operation, or the end of the
// plugin's process.
type Event string

// The events of the lifecycle.
const (
	Adopt           Event = "adopt" // take over the plugin that an earlier host left running
	Activate        Event = "activate"
	Await           Event = "await" // wait for a requirement instead of activating
	Lapse           Event = "lapse" // end, because a requirement no longer holds
	Deactivate      Event = "deactivate"
	MakeUnavailable Event = "unavailable"
	Replace         Event = "replace" // end a plugin to start its successor in the same turn, and start that
	Suspend         Event = "suspend"
	Resume          Event = "resume"
	Hibernate       Event = "hibernate"
	Wake            Event = "wake"
	Retire          Event = "retire"       // end a plugin that sleeps with an outdated configuration
	PutBack         Event = "put back"     // let a plugin sleep again in an image that was put aside
	MoveToDisk      Event = "move to disk" // from sleep in place to an image
	Evict           Event = "evict"        // give up the image to make room
	GiveUp          Event = "give up"      // give up what the plugin sleeps in, since an operator asked for that
	Exit            Event = "exit"
	Destroy         Event = "destroy"
)

// verb returns the event as a verb for error texts, as in "cannot activate".
func (e Event) verb() string {
	if e == MakeUnavailable {
		return "make unavailable"
	}
	return string(e)
}

// Row is one line of the lifecycle table: what one event does in one state.
type Row struct {
	Event Event
	From  State
	// During is the state while the work is done; empty if the event has no work.
	During State
	// Then is the state after work that succeeded, Else the state after work that failed.
	Then, Else State
	// ElseFor has the states after work that failed for a cause of another class than
	// Passing; Else stands for the classes that are not in it. Only Wake and Retire have such ends.
	ElseFor map[hibernate.FailureClass]State
	// NeedsControl is the state of the plugin's state control that the event requires;
	// empty for any.
	NeedsControl statecontrol.State
}

// Lifecycle is the table of all events in all states. An event without a row for the
// present state is refused with ErrIllegalState.
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
	{Event: Replace, From: Activated, During: Deactivation, Then: Deactivated, Else: Deactivated},
	{Event: Replace, From: Deactivated, During: Activation, Then: Activated, Else: Deactivated},
	{Event: Suspend, From: Activated, Then: Activated, Else: Activated},
	{Event: Resume, From: Activated, Then: Activated, Else: Activated},
	{Event: Hibernate, From: Activated, During: Hibernating, Then: Hibernated, Else: Activated, NeedsControl: statecontrol.Suspended},
	{Event: Wake, From: Hibernated, During: Waking, Then: Activated, Else: Hibernated, ElseFor: map[hibernate.FailureClass]State{
		hibernate.Lasting:   Deactivated, // unless on-failed-wake keeps the image: then as Passing
		hibernate.Untrusted: Deactivated,
	}},
	{Event: Retire, From: Hibernated, During: Deactivation, Then: Deactivated, Else: Hibernated, ElseFor: map[hibernate.FailureClass]State{
		hibernate.Lasting:   Deactivated, // as for Wake
		hibernate.Untrusted: Deactivated,
	}},
	{Event: PutBack, From: Deactivated, Then: Hibernated, Else: Deactivated},
	{Event: PutBack, From: Precondition, Then: Hibernated, Else: Precondition},
	{Event: MoveToDisk, From: Hibernated, Then: Hibernated, Else: Hibernated},
	{Event: Evict, From: Hibernated, Then: Deactivated, Else: Deactivated},
	{Event: GiveUp, From: Hibernated, Then: Deactivated, Else: Deactivated},
	{Event: Exit, From: Activated, During: Deactivation, Then: Deactivated, Else: Deactivated},
	{Event: Exit, From: Hibernating, During: Deactivation, Then: Deactivated, Else: Deactivated},
	{Event: Exit, From: Hibernated, During: Deactivation, Then: Deactivated, Else: Deactivated},
	{Event: Destroy, From: Activated, During: Deactivation, Then: Destroyed, Else: Destroyed},
	{Event: Destroy, From: Deactivated, Then: Destroyed, Else: Destroyed},
	{Event: Destroy, From: Precondition, Then: Destroyed, Else: Destroyed},
	{Event: Destroy, From: Unavailable, Then: Destroyed, Else: Destroyed},
}

// stateAfter returns the state after work that ended with err, which may be nil.
func (r Row) stateAfter(err error) State {
	if err == nil {
		return r.Then
	}
	if state, ok := r.ElseFor[classifyFailedWake(err)]; ok {
		return state
	}
	return r.Else
}

// findRow returns the row of the lifecycle table for event e in state from.
func findRow(e Event, from State) (row Row, found bool) {
	for _, row := range Lifecycle {
		if row.Event == e && row.From == from {
			return row, true
		}
	}
	return Row{}, false
}
