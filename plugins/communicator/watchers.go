package communicator

import (
	"context"
	"sync"
	"time"

	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// queued is how much a watcher may be behind.
const queued = 256

// feed passes news on to watchers in order, and waits for none of them: one that
// is too far behind is cut.
type feed[T any] struct {
	mu       sync.Mutex
	watchers map[*watcher[T]]bool
}

// watcher is one that has asked for news.
type watcher[T any] struct {
	wants  func(T) bool
	native bool
	queue  chan T
	// cut is closed, after why was set, when no more will come.
	cut chan struct{}
	why error
}

// subscribe makes a watcher hear of all that is published from now on and that
// it wants.
func (f *feed[T]) subscribe(native bool, wants func(T) bool) *watcher[T] {
	w := &watcher[T]{wants: wants, native: native, queue: make(chan T, queued), cut: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watchers == nil {
		f.watchers = make(map[*watcher[T]]bool)
	}
	f.watchers[w] = true
	return w
}

func (f *feed[T]) publish(v T) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.watchers {
		if !w.wants(v) {
			continue
		}
		select {
		case w.queue <- v:
		default:
			f.drop(w, errSlow)
		}
	}
}

// end cuts the watchers that are native clients.
func (f *feed[T]) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.watchers {
		if w.native {
			f.drop(w, errEnding)
		}
	}
}

func (f *feed[T]) unsubscribe(w *watcher[T]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop(w, nil)
}

// drop ends w unless it has ended before. The caller holds mu.
func (f *feed[T]) drop(w *watcher[T], why error) {
	if f.watchers[w] {
		delete(f.watchers, w)
		w.why = why
		close(w.cut)
		close(w.queue)
	}
}

// watch sends a watcher what is there, by first, and then its news, until the
// caller ends it or it is cut. A client that does not read blocks only the
// goroutine that sends, which ends with the call.
func watch[T any](ctx context.Context, c *Communicator, f *feed[T], w *watcher[T], first func() error, send func(T) error) error {
	defer f.unsubscribe(w)
	sent := make(chan error, 1)
	c.pumps.Go(func() {
		err := first()
		for v := range w.queue {
			if err == nil {
				err = send(v)
			}
		}
		sent <- err
	})
	select {
	case <-ctx.Done():
		return ended(ctx)
	case <-w.cut:
		return w.why
	case err := <-sent:
		if err == nil { // the queue was closed, after why was set
			err = w.why
		}
		return err
	}
}

// watchStates sends where an instance stands, or each one when callsign is
// empty, and then every change. The watcher is there before the present is looked
// at, so that nothing falls in between; what it is told of twice is left out.
func (e *endpoint) watchStates(ctx context.Context, callsign string, send func(*shellpb.StateChange) error) error {
	w := e.transitions.subscribe(e.own == "", func(t shell.Transition) bool { return callsign == "" || t.Callsign == callsign })
	seen := make(map[string]time.Time) // when the last change that a client knows of was made
	first := func() error {
		for _, sh := range e.Supervisor.Shells() {
			if callsign != "" && sh.Callsign() != callsign {
				continue
			}
			st := sh.BriefStatus()
			seen[sh.Callsign()] = lastOf(st)
			present := shell.Transition{Callsign: sh.Callsign(), To: st.State, Control: st.Control, Reason: st.Reason}
			if err := send(changeOf(present)); err != nil {
				return err
			}
		}
		return nil
	}
	return watch(ctx, e.Communicator, &e.transitions, w, first, func(t shell.Transition) error {
		if !t.At.After(seen[t.Callsign]) {
			return nil
		}
		return send(changeOf(t))
	})
}

// lastOf is when the status became what it is.
func lastOf(st shell.Status) time.Time {
	if len(st.History) == 0 {
		return time.Time{}
	}
	return st.History[len(st.History)-1].At
}
