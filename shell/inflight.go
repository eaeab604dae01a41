package shell

import (
	"context"
	"fmt"
	"sync"
)

// errEnded is what becomes of a call that is given up.
var errEnded = fmt.Errorf("%w: it was ended while the call ran", ErrUnavailable)

// flight counts what is on its way through a plugin: calls, which are waited
// for, and streams, which may last for ever.
type flight struct {
	mu      sync.Mutex
	calls   int
	streams int
	left    chan struct{} // closed when something has left, while someone waits for that

	end       context.Context // ends when all is given up
	giveUp    context.CancelFunc
	streaming context.Context // ends with end, or before it when streams alone do
	endStream context.CancelCauseFunc
}

// open begins a new flight: what enters is told by its context when to give up.
func (f *flight) open() {
	f.mu.Lock()
	defer f.mu.Unlock()
	end, cancel := context.WithCancelCause(context.Background())
	f.end, f.giveUp = end, func() { cancel(errEnded) }
	f.streaming, f.endStream = context.WithCancelCause(end)
}

// enter counts a call.
func (f *flight) enter() context.Context {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	return f.end
}

// stream makes a call that has entered a stream.
func (f *flight) stream() context.Context {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls--
	f.streams++
	f.tell()
	return f.streaming
}

// counts is what is on its way now.
func (f *flight) counts() (calls, streams int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls, f.streams
}

func (f *flight) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls--
	f.tell()
}

func (f *flight) leaveStream() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.streams--
	f.tell()
}

// tell has those look again who wait. The caller holds mu.
func (f *flight) tell() {
	if f.left != nil {
		close(f.left)
		f.left = nil
	}
}

// drain returns when no call is running. The caller sees to it that none enters.
func (f *flight) drain(ctx context.Context) error {
	return f.wait(ctx, func() int { return f.calls })
}

// empty ends the streams, telling them why, and returns when nothing is on its
// way any more.
func (f *flight) empty(ctx context.Context, why error) error {
	f.mu.Lock()
	f.endStream(why)
	f.mu.Unlock()
	return f.wait(ctx, func() int { return f.calls + f.streams })
}

// refill lets streams in again that empty has ended.
func (f *flight) refill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.streaming, f.endStream = context.WithCancelCause(f.end)
}

func (f *flight) wait(ctx context.Context, running func() int) error {
	for {
		f.mu.Lock()
		n := running()
		if n == 0 {
			f.mu.Unlock()
			return nil
		}
		if f.left == nil {
			f.left = make(chan struct{})
		}
		left := f.left
		f.mu.Unlock()
		select {
		case <-left:
		case <-ctx.Done():
			return fmt.Errorf("%d running calls did not end: %w", n, ctx.Err())
		}
	}
}

// close gives up whatever is on its way.
func (f *flight) close() {
	f.mu.Lock()
	giveUp := f.giveUp
	f.mu.Unlock()
	if giveUp != nil {
		giveUp()
	}
}
