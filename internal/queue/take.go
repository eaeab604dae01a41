package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A reader reads this many messages ahead, and no more once they have that many bytes.
const (
	aheadMessages = 256
	aheadBytes    = 512 << 10
	// Of several consumers one reads on when fewer are left, while the others take those.
	aheadLow = 64
)

// reader is where the readers of one queue are. Every message that may be taken is in ahead,
// or in retries, or comes after read.
type reader struct {
	taken   map[int64]*Taken // by seq
	ahead   []*Taken         // by ascending seq
	read    int64            // the seq up to which messages were read
	unread  bool             // there may be messages after read
	retries time.Time        // when the first message that waits for its retry on disk may be taken; zero if none does
	reading bool             // a reader is at the disk
	restart int              // counts readAgain, so that what was read before is not believed
}

func newReader() reader {
	return reader{taken: make(map[int64]*Taken), unread: true, retries: time.Unix(0, 0)}
}

// readAgain forgets what was read ahead. The caller holds mu.
func (r *reader) readAgain() {
	restart, taken := r.restart+1, r.taken
	*r = newReader()
	r.restart, r.taken = restart, taken
}

// Take returns the next message of the queue and waits until there is one: until it is
// published, its time for another attempt has come, and as many others are finished as the
// rules ask for. The message stays taken until one of the methods of Taken ends that; after
// a restart of the host it may be taken again.
func (q *Queues) Take(ctx context.Context, name string) (*Taken, error) {
	l, err := q.lineOf(ctx, name)
	if err != nil {
		return nil, err
	}
	for ctx.Err() == nil {
		t, wait, err := q.takeOrRead(ctx, l)
		if t != nil {
			return t, nil
		}
		if err == nil && wait != nil {
			err = wait(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot take a message from %s: %w", name, err)
		}
	}
	return nil, fmt.Errorf("cannot take a message from %s: %w", name, ctx.Err())
}

// takeOrRead returns a message, or a function that waits until there may be one. It returns
// neither if it has read messages from disk instead, of which one may be taken next.
func (q *Queues) takeOrRead(ctx context.Context, l *line) (*Taken, func(context.Context) error, error) {
	q.mu.Lock()
	now := q.now()
	t, until := l.next(now)
	if t != nil {
		l.taken[t.seq] = t
	}
	order, more := l.nextOrder(now, t != nil)
	if !more && t != nil {
		q.mu.Unlock()
		return t, nil, nil
	}
	if !more {
		changed := l.nextChange()
		wait := min(until.Sub(now), l.rules.LastRetry) // the clock may be set meanwhile
		q.mu.Unlock()
		return nil, func(ctx context.Context) error { return waitFor(ctx, changed, wait, !until.IsZero()) }, nil
	}
	l.reading = true
	q.mu.Unlock()

	batch, err := q.read(ctx, order)
	err = errors.Join(err, q.buryDamaged(ctx, batch.damaged))

	q.mu.Lock()
	defer q.mu.Unlock()
	l.reading = false
	l.tellChanged()
	if err == nil {
		l.accept(order, batch)
		return t, nil, nil
	}
	l.readAgain()
	if t != nil {
		return t, nil, nil // the next call has the error
	}
	return nil, nil, err
}

// waitFor returns when changed is closed, after the wait if there is one, or when ctx ends.
func waitFor(ctx context.Context, changed <-chan struct{}, wait time.Duration, limited bool) error {
	var after <-chan time.Time
	if limited {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		after = timer.C
	}
	select {
	case <-changed:
		return nil
	case <-after:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// next returns the message that may be taken now, removed from what was read ahead, or else
// when one may be, if only time is missing. The caller holds mu.
func (l *line) next(now time.Time) (t *Taken, until time.Time) {
	if len(l.taken) >= l.rules.Parallel {
		return nil, time.Time{}
	}
	for _, other := range l.taken {
		if other.Kills > 0 { // it is taken alone, so that what it does is no other's fault
			return nil, time.Time{}
		}
	}
	if !l.rules.ordered() && l.retryDue(now) {
		return nil, time.Time{} // it is read first
	}
	switch {
	case len(l.ahead) == 0 && l.rules.ordered():
		return nil, time.Time{}
	case len(l.ahead) == 0:
		return nil, l.retries
	}
	t = l.ahead[0]
	if t.next.After(now) {
		return nil, t.next
	}
	if t.Kills > 0 && len(l.taken) > 0 {
		return nil, time.Time{}
	}
	l.ahead = slices.Delete(l.ahead, 0, 1)
	return t, time.Time{}
}

// retryDue reports whether a message that waits on disk for its retry may be taken.
func (l *line) retryDue(now time.Time) bool { return !l.retries.IsZero() && !l.retries.After(now) }

// order is what a reader reads from disk.
type order struct {
	line    *line
	ordered bool
	retries bool  // those whose retry is due, instead of those after
	after   int64 // seq
	except  map[int64]bool
	now     time.Time
	restart int
}

// nextOrder returns what the caller is to read now, if something is. It reads early if it has
// a message already. The caller holds mu.
func (l *line) nextOrder(now time.Time, hasOne bool) (order, bool) {
	o := order{line: l, ordered: l.rules.ordered(), after: l.read, now: now, restart: l.restart}
	o.retries = !o.ordered && !hasOne && l.retryDue(now)
	wanted := false
	switch {
	case l.reading:
	case hasOne:
		wanted = l.unread && !o.ordered && len(l.ahead) < aheadLow
	case len(l.taken) >= l.rules.Parallel:
	case o.retries:
		wanted = true
	default:
		wanted = l.unread && len(l.ahead) == 0
	}
	if !wanted {
		return order{}, false
	}
	// What is noted before the reading is not read, even if it changes meanwhile.
	o.except = make(map[int64]bool, len(l.taken)+len(l.ahead))
	for seq := range l.taken {
		o.except[seq] = true
	}
	for _, t := range l.ahead {
		o.except[t.seq] = true
	}
	if o.retries {
		l.retries = time.Time{}
	} else {
		l.unread = false
	}
	return o, true
}

// accept adds what was read to what may be taken. The caller holds mu.
func (l *line) accept(o order, b batch) {
	if l.restart != o.restart {
		return
	}
	for _, t := range b.messages {
		l.putAhead(t)
	}
	if o.retries {
		l.noteRetry(b.nextRetry)
		return
	}
	l.read = max(l.read, b.last)
	l.unread = l.unread || b.more
}

// putAhead makes t one of those that may be taken. The caller holds mu.
func (l *line) putAhead(t *Taken) {
	at, _ := slices.BinarySearchFunc(l.ahead, t.seq, func(other *Taken, seq int64) int { return int(other.seq - seq) })
	l.ahead = slices.Insert(l.ahead, at, t)
}

// noteRetry notes that a message on disk may be taken at that time. The caller holds mu.
func (l *line) noteRetry(at time.Time) {
	if !at.IsZero() && (l.retries.IsZero() || at.Before(l.retries)) {
		l.retries = at
	}
}
