package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"dormouse/internal/store"
)

// batch is what a reader has read.
type batch struct {
	messages  []*Taken
	damaged   []*Taken // in their rows, but not as they were written
	last      int64    // the greatest seq looked at
	more      bool     // there may be more after last
	nextRetry time.Time
}

const selectMessage = `SELECT m.seq, m.id, m.published, m.header, m.body, m.checksum,
	coalesce(a.failed, 0), coalesce(a.kills, 0), coalesce(a.next, 0), coalesce(a.reason, '') `

const (
	selectInOrder = selectMessage + `FROM queue_messages m LEFT JOIN queue_attempts a USING (seq)
		WHERE m.queue = ? AND m.seq > ? ORDER BY m.seq`
	selectFresh = selectMessage + `FROM queue_messages m LEFT JOIN queue_attempts a USING (seq)
		WHERE m.queue = ? AND m.seq > ? AND a.seq IS NULL ORDER BY m.seq`
	selectRetries = selectMessage + `FROM queue_attempts a JOIN queue_messages m USING (seq)
		WHERE a.queue = ? AND a.next <= ? ORDER BY a.next, a.seq`
)

// read carries out an order.
func (q *Queues) read(ctx context.Context, o order) (batch, error) {
	b, err := q.readAtOnce(ctx, o)
	if errors.Is(err, store.ErrDamaged) {
		return q.readSingly(ctx, o)
	}
	return b, err
}

// readAtOnce carries out an order by one statement.
func (q *Queues) readAtOnce(ctx context.Context, o order) (b batch, err error) {
	err = q.store.View(ctx, func(tx *store.Tx) error {
		if b, err = q.readRows(tx, o); err != nil || !o.retries {
			return err
		}
		var next *int64
		if err := tx.QueryRow(`SELECT min(next) FROM queue_attempts WHERE queue = ? AND next > ?`, o.line.number, o.now.UnixMilli()).Scan(&next); err != nil {
			return err
		}
		switch {
		case b.more:
			b.nextRetry = o.now
		case next != nil:
			b.nextRetry = time.UnixMilli(*next)
		}
		return nil
	})
	return b, err
}

// readRows reads the messages of an order, up to what is read ahead.
func (q *Queues) readRows(tx *store.Tx, o order) (b batch, err error) {
	statement, from := selectInOrder, o.after
	if !o.ordered {
		statement = selectFresh
	}
	if o.retries {
		statement, from = selectRetries, o.now.UnixMilli()
	}
	rows, err := tx.Query(statement, o.line.number, from)
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	size := int64(0)
	for rows.Next() {
		if len(b.messages) == aheadMessages || size >= aheadBytes {
			b.more = true
			return b, nil
		}
		t, intact, err := q.scanMessage(rows, o.line)
		if err != nil {
			return b, err
		}
		b.last = max(b.last, t.seq)
		switch {
		case o.except[t.seq]:
		case !intact:
			b.damaged = append(b.damaged, t)
		default:
			b.messages = append(b.messages, t)
			size += t.size()
		}
	}
	return b, rows.Err()
}

const (
	selectSeqsInOrder = `SELECT seq FROM queue_messages WHERE queue = ? AND seq > ? ORDER BY seq LIMIT ?`
	selectFreshSeqs   = `SELECT m.seq FROM queue_messages m LEFT JOIN queue_attempts a USING (seq)
		WHERE m.queue = ? AND m.seq > ? AND a.seq IS NULL ORDER BY m.seq LIMIT ?`
	selectRetrySeqs = `SELECT seq FROM queue_attempts WHERE queue = ? AND next <= ? ORDER BY next, seq LIMIT ?`
	selectOne       = selectMessage + `FROM queue_messages m LEFT JOIN queue_attempts a USING (seq) WHERE m.seq = ?`
)

// readSingly carries out an order in a file with damaged pages: message by message. Those that
// can't be read are named and passed over. Their rows, and what the counters say of them, are
// put right when the store is opened again and saves what is whole.
func (q *Queues) readSingly(ctx context.Context, o order) (b batch, err error) {
	seqs, err := q.readSeqs(ctx, o)
	for _, seq := range seqs {
		b.last = max(b.last, seq)
		if o.except[seq] {
			continue
		}
		t, intact, err := q.readOne(ctx, o.line, seq)
		switch {
		case errors.Is(err, store.ErrDamaged):
			if q.noteLost(o.line, seq) {
				q.tellLost(o.line.name, fmt.Sprintf("of number %d", seq), err)
			}
			if err := q.forgetFailures(ctx, seq); err != nil {
				return b, err
			}
		case errors.Is(err, sql.ErrNoRows): // its failures are noted, but it is gone
		case err != nil:
			return b, err
		case !intact:
			b.damaged = append(b.damaged, t)
		default:
			b.messages = append(b.messages, t)
		}
	}
	b.more = len(seqs) >= singles
	if o.retries {
		b.nextRetry = o.now.Add(time.Second) // when it is looked again
	}
	return b, err
}

// noteLost notes that the message of that seq can't be read, and reports whether that is new.
func (q *Queues) noteLost(l *line, seq int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if l.lost[seq] {
		return false
	}
	if l.lost == nil {
		l.lost = make(map[int64]bool)
	}
	l.lost[seq] = true
	return true
}

// singles is how many messages are read one by one at a time.
const singles = 16

// readSeqs returns the next numbers of an order, from indexes alone.
func (q *Queues) readSeqs(ctx context.Context, o order) (seqs []int64, err error) {
	statement, from := selectSeqsInOrder, o.after
	if !o.ordered {
		statement = selectFreshSeqs
	}
	if o.retries {
		statement, from = selectRetrySeqs, o.now.UnixMilli()
	}
	err = q.store.View(ctx, func(tx *store.Tx) (err error) {
		seqs, err = scanSeqs(tx.Query(statement, o.line.number, from, singles+len(o.except)))
		return err
	})
	return seqs, err
}

// readOne reads the message of that seq.
func (q *Queues) readOne(ctx context.Context, l *line, seq int64) (t *Taken, intact bool, err error) {
	err = q.store.View(ctx, func(tx *store.Tx) error {
		t, intact, err = q.scanMessage(tx.QueryRow(selectOne, seq), l)
		return err
	})
	return t, intact, err
}

// forgetFailures has no retry wait for a message that can't be read.
func (q *Queues) forgetFailures(ctx context.Context, seq int64) error {
	return q.update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM queue_attempts WHERE seq = ?`, seq)
		return err
	})
}

// scanSeqs returns the numbers that a query has found.
func scanSeqs(rows *sql.Rows, err error) (seqs []int64, _ error) {
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var seq int64
		if err := rows.Scan(&seq); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		seqs = append(seqs, seq)
	}
	return seqs, errors.Join(rows.Err(), rows.Close())
}
