package shell

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
)

// What may wait for one instance to wake.
const (
	maxHeldCalls = 256
	maxHeldBytes = 16 << 20
)

// RetryAfter is when a caller that got ErrBusy may come back.
const RetryAfter = time.Second

// holdQueue is the calls that wait until the instance is activated. Shell.mu guards it.
type holdQueue struct {
	calls  []*heldCall
	bytes  int
	waking bool // somebody sees to it that each gets its answer
}

type heldCall struct {
	size   int
	answer chan admission // of one
}

// admission is what becomes of a call that waits.
type admission struct {
	end context.Context
	err error
}

// holds tells in which states a call may wait.
func holds(state State) bool {
	switch state {
	case Hibernating, Hibernated, Waking, Activation:
		return true
	default:
		return false
	}
}

// holdCall has a call wait, and begins the one wake for all that do. The caller holds
// mu.
func (s *Shell) holdCall(bytes int) (*heldCall, error) {
	h := &s.held
	switch {
	case s.closing:
		return nil, errClosing
	case len(h.calls) == maxHeldCalls, h.bytes+bytes > maxHeldBytes && len(h.calls) > 0:
		return nil, ErrBusy
	}
	call := &heldCall{bytes, make(chan admission, 1)}
	h.calls = append(h.calls, call)
	h.bytes += bytes
	if !h.waking {
		h.waking = true
		s.background.Go(s.wakeForHeldCalls)
	}
	return call, nil
}

// awaitAdmission returns when the call has been let in or refused, or can't wait any
// longer; the waking then goes on.
func (s *Shell) awaitAdmission(ctx context.Context, call *heldCall) (context.Context, error) {
	select {
	case a := <-call.answer:
		return a.end, a.err
	case <-ctx.Done():
	}
	if !s.removeHeld(call) { // it was answered in the same moment
		a := <-call.answer
		if a.err != nil {
			return nil, a.err
		}
		s.inFlight.leaveCall()
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, fmt.Errorf("%w: it is still %s", ErrTimedOut, s.State())
	}
	return nil, ctx.Err()
}

// removeHeld takes a call out of the queue, unless it has left it.
func (s *Shell) removeHeld(call *heldCall) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.held.calls, call)
	if i < 0 {
		return false
	}
	s.held.calls = slices.Delete(s.held.calls, i, i+1)
	s.held.bytes -= call.size
	return true
}

// wakeForHeldCalls waits for the operations that came before, and wakes the instance
// if they leave it hibernated, until nobody waits any more.
func (s *Shell) wakeForHeldCalls() {
	for done := false; !done; {
		err := s.runInLane(context.Background(), Wake, s.activationLimit(), func(ctx context.Context) error {
			if s.State() != Hibernated || s.heldCount() == 0 {
				return nil
			}
			return s.activateInTurn(ctx, Automatic)
		})
		done = s.answerHeldCalls(err)
	}
}

// answerHeldCalls lets those in who wait, or refuses them after err, unless they have
// still something to wait for. It returns true when nobody waits.
func (s *Shell) answerHeldCalls(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.held.calls) == 0:
	case err == nil && s.state == Activated:
		s.answerAllHeld(func() admission { return admission{end: s.inFlight.enterCall()} })
	case err != nil:
		err = fmt.Errorf("cannot wake the instance for the call: %w", err)
	case holds(s.state):
		return false
	default:
		err = fmt.Errorf("%w: it is %s", ErrUnavailable, s.state)
	}
	s.answerAllHeld(func() admission { return admission{err: err} })
	s.held.waking = false
	return true
}

// answerAllHeld answers those who wait. The caller holds mu.
func (s *Shell) answerAllHeld(answer func() admission) {
	for _, call := range s.held.calls {
		call.answer <- answer()
	}
	s.held.calls, s.held.bytes = nil, 0
}

// heldCount is how many calls wait.
func (s *Shell) heldCount() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.held.calls))
}

// messageSize is what the question of a call takes while it waits, as far as it says.
func messageSize(args any) int {
	switch args := args.(type) {
	case proto.Message:
		return proto.Size(args)
	case interface{ Size() int }:
		return args.Size()
	}
	return 0
}
