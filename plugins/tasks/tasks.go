// Package tasks is the built-in Tasks: long work of plugins that others follow. It keeps tasks
// on disk with their steps, log, progress and outputs, gives them to the plugins that work on
// them, and ends those whose plugin has ended. It knows no addresses and no protocol but its
// own, and not how a plugin runs: the supervisor tells it of lives.
package tasks

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/internal/store"
	"dormouse/shell"
	"dormouse/supervisor"
)

// Callsign is the callsign of the built-in, and its class.
const Callsign = "Tasks"

// Options is what New needs to make a Tasks.
type Options struct {
	Store *store.Store
	// Dir holds the outputs, a directory for each task that has some.
	Dir    string
	Config configs.Tasks
	Log    zerolog.Logger
	// Subscriptions keep which webhooks tell others of tasks. With nil the host sends none.
	Subscriptions Subscriptions
	// Following lets tasks go along with others; nil for none.
	Following Following
	// Address returns the address that programs elsewhere know a task by; nil for none.
	Address func(task string) string
}

// Tasks is the built-in. Tasks may be read and changed from New on; plugins are asked to work
// only while the instance is active.
type Tasks struct {
	Options
	clock   *clock
	waiters waiters
	feeds   feeds
	owners  owners
	counts  counts
	files   files

	submissions submissions
	sweeping    chan struct{} // holds one value while old tasks are to be removed

	mu         sync.Mutex // guards the fields below
	supervisor *supervisor.Supervisor
	sink       shell.Sink
	running    context.Context // ends when no plugin is asked any more; nil while none may be
	stop       context.CancelFunc

	background sync.WaitGroup
}

// New returns the built-in with the tasks that the store has. It removes the outputs of tasks
// that are no more.
func New(o Options) (*Tasks, error) {
	if o.Subscriptions == nil {
		o.Subscriptions = noSubscriptions{}
	}
	t := &Tasks{Options: o, sweeping: make(chan struct{}, 1)}
	err := o.Store.Define("tasks", tables...)
	if err != nil {
		return nil, fmt.Errorf("cannot keep tasks: %w", err)
	}
	if t.clock, err = newClock(o.Store); err == nil {
		err = t.loadPending()
	}
	if err == nil {
		err = t.openFiles()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the tasks: %w", err)
	}
	if o.Following != nil {
		o.Following.Use(t)
	}
	return t, nil
}

// Builtin returns the instance for the supervisor. From then on the ends of plugins are noted.
func (t *Tasks) Builtin() supervisor.Builtin {
	return supervisor.Builtin{Callsign: Callsign, Backend: func(s *supervisor.Supervisor, sink shell.Sink) shell.Backend {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.supervisor, t.sink = s, sink
		s.Listen(listener{t})
		return &backend{t}
	}}
}

// changed is what a transaction has done to a task: what others are told, and what the host's
// memory knows of a task that is pending.
type changed struct {
	Change
	waits bool
	quiet time.Duration
	life  uint64
}

// change makes one change of one task, see changeAll. A change of no task tells nothing.
func (t *Tasks) change(ctx context.Context, work func(tx *store.Tx) (changed, error)) error {
	return t.changeAll(ctx, func(tx *store.Tx) ([]changed, error) {
		c, err := work(tx)
		if err != nil || c.Task == "" {
			return nil, err
		}
		return []changed{c}, nil
	})
}

// changeAll changes tasks in one transaction: work returns what it has done, and Deliver hears of
// it in the same transaction. Once that is on disk all that follow the tasks are told.
func (t *Tasks) changeAll(ctx context.Context, work func(tx *store.Tx) ([]changed, error)) error {
	var all []changed
	err := t.Store.Update(ctx, func(tx *store.Tx) (err error) {
		all, err = work(tx)
		for _, c := range all {
			if err == nil && c.Events != 0 {
				err = t.Subscriptions.Deliver(tx, c.Change)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, c := range all {
		t.tell(c)
	}
	if len(all) > 0 {
		t.Subscriptions.Delivered()
	}
	return nil
}

// tell tells all that follow a task of a change that is on disk.
func (t *Tasks) tell(c changed) {
	if ended := t.owners.note(c); ended {
		t.counts.end(c.Status)
		t.sweepIfTooMany()
	}
	if c.Events != 0 {
		t.waiters.tell(c.Change)
		t.feeds.tell(c.Change)
	}
	t.hold(c.Callsign)
	if t.Following != nil {
		t.Following.Note(c.Task)
	}
}

// supervised returns the supervisor, nil before there is one.
func (t *Tasks) supervised() *supervisor.Supervisor {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.supervisor
}

// start runs work in the background while the instance is active. It reports false if the
// instance is not.
func (t *Tasks) start(work func(ctx context.Context)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running == nil {
		return false
	}
	ctx := t.running
	t.background.Go(func() { work(ctx) })
	return true
}
