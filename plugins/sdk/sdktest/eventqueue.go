package sdktest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"dormouse/shell"
	"dormouse/supervisor"
)

// eventQueue keeps the events of one plugin until the test asks for them.
type eventQueue struct {
	callsign string

	mu     sync.Mutex
	events []shell.Notification
	added  chan struct{} // closed and replaced when an event is added
}

var _ supervisor.Listener = (*eventQueue)(nil)

// Transition does nothing: the harness asks for the state.
func (q *eventQueue) Transition(shell.Transition) {}

// Subsystems does nothing: the plugin itself can watch them.
func (q *eventQueue) Subsystems([]supervisor.Subsystem) {}

// Roster does nothing: the listener needs no changes of the roster.
func (q *eventQueue) Roster(supervisor.RosterChange) {}

// Notification adds an event of the plugin to the queue, and ignores other instances.
func (q *eventQueue) Notification(callsign string, n shell.Notification) {
	if callsign != q.callsign {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.events = append(q.events, n)
	close(q.added)
	q.added = make(chan struct{})
}

// waitAndTakeEvent waits for an event of that name and removes it from the queue. It returns
// an error if none comes within 30 seconds, or if ctx ends.
func (q *eventQueue) waitAndTakeEvent(ctx context.Context, name string) (shell.Notification, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it did not come within %s", patience))
	defer cancel()
	for {
		n, added, ok := q.takeOldestEvent(name)
		if ok {
			return n, nil
		}
		select {
		case <-added:
		case <-ctx.Done():
			return n, context.Cause(ctx)
		}
	}
}

// takeOldestEvent removes and returns the oldest event of that name. If there is none, ok is
// false, and added is closed when the next event of any name comes.
func (q *eventQueue) takeOldestEvent(name string) (n shell.Notification, added <-chan struct{}, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.IndexFunc(q.events, func(n shell.Notification) bool { return n.Event == name })
	if i < 0 {
		return n, q.added, false
	}
	n = q.events[i]
	q.events = slices.Delete(q.events, i, i+1)
	return n, nil, true
}
