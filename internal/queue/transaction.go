package queue

import (
	"context"
	"errors"
	"fmt"

	"dormouse/internal/atomicfile"
	"dormouse/internal/store"
)

// change is what one transaction does to the counters of one queue.
type change struct {
	line          *line
	waiting, dead counts
	arrives       bool // a message comes into the queue, though as many may leave it
}

// changes are those of one transaction, one for each queue.
type changes []change

// add adds c to what the transaction does to that queue.
func (cs *changes) add(c change) {
	c.arrives = c.arrives || c.waiting.messages > 0
	for i := range *cs {
		if has := &(*cs)[i]; has.line == c.line {
			has.waiting = has.waiting.plus(c.waiting)
			has.dead = has.dead.plus(c.dead)
			has.arrives = has.arrives || c.arrives
			return
		}
	}
	*cs = append(*cs, c)
}

// write adds the changes to the counters on disk.
func (cs changes) write(tx *store.Tx) error {
	for _, c := range cs {
		_, err := tx.Exec(`UPDATE queues SET messages = messages + ?, bytes = bytes + ?, dead = dead + ?, dead_bytes = dead_bytes + ? WHERE number = ?`,
			c.waiting.messages, c.waiting.bytes, c.dead.messages, c.dead.bytes, c.line.number)
		if err != nil {
			return err
		}
	}
	return nil
}

// task is one call of transact.
type task struct {
	changes changes
	work    func(*store.Tx) error
	first   bool          // its caller carries it out, with all that wait
	err     error         // valid when done
	done    chan struct{} // closed when the task is on disk, or has no effect
}

// transact calls work in a transaction that also counts the changes. It refuses them with
// ErrQueueFull or ErrFull if they are beyond a bound: what grows is counted before, what
// shrinks after, so that no bound is ever exceeded.
//
// Tasks of many callers share one change of the store, so that the counters are written once
// for all of them. Therefore work must return an ErrGone or errSeen before it has written
// anything; any other error undoes all tasks of the change.
func (q *Queues) transact(ctx context.Context, cs changes, work func(*store.Tx) error) error {
	t, err := q.enqueue(ctx, cs, work)
	if err != nil {
		return err
	}
	return q.carryOut(ctx, t)
}

// enqueue adds a task behind those of earlier calls, with which the caller must call carryOut at
// once: the tasks of others may wait for that.
func (q *Queues) enqueue(ctx context.Context, cs changes, work func(*store.Tx) error) (*task, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := q.reserve(cs); err != nil {
		return nil, err
	}
	t := &task{changes: cs, work: work, done: make(chan struct{})}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.tasks = append(q.tasks, t)
	t.first = len(q.tasks) == 1
	return t, nil
}

// carryOut returns when the task is on disk, or has no effect.
func (q *Queues) carryOut(ctx context.Context, t *task) error {
	if t.first { // the others are carried out with it
		q.carryOutAll(context.WithoutCancel(ctx))
	}
	<-t.done
	return t.err
}

// carryOutAll carries out all tasks that wait when the store begins with them.
func (q *Queues) carryOutAll(ctx context.Context) {
	var tasks []*task
	err := errInterrupted
	defer func() {
		if len(tasks) == 0 { // the store has not begun
			tasks = q.takeTasks()
		}
		q.conclude(tasks, err)
	}()
	err = q.update(ctx, func(tx *store.Tx) error {
		tasks = q.takeTasks()
		var made changes
		for _, t := range tasks {
			if t.err = t.work(tx); errors.Is(t.err, ErrGone) || errors.Is(t.err, errSeen) {
				continue
			}
			if t.err != nil {
				return t.err
			}
			for _, c := range t.changes {
				made.add(c)
			}
		}
		return made.write(tx)
	})
}

// errInterrupted is the error of tasks that shared a change with one that panicked.
var errInterrupted = errors.New("another task of the transaction has panicked")

// takeTasks returns the tasks that wait.
func (q *Queues) takeTasks() []*task {
	q.mu.Lock()
	defer q.mu.Unlock()
	tasks := q.tasks
	q.tasks = nil
	return tasks
}

// conclude counts what the tasks have changed, and answers them. An error is that of all.
func (q *Queues) conclude(tasks []*task, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, t := range tasks {
		if err != nil {
			t.err = err
		}
		for _, c := range t.changes {
			if t.err == nil {
				q.count(c.line, c.waiting.decline(), c.dead.decline())
			} else {
				q.count(c.line, c.waiting.growth().negated(), c.dead.growth().negated())
			}
			c.line.unread = c.line.unread || t.err == nil && c.arrives
			c.line.tellChanged()
		}
		close(t.done)
	}
}

// reserve counts what grows, if no bound forbids it.
func (q *Queues) reserve(cs changes) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	var sum counts
	for _, c := range cs {
		if beyond := c.line.rules.beyond(c.line.waiting, c.waiting); beyond != "" {
			return fmt.Errorf("%w: %s holds %s", ErrQueueFull, c.line.name, beyond)
		}
		sum = sum.plus(c.waiting).plus(c.dead)
	}
	if beyond := q.options.Total.beyond(q.total, sum); beyond != "" {
		return fmt.Errorf("%w: all queues, with their dead letters, hold %s", ErrFull, beyond)
	}
	for _, c := range cs {
		q.count(c.line, c.waiting.growth(), c.dead.growth())
	}
	return nil
}

// beyond returns which bound has + more exceeds, as words, or "".
func (l Limits) beyond(has, more counts) string {
	switch {
	case l.Messages > 0 && more.messages > 0 && has.messages+more.messages > l.Messages:
		return fmt.Sprintf("%d messages of at most %d", has.messages, l.Messages)
	case l.Bytes > 0 && more.bytes > 0 && has.bytes+more.bytes > l.Bytes:
		return fmt.Sprintf("%d bytes of at most %d", has.bytes, l.Bytes)
	default:
		return ""
	}
}

// count changes the counters in memory. The caller holds mu.
func (q *Queues) count(l *line, waiting, dead counts) {
	l.waiting = l.waiting.plus(waiting)
	l.dead = l.dead.plus(dead)
	q.total = q.total.plus(waiting).plus(dead)
}

// update calls work in a transaction, which is on disk when update returns nil. The end of ctx
// does not interrupt a transaction that has begun, so its outcome is always known. The error
// wraps ErrFull if the disk is full.
func (q *Queues) update(ctx context.Context, work func(*store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := q.store.Update(context.WithoutCancel(ctx), work)
	if atomicfile.IsNoRoom(err) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}
