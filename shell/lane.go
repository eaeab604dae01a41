package shell

import (
	"context"
	"sync/atomic"
)

// lane lets the operations of one instance through one at a time, in the order
// in which they came.
type lane struct {
	turn  chan struct{} // holds the one token
	ended atomic.Int64  // how many operations there have been

	// What ended last is read and written by whoever has the turn.
	last Event
	err  error
}

func newLane() *lane {
	l := &lane{turn: make(chan struct{}, 1)}
	l.turn <- struct{}{}
	return l
}

// do runs work when its turn has come. Where an operation for the same event
// was under way while do waited, and no other since, its result is taken over
// and work does not run: many who ask for the same at once cause it once. What
// is no request for a state is always done.
//
// It returns ErrInProgress when ctx ends before the turn comes. Once work runs,
// do returns with it, whatever becomes of ctx.
func (l *lane) do(ctx context.Context, event Event, work func() error) error {
	came := l.ended.Load()
	if !l.take(ctx) {
		return ErrInProgress
	}
	defer func() { l.turn <- struct{}{} }()
	if l.last == event && l.ended.Load() > came && joins(event) {
		return l.err
	}
	l.err = work()
	l.last = event
	l.ended.Add(1)
	return l.err
}

// take waits for the turn. One that is free is taken even when ctx has ended,
// for nothing is in progress then.
func (l *lane) take(ctx context.Context) bool {
	select {
	case <-l.turn:
		return true
	default:
	}
	select {
	case <-l.turn:
		return true
	case <-ctx.Done():
		return false
	}
}

// joins tells whether asking twice for event is the same as asking once.
func joins(event Event) bool {
	switch event {
	case Exit, configure, reconsider, probe, restart:
		return false
	default:
		return true
	}
}
