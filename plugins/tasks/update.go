package tasks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"dormouse/internal/store"
	"dormouse/plugins/tasks/taskspb"
)

// update changes a task of the owner that is pending, all of the request or nothing. The answer
// is on disk. The error wraps ErrUnknown for a task of another, ErrEnded for one that has ended.
func (t *Tasks) update(ctx context.Context, owner string, r *taskspb.UpdateRequest) (*taskspb.UpdateResponse, error) {
	if err := checkUpdate(r); err != nil {
		return nil, err
	}
	text := logText(r.GetLog())
	progress, err := encodedProgress(r.GetProgress())
	if err != nil {
		return nil, err
	}
	answer := &taskspb.UpdateResponse{}
	err = t.change(ctx, func(tx *store.Tx) (changed, error) {
		row, err := touch(tx, owner, r, progress, int64(len(text)))
		if err != nil {
			return changed{}, err
		}
		answer.Revision, answer.Cancelled = row.revision, row.cancelled
		events, err := updateParts(tx, row, r, text, answer)
		return row.changed(r.GetTask(), owner, events|detailsOf(r)), err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot change the task: %w", err)
	}
	if answer.GetStep().GetSubmitted() { // the plugin, which has just begun, waits for the values now
		t.attend(owner)
	}
	return answer, nil
}

// checkUpdate returns an error unless all parts of the request are as they must be.
func checkUpdate(r *taskspb.UpdateRequest) error {
	if err := checkLinks(r.GetLinks()); err != nil {
		return err
	}
	if r.GetAddStep() != nil {
		if err := checkStep(r.GetAddStep()); err != nil {
			return err
		}
	}
	if err := checkName("the title", r.GetTitle(), false); err != nil {
		return err
	}
	if err := checkProgress(r.GetProgress()); err != nil {
		return err
	}
	return checkJSON("the data", r.GetData(), MaxData)
}

// detailsOf returns DetailsEvent if the request changes what others than the plugin see, besides
// steps.
func detailsOf(r *taskspb.UpdateRequest) Events {
	if len(r.GetLog()) > 0 || r.GetProgress() != nil || len(r.GetLinks()) > 0 || r.Title != nil || r.Waits != nil {
		return DetailsEvent
	}
	return 0
}

// encodedProgress returns the progress for the row of a task, nil for none.
func encodedProgress(p *taskspb.Progress) ([]byte, error) {
	if p == nil {
		return nil, nil
	}
	raw, err := proto.Marshal(p)
	if raw == nil {
		raw = []byte{}
	}
	return raw, err
}

// touched is what an update needs to know of the row that it has changed.
type touched struct {
	n, logBytes      int64
	revision, life   uint64
	waits, cancelled bool
	quiet            time.Duration
}

// changed returns what the update has done.
func (w touched) changed(id, owner string, events Events) changed {
	return changed{
		Change: Change{Task: id, Callsign: owner, Revision: w.revision, Events: events},
		waits:  w.waits, quiet: w.quiet, life: w.life,
	}
}

// touch changes the row of a pending task of the owner, and returns what it is then.
func touch(tx *store.Tx, owner string, r *taskspb.UpdateRequest, progress []byte, logBytes int64) (touched, error) {
	var w touched
	var quiet int64
	err := tx.QueryRow("SELECT n, revision, log_bytes, waits, cancelled, quiet, life FROM tasks WHERE id = ? AND callsign = ? AND status = 0",
		r.GetTask(), owner).Scan(&w.n, &w.revision, &w.logBytes, &w.waits, &w.cancelled, &quiet, &w.life)
	if errors.Is(err, sql.ErrNoRows) {
		return w, whyNotPending(tx, r.GetTask(), owner)
	}
	if err != nil {
		return w, err
	}
	w.revision, w.logBytes, w.quiet = w.revision+1, w.logBytes+logBytes, time.Duration(quiet)*time.Millisecond
	if r.Waits != nil {
		w.waits = r.GetWaits()
	}
	if r.GetQuiet() != nil {
		w.quiet = r.GetQuiet().AsDuration()
	}
	now := time.Now().UnixMilli()
	_, err = tx.Exec("UPDATE tasks SET revision = ?, changed = ?, log_bytes = ?, progress = coalesce(?, progress) WHERE n = ?",
		int64(w.revision), now, w.logBytes, given(progress), w.n)
	if err == nil && (r.Waits != nil || r.GetQuiet() != nil || r.Resumes != nil || r.Title != nil) {
		_, err = tx.Exec("UPDATE tasks SET waits = ?, quiet = ?, resumes = coalesce(?, resumes), title = coalesce(?, title) WHERE n = ?",
			w.waits, w.quiet.Milliseconds(), r.Resumes, r.Title, w.n)
	}
	return w, err
}

// given returns raw, or nil without a type for none.
func given(raw []byte) any {
	if raw == nil {
		return nil
	}
	return raw
}

// whyNotPending returns why there is no pending task of that id and owner.
func whyNotPending(tx *store.Tx, id, owner string) error {
	r, err := findOwn(tx, id, owner)
	if err == nil {
		err = endedError(r.task)
	}
	return err
}

// endedError returns an ErrEnded that says how the task has ended.
func endedError(t *taskspb.Task) error {
	if t.GetStatus() == taskspb.Status_STATUS_SUCCESS {
		return fmt.Errorf("%w: SUCCESS", ErrEnded)
	}
	return fmt.Errorf("%w: FAILURE: %s", ErrEnded, t.GetReason())
}

// updateParts changes what does not stand in the row of the task, and returns what has happened
// besides details.
func updateParts(tx *store.Tx, w touched, r *taskspb.UpdateRequest, text string, answer *taskspb.UpdateResponse) (events Events, err error) {
	if text != "" {
		if err := appendLog(tx, w.n, w.logBytes, text); err != nil {
			return 0, err
		}
	}
	if r.Data != nil {
		if err := putPart(tx, w.n, dataPart, r.GetData()); err != nil {
			return 0, err
		}
	}
	if len(r.GetLinks()) > 0 {
		if err := mergeLinks(tx, w.n, r.GetLinks()); err != nil {
			return 0, err
		}
	}
	for _, id := range r.GetClearSteps() {
		cleared, err := clearStep(tx, w.n, id)
		if err != nil {
			return 0, err
		}
		if cleared {
			events = StepsEvent
		}
	}
	if r.GetAddStep() != nil {
		step, added, err := addStep(tx, w.n, r.GetAddStep())
		if err != nil {
			return 0, err
		}
		if answer.Step = step; added {
			events = StepsEvent
		}
	}
	return events, nil
}
