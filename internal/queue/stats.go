package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"dormouse/internal/store"
)

// Stats say what a queue holds.
type Stats struct {
	Messages, Bytes int64 // that wait or are taken
	Taken           int
	Dead, DeadBytes int64     // dead letters
	Oldest          time.Time // when the first message was published; zero if there is none
	// Of the first message, if it has failed: when it may be taken again, how often it has
	// failed, and why the last time.
	Again  time.Time
	Failed int
	Reason string
}

// Names returns the names of all queues that were ever used, sorted.
func (q *Queues) Names() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Sorted(maps.Keys(q.lines))
}

// Stats returns what the queue of that name holds; nothing, if there is no such queue.
func (q *Queues) Stats(ctx context.Context, name string) (Stats, error) {
	q.mu.Lock()
	l := q.lines[name]
	if l == nil {
		q.mu.Unlock()
		return Stats{}, nil
	}
	s := Stats{
		Messages: l.waiting.messages, Bytes: l.waiting.bytes, Taken: len(l.taken),
		Dead: l.dead.messages, DeadBytes: l.dead.bytes,
	}
	q.mu.Unlock()
	if s.Messages == 0 {
		return s, nil
	}
	err := q.store.View(ctx, func(tx *store.Tx) error {
		var published, next int64
		err := tx.QueryRow(`SELECT m.published, coalesce(a.next, 0), coalesce(a.failed, 0), coalesce(a.reason, '')
			FROM queue_messages m LEFT JOIN queue_attempts a USING (seq) WHERE m.queue = ? ORDER BY m.seq LIMIT 1`,
			l.number).Scan(&published, &next, &s.Failed, &s.Reason)
		if errors.Is(err, sql.ErrNoRows) {
			return nil // finished meanwhile, or not written yet
		}
		s.Oldest = time.UnixMilli(published)
		if next > 0 {
			s.Again = time.UnixMilli(next)
		}
		return err
	})
	if err != nil {
		return Stats{}, fmt.Errorf("cannot read what waits in %s: %w", name, err)
	}
	return s, nil
}

// Total returns what all queues hold, dead letters included.
func (q *Queues) Total() (messages, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.total.messages, q.total.bytes
}
