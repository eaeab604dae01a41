package communicator

import (
	"context"
	"sync"
	"time"

	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// Limits of the reports that may wait for one watcher. One report may have more bytes.
const (
	maxQueued      = 256
	maxQueuedBytes = 8 << 20
)

// watchers queues reports for each of its watchers in order, and never waits for one.
// A watcher with too many reports in its queue is ended.
type watchers[T any] struct {
	// size returns the memory that a report takes, in bytes. Nil: it does not matter.
	size func(T) int

	mu  sync.Mutex
	all map[*watcher[T]]bool
}

// watcher is the stream of reports to one client or plugin.
type watcher[T any] struct {
	wants  func(T) bool
	native bool
	queue  chan T
	bytes  int // of the reports in queue, guarded by watchers.mu
	// cut is closed when the watcher is ended; why, the status of its call, is set
	// before. why is nil if the call ended first.
	cut chan struct{}
	why error
}

// add returns a new watcher, which gets every report from now on for which wants
// returns true. native says that a native client watches, and not a plugin.
func (ws *watchers[T]) add(native bool, wants func(T) bool) *watcher[T] {
	w := &watcher[T]{wants: wants, native: native, queue: make(chan T, maxQueued), cut: make(chan struct{})}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.all == nil {
		ws.all = make(map[*watcher[T]]bool)
	}
	ws.all[w] = true
	return w
}

// publishAndEndSlow queues a report for each watcher that wants it, without waiting. A
// watcher whose queue is full is ended.
func (ws *watchers[T]) publishAndEndSlow(v T) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.all {
		if !w.wants(v) {
			continue
		}
		size := ws.sizeOf(v)
		if w.bytes > 0 && w.bytes+size > maxQueuedBytes {
			ws.end(w, errTooSlow)
			continue
		}
		select {
		case w.queue <- v:
			w.bytes += size
		default:
			ws.end(w, errTooSlow)
		}
	}
}

// sizeOf returns the size of a report in bytes, 0 if it does not matter.
func (ws *watchers[T]) sizeOf(v T) int {
	if ws.size == nil {
		return 0
	}
	return ws.size(v)
}

// noteTaken notes that a report was taken out of the watcher's queue.
func (ws *watchers[T]) noteTaken(w *watcher[T], v T) {
	if size := ws.sizeOf(v); size > 0 {
		ws.mu.Lock()
		defer ws.mu.Unlock()
		w.bytes -= size
	}
}

// endNativeWatchers ends the watchers of native clients with errEnding.
func (ws *watchers[T]) endNativeWatchers() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.all {
		if w.native {
			ws.end(w, errEnding)
		}
	}
}

// remove ends a watcher whose call is over.
func (ws *watchers[T]) remove(w *watcher[T]) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.end(w, nil)
}

// end ends a watcher with why as the status of its call, unless it has ended. The
// caller holds mu.
func (ws *watchers[T]) end(w *watcher[T], why error) {
	if ws.all[w] {
		delete(ws.all, w)
		w.why = why
		close(w.cut)
		close(w.queue)
	}
}

// serveAndRemoveWatcher sends the present state by sendPresent, and then the reports that
// w gets by send, until the client's call or the watcher ends. It returns the status of
// the call. A client that does not read blocks only the goroutine that sends, which ends
// with the call.
func serveAndRemoveWatcher[T any](ctx context.Context, c *Communicator, from *watchers[T], w *watcher[T], sendPresent func() error, send func(T) error) error {
	defer from.remove(w)
	sent := make(chan error, 1)
	c.pumps.Go(func() {
		err := sendPresent()
		for err == nil {
			v, more := <-w.queue
			if !more {
				break
			}
			from.noteTaken(w, v)
			err = send(v)
		}
		sent <- err
	})
	select {
	case <-ctx.Done():
		return contextEndStatus(ctx)
	case <-w.cut:
		return w.why
	case err := <-sent:
		if err == nil { // the queue was closed, after why was set
			err = w.why
		}
		return err
	}
}

// sendStatesUntilEnd sends the present state of an instance, or of all when callsignOrAll
// is empty, and then every change. The watcher is added before the present state is
// read, so that no change is missed; a change that the present state shows already
// is not sent.
func (e *endpoint) sendStatesUntilEnd(ctx context.Context, callsignOrAll string, send func(*shellpb.StateChange) error) error {
	w := e.transitions.add(e.ownCallsign == "", func(t shell.Transition) bool { return callsignOrAll == "" || t.Callsign == callsignOrAll })
	seen := make(map[string]time.Time) // time of the last change that the client was sent
	sendPresent := func() error {
		for _, sh := range e.Supervisor.Shells() {
			if callsignOrAll != "" && sh.Callsign() != callsignOrAll {
				continue
			}
			st := sh.BriefStatus()
			seen[sh.Callsign()] = lastChangeAt(st)
			present := shell.Transition{Callsign: sh.Callsign(), To: st.State, Control: st.Control, Reason: st.Reason}
			if err := send(stateChangeMessage(present)); err != nil {
				return err
			}
		}
		return nil
	}
	return serveAndRemoveWatcher(ctx, e.Communicator, &e.transitions, w, sendPresent, func(t shell.Transition) error {
		if !t.At.After(seen[t.Callsign]) {
			return nil
		}
		return send(stateChangeMessage(t))
	})
}

// lastChangeAt returns when the status last changed, the zero time without a history.
func lastChangeAt(st shell.Status) time.Time {
	if len(st.History) == 0 {
		return time.Time{}
	}
	return st.History[len(st.History)-1].At
}
