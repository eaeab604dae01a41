package tasks

import (
	"context"
	"fmt"
	"time"

	"dormouse/internal/store"
	"dormouse/plugins/tasks/taskspb"
)

// Cancel asks for the end of a task and returns it once that is on disk. The plugin is asked to
// end it; after the grace it is FAILURE, with the reason "cancelled". To cancel again is no
// error. The error wraps ErrUnknown or ErrEnded.
func (t *Tasks) Cancel(ctx context.Context, id string) (*taskspb.Task, error) {
	var task *taskspb.Task
	err := t.change(ctx, func(tx *store.Tx) (changed, error) {
		r, err := find(tx, id)
		if err != nil {
			return changed{}, err
		}
		row, err := touch(tx, r.task.GetCallsign(), &taskspb.UpdateRequest{Task: id}, nil, 0)
		if err == nil {
			_, err = tx.Exec("UPDATE tasks SET cancelled = 1 WHERE n = ?", row.n)
		}
		if err == nil {
			task, err = readWhole(tx, id, false)
		}
		return row.changed(id, r.task.GetCallsign(), DetailsEvent), err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot cancel the task: %w", err)
	}
	t.endAfterGrace(id)
	t.attend(task.GetCallsign())
	return task, nil
}

// endAfterGrace ends a task that is to be cancelled when its plugin had the time to end it.
func (t *Tasks) endAfterGrace(id string) {
	t.owners.mu.Lock()
	defer t.owners.mu.Unlock()
	p := t.owners.tasks[id]
	if p == nil || p.grace != nil {
		return
	}
	p.grace = time.AfterFunc(time.Duration(t.Config.CancelGrace), func() { t.endCancelled(id) })
}

// endCancelled ends a task that its plugin did not end, unless the instance is not active any
// more: the next host then does it.
func (t *Tasks) endCancelled(id string) {
	t.start(func(ctx context.Context) {
		if err := t.endPending(ctx, id, failed(cancelledReason)); err != nil {
			t.Log.Error().Err(err).Str("task", id).Msg("cannot end a task that was cancelled; it is tried again")
			t.owners.mu.Lock()
			defer t.owners.mu.Unlock()
			if p := t.owners.tasks[id]; p != nil {
				p.grace = time.AfterFunc(retryAfter, func() { t.endCancelled(id) })
			}
		}
	})
}

// rearmCancels gives the tasks that an earlier host was to cancel the whole grace again.
func (t *Tasks) rearmCancels() {
	var ids []string
	err := t.Store.View(context.Background(), func(tx *store.Tx) error {
		rows, err := tx.Query("SELECT id FROM tasks WHERE status = 0 AND cancelled")
		if err != nil {
			return err
		}
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return rows.Err()
	})
	if err != nil {
		t.Log.Error().Err(err).Msg("cannot look for tasks that were cancelled")
	}
	for _, id := range ids {
		t.endAfterGrace(id)
	}
}

// wasTold reports whether the plugin knows that it is to end a task.
func (o *owners) wasTold(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.tasks[id]
	return p == nil || p.told
}

// askToCancel has the plugin end a task. One that can't is not asked again: the task ends at once.
func (t *Tasks) askToCancel(ctx context.Context, worker taskspb.WorkerClient, task *taskspb.Task) error {
	_, err := worker.Cancel(ctx, &taskspb.WorkerCancelRequest{Task: task.GetId(), Callsign: task.GetCallsign()})
	switch {
	case err == nil:
		t.owners.mu.Lock()
		defer t.owners.mu.Unlock()
		if p := t.owners.tasks[task.GetId()]; p != nil {
			p.told = true
		}
		return nil
	case refusalOf(err) != "":
		return t.endPending(ctx, task.GetId(), failed(cancelledReason))
	}
	return err
}
