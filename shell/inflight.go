package shell

import (
	"context"
	"fmt"
	"sync"

	"dormouse/internal/timelimit"
)

// Errors of a call that is given up because the plugin ends: after it was delivered, and
// before.
var (
	errEnded       = fmt.Errorf("%w: the plugin was ended while the call ran", ErrNotAnswered)
	errEndedBefore = fmt.Errorf("%w: it was ended before the call reached it", ErrUnavailable)
)

// inFlight counts the calls and streams that are on their way through a plugin. Calls
// are waited for; streams may last for ever, and are ended instead. Probes are calls that
// are waited for, too, but are no use of the plugin.
type inFlight struct {
	mu      sync.Mutex
	calls   int
	probes  int
	streams int
	changed chan struct{} // closed when a call or stream has left; nil while nothing waits for that

	end       context.Context // ends when all calls and streams are given up
	cancel    context.CancelCauseFunc
	streaming context.Context // ends with end, or earlier when only streams are ended
	endStream context.CancelCauseFunc
}

// renewContexts makes new contexts for the calls and streams to come, since those that
// cancelAllUntilRenewed ended would end them at once.
func (f *inFlight) renewContexts() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end, f.cancel = context.WithCancelCause(context.Background())
	f.streaming, f.endStream = context.WithCancelCause(f.end)
}

// enterCall counts a call and returns the context that ends when the call must be given up.
func (f *inFlight) enterCall() (end context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	return f.end
}

// enterProbe is enterCall for a probe.
func (f *inFlight) enterProbe() (end context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.probes++
	return f.end
}

// turnCallIntoStream counts one of the calls as a stream from now on, and returns the
// context that ends when the stream must end.
func (f *inFlight) turnCallIntoStream() (end context.Context) {
	return f.turnIntoStream(&f.calls)
}

// turnProbeIntoStream is turnCallIntoStream for a probe.
func (f *inFlight) turnProbeIntoStream() (end context.Context) {
	return f.turnIntoStream(&f.probes)
}

// turnIntoStream counts one of kind, the calls or the probes, as a stream from now on.
func (f *inFlight) turnIntoStream(kind *int) (end context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*kind--
	f.streams++
	f.signalWaiters()
	return f.streaming
}

// counts returns how many calls and streams are in flight, without probes.
func (f *inFlight) counts() (calls, streams int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls, f.streams
}

// leaveCall counts that a call has ended.
func (f *inFlight) leaveCall() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls--
	f.signalWaiters()
}

// leaveProbe counts that a probe has ended.
func (f *inFlight) leaveProbe() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.probes--
	f.signalWaiters()
}

// leaveStream counts that a stream has ended.
func (f *inFlight) leaveStream() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.streams--
	f.signalWaiters()
}

// signalWaiters lets the goroutines in waitForNone count again. The caller holds mu.
func (f *inFlight) signalWaiters() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// drainCalls returns when no call or probe is in flight, or an error when ctx ends before. The
// caller makes sure that no new call enters. Streams are not waited for.
func (f *inFlight) drainCalls(ctx context.Context) error {
	return f.waitForNone(ctx, func() int { return f.calls + f.probes })
}

// endStreamsAndDrain ends the streams with the cause why, and returns when no call or
// stream is in flight, or an error when ctx ends before. New streams end at once until
// readmitStreams.
func (f *inFlight) endStreamsAndDrain(ctx context.Context, why error) error {
	f.mu.Lock()
	f.endStream(why)
	f.mu.Unlock()
	return f.waitForNone(ctx, func() int { return f.calls + f.probes + f.streams })
}

// readmitStreams lets new streams in after endStreamsAndDrain.
func (f *inFlight) readmitStreams() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.streaming, f.endStream = context.WithCancelCause(f.end)
}

// waitForNone returns when count, which is called under mu, returns 0, or an error when ctx
// ends before.
func (f *inFlight) waitForNone(ctx context.Context, count func() int) error {
	for {
		f.mu.Lock()
		n := count()
		if n == 0 {
			f.mu.Unlock()
			return nil
		}
		if f.changed == nil {
			f.changed = make(chan struct{})
		}
		changed := f.changed
		f.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d running calls did not end: %w", n, timelimit.EndError(ctx))
		}
	}
}

// cancelAllUntilRenewed gives up all calls and streams in flight with errEnded. Later
// ones end at once, too, until renewContexts.
func (f *inFlight) cancelAllUntilRenewed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cancel(errEnded)
}
