package shell

import (
	"context"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// LaneLabel is the profiler's label of goroutines that work for an instance. Its value
// is the callsign.
const LaneLabel = "lane"

// LaneStatus lists the operations of an instance at one moment: running and waiting.
type LaneStatus struct {
	// Running is the operation under way, empty for none.
	Running Event
	// Runs counts the operations that have ended.
	Runs int64
	// Waiting are the operations that wait for their turn, oldest first.
	Waiting []Event
	// Held is the number of calls that wait for the instance to wake or start.
	Held int64
}

// LaneStatus returns the operations of the instance. It waits for no operation.
func (s *Shell) LaneStatus() LaneStatus {
	held := s.heldCallCount()
	s.lane.mu.Lock()
	defer s.lane.mu.Unlock()
	return LaneStatus{Running: s.lane.running, Runs: s.lane.ended.Load(), Waiting: slices.Clone(s.lane.waiting), Held: held}
}

// lane lets one operation of an instance run at a time, in the order in which they were
// asked for. It has no goroutine: each caller waits for the one token and runs its own
// work.
type lane struct {
	labels pprof.LabelSet
	turn   chan struct{} // holds the one token
	ended  atomic.Int64  // how many operations have ended

	// The event and the error of the operation that ended last. The holder of the turn
	// reads and writes them.
	last Event
	err  error

	mu      sync.Mutex // guards the fields below
	running Event
	waiting []Event
}

// newLane returns an idle lane. The goroutines that work in it have profileLabel, the
// callsign, as their LaneLabel in profiles.
func newLane(profileLabel string) *lane {
	l := &lane{turn: make(chan struct{}, 1), labels: pprof.Labels(LaneLabel, profileLabel)}
	l.turn <- struct{}{}
	return l
}

// waitAndRunOrJoin waits for its turn and does the work. If an operation for the same
// event ended last, and ended while waitAndRunOrJoin waited, waitAndRunOrJoin returns
// that operation's error instead, so that many requests for one operation run it once;
// see isJoinable.
//
// waitAndRunOrJoin returns ErrInProgress if ctx ends before the turn comes. Once work
// has begun, waitAndRunOrJoin returns when work does, even if ctx ends. Work that takes
// longer than limit keeps the turn, but waitAndRunOrJoin returns errOverrun.
func (l *lane) waitAndRunOrJoin(ctx context.Context, event Event, limit time.Duration, work func() error) error {
	endedBefore := l.ended.Load()
	if !l.waitForTurn(ctx, event) {
		return ErrInProgress
	}
	if l.last == event && l.ended.Load() > endedBefore && isJoinable(event) {
		defer func() { l.turn <- struct{}{} }()
		return l.err
	}
	worked := make(chan error, 1)
	go func() {
		l.setRunning(event)
		pprof.Do(ctx, l.labels, func(context.Context) { l.err = work() })
		l.setRunning("")
		err := l.err
		l.last = event
		l.ended.Add(1)
		l.turn <- struct{}{}
		worked <- err
	}()
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case err := <-worked:
		return err
	case <-late.C:
		return errOverrun
	}
}

// setRunning records the operation under way for LaneStatus, "" for none.
func (l *lane) setRunning(event Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running = event
}

// waitForTurn waits for the turn, listed as waiting meanwhile, and reports whether the turn
// came before ctx ended. A turn that is free is taken even if ctx has ended.
func (l *lane) waitForTurn(ctx context.Context, event Event) (hasTurn bool) {
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
	case Exit, GiveUp, Replace, configureEvent, startEvent, recheckEvent, probeEvent, RestartEvent, retryWakeEvent, suspendIdleEvent, hibernateIdleEvent, resumeUsedEvent:
		return false
	default:
		return true
	}
}
