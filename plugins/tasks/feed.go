package tasks

import (
	"context"
	"sync"
	"time"
)

// detailsEvery is how often a feed has details of one task at most.
const detailsEvery = 500 * time.Millisecond

// feeds are those that follow tasks.
type feeds struct {
	mu  sync.Mutex
	all map[*feed]bool
}

// open returns a feed of the changes from now on of the tasks that wants accepts. The caller must
// close it.
func (f *feeds) open(wants func(Change) bool) *feed {
	f.mu.Lock()
	defer f.mu.Unlock()
	one := &feed{feeds: f, wants: wants, changes: make(map[string]Change), told: make(map[string]time.Time), more: make(chan struct{}, 1)}
	if f.all == nil {
		f.all = make(map[*feed]bool)
	}
	f.all[one] = true
	return one
}

// tell gives a change to the feeds that want it.
func (f *feeds) tell(c Change) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for one := range f.all {
		if one.wants(c) {
			one.add(c)
		}
	}
}

// feed has the changes of tasks that its reader has not got yet, one for each task: a later change
// is joined to an earlier one, so that a slow reader costs no more memory.
type feed struct {
	feeds *feeds
	wants func(Change) bool
	more  chan struct{} // holds one value while there may be something to read

	mu      sync.Mutex
	order   []string             // tasks with changes
	changes map[string]Change    // by task
	told    map[string]time.Time // when details of a task were read last
}

// close ends the feed.
func (f *feed) close() {
	f.feeds.mu.Lock()
	defer f.feeds.mu.Unlock()
	delete(f.feeds.all, f)
}

// add joins a change to what is to be read.
func (f *feed) add(c Change) {
	f.mu.Lock()
	defer f.mu.Unlock()
	has, waits := f.changes[c.Task]
	if !waits {
		f.order = append(f.order, c.Task)
	}
	events := has.Events | c.Events
	if has.Revision > c.Revision {
		c = has
	}
	c.Events = events
	f.changes[c.Task] = c
	select {
	case f.more <- struct{}{}:
	default:
	}
}

// next returns the next change as soon as there is one. The error is that of ctx.
func (f *feed) next(ctx context.Context) (Change, error) {
	for {
		c, found, wait := f.take(time.Now())
		if found {
			return c, nil
		}
		var due <-chan time.Time
		if wait > 0 {
			timer := time.NewTimer(wait)
			defer timer.Stop()
			due = timer.C
		}
		select {
		case <-f.more:
		case <-due:
		case <-ctx.Done():
			return Change{}, ctx.Err()
		}
	}
}

// take removes and returns the first change that is due. If there is none, wait is how long it
// takes until one is, 0 if nothing waits.
func (f *feed) take(now time.Time) (c Change, found bool, wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for task, at := range f.told {
		if now.Sub(at) >= detailsEvery {
			delete(f.told, task)
		}
	}
	for at, task := range f.order {
		c := f.changes[task]
		if last, recently := f.told[task]; recently && c.Events == DetailsEvent {
			if left := detailsEvery - now.Sub(last); wait == 0 || left < wait {
				wait = left
			}
			continue
		}
		f.order = append(f.order[:at:at], f.order[at+1:]...)
		delete(f.changes, task)
		if c.Events&DetailsEvent != 0 {
			f.told[task] = now
		}
		return c, true, 0
	}
	return Change{}, false, wait
}
