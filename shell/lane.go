package shell

import (
	"context"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
)

// LaneLabel is the profiler's label of goroutines that work for an instance. Its value
// is the callsign.
const LaneLabel = "lane"

// LaneStatus lists the operations of an instance at one moment: running and waiting.
type LaneStatus struct {
	// Job is the operation under way, empty for none.
	Job Event
	// Runs counts the operations that have ended.
	Runs int64
	// Waiting are the operations that wait for their turn, oldest first.
	Waiting []Event
	// Held is the number of calls that wait for the instance to wake.
	Held int64
}

// LaneStatus returns the operations of the instance. It waits for no operation.
func (s *Shell) LaneStatus() LaneStatus {
	held := s.heldCount()
	s.lane.mu.Lock()
	defer s.lane.mu.Unlock()
	return LaneStatus{Job: s.lane.job, Runs: s.lane.ended.Load(), Waiting: slices.Clone(s.lane.waiting), Held: held}
}

// lane runs the operations of one instance one at a time, in the order in which they
// were asked for.
type lane struct {
	labels pprof.LabelSet
	turn   chan struct{} // holds the one token
	ended  atomic.Int64  // how many operations have ended

	// The event and the error of the operation that ended last. The holder of the turn
	// reads and writes them.
	last Event
	err  error

	mu      sync.Mutex // guards the fields below
	job     Event
	waiting []Event
}

// newLane returns an idle lane; callsign labels its goroutines in profiles.
func newLane(callsign string) *lane {
	l := &lane{turn: make(chan struct{}, 1), labels: pprof.Labels(LaneLabel, callsign)}
	l.turn <- struct{}{}
	return l
}

// run waits for its turn and does the work. If the operation that ended last was for the
// same event and ended while run waited, run returns that operation's error instead, so
// that many requests for the same thing cause it once; see isJoinable.
//
// run returns ErrInProgress if ctx ends before the turn comes. Once work has begun, run
// returns with it, even if ctx ends.
func (l *lane) run(ctx context.Context, event Event, work func() error) error {
	endedBefore := l.ended.Load()
	if !l.waitForTurn(ctx, event) {
		return ErrInProgress
	}
	defer func() { l.turn <- struct{}{} }()
	if l.last == event && l.ended.Load() > endedBefore && isJoinable(event) {
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

// waitForTurn waits for the turn and reports whether it came before ctx ended. A turn
// that is free is taken even if ctx has ended.
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

// isJoinable reports whether two requests for event that wait at the same time may share
// one operation.
func isJoinable(event Event) bool {
	switch event {
	case Exit, configureEvent, recheckEvent, probeEvent, restartEvent, suspendIdleEvent, hibernateIdleEvent, resumeUsedEvent:
		return false
	default:
		return true
	}
}
