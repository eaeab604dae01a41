package supervisor

import (
	"slices"
	"sync"

	"dormouse/shell"
)

// events passes what happens to instances on to the listeners.
type events struct {
	mu        sync.RWMutex
	listeners []*listener // replaced, never changed: it is read without mu
}

// listener is one call of Listen: two calls may pass the same Listener.
type listener struct{ Listener }

// Listener receives what happens in the host, in order. Its methods must not block and
// must not call operations of instances.
type Listener interface {
	shell.Observer
	// Subsystems receives the subsystems that changed.
	Subsystems(changed []Subsystem)
}

var _ shell.Observer = (*events)(nil)

func (e *events) addListener(l Listener) (remove func()) {
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

func (e *events) Transition(t shell.Transition) {
	for _, l := range e.currentListeners() {
		l.Transition(t)
	}
}

func (e *events) Notification(callsign string, n shell.Notification) {
	for _, l := range e.currentListeners() {
		l.Notification(callsign, n)
	}
}

func (e *events) currentListeners() []*listener {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.listeners
}

func (e *events) Subsystems(changed []Subsystem) {
	for _, l := range e.currentListeners() {
		l.Subsystems(changed)
	}
}
