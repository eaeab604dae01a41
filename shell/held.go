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
	heldCalls = 256
	heldBytes = 16 << 20
)

// RetryAfter is when a caller that got ErrBusy may come back.
const RetryAfter = time.Second

// held is the calls that wait until the instance is activated. Shell.mu guards it.
type held struct {
	calls  []*heldCall
	bytes  int
	waking bool // somebody sees to it that each gets its answer
}

type heldCall struct {
	bytes  int
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

// hold has a call wait, and begins the one wake for all that do. The caller holds
// mu.
func (s *Shell) hold(bytes int) (*heldCall, error) {
	h := &s.held
	switch {
	case s.closing:
		return nil, errClosing
	case len(h.calls) == heldCalls, h.bytes+bytes > heldBytes && len(h.calls) > 0:
		return nil, ErrBusy
	}
	call := &heldCall{bytes, make(chan admission, 1)}
	h.calls = append(h.calls, call)
	h.bytes += bytes
	if !h.waking {
		h.waking = true
		s.background.Go(s.wakeForHeld)
	}
	return call, nil
}

// await returns when the call has been let in or refused, or can't wait any
// longer; the waking then goes on.
func (s *Shell) await(ctx context.Context, call *heldCall) (context.Context, error) {
	select {
	case a := <-call.answer:
		return a.end, a.err
	case <-ctx.Done():
	}
	if !s.withdraw(call) { // it was answered in the same moment
		a := <-call.answer
		if a.err != nil {
			return nil, a.err
		}
		s.flight.leave()
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, fmt.Errorf("%w: it is still %s", ErrTimedOut, s.State())
	}
	return nil, ctx.Err()
}

// withdraw takes a call out of the queue, unless it has left it.
func (s *Shell) withdraw(call *heldCall) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.held.calls, call)
	if i < 0 {
		return false
	}
	s.held.calls = slices.Delete(s.held.calls, i, i+1)
	s.held.bytes -= call.bytes
	return true
}

// wakeForHeld waits for the operations that came before, and wakes the instance
// if they leave it hibernated, until nobody waits any more.
func (s *Shell) wakeForHeld() {
	for done := false; !done; {
		err := s.operate(context.Background(), Wake, s.activationLimit(), func(ctx context.Context) error {
			if s.State() != Hibernated || s.heldNow() == 0 {
				return nil
			}
			return s.activate(ctx, Automatic)
		})
		done = s.answerHeld(err)
	}
}

// answerHeld lets those in who wait, or refuses them after err, unless they have
// still something to wait for. It returns true when nobody waits.
func (s *Shell) answerHeld(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.held.calls) == 0:
	case err == nil && s.state == Activated:
		s.answerAll(func() admission { return admission{end: s.flight.enter()} })
	case err != nil:
		err = fmt.Errorf("cannot wake the instance for the call: %w", err)
	case holds(s.state):
		return false
	default:
		err = fmt.Errorf("%w: it is %s", ErrUnavailable, s.state)
	}
	s.answerAll(func() admission { return admission{err: err} })
	s.held.waking = false
	return true
}

// answerAll answers those who wait. The caller holds mu.
func (s *Shell) answerAll(answer func() admission) {
	for _, call := range s.held.calls {
		call.answer <- answer()
	}
	s.held.calls, s.held.bytes = nil, 0
}

// heldNow is how many calls wait.
func (s *Shell) heldNow() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.held.calls))
}

// sizeOf is what the question of a call takes while it waits, as far as it says.
func sizeOf(args any) int {
	switch args := args.(type) {
	case proto.Message:
		return proto.Size(args)
	case interface{ Size() int }:
		return args.Size()
	}
	return 0
}
