package shell

import (
	"context"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
)

// LaneLabel is the profiler's label of goroutines that work for an instance;
// its value is the callsign.
const LaneLabel = "lane"

// LaneStatus is what an instance has to do at one moment.
type LaneStatus struct {
	// Job is the operation under way, empty when there is none.
	Job Event
	// Runs is how many operations there have been.
	Runs int64
	// Waiting are the operations that wait for their turn, in the order in which
	// they came.
	Waiting []Event
	// Held is how many calls wait for the instance to wake.
	Held int64
}

// LaneStatus tells what the instance has to do. It waits for no operation.
func (s *Shell) LaneStatus() LaneStatus {
	held := s.heldCount()
	s.lane.mu.Lock()
	defer s.lane.mu.Unlock()
	return LaneStatus{Job: s.lane.job, Runs: s.lane.ended.Load(), Waiting: slices.Clone(s.lane.waiting), Held: held}
}

// lane lets the operations of one instance through one at a time, in the order
// in which they came.
type lane struct {
	labels pprof.LabelSet
	turn   chan struct{} // holds the one token
	ended  atomic.Int64  // how many operations there have been

	// What ended last is read and written by whoever has the turn.
	last Event
	err  error

	mu      sync.Mutex // guards what follows
	job     Event
	waiting []Event
}

func newLane(callsign string) *lane {
	l := &lane{turn: make(chan struct{}, 1), labels: pprof.Labels(LaneLabel, callsign)}
	l.turn <- struct{}{}
	return l
}

// run runs work when its turn has come. Where an operation for the same event
// was under way while do waited, and no other since, its result is taken over
// and work does not run: many who ask for the same at once cause it once. What
// is no request for a state is always done.
//
// It returns ErrInProgress when ctx ends before the turn comes. Once work runs,
// do returns with it, whatever becomes of ctx.
func (l *lane) run(ctx context.Context, event Event, work func() error) error {
	came := l.ended.Load()
	if !l.waitForTurn(ctx, event) {
		return ErrInProgress
	}
	defer func() { l.turn <- struct{}{} }()
	if l.last == event && l.ended.Load() > came && isJoinable(event) {
		return l.err
	}
	l.setJob(event)
	defer l.setJob("")
	pprof.Do(ctx, l.labels, func(context.Context) { l.err = work() })
	l.last = event
	l.ended.Add(1)
	return l.err
}

// setJob records the operation under way.
func (l *lane) setJob(event Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.job = event
}

// waitForTurn waits for the turn. One that is free is taken even when ctx has ended,
// for nothing is in progress then.
func (l *lane) waitForTurn(ctx context.Context, event Event) bool {
	select {
	case <-l.turn:
		return true
	default:
	}
	l.mu.Lock()
	l.waiting = append(l.waiting, event)
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		i := slices.Index(l.waiting, event)
		l.waiting = slices.Delete(l.waiting, i, i+1)
	}()
	select {
	case <-l.turn:
		return true
	case <-ctx.Done():
		return false
	}
}

// isJoinable tells whether asking twice for event is the same as asking once.
func isJoinable(event Event) bool {
	switch event {
	case Exit, configureEvent, recheckEvent, probeEvent, restartEvent, suspendIdleEvent, hibernateIdleEvent, resumeUsedEvent:
		return false
	default:
		return true
	}
}
