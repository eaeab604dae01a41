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
	listeners []shell.Observer
}

var _ shell.Observer = (*events)(nil)

func (e *events) add(l shell.Observer) (remove func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.listeners = append(slices.Clip(e.listeners), l)
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.listeners = slices.DeleteFunc(slices.Clone(e.listeners), func(o shell.Observer) bool { return o == l })
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

func (e *events) now() []shell.Observer {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.listeners
}
