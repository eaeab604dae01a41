package tasks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"dormouse/internal/store"
	"dormouse/plugins/tasks/taskspb"
)

// record is the row of a task.
type record struct {
	n                int64
	task             *taskspb.Task
	life             uint64
	lives            uint32
	logHead, logLeft int64
}

// columns are those of a record, in the order of scan.
const columns = `n, id, callsign, title, status, reason, revision, created, started, changed, finished,
	life, lives, resumes, quiet, waits, cancelled, progress, log_head, log_left`

// isPending reports whether a task is under way.
func isPending(t *taskspb.Task) bool { return t.GetStatus() == taskspb.Status_STATUS_PENDING }

// scanner is a row of a query.
type scanner interface{ Scan(to ...any) error }

// scanRecord reads the columns of a row.
func scanRecord(row scanner) (record, error) {
	r := record{task: &taskspb.Task{}}
	t := r.task
	var created, started, changed, finished, quiet int64
	var progress []byte
	err := row.Scan(&r.n, &t.Id, &t.Callsign, &t.Title, &t.Status, &t.Reason, &t.Revision, &created, &started, &changed, &finished,
		&r.life, &r.lives, &t.Resumes, &quiet, &t.Waits, &t.Cancelled, &progress, &r.logHead, &r.logLeft)
	if err != nil {
		return r, err
	}
	t.Created, t.Started, t.Changed, t.Finished = stamp(created), stamp(started), stamp(changed), stamp(finished)
	t.Resumed = max(r.lives, 1) - 1
	if quiet > 0 {
		t.Quiet = durationpb.New(time.Duration(quiet) * time.Millisecond)
	}
	if progress != nil {
		t.Progress = &taskspb.Progress{}
		err = proto.Unmarshal(progress, t.Progress)
	}
	return r, err
}

// stamp returns a time of the store, nil for 0.
func stamp(milli int64) *timestamppb.Timestamp {
	if milli == 0 {
		return nil
	}
	return timestamppb.New(time.UnixMilli(milli))
}

// find returns the row of a task, or an ErrUnknown; without an id an ErrInvalid.
func find(tx *store.Tx, id string) (record, error) {
	if id == "" {
		return record{}, fmt.Errorf("%w: the id of the task is missing", ErrInvalid)
	}
	r, err := scanRecord(tx.QueryRow("SELECT "+columns+" FROM tasks WHERE id = ?", id))
	if errors.Is(err, sql.ErrNoRows) {
		return r, fmt.Errorf("%w: %.64q", ErrUnknown, id)
	}
	return r, err
}

// findOwn is find for a task of that owner: one of another is unknown.
func findOwn(tx *store.Tx, id, owner string) (record, error) {
	r, err := find(tx, id)
	if err == nil && r.task.GetCallsign() != owner {
		return r, fmt.Errorf("%w of %s: %.64q", ErrUnknown, owner, id)
	}
	return r, err
}

// readWhole returns a task with all that its owner sees, or all that others do.
func readWhole(tx *store.Tx, id string, forOwner bool) (*taskspb.Task, error) {
	r, err := find(tx, id)
	if err != nil {
		return nil, err
	}
	t := r.task
	if t.Log, err = readLog(tx, r); err != nil {
		return nil, err
	}
	if t.Steps, err = readSteps(tx, r.n, forOwner); err != nil {
		return nil, err
	}
	if forOwner || !isPending(t) {
		if t.Outputs, err = readOutputs(tx, r.n); err != nil {
			return nil, err
		}
	}
	return t, readParts(tx, r.n, t, forOwner)
}

// readParts reads the parameters and links of a task into t, and its data for the owner.
func readParts(tx *store.Tx, n int64, t *taskspb.Task, forOwner bool) error {
	rows, err := tx.Query("SELECT part, value FROM task_parts WHERE task = ?", n)
	if err != nil {
		return err
	}
	for rows.Next() {
		var part int
		var value []byte
		if err := rows.Scan(&part, &value); err != nil {
			return err
		}
		switch part {
		case parametersPart:
			t.Parameters = value
		case dataPart:
			if forOwner {
				t.Data = value
			}
		case linksPart:
			links := &taskspb.Task{}
			if err := proto.Unmarshal(value, links); err != nil {
				return err
			}
			t.Links = links.GetLinks()
		}
	}
	return rows.Err()
}

// putPart writes one part of a task; an empty one is removed.
func putPart(tx *store.Tx, n int64, part int, value []byte) error {
	if len(value) == 0 {
		_, err := tx.Exec("DELETE FROM task_parts WHERE task = ? AND part = ?", n, part)
		return err
	}
	_, err := tx.Exec("INSERT OR REPLACE INTO task_parts VALUES (?, ?, ?)", n, part, value)
	return err
}

// Get returns a task as others than its owner see it. The error wraps ErrUnknown.
func (t *Tasks) Get(ctx context.Context, id string) (*taskspb.Task, error) { return t.get(ctx, id, "") }

// get returns a task as the caller of that callsign sees it.
func (t *Tasks) get(ctx context.Context, id, caller string) (task *taskspb.Task, err error) {
	err = t.Store.View(ctx, func(tx *store.Tx) (err error) {
		task, err = readWhole(tx, id, false)
		if err == nil && caller != "" && task.GetCallsign() == caller {
			task, err = readWhole(tx, id, true)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	task.Stuck = t.isStuck(task)
	if t.Address != nil {
		task.Address = t.Address(id)
	}
	return task, nil
}

// maxWait bounds one wait for a change of a task. A wait ends answerRoom before the caller's own
// limit, so that the answer comes in time.
const (
	maxWait    = time.Hour
	answerRoom = time.Second
)

// Wait returns a task once it is newer than the revision or has ended, or when ctx ends or the
// limit is over: then as it is.
func (t *Tasks) Wait(ctx context.Context, id string, revision uint64, limit time.Duration) (*taskspb.Task, error) {
	return t.wait(ctx, id, "", revision, limit)
}

// wait is Wait for the caller of that callsign.
func (t *Tasks) wait(ctx context.Context, id, caller string, revision uint64, limit time.Duration) (*taskspb.Task, error) {
	if end, limited := ctx.Deadline(); limited {
		limit = min(limit, time.Until(end)-answerRoom)
	}
	over := time.NewTimer(min(limit, maxWait))
	defer over.Stop()
	for {
		next, forget := t.waiters.next(id)
		task, err := t.get(ctx, id, caller)
		if err != nil || task.GetRevision() > revision || !isPending(task) {
			forget()
			return task, err
		}
		select {
		case <-next:
			forget()
			continue
		case <-over.C:
		case <-ctx.Done():
		}
		forget()
		return task, nil
	}
}

// Pages of a list.
const (
	defaultPage = 100
	maxPage     = 1000
)

// List returns a page of tasks, newest first. The error wraps ErrInvalid for a page that no list
// has returned.
func (t *Tasks) List(ctx context.Context, r *taskspb.ListRequest) (*taskspb.ListResponse, error) {
	before, limit := int64(1)<<62, defaultPage
	if r.GetPage() != "" {
		n, err := strconv.ParseInt(r.GetPage(), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: there is no page %.64q", ErrInvalid, r.GetPage())
		}
		before = n
	}
	if r.GetLimit() > 0 {
		limit = int(min(r.GetLimit(), maxPage))
	}
	status := int64(-1)
	if r.Status != nil {
		status = int64(r.GetStatus())
	}
	answer := &taskspb.ListResponse{}
	err := t.Store.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query("SELECT "+columns+` FROM tasks WHERE n < ?1 AND (?2 = '' OR callsign = ?2)
			AND (?3 < 0 OR status = ?3) ORDER BY n DESC LIMIT ?4`, before, r.GetCallsign(), status, limit)
		if err != nil {
			return err
		}
		var last int64
		for rows.Next() {
			row, err := scanRecord(rows)
			if err != nil {
				return err
			}
			last = row.n
			answer.Tasks = append(answer.Tasks, row.task)
		}
		if len(answer.Tasks) == limit {
			answer.Next = strconv.FormatInt(last, 10)
		}
		return rows.Err()
	})
	for _, task := range answer.GetTasks() {
		task.Stuck = t.isStuck(task)
	}
	return answer, err
}
