package queue

import (
	"context"
	"fmt"

	"dormouse/internal/store"
)

// dropRows is how many rows one transaction deletes at most, so that others need not wait
// long.
const dropRows = 256

// Drop deletes all messages and dead letters that the queue of that name holds now. One that
// is taken can't be finished any more: that is an ErrGone.
func (q *Queues) Drop(ctx context.Context, name string) error {
	l, err := q.lineOf(ctx, name)
	if err != nil {
		return err
	}
	last := q.lastSeq.Load()
	for _, table := range []string{"queue_messages", "queue_dead"} {
		for more := true; more && err == nil; {
			more, err = q.dropSome(ctx, l, table, last)
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	l.readAgain()
	l.tellChanged()
	if err != nil {
		return fmt.Errorf("cannot drop the messages of %s: %w", name, err)
	}
	return nil
}

// dropSome deletes the first rows of l in that table, up to last, and reports whether there
// may be more.
func (q *Queues) dropSome(ctx context.Context, l *line, table string, last int64) (more bool, err error) {
	some := ` FROM ` + table + ` WHERE queue = ? AND seq <= ? ORDER BY seq LIMIT ?`
	var dropped counts
	err = q.update(ctx, func(tx *store.Tx) error {
		err := tx.QueryRow(`SELECT count(*), coalesce(sum(size), 0), coalesce(max(seq), 0) FROM (SELECT seq, `+sizeOfRow+` AS size`+some+`)`,
			l.number, last, dropRows).Scan(&dropped.messages, &dropped.bytes, &last)
		if err != nil || dropped.messages == 0 {
			return err
		}
		for _, statement := range []string{
			`DELETE FROM queue_attempts WHERE seq IN (SELECT seq FROM ` + table + ` WHERE queue = ? AND seq <= ?)`,
			`DELETE FROM ` + table + ` WHERE queue = ? AND seq <= ?`,
		} {
			if _, err := tx.Exec(statement, l.number, last); err != nil {
				return err
			}
		}
		return changes{l.decline(table, dropped)}.write(tx)
	})
	if err != nil {
		return false, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	c := l.decline(table, dropped)
	q.count(l, c.waiting, c.dead)
	l.tellChanged()
	return dropped.messages == dropRows, nil
}

// decline returns the change of deleting that much from the table.
func (l *line) decline(table string, dropped counts) change {
	if table == "queue_dead" {
		return change{line: l, dead: dropped.negated()}
	}
	return change{line: l, waiting: dropped.negated()}
}
