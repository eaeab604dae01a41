package shell

import (
	"context"
	"fmt"
	"sync"
)

// errEnded is what becomes of a call that is given up.
var errEnded = fmt.Errorf("%w: it was ended while the call ran", ErrUnavailable)

// inFlight counts what is on its way through a plugin: calls, which are waited
// for, and streams, which may last for ever.
type inFlight struct {
	mu      sync.Mutex
	calls   int
	streams int
	changed chan struct{} // closed when something has left, while someone waits for that

	end       context.Context // ends when all is given up
	giveUp    context.CancelFunc
	streaming context.Context // ends with end, or before it when streams alone do
	endStream context.CancelCauseFunc
}

// open begins a new flight: what enters is told by its context when to give up.
func (f *inFlight) open() {
	f.mu.Lock()
	defer f.mu.Unlock()
	end, cancel := context.WithCancelCause(context.Background())
	f.end, f.giveUp = end, func() { cancel(errEnded) }
	f.streaming, f.endStream = context.WithCancelCause(end)
}

// enterCall counts a call.
func (f *inFlight) enterCall() context.Context {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	return f.end
}

// becomeStream makes a call that has entered a stream.
func (f *inFlight) becomeStream() context.Context {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls--
	f.streams++
	f.notify()
	return f.streaming
}

// counts is what is on its way now.
func (f *inFlight) counts() (calls, streams int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls, f.streams
}

func (f *inFlight) leaveCall() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls--
	f.notify()
}

func (f *inFlight) leaveStream() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.streams--
	f.notify()
}

// notify has those look again who wait. The caller holds mu.
func (f *inFlight) notify() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// drainCalls returns when no call is running. The caller sees to it that none enters.
func (f *inFlight) drainCalls(ctx context.Context) error {
	return f.waitForNone(ctx, func() int { return f.calls })
}

// endStreamsAndDrain ends the streams, telling them why, and returns when nothing is on its
// way any more.
func (f *inFlight) endStreamsAndDrain(ctx context.Context, why error) error {
	f.mu.Lock()
	f.endStream(why)
	f.mu.Unlock()
	return f.waitForNone(ctx, func() int { return f.calls + f.streams })
}

// readmitStreams lets streams in again that empty has ended.
func (f *inFlight) readmitStreams() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.streaming, f.endStream = context.WithCancelCause(f.end)
}

func (f *inFlight) waitForNone(ctx context.Context, running func() int) error {
	for {
		f.mu.Lock()
		n := running()
		if n == 0 {
			f.mu.Unlock()
			return nil
		}
		if f.changed == nil {
			f.changed = make(chan struct{})
		}
		left := f.changed
		f.mu.Unlock()
		select {
		case <-left:
		case <-ctx.Done():
			return fmt.Errorf("%d running calls did not end: %w", n, ctx.Err())
		}
	}
}

// cancelAll gives up whatever is on its way.
func (f *inFlight) cancelAll() {
	f.mu.Lock()
	giveUp := f.giveUp
	f.mu.Unlock()
	if giveUp != nil {
		giveUp()
	}
}
