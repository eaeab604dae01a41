package shell

import (
	"context"
	"fmt"
	"sync"
)

// lane lets the operations of one instance through one at a time, in the order
// in which they came.
type lane struct {
	turn chan struct{} // holds the one token
	mu   sync.Mutex
	now  *operation // the operation that has the turn
}

type operation struct {
	event Event
	done  chan struct{}
	err   error // valid when done is closed
}

func newLane() *lane {
	l := &lane{turn: make(chan struct{}, 1)}
	l.turn <- struct{}{}
	return l
}

// do runs work when its turn has come. If an operation for the same event is
// already running, do joins it and returns its result. It returns
// ErrInProgress when ctx ends before the turn comes; work itself is never
// abandoned by its caller.
func (l *lane) do(ctx context.Context, event Event, work func() error) error {
	l.mu.Lock()
	running := l.now
	l.mu.Unlock()
	if running != nil && running.event == event {
		select {
		case <-running.done:
			return running.err
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", ErrInProgress, running.event)
		}
	}

	select {
	case <-l.turn:
	case <-ctx.Done():
		return ErrInProgress
	}
	op := &operation{event: event, done: make(chan struct{})}
	l.set(op)
	defer func() {
		l.set(nil)
		close(op.done)
		l.turn <- struct{}{}
	}()
	op.err = work()
	return op.err
}

func (l *lane) set(op *operation) {
	l.mu.Lock()
	l.now = op
	l.mu.Unlock()
}
