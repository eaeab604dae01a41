package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"dormouse/internal/store"
)

// DeadLetter is a message that is not tried any more.
type DeadLetter struct {
	Key int64 // names it among all dead letters
	Message
	Size      int64 // of its id, header and body
	Queue     string
	Published time.Time
	Died      time.Time
	Failed    int
	Kills     int
	Reason    string
}

// DeadLetters returns dead letters of the queue without their bodies, oldest first: at most
// limit of them, with keys above after.
func (q *Queues) DeadLetters(ctx context.Context, name string, after int64, limit int) (all []DeadLetter, err error) {
	err = q.store.View(ctx, func(tx *store.Tx) (err error) {
		all = nil
		rows, err := tx.Query(`SELECT seq, id, published, header, NULL, died, failed, kills, reason, `+sizeOfRow+`, checksum FROM queue_dead
			WHERE queue = (SELECT number FROM queues WHERE name = ?) AND seq > ? ORDER BY seq LIMIT ?`, name, after, limit)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		for rows.Next() {
			d, _, err := scanDeadLetter(rows, name)
			if err != nil {
				return err
			}
			all = append(all, d)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list the dead letters of %s: %w", name, err)
	}
	return all, nil
}

// DeadLetter returns the dead letter of that key, with its body. The error wraps ErrGone if
// the queue has none of that key. A damaged one is returned with an ErrDamaged.
func (q *Queues) DeadLetter(ctx context.Context, name string, key int64) (DeadLetter, error) {
	l, err := q.lineOf(ctx, name)
	if err != nil {
		return DeadLetter{}, err
	}
	var d DeadLetter
	err = q.store.View(ctx, func(tx *store.Tx) (err error) {
		d, err = l.deadLetter(tx, key)
		return err
	})
	if err != nil {
		return d, fmt.Errorf("cannot read the dead letter %d of %s: %w", key, name, err)
	}
	return d, nil
}

func (l *line) deadLetter(tx *store.Tx, key int64) (DeadLetter, error) {
	row := tx.QueryRow(`SELECT seq, id, published, header, body, died, failed, kills, reason, `+sizeOfRow+`, checksum FROM queue_dead
		WHERE seq = ? AND queue = ?`, key, l.number)
	d, sum, err := scanDeadLetter(row, l.name)
	if errors.Is(err, sql.ErrNoRows) {
		return d, ErrGone
	}
	if err == nil && sum != checksum(key, l.number, d.Published.UnixMilli(), d.Message) {
		err = ErrDamaged
	}
	return d, err
}

func scanDeadLetter(row scanner, name string) (d DeadLetter, sum int64, err error) {
	d.Queue = name
	var published, died int64
	err = row.Scan(&d.Key, &d.ID, &published, &d.Header, &d.Body, &died, &d.Failed, &d.Kills, &d.Reason, &d.Size, &sum)
	d.Published, d.Died = time.UnixMilli(published), time.UnixMilli(died)
	return d, sum, err
}

// RetryDead puts the dead letters of those keys, or all if there are none, at the end of their
// queue, as if they had never failed. It returns how many. The error names keys that the queue
// does not have and damaged messages, which stay; it wraps ErrQueueFull or ErrFull if there
// was no room for the rest.
func (q *Queues) RetryDead(ctx context.Context, name string, keys ...int64) (n int, err error) {
	return q.eachDead(ctx, name, keys, func(l *line, d DeadLetter, damaged error) (change, func(*store.Tx) error, error) {
		size := counts{1, d.Size}
		insert := func(tx *store.Tx) error { return q.insert(tx, l, d.Message, d.Published) }
		return change{line: l, waiting: size, dead: size.negated()}, insert, damaged
	})
}

// DiscardDead deletes the dead letters of those keys, or all if there are none. It returns how
// many, and an error that names keys that the queue does not have.
func (q *Queues) DiscardDead(ctx context.Context, name string, keys ...int64) (n int, err error) {
	return q.eachDead(ctx, name, keys, func(l *line, d DeadLetter, _ error) (change, func(*store.Tx) error, error) {
		return change{line: l, dead: counts{-1, -d.Size}}, func(*store.Tx) error { return nil }, nil
	})
}

// leave says what becomes of a dead letter, damaged if that is an error: what it changes, and
// what else is written in the transaction that deletes it. After an error it stays.
type leave func(l *line, d DeadLetter, damaged error) (change, func(*store.Tx) error, error)

// eachDead deletes the dead letters of those keys, or all that there are now, as leave says. It
// returns how many, and the errors of those that stay.
func (q *Queues) eachDead(ctx context.Context, name string, keys []int64, leave leave) (n int, err error) {
	l, err := q.lineOf(ctx, name)
	if err != nil {
		return 0, err
	}
	if len(keys) > 0 {
		keys = slices.Compact(slices.Sorted(slices.Values(keys))) // each leaves once
		for few := range slices.Chunk(keys, deadBatch) {
			left, err1 := q.leaveDead(ctx, l, few, leave)
			n, err = n+left, errors.Join(err, err1)
		}
		return n, err
	}
	for after, last := int64(0), q.lastSeq.Load(); ; { // one that dies again meanwhile is after last
		few, err1 := q.deadKeys(ctx, l, after, last)
		if err1 != nil || len(few) == 0 {
			return n, errors.Join(err, err1)
		}
		left, err1 := q.leaveDead(ctx, l, few, leave)
		n, err = n+left, errors.Join(err, err1)
		if errors.Is(err1, ErrFull) || errors.Is(err1, ErrQueueFull) || ctx.Err() != nil {
			return n, err
		}
		after = few[len(few)-1]
	}
}

// deadBatch is how many dead letters leave in one transaction.
const deadBatch = 16

// deadKeys returns the next keys of dead letters of l, those above after and up to last.
func (q *Queues) deadKeys(ctx context.Context, l *line, after, last int64) (keys []int64, err error) {
	err = q.store.View(ctx, func(tx *store.Tx) (err error) {
		keys, err = scanSeqs(tx.Query(`SELECT seq FROM queue_dead WHERE queue = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?`, l.number, after, last, deadBatch))
		return err
	})
	return keys, err
}

// leaveDead deletes dead letters in one transaction, as leave says.
func (q *Queues) leaveDead(ctx context.Context, l *line, keys []int64, leave leave) (n int, stay error) {
	var changes changes
	var found []int64
	var writes []func(*store.Tx) error
	err := q.store.View(ctx, func(tx *store.Tx) error {
		for _, key := range keys {
			d, err := l.deadLetter(tx, key)
			if err != nil && !errors.Is(err, ErrDamaged) {
				stay = errors.Join(stay, fmt.Errorf("the dead letter %d of %s: %w", key, l.name, err))
				continue
			}
			c, write, err := leave(l, d, err)
			if err != nil {
				stay = errors.Join(stay, fmt.Errorf("the dead letter %d of %s: %w", key, l.name, err))
				continue
			}
			changes.add(c)
			found = append(found, key)
			writes = append(writes, write)
		}
		return nil
	})
	if err != nil || len(writes) == 0 {
		return 0, errors.Join(stay, err)
	}
	err = q.transact(ctx, changes, func(tx *store.Tx) error {
		for _, key := range found {
			if err := verifyThere(tx, "queue_dead", key); err != nil {
				return err
			}
		}
		for i, key := range found {
			if err := deleteOne(tx, `DELETE FROM queue_dead WHERE seq = ?`, key); err != nil {
				return err
			}
			if err := writes[i](tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, errors.Join(stay, err)
	}
	return len(writes), stay
}
