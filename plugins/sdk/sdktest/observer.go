package sdktest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"dormouse/shell"
	"dormouse/supervisor"
)

// observer keeps the plugin's events until the test asks for them.
type observer struct {
	callsign string

	mu     sync.Mutex
	events []shell.Notification
	more   chan struct{} // closed and replaced with each event
}

var _ supervisor.Listener = (*observer)(nil)

// Transition is of no interest: the harness asks for the state.
func (o *observer) Transition(shell.Transition) {}

// Subsystems are the plugin's to watch.
func (o *observer) Subsystems([]supervisor.Subsystem) {}

// Notification implements shell.Observer.
func (o *observer) Notification(callsign string, n shell.Notification) {
	if callsign != o.callsign {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = append(o.events, n)
	close(o.more)
	o.more = make(chan struct{})
}

// next waits for an event and takes it.
func (o *observer) next(ctx context.Context, name string) (shell.Notification, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it did not come within %s", patience))
	defer cancel()
	for {
		n, more, ok := o.take(name)
		if ok {
			return n, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return n, context.Cause(ctx)
		}
	}
}

func (o *observer) take(name string) (n shell.Notification, more <-chan struct{}, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := slices.IndexFunc(o.events, func(n shell.Notification) bool { return n.Event == name })
	if i < 0 {
		return n, o.more, false
	}
	n = o.events[i]
	o.events = slices.Delete(o.events, i, i+1)
	return n, nil, true
}
