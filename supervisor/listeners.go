package supervisor

import (
	"slices"
	"sync"

	"dormouse/shell"
)

// events passes transitions, notifications and changes of subsystems on to the listeners.
type events struct {
	mu        sync.RWMutex
	listeners []*listener // replaced, never changed: it is read without mu
}

// listener is one call of Listen: two calls may pass the same Listener.
type listener struct{ Listener }

// Listener receives transitions, notifications and changes of subsystems, in order. Its
// methods must not block and must not call operations of instances.
type Listener interface {
	shell.Observer
	// Subsystems receives the subsystems that changed.
	Subsystems(changed []Subsystem)
	// Roster receives which instance has come, has changed its description, or has gone.
	Roster(change RosterChange)
}

// Listen has l called for everything that happens from now on, in order for each
// instance, until the returned function is called.
func (s *Supervisor) Listen(l Listener) (stop func()) {
	e := &s.events
	e.mu.Lock()
	defer e.mu.Unlock()
	own := &listener{l}
	e.listeners = append(slices.Clip(e.listeners), own)
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.listeners = slices.DeleteFunc(slices.Clone(e.listeners), func(o *listener) bool { return o == own })
	}
}

// Transition calls Transition of each listener.
func (e *events) Transition(t shell.Transition) {
	for _, l := range e.currentListeners() {
		l.Transition(t)
	}
}

// Notification calls Notification of each listener.
func (e *events) Notification(callsign string, n shell.Notification) {
	for _, l := range e.currentListeners() {
		l.Notification(callsign, n)
	}
}

// currentListeners returns the listeners, which the caller must not change.
func (e *events) currentListeners() []*listener {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.listeners
}

// Subsystems calls Subsystems of each listener.
func (e *events) Subsystems(changed []Subsystem) {
	for _, l := range e.currentListeners() {
		l.Subsystems(changed)
	}
}

// observer receives the transitions and notifications of all instances for the host.
type observer struct {
	*events
	s *Supervisor
}

// Notification passes an event on to the listeners: as one of the virtual plugin that it names, if
// that is the instance's own.
func (o observer) Notification(callsign string, n shell.Notification) {
	if n.Callsign == "" || n.Callsign == callsign {
		o.events.Notification(callsign, n)
		return
	}
	if o.s.ParentOf(n.Callsign) == callsign {
		o.events.Notification(n.Callsign, n)
		return
	}
	o.s.log.Debug().Str("callsign", callsign).Str("virtual", n.Callsign).Str("event", n.Event).Msg("dropped an event: the plugin has no such virtual plugin")
}

// Transition passes a transition on to the listeners, and then to restarts, automatic
// sleep, its virtual plugins, and the conditions on which other instances depend.
func (o observer) Transition(t shell.Transition) {
	s := o.s
	s.events.Transition(t)
	s.tellFailedWake(t)
	s.restarts.planOrCancelRestart(t)
	s.autoSleep.noteTransitionAndDecideSoon(t)
	s.followParent(t)
	switch {
	case t.From == t.To:
	case t.Event == shell.Replace && t.From != shell.Activation: // its successor is about to start
	case t.To == shell.Activated:
		s.conditions.setInstancePresent(t.Callsign, true)
		s.recheckAllInBackground()
	case t.To.IsInSleepCycle():
	default:
		s.conditions.setInstancePresent(t.Callsign, false)
		s.dropAndAnnounceSubsystems(t.Callsign)
		s.recheckAllInBackground()
	}
}
