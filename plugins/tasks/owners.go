package tasks

import (
	"context"
	"fmt"
	"sync"
	"time"

	"dormouse/internal/store"
	"dormouse/plugins/tasks/taskspb"
)

// owners is what the host's memory knows of the instances with tasks that are pending.
type owners struct {
	mu    sync.Mutex
	all   map[string]*owner   // by callsign
	tasks map[string]*pending // by id
}

// owner is an instance with pending tasks.
type owner struct {
	// life is the number of the present life of the instance, or of the next one if it has none
	// now. unused says that no task belongs to that life yet.
	life   uint64
	unused bool
	ends   []lifeEnd // of lives whose tasks are to be ended or handed on
	making int       // tasks that are being made
	count  int       // tasks that are pending
	busy   int       // those of them that do not wait

	attended bool // a goroutine looks after the tasks
	again    bool // it must look once more
	release  func()
	retry    *time.Timer // looks after the tasks again
}

// pending is a task that has not ended.
type pending struct {
	callsign string
	revision uint64
	life     uint64
	waits    bool
	quiet    time.Duration
	sign     time.Time   // of life, by the monotonic clock
	told     bool        // the plugin was asked to end it
	grace    *time.Timer // ends the task, which is to be cancelled
}

// ownerLocked returns the instance of that callsign. The caller holds mu.
func (o *owners) ownerLocked(callsign string) *owner {
	w := o.all[callsign]
	if w == nil {
		if o.all == nil {
			o.all, o.tasks = make(map[string]*owner), make(map[string]*pending)
		}
		w = &owner{life: 1, unused: true}
		o.all[callsign] = w
	}
	return w
}

// forgetLocked forgets an instance without tasks that nothing looks after. The caller holds mu.
func (o *owners) forgetLocked(callsign string) {
	w := o.all[callsign]
	if w != nil && w.making == 0 && w.count == 0 && !w.attended && w.release == nil && w.retry == nil {
		delete(o.all, callsign)
	}
}

// beginMaking counts a task of the instance that is being made, until done, and returns the life
// that it belongs to. The error wraps ErrFull if there would be more than limit.
func (o *owners) beginMaking(callsign string, limit int) (life uint64, done func(), err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := o.ownerLocked(callsign)
	if w.count+w.making >= limit {
		return 0, nil, fmt.Errorf("%w: %s has %d tasks that have not ended, and may have %d; let some end, or cancel them", ErrFull, callsign, w.count, limit)
	}
	w.making++
	w.unused = false
	return w.life, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		w.making--
		o.forgetLocked(callsign)
	}, nil
}

// note records a change that is on disk, and reports whether the task has ended by it.
func (o *owners) note(c changed) (ended bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := o.ownerLocked(c.Callsign)
	p := o.tasks[c.Task]
	if p == nil {
		if c.Revision != 1 {
			return false // it has ended meanwhile
		}
		p = &pending{callsign: c.Callsign, waits: true}
		o.tasks[c.Task] = p
		w.count++
	}
	p.sign = time.Now()
	if c.Revision < p.revision {
		return false
	}
	if p.waits != c.waits {
		w.busy += map[bool]int{true: -1, false: 1}[c.waits]
	}
	p.revision, p.waits, p.quiet, p.life = c.Revision, c.waits, c.quiet, c.life
	if c.Status == taskspb.Status_STATUS_PENDING {
		return false
	}
	delete(o.tasks, c.Task)
	w.count--
	if !p.waits {
		w.busy--
	}
	if p.grace != nil {
		p.grace.Stop()
	}
	o.forgetLocked(c.Callsign)
	return true
}

// find returns what is known of a pending task.
func (o *owners) find(id string) (p pending, found bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if has := o.tasks[id]; has != nil {
		return *has, true
	}
	return pending{}, false
}

// use notes that a task belongs to that life of an instance. It reports false if the life is over.
func (o *owners) use(callsign string, life uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := o.all[callsign]
	if w == nil || w.life != life {
		return false
	}
	w.unused = false
	return true
}

// callsigns returns those of all instances with tasks.
func (o *owners) callsigns() (all []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for callsign := range o.all {
		all = append(all, callsign)
	}
	return all
}

// loadPending reads which tasks are pending, and how many have ended. A task shows a sign of life
// when it is read.
func (t *Tasks) loadPending() error {
	return t.Store.View(context.Background(), func(tx *store.Tx) error {
		if err := t.counts.load(tx); err != nil {
			return err
		}
		rows, err := tx.Query("SELECT id, callsign, revision, life, waits, quiet FROM tasks WHERE status = 0")
		if err != nil {
			return err
		}
		o, now := &t.owners, time.Now()
		for rows.Next() {
			var id string
			var quiet int64
			p := &pending{sign: now}
			if err := rows.Scan(&id, &p.callsign, &p.revision, &p.life, &p.waits, &quiet); err != nil {
				return err
			}
			p.quiet = time.Duration(quiet) * time.Millisecond
			w := o.ownerLocked(p.callsign)
			o.tasks[id] = p
			w.count++
			if !p.waits {
				w.busy++
			}
			w.life, w.unused = max(w.life, p.life), false
		}
		return rows.Err()
	})
}

// isStuck reports whether a pending task has shown no sign of life for its quiet time, while its
// plugin was awake.
func (t *Tasks) isStuck(task *taskspb.Task) bool {
	p, found := t.owners.find(task.GetId())
	if !found || p.quiet == 0 || p.waits {
		return false
	}
	since := p.sign
	if sh := t.processOf(p.callsign); sh != nil {
		use := sh.UseStatus()
		if !use.State.TakesCalls() {
			return false
		}
		if use.AwakeSince.After(since) {
			since = use.AwakeSince
		}
	}
	return time.Since(since) > p.quiet
}
