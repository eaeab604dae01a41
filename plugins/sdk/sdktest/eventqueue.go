package sdktest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"dormouse/shell"
	"dormouse/supervisor"
)

// eventQueues keep the events of all instances until the test asks for them.
type eventQueues struct {
	mu         sync.Mutex
	byCallsign map[string]*eventQueue
}

var _ supervisor.Listener = (*eventQueues)(nil)

// of returns the queue of an instance, which need not exist yet.
func (q *eventQueues) of(callsign string) *eventQueue {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.byCallsign == nil {
		q.byCallsign = make(map[string]*eventQueue)
	}
	if q.byCallsign[callsign] == nil {
		q.byCallsign[callsign] = &eventQueue{added: make(chan struct{})}
	}
	return q.byCallsign[callsign]
}

// Transition does nothing: the harness asks for the state.
func (q *eventQueues) Transition(shell.Transition) {}

// Subsystems does nothing: the plugin itself can watch them.
func (q *eventQueues) Subsystems([]supervisor.Subsystem) {}

// Roster does nothing: the harness asks for the instances.
func (q *eventQueues) Roster(supervisor.RosterChange) {}

// Notification adds an event to the queue of its instance.
func (q *eventQueues) Notification(callsign string, n shell.Notification) { q.of(callsign).add(n) }

// eventQueue keeps the events of one instance.
type eventQueue struct {
	mu     sync.Mutex
	events []shell.Notification
	added  chan struct{} // closed and replaced when an event is added
}

// add adds an event.
func (q *eventQueue) add(n shell.Notification) {
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
