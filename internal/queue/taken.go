package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dormouse/internal/store"
)

// Taken is a message that was taken from its queue. Exactly one of Finish, Fail, Killed, Bury
// and PutBack ends that. After an error other than ErrGone the message is still taken: the
// caller may try again, or put it back.
type Taken struct {
	Message   // without a Scope
	Queue     string
	Published time.Time
	Failed    int    // how often it has failed before
	Kills     int    // how often it has killed the program that took it
	Reason    string // why it failed the last time

	queues *Queues
	line   *line
	seq    int64
	next   time.Time // when it may be taken; zero if it has not failed
}

// Outgoing is a message on its way into a queue.
type Outgoing struct {
	Message
	To string
	// Dead is the reason why the message goes to the dead letters of the queue, if it does.
	Dead string
}

// Finish removes the message from its queue and publishes the results, all in one
// transaction. An id of a result is not looked for among those seen: a message that is
// finished once is finished for good. The error wraps ErrQueueFull or ErrFull if there is no
// room for the results.
func (t *Taken) Finish(ctx context.Context, results ...Outgoing) error {
	q := t.queues
	var changes changes
	changes.add(change{line: t.line, waiting: t.counts().negated()})
	lines := make([]*line, len(results))
	for i := range results {
		r := &results[i]
		if r.ID == "" {
			r.ID = NewID()
		}
		if err := r.verifyLength(); err != nil {
			return fmt.Errorf("cannot publish a result to %s: %w", r.To, err)
		}
		l, err := q.lineOf(ctx, r.To)
		if err != nil {
			return err
		}
		lines[i] = l
		c := change{line: l, waiting: counts{1, r.size()}}
		if r.Dead != "" {
			c.waiting, c.dead = counts{}, c.waiting
		}
		changes.add(c)
	}
	now := q.now()
	err := q.transact(ctx, changes, func(tx *store.Tx) error {
		if err := t.delete(tx); err != nil {
			return err
		}
		for i, r := range results {
			if err := q.insert(tx, lines[i], r.Message, now); err != nil {
				return err
			}
			if r.Dead == "" {
				continue
			}
			if err := bury(tx, q.lastSeq.Load(), now, 0, 0, r.Dead); err != nil {
				return err
			}
		}
		return nil
	})
	return t.ended(err, "finish")
}

// Verdict is what becomes of a message that has failed.
type Verdict struct {
	Dead  bool
	Again time.Time // when it may be taken again, if it is not dead
}

// Fail counts a failure for that reason. The message may be taken again after a wait that its
// queue's rules give, or it is now a dead letter.
func (t *Taken) Fail(ctx context.Context, reason string) (Verdict, error) {
	return t.fail(ctx, t.Kills, reason)
}

// Killed counts a failure, and that the program which took the message has ended over it. A
// message that has killed before is taken alone, so that no other is blamed with it; after
// MaxKills it is dead. Killed must not be called for an end that has another cause.
func (t *Taken) Killed(ctx context.Context, reason string) (Verdict, error) {
	return t.fail(ctx, t.Kills+1, reason)
}

func (t *Taken) fail(ctx context.Context, kills int, reason string) (Verdict, error) {
	q := t.queues
	q.mu.Lock()
	rules := t.line.rules
	q.mu.Unlock()
	failed := t.Failed + 1
	if failed >= rules.Attempts || kills >= MaxKills {
		return Verdict{Dead: true}, t.bury(ctx, failed, kills, reason)
	}
	again := q.now().Add(rules.retryAfter(failed)).Truncate(time.Millisecond)
	err := q.transact(ctx, nil, func(tx *store.Tx) error {
		if err := verifyThere(tx, "queue_messages", t.seq); err != nil {
			return err
		}
		_, err := tx.Exec(`INSERT OR REPLACE INTO queue_attempts (seq, queue, failed, kills, next, reason) VALUES (?, ?, ?, ?, ?, ?)`,
			t.seq, t.line.number, failed, kills, again.UnixMilli(), reason)
		return err
	})
	if err != nil {
		return Verdict{}, t.ended(err, "note the failure of")
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	t.Failed, t.Kills, t.Reason, t.next = failed, kills, reason, again
	t.release()
	return Verdict{Again: again}, nil
}

// Bury makes the message a dead letter for that reason, however often it has failed.
func (t *Taken) Bury(ctx context.Context, reason string) error {
	return t.bury(ctx, t.Failed, t.Kills, reason)
}

func (t *Taken) bury(ctx context.Context, failed, kills int, reason string) error {
	var changes changes
	changes.add(change{line: t.line, waiting: t.counts().negated(), dead: t.counts()})
	err := t.queues.transact(ctx, changes, func(tx *store.Tx) error {
		return bury(tx, t.seq, t.queues.now(), failed, kills, reason)
	})
	return t.ended(err, "bury")
}

// PutBack gives the message back as it was taken: that was no attempt.
func (t *Taken) PutBack() {
	t.queues.mu.Lock()
	defer t.queues.mu.Unlock()
	t.release()
}

// release makes t one that may be taken again at its time. The caller holds mu.
func (t *Taken) release() {
	l := t.line
	if l.taken[t.seq] != t {
		return // it is not taken any more
	}
	delete(l.taken, t.seq)
	if l.rules.ordered() || !t.next.After(t.queues.now()) {
		l.putAhead(t)
	} else {
		l.noteRetry(t.next)
	}
	l.tellChanged()
}

// ended notes that t is not in its queue any more, unless err says that it still is.
func (t *Taken) ended(err error, verb string) error {
	if err == nil || errors.Is(err, ErrGone) {
		t.queues.mu.Lock()
		delete(t.line.taken, t.seq)
		t.line.tellChanged()
		t.queues.mu.Unlock()
	}
	if err != nil {
		return fmt.Errorf("cannot %s %s of %s: %w", verb, t.ID, t.Queue, err)
	}
	return nil
}

func (t *Taken) counts() counts { return counts{1, t.size()} }

// delete removes the row of the message, and what is noted of its failures.
func (t *Taken) delete(tx *store.Tx) error {
	if err := deleteOne(tx, `DELETE FROM queue_messages WHERE seq = ?`, t.seq); err != nil {
		return err
	}
	if t.Failed == 0 {
		return nil
	}
	_, err := tx.Exec(`DELETE FROM queue_attempts WHERE seq = ?`, t.seq)
	return err
}

// verifyThere returns an ErrGone if the table has no row of that seq.
func verifyThere(tx *store.Tx, table string, seq int64) error {
	var there bool
	err := tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM `+table+` WHERE seq = ?)`, seq).Scan(&there)
	if err == nil && !there {
		return ErrGone
	}
	return err
}

// bury makes the message of that seq a dead letter.
func bury(tx *store.Tx, seq int64, died time.Time, failed, kills int, reason string) error {
	_, err := tx.Exec(`INSERT INTO queue_dead (seq, queue, id, published, header, body, checksum, died, failed, kills, reason)
		SELECT seq, queue, id, published, header, body, checksum, ?, ?, ?, ? FROM queue_messages WHERE seq = ?`,
		died.UnixMilli(), failed, kills, reason, seq)
	if err != nil {
		return err
	}
	if err := deleteOne(tx, `DELETE FROM queue_messages WHERE seq = ?`, seq); err != nil {
		return err
	}
	_, err = tx.Exec(`DELETE FROM queue_attempts WHERE seq = ?`, seq)
	return err
}

// deleteOne carries out a statement that deletes the row of that seq. It returns an ErrGone if
// there is none.
func deleteOne(tx *store.Tx, statement string, seq int64) error {
	result, err := tx.Exec(statement, seq)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, ErrGone)
	}
	return nil
}

// scanMessage reads a row of selectMessage, and in intact whether it is as it was written.
func (q *Queues) scanMessage(row scanner, l *line) (t *Taken, intact bool, err error) {
	t = &Taken{Queue: l.name, queues: q, line: l}
	var published, next, sum int64
	err = row.Scan(&t.seq, &t.ID, &published, &t.Header, &t.Body, &sum, &t.Failed, &t.Kills, &next, &t.Reason)
	t.Published = time.UnixMilli(published)
	if next > 0 {
		t.next = time.UnixMilli(next)
	}
	return t, sum == checksum(t.seq, l.number, published, t.Message), err
}

// buryDamaged makes dead letters of messages whose stored bytes are damaged, and names each.
func (q *Queues) buryDamaged(ctx context.Context, damaged []*Taken) error {
	for _, t := range damaged {
		err := t.Bury(ctx, ErrDamaged.Error())
		if errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			return err
		}
		q.tellLost(t.Queue, t.ID, ErrDamaged)
	}
	return nil
}

// tellLost names a message that is lost.
func (q *Queues) tellLost(queue, id string, cause error) {
	if q.options.Lost != nil {
		q.options.Lost(queue, id, cause)
	}
}

// scanner is a row of a table.
type scanner interface{ Scan(to ...any) error }
