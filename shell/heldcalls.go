package shell

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
)

// Limits of the calls that wait for one instance to wake or start: their number and total
// size.
const (
	maxHeldCalls = 256
	maxHeldBytes = 16 << 20
)

// RetryAfter is how long a caller should wait after ErrBusy before it calls again.
const RetryAfter = time.Second

// holdQueue holds the calls that wait until the instance is activated: by a wake for them, or
// by the expected start. Shell.mu guards it.
type holdQueue struct {
	calls  []*heldCall
	bytes  int
	waking bool // wakeForHeldCalls runs
}

// heldCall is a call that waits until the instance is activated.
type heldCall struct {
	size   int            // in bytes
	answer chan admission // gets one answer
}

// admission is the answer to a held call: the context that ends when the call must be
// given up, or why the call is refused.
type admission struct {
	end context.Context
	err error
}

// holdCall adds a call to the hold queue. It returns ErrBusy if the queue is full, and
// errClosing if the shell is closing. The caller holds mu.
func (s *Shell) holdCall(messageBytes int) (*heldCall, error) {
	h := &s.held
	switch {
	case s.closing:
		return nil, errClosing
	case len(h.calls) == maxHeldCalls, h.bytes+messageBytes > maxHeldBytes && len(h.calls) > 0:
		return nil, ErrBusy
	}
	call := &heldCall{messageBytes, make(chan admission, 1)}
	h.calls = append(h.calls, call)
	h.bytes += messageBytes
	return call, nil
}

// startWakeUnlessUnderWay starts the one wake for all held calls. The caller holds mu, and
// the shell is not closing.
func (s *Shell) startWakeUnlessUnderWay() {
	if !s.held.waking {
		s.held.waking = true
		s.background.Go(s.wakeForHeldCalls)
	}
}

// awaitAdmission returns when the held call is admitted or refused, or when ctx ends; the
// error then wraps ErrTimedOut if the deadline has passed. The instance wakes even if ctx
// ends.
func (s *Shell) awaitAdmission(ctx context.Context, call *heldCall) (end context.Context, err error) {
	select {
	case a := <-call.answer:
		return a.end, a.err
	case <-ctx.Done():
	}
	if !s.removeHeldCall(call) { // the answer came in the same moment
		a := <-call.answer
		if a.err != nil {
			return nil, a.err
		}
		s.inFlight.leaveCall()
	}
	return nil, s.heldCallTimeoutError(ctx)
}

// removeHeldCall takes a call out of the hold queue, and reports whether the call was still
// in it. A call that was not has its answer.
func (s *Shell) removeHeldCall(call *heldCall) (wasHeld bool) {
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

// wakeForHeldCalls wakes the instance when its turn comes, if the instance is still
// hibernated then, and repeats that until every held call is answered.
func (s *Shell) wakeForHeldCalls() {
	for done := false; !done; {
		err := s.runInLane(context.Background(), Wake, s.activationTimeLimit(), func(ctx context.Context) error {
			if s.State() != Hibernated || s.heldCallCount() == 0 {
				return nil
			}
			return s.activateHoldingTurn(ctx, Automatic)
		})
		done = s.admitOrRefuseHeldCalls(err)
	}
}

// admitOrRefuseHeldCalls ends a wake for the held calls: it admits them if the instance
// is active, and refuses them if the wake failed with wakeErr. If the instance is not
// active yet but may still wake, the calls stay held and done is false.
func (s *Shell) admitOrRefuseHeldCalls(wakeErr error) (done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.held.calls) == 0:
	case wakeErr == nil && s.state.TakesCalls():
		s.answerAndClearHeldCalls(func() admission { return admission{end: s.inFlight.enterCall()} })
	case wakeErr != nil:
		wakeErr = fmt.Errorf("cannot wake the instance for the call: %w", wakeErr)
	case s.state.HoldsCalls():
		return false
	default:
		wakeErr = fmt.Errorf("%w: it is %s", ErrUnavailable, s.state)
	}
	s.answerAndClearHeldCalls(func() admission { return admission{err: wakeErr} })
	s.held.waking = false
	return true
}

// answerAndClearHeldCalls empties the hold queue and gives each call its answer. The
// caller holds mu.
func (s *Shell) answerAndClearHeldCalls(answer func() admission) {
	for _, call := range s.held.calls {
		call.answer <- answer()
	}
	s.held.calls, s.held.bytes = nil, 0
}

// heldCallCount returns how many calls are held.
func (s *Shell) heldCallCount() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.held.calls))
}

// messageSize returns the size in bytes of a gRPC request, 0 if the request's type has no
// method for that.
func messageSize(request any) int {
	switch request := request.(type) {
	case proto.Message:
		return proto.Size(request)
	case interface{ Size() int }:
		return request.Size()
	}
	return 0
}
