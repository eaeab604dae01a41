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
type listener struct{ shell.Observer }

var _ shell.Observer = (*events)(nil)

func (e *events) add(l shell.Observer) (remove func()) {
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
