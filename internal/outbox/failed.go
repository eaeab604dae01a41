package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dormouse/internal/store"
)

// ErrUnknown means that the outbox has no delivery of that key.
var ErrUnknown = errors.New("there is no such delivery")

// Troubled is a delivery that its target has not taken: one that is tried again, or one that
// was given up.
type Troubled struct {
	Key     int64 // names it among all deliveries
	Line    string
	Kind    string
	Event   string
	ID      string
	URL     string
	Made    time.Time
	Tries   int
	Reason  string // of the last failure
	GivenUp bool
	Next    time.Time // when it is tried again; zero if it was given up
}

// Troubled returns the deliveries that were given up and the first of each line whose target
// fails, in the order of their keys: at most limit of them, with keys above after.
func (o *Outbox) Troubled(ctx context.Context, after int64, limit int) (all []Troubled, err error) {
	err = o.store.View(ctx, func(tx *store.Tx) error {
		all = nil
		rows, err := tx.Query(`
			SELECT f.seq, l.name, f.kind, f.event, f.id, f.url, f.made, f.tries, f.reason, TRUE, 0, 0
			FROM outbox_failed AS f JOIN outbox_lines AS l ON l.number = f.line WHERE f.seq > ?
			UNION ALL
			SELECT min(d.seq), l.name, d.kind, d.event, d.id, d.url, d.made, l.tries, l.reason, FALSE, l.failed, l.wait
			FROM outbox_lines AS l JOIN outbox_deliveries AS d ON d.line = l.number WHERE l.tries > 0
			GROUP BY l.number HAVING min(d.seq) > ?
			ORDER BY 1 LIMIT ?`, after, after, limit)
		if err != nil {
			return err
		}
		for rows.Next() {
			var one Troubled
			var made, failed, wait int64
			if err := rows.Scan(&one.Key, &one.Line, &one.Kind, &one.Event, &one.ID, &one.URL, &made, &one.Tries, &one.Reason, &one.GivenUp, &failed, &wait); err != nil {
				return err
			}
			one.Made = time.UnixMilli(made)
			if !one.GivenUp {
				one.Next = o.until(failed, wait)
			}
			all = append(all, one)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list the deliveries in trouble: %w", err)
	}
	return all, nil
}

// Retry has deliveries tried at once: one that was given up goes to the end of its line, as if it
// had never failed; for one that waits its line waits no longer. An ErrUnknown names a key that
// neither has; the others are retried.
func (o *Outbox) Retry(ctx context.Context, keys ...int64) error {
	err := o.eachOf(ctx, keys, o.retry)
	o.Wake()
	return err
}

// Discard deletes deliveries. An ErrUnknown names a key that there is not; the others are
// deleted.
func (o *Outbox) Discard(ctx context.Context, keys ...int64) error {
	return o.eachOf(ctx, keys, func(tx *store.Tx, key int64) (bool, error) {
		wasFailed, err := deleted(tx, `DELETE FROM outbox_failed WHERE seq = ?`, key)
		if err != nil || wasFailed {
			return wasFailed, err
		}
		return deleted(tx, `DELETE FROM outbox_deliveries WHERE seq = ?`, key)
	})
}

// eachOf calls change for each key in one transaction, which reports whether the key is known.
func (o *Outbox) eachOf(ctx context.Context, keys []int64, change func(tx *store.Tx, key int64) (bool, error)) error {
	var missing error
	err := o.store.Update(ctx, func(tx *store.Tx) error {
		missing = nil
		for _, key := range keys {
			known, err := change(tx, key)
			if err != nil {
				return err
			}
			if !known {
				missing = errors.Join(missing, fmt.Errorf("%w: %d", ErrUnknown, key))
			}
		}
		return nil
	})
	return errors.Join(err, missing)
}

// retry is Retry for one key, in a transaction.
func (o *Outbox) retry(tx *store.Tx, key int64) (known bool, err error) {
	known, err = deleted(tx, `INSERT INTO outbox_deliveries (seq, line, kind, event, id, url, body, replaces, every, made, since, checksum)
		SELECT ?, f.line, f.kind, f.event, f.id, f.url, f.body, f.replaces, f.every, f.made, l.waited, f.checksum
		FROM outbox_failed AS f JOIN outbox_lines AS l ON l.number = f.line WHERE f.seq = ?`, o.lastSeq.Add(1), key)
	from := `outbox_failed`
	if err == nil && !known {
		from = `outbox_deliveries`
	}
	var line int64
	if err == nil {
		err = tx.QueryRow(`SELECT coalesce((SELECT line FROM `+from+` WHERE seq = ?), 0)`, key).Scan(&line)
	}
	if err != nil || line == 0 {
		return false, err
	}
	if _, err = tx.Exec(`UPDATE outbox_lines SET wait = 0 WHERE number = ?`, line); err != nil {
		return false, err
	}
	tx.AfterCommit(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.hurried[line] = true
	})
	_, err = tx.Exec(`DELETE FROM outbox_failed WHERE seq = ?`, key)
	return true, err
}

// takeHurried returns the numbers of the lines that are to be tried at once.
func (o *Outbox) takeHurried() (numbers []int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for number := range o.hurried {
		numbers = append(numbers, number)
	}
	clear(o.hurried)
	return numbers
}

// deleted runs a statement and reports whether it has changed a row.
func deleted(tx *store.Tx, statement string, args ...any) (bool, error) {
	result, err := tx.Exec(statement, args...)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}
