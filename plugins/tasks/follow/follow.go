// Package follow lets a task of this host go along with another one: it mirrors the steps of the
// other into it, and brings its plugin the rest. The other task is one of this host, or one at an
// address elsewhere. Package follow does not know how a task is kept, nor what is said over HTTP.
package follow

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"dormouse/internal/store"
	"dormouse/plugins/tasks"
	"dormouse/plugins/tasks/taskspb"
)

// Options is what Open needs.
type Options struct {
	Store *store.Store
	Log   zerolog.Logger

	// Entry returns where a user starts work of a plugin, a callsign of this host or the absolute
	// address of a plugin resource, so that the task of it tells the webhook callback.
	Entry func(ctx context.Context, plugin, callback string) (Entry, error)
	// OwnTask returns the id of the task of this host that has that address; false if it is the
	// address of something else.
	OwnTask func(address string) (id string, own bool)
	// Callback returns the address of the webhook with that token; empty if the host can be reached
	// by no webhook.
	Callback func(token string) string
	// OwnStep returns the id of the task of this host to whose steps the address belongs; false if it
	// is the address of something else.
	OwnStep func(address string) (task string, own bool)
	// Elsewhere reaches the tasks of others.
	Elsewhere Elsewhere
	// Every is how often a task elsewhere is read, whatever its webhooks say.
	Every time.Duration
}

// Entry is where a user starts work of a plugin.
type Entry struct {
	Href, UI string
	Title    string
	// Origin is the scheme and host that the tasks of the plugin have, "" for this host.
	Origin string
}

// Elsewhere reaches tasks at addresses elsewhere.
type Elsewhere interface {
	// Read returns a task with absolute addresses. The error wraps ErrVanished if there is none at
	// that address.
	Read(ctx context.Context, address string) (*taskspb.Task, error)
	// Subscribe has the webhook told of all that happens to a task.
	Subscribe(ctx context.Context, address, webhook string) error
	// Unsubscribe ends that.
	Unsubscribe(ctx context.Context, address, webhook string) error
}

// ErrVanished means that there is no task at an address, or not any more.
var ErrVanished = errors.New("there is no such task any more")

const (
	// vanishedAfter is how long a task elsewhere may be out of reach.
	vanishedAfter = 24 * time.Hour
	// maxAtOnce is how many links are attended at once.
	maxAtOnce = 16
	// attendLimit is how long one look at a link takes at most.
	attendLimit = time.Minute
	minRetry    = time.Second
)

// Follows are all invitations and follows of the host's tasks.
type Follows struct {
	Options
	tasks  taskKeeper
	places chan struct{} // has a value for each link that is attended

	mu         sync.Mutex // guards the fields below
	links      map[int64]*live
	byTask     map[string]map[int64]*live // by the ids of both tasks, as far as they are of this host
	running    context.Context            // nil before Run and after it
	background sync.WaitGroup
}

var _ tasks.Following = (*Follows)(nil)

// taskKeeper is what the follows need of the tasks of this host.
type taskKeeper interface {
	Get(ctx context.Context, id string) (*taskspb.Task, error)
	ChangeSteps(ctx context.Context, owner string, r *taskspb.UpdateRequest) error
	AskWorker(ctx context.Context, callsign string, ask func(taskspb.WorkerClient) error) (refused string, err error)
}

// live is what the host's memory knows of a link.
type live struct {
	n        int64
	task     string   // that follows
	about    []string // ids of tasks of this host
	attended bool     // a goroutine attends it
	again    bool     // it must look once more
	timer    *time.Timer
	retry    time.Duration // before the next look after an error
	missed   time.Time     // when this host has tried in vain to read the other task; zero after a success
}

// Open returns the follows in the store. Nothing happens to them before Run.
func Open(o Options) (*Follows, error) {
	f := &Follows{Options: o, places: make(chan struct{}, maxAtOnce), links: make(map[int64]*live), byTask: make(map[string]map[int64]*live)}
	err := o.Store.Define("follows", schema...)
	if err == nil {
		err = o.Store.View(context.Background(), func(tx *store.Tx) error {
			all, err := readLinks(tx, "")
			for _, l := range all {
				f.add(l)
			}
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read which tasks follow others: %w", err)
	}
	return f, nil
}

// Use says which tasks follow others. It is called once, before any other method.
func (f *Follows) Use(t *tasks.Tasks) { f.tasks = t }

// Run attends the links of tasks until ctx ends, and returns when none is attended any more.
func (f *Follows) Run(ctx context.Context) {
	f.mu.Lock()
	f.running = ctx
	for _, l := range f.links {
		f.attendLocked(l)
	}
	f.mu.Unlock()
	<-ctx.Done()
	f.mu.Lock()
	f.running = nil
	for _, l := range f.links {
		l.stopTimer()
	}
	f.mu.Unlock()
	f.background.Wait()
}

// Note has the links of a task looked at, which has changed.
func (f *Follows) Note(task string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.byTask[task] {
		f.attendLocked(l)
	}
}

// add makes a link known to the host's memory, or what it is about now, and has it looked at.
func (f *Follows) add(l link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.links[l.n]
	f.forgetLocked(l.n)
	if known == nil {
		known = &live{n: l.n, task: l.task}
	}
	known.about = []string{l.task}
	if l.other != "" && !l.isElsewhere() {
		known.about = append(known.about, l.other)
	}
	f.links[l.n] = known
	for _, task := range known.about {
		if f.byTask[task] == nil {
			f.byTask[task] = make(map[int64]*live)
		}
		f.byTask[task][l.n] = known
	}
	f.attendLocked(known)
}

// forgetLocked removes a link from the host's memory. The caller holds mu.
func (f *Follows) forgetLocked(n int64) {
	known := f.links[n]
	if known == nil {
		return
	}
	known.stopTimer()
	delete(f.links, n)
	for _, task := range known.about {
		delete(f.byTask[task], n)
		if len(f.byTask[task]) == 0 {
			delete(f.byTask, task)
		}
	}
}

// stopTimer has the link not looked at by itself.
func (l *live) stopTimer() {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
}
