package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"dormouse/internal/failpoint"
	"dormouse/internal/store"
)

// settlement is what was written of tries that have ended.
type settlement struct {
	tries []*try
	nexts []next // of each of the tries
	err   error  // nothing was written
}

// next is what a line does after a try.
type next struct {
	hasFirst bool
	wait     time.Duration
}

// settle has the answers written that are there, unless the ones before are still being written.
func (d *dispatcher) settle(ctx context.Context) {
	if d.settling || len(d.unsettled) == 0 {
		return
	}
	tries := d.unsettled
	d.unsettled, d.settling = nil, true
	d.sending.Go(func() { d.settled <- d.box.settle(context.WithoutCancel(ctx), tries) })
}

// takeSettlement has the lines go on whose answers were written.
func (d *dispatcher) takeSettlement(s settlement) {
	d.settling = false
	if s.err != nil {
		d.unsettled = append(s.tries, d.unsettled...)
		d.note(s.err)
		return
	}
	now := d.box.now()
	for i, t := range s.tries {
		if l := t.line; s.nexts[i].hasFirst || l.hasMore {
			d.resume(l, now.Add(s.nexts[i].wait))
		} else {
			d.rest(l)
		}
	}
}

// settle writes what has become of the tries, in one transaction.
func (o *Outbox) settle(ctx context.Context, tries []*try) settlement {
	failpoint.Hit("outbox.answered")
	s := settlement{tries: tries, nexts: make([]next, len(tries))}
	s.err = o.store.Update(ctx, func(tx *store.Tx) (err error) {
		for i, t := range tries {
			if s.nexts[i], err = o.settleOne(tx, t); err != nil {
				return err
			}
		}
		return nil
	})
	failpoint.Hit("outbox.settled")
	if s.err != nil {
		s.err = fmt.Errorf("cannot note what was delivered: %w", s.err)
	}
	return s
}

// settleOne writes what has become of one try.
func (o *Outbox) settleOne(tx *store.Tx, t *try) (n next, err error) {
	switch t.answer.verdict {
	case gone:
		return next{}, o.dropGone(tx, t)
	case again:
		n.wait = min(t.answer.wait(t.failures+1), giveUpAfter)
		if err := o.noteFailure(tx, t, n.wait); err != nil {
			return n, err
		}
	case givenUp:
		if err := o.giveUp(tx, t.line.number, t.seq, t.failures+1, t.answer.reason); err != nil {
			return n, err
		}
	default:
		if err := removeDone(tx, t); err != nil {
			return n, err
		}
	}
	err = tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM outbox_deliveries WHERE line = ?)`, t.line.number).Scan(&n.hasFirst)
	return n, err
}

// removeDone removes a delivery that was made. It may have moved in its line meanwhile.
func removeDone(tx *store.Tx, t *try) error {
	_, err := tx.Exec(`DELETE FROM outbox_deliveries WHERE line = ? AND id = ?`, t.line.number, t.ID)
	if err == nil && t.failures > 0 {
		_, err = tx.Exec(`UPDATE outbox_lines SET tries = 0, wait = 0 WHERE number = ?`, t.line.number)
	}
	return err
}

// dropGone drops the line of a target that has answered 410.
func (o *Outbox) dropGone(tx *store.Tx, t *try) error {
	if err := o.DropLine(tx, t.Line); err != nil {
		return err
	}
	if k := o.kind(t.Kind); k.Gone != nil {
		return k.Gone(tx, t.Line)
	}
	return nil
}

// noteFailure notes that the line waits, and gives up the deliveries that would then have waited
// for too long.
func (o *Outbox) noteFailure(tx *store.Tx, t *try, wait time.Duration) error {
	var waited int64
	err := tx.QueryRow(`UPDATE outbox_lines SET tries = tries + 1, waited = waited + ?, failed = ?, wait = ?, reason = ?
		WHERE number = ? RETURNING waited`,
		wait.Milliseconds(), o.now().UnixMilli(), wait.Milliseconds(), t.answer.reason, t.line.number).Scan(&waited)
	if errors.Is(err, sql.ErrNoRows) {
		return nil // the line was dropped
	}
	if err != nil {
		return err
	}
	rows, err := tx.Query(`SELECT seq FROM outbox_deliveries WHERE line = ? AND since <= ?`, t.line.number, waited-giveUpAfter.Milliseconds())
	if err != nil {
		return err
	}
	var old []int64
	for rows.Next() {
		var seq int64
		if err := rows.Scan(&seq); err != nil {
			return err
		}
		old = append(old, seq)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, seq := range old {
		if err := o.giveUp(tx, t.line.number, seq, t.failures+1, t.answer.reason); err != nil {
			return err
		}
	}
	return nil
}

// maxFailed is how many deliveries are kept that were given up; the oldest go first.
const maxFailed = 10_000

// giveUp moves a delivery to those that are not tried any more.
func (o *Outbox) giveUp(tx *store.Tx, line, seq int64, tries int, reason string) error {
	_, err := tx.Exec(`INSERT INTO outbox_failed (seq, line, kind, event, id, url, body, replaces, every, made, checksum, tries, reason)
		SELECT seq, line, kind, event, id, url, body, replaces, every, made, checksum, ?, ? FROM outbox_deliveries
		WHERE line = ? AND seq = ?`, tries, reason, line, seq)
	if err == nil {
		_, err = tx.Exec(`DELETE FROM outbox_deliveries WHERE line = ? AND seq = ?`, line, seq)
	}
	if err == nil {
		_, err = tx.Exec(`DELETE FROM outbox_failed WHERE seq <= (SELECT seq FROM outbox_failed ORDER BY seq DESC LIMIT 1 OFFSET ?)`, maxFailed)
	}
	return err
}
