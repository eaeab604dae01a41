package supervisor

import (
	"slices"
	"sync"

	"dormouse/shell"
)

// events passes what happens to instances on to whoever listens. It is the
// observer of every shell.
type events struct {
	mu        sync.RWMutex
	listeners []*listener // replaced, never changed: whoever is being told reads it
}

// listener is one call of Listen, whatever it was given.
type listener struct{ Listener }

// Listener is told what happens in the host, in order. Its methods must not
// block and must not call back into operations.
type Listener interface {
	shell.Observer
	// Subsystems is told those that changed.
	Subsystems(changed []Subsystem)
}

var _ shell.Observer = (*events)(nil)

func (e *events) add(l Listener) (remove func()) {
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
	for _, l := range e.now() {
		l.Transition(t)
	}
}

func (e *events) Notification(callsign string, n shell.Notification) {
	for _, l := range e.now() {
		l.Notification(callsign, n)
	}
}

func (e *events) now() []*listener {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.listeners
}

// Subsystems tells that some have changed.
func (e *events) Subsystems(changed []Subsystem) {
	for _, l := range e.now() {
		l.Subsystems(changed)
	}
}
