package tasks

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"dormouse/internal/ownedtree"
	"dormouse/internal/store"
	"dormouse/plugins/tasks/taskspb"
)

// sweepEvery is how often tasks are looked for that are too old, and the clock is kept.
const sweepEvery = time.Hour

// sweepBatch is how many tasks are removed in one transaction.
const sweepBatch = 200

// sweepSlack is how many tasks more than are to be kept may be before they are looked for.
const sweepSlack = 100

// runSweeps removes what is too old, at once and from time to time, until ctx ends.
func (t *Tasks) runSweeps(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := errors.Join(t.sweep(ctx), t.clock.keep()); err != nil && ctx.Err() == nil {
			t.Log.Error().Err(err).Msg("cannot remove old tasks; it is tried again")
		}
		select {
		case <-tick.C:
		case <-t.sweeping:
		case <-ctx.Done():
			return
		}
	}
}

// sweepIfTooMany has tasks removed if more have ended than are to be kept.
func (t *Tasks) sweepIfTooMany() {
	if t.counts.allKept() <= int64(t.Config.KeepCount+sweepSlack) {
		return
	}
	select {
	case t.sweeping <- struct{}{}:
	default:
	}
}

// sweep removes the tasks that ended too long ago, and the oldest of those that are too many.
func (t *Tasks) sweep(ctx context.Context) error {
	for ctx.Err() == nil {
		tooMany := max(t.counts.allKept()-int64(t.Config.KeepCount), 0)
		removed, err := t.sweepSome(ctx, t.clock.now()-time.Duration(t.Config.Keep).Milliseconds(), tooMany)
		if err != nil || removed < sweepBatch {
			return err
		}
	}
	return nil
}

// old is a task that is to be removed.
type old struct {
	n      int64
	id     string
	status taskspb.Status
	bytes  int64
}

// sweepSome removes some tasks: those that ended before that time by the clock, and at least
// tooMany of the oldest. It returns how many it has removed.
func (t *Tasks) sweepSome(ctx context.Context, before, tooMany int64) (removed int, err error) {
	var all []old
	err = t.Store.Update(ctx, func(tx *store.Tx) (err error) {
		if all, err = oldest(tx, before, tooMany); err != nil {
			return err
		}
		for _, o := range all {
			if err := remove(tx, o.n); err != nil {
				return err
			}
			if err := t.Subscriptions.Forget(tx, o.id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, o := range all {
		t.counts.remove(o.status, 1)
		if o.bytes > 0 {
			t.files.giveBack(o.bytes)
		}
		errs = append(errs, ownedtree.Remove(filepath.Join(t.Dir, o.id)))
	}
	return len(all), errors.Join(errs...)
}

// oldest returns tasks that have ended, those that ended first at first: all that ended before that time, and
// the first tooMany.
func oldest(tx *store.Tx, before, tooMany int64) (all []old, err error) {
	rows, err := tx.Query(`SELECT n, id, status, ended, coalesce((SELECT sum(size) FROM task_outputs WHERE task = n), 0)
		FROM tasks WHERE status <> 0 ORDER BY ended LIMIT ?`, sweepBatch)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var o old
		var ended int64
		if err := rows.Scan(&o.n, &o.id, &o.status, &ended, &o.bytes); err != nil {
			return nil, err
		}
		if ended < before || int64(len(all)) < tooMany {
			all = append(all, o)
		}
	}
	return all, rows.Err()
}

// remove removes all rows of a task.
func remove(tx *store.Tx, n int64) error {
	for _, statement := range []string{
		"DELETE FROM task_log WHERE task = ?", "DELETE FROM task_steps WHERE task = ?",
		"DELETE FROM task_parts WHERE task = ?", "DELETE FROM task_outputs WHERE task = ?", "DELETE FROM tasks WHERE n = ?",
	} {
		if _, err := tx.Exec(statement, n); err != nil {
			return err
		}
	}
	return nil
}
