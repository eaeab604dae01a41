package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"dormouse/internal/outbox/targets"
	"dormouse/internal/store"
)

// readRows is how many new deliveries are read at a time.
const readRows = 1000

// stored is a delivery as the store has it.
type stored struct {
	Delivery
	seq      int64
	failures int      // of the line, in a row
	secrets  []secret // of the line
	damaged  bool
}

// readNew notes the lines that have got deliveries since it was called last. The first call
// finds all.
func (d *dispatcher) readNew(ctx context.Context) error {
	for more := true; more; {
		err := d.box.store.View(ctx, func(tx *store.Tx) (err error) {
			more, err = d.readSome(tx)
			return err
		})
		if err != nil {
			d.isBehind = true
			return fmt.Errorf("cannot read new deliveries: %w", err)
		}
	}
	return nil
}

// readSome is readNew for the next deliveries, and reports whether there may be more.
func (d *dispatcher) readSome(tx *store.Tx) (more bool, err error) {
	rows, err := tx.Query(`SELECT d.seq, d.line, d.url, l.tries, l.failed, l.wait
		FROM outbox_deliveries AS d LEFT JOIN outbox_lines AS l ON l.number = d.line
		WHERE d.seq > ? ORDER BY d.seq LIMIT ?`, d.known, readRows)
	if err != nil {
		return false, err
	}
	count := 0
	for ; rows.Next(); count++ {
		var number int64
		var url string
		var failures, failed, wait sql.NullInt64
		if err := rows.Scan(&d.known, &number, &url, &failures, &failed, &wait); err != nil {
			return false, err
		}
		if l := d.lines[number]; l != nil {
			d.noteMore(l)
		} else {
			d.addLine(number, url, failures.Int64, d.box.until(failed.Int64, wait.Int64))
		}
	}
	return count == readRows, rows.Err()
}

// noteMore notes that a line that has deliveries got one more. One that may go before what waits
// for its pace is looked for.
func (d *dispatcher) noteMore(l *line) {
	l.hasMore = true
	if l.place >= 0 && l.paced {
		d.waiting.remove(l)
		d.places.want(l)
	}
}

// addLine notes that the line has deliveries, and has them start when due.
func (d *dispatcher) addLine(number int64, url string, failures int64, due time.Time) {
	l := &line{number: number, target: d.places.target(targets.HostPort(url)), place: -1}
	switch {
	case failures > 0:
		l.pace = slow
	case d.proven[number]:
		l.pace = quick
	}
	d.lines[number] = l
	d.resume(l, due)
}

// resume has the line start when due.
func (d *dispatcher) resume(l *line, due time.Time) {
	if due.After(d.box.now()) {
		d.waiting.add(l, due, false)
		return
	}
	d.places.want(l)
}

// until returns when a wait ends that began at failed, both in milliseconds. A clock that was
// set makes it end no later than a whole wait from now.
func (o *Outbox) until(failed, wait int64) time.Time {
	now := o.now()
	left := time.UnixMilli(failed + wait).Sub(now)
	return now.Add(min(left, time.Duration(wait)*time.Millisecond))
}

// start begins the tries for which there is a place.
func (d *dispatcher) start(ctx context.Context) error {
	var tries []*try
	for t := d.places.next(); t != nil; t = d.places.next() {
		tries = append(tries, t)
	}
	if len(tries) == 0 {
		return nil
	}
	found := make([]*stored, len(tries))
	err := d.box.store.View(ctx, func(tx *store.Tx) (err error) {
		for i, t := range tries {
			if found[i], err = firstOf(tx, t.line.number); err != nil {
				return err
			}
		}
		return nil
	})
	for i, t := range tries {
		if err != nil {
			d.places.release(t)
			d.places.want(t.line)
			continue
		}
		d.startOne(ctx, t, found[i])
	}
	if err != nil {
		return fmt.Errorf("cannot read deliveries: %w", err)
	}
	return nil
}

// startOne begins a try of the line's first delivery, nil for none, unless the line has to do
// something else first.
func (d *dispatcher) startOne(ctx context.Context, t *try, first *stored) {
	l := t.line
	l.hasMore = false
	if first == nil {
		d.places.release(t)
		d.rest(l)
		return
	}
	t.stored, t.target = *first, targets.HostPort(first.URL)
	if t.target != l.target.name {
		d.places.release(t)
		l.target = d.places.target(t.target)
		d.places.want(l)
		return
	}
	if t.Every > 0 && l.pacedUntil.After(d.box.now()) {
		d.places.release(t)
		d.waiting.add(l, l.pacedUntil, true)
		return
	}
	if t.damaged {
		t.answer = answer{verdict: givenUp, reason: "what the store has of it is damaged"}
		d.places.release(t)
		d.unsettled = append(d.unsettled, t)
		return
	}
	d.begin(ctx, t)
}

// rest forgets a line that has no deliveries, once its pace does not matter any more.
func (d *dispatcher) rest(l *line) {
	if l.pacedUntil.After(d.box.now()) {
		d.waiting.add(l, l.pacedUntil, true)
		return
	}
	delete(d.lines, l.number)
}

// firstOf returns the first delivery of the line, nil if it has none.
func firstOf(tx *store.Tx, number int64) (*stored, error) {
	var one stored
	var every, sum int64
	var secrets string
	err := tx.QueryRow(`SELECT d.seq, l.name, d.kind, d.event, d.id, d.url, d.body, d.replaces, d.every, d.checksum, l.tries, l.secrets
		FROM outbox_deliveries AS d JOIN outbox_lines AS l ON l.number = d.line
		WHERE d.line = ? ORDER BY d.seq LIMIT 1`, number).
		Scan(&one.seq, &one.Line, &one.Kind, &one.Event, &one.ID, &one.URL, &one.Body, &one.Replaces, &every, &sum, &one.failures, &secrets)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(secrets), &one.secrets)
	}
	if err != nil {
		return nil, err
	}
	one.Every = time.Duration(every) * time.Millisecond
	one.damaged = sum != one.checksum()
	return &one, nil
}
