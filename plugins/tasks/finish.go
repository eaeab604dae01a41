package tasks

import (
	"context"
	"fmt"
	"time"

	"dormouse/internal/failpoint"
	"dormouse/internal/store"
	"dormouse/plugins/tasks/taskspb"
)

// end is how a task ends.
type end struct {
	status taskspb.Status
	reason string
	log    []string
}

// failed returns the end of a task for that reason, with lines for its log.
func failed(reason string, log ...string) end {
	return end{taskspb.Status_STATUS_FAILURE, reason, log}
}

// maxReason bounds the reason of a failure in bytes.
const maxReason = 4 << 10

// finish ends a task of the owner. To end it in the same way again is no error.
func (t *Tasks) finish(ctx context.Context, owner string, r *taskspb.FinishRequest) (*taskspb.Task, error) {
	switch r.GetStatus() {
	case taskspb.Status_STATUS_SUCCESS:
		if r.GetReason() != "" {
			return nil, fmt.Errorf("%w: only a FAILURE has a reason", ErrInvalid)
		}
	case taskspb.Status_STATUS_FAILURE:
	default:
		return nil, fmt.Errorf("%w: a task ends with SUCCESS or FAILURE", ErrInvalid)
	}
	var ended *taskspb.Task
	err := t.change(ctx, func(tx *store.Tx) (changed, error) {
		row, err := findOwn(tx, r.GetTask(), owner)
		if err != nil {
			return changed{}, err
		}
		var c changed
		switch has := row.task; {
		case isPending(has):
			c, err = t.endIn(tx, row, end{r.GetStatus(), r.GetReason(), r.GetLog()})
		case has.GetStatus() != r.GetStatus() || has.GetReason() != reasonOf(end{r.GetStatus(), r.GetReason(), nil}, has.GetCancelled()):
			err = endedError(has)
		}
		if err == nil {
			ended, err = readWhole(tx, r.GetTask(), true)
		}
		return c, err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot finish the task: %w", err)
	}
	failpoint.Hit("task.ended")
	return ended, nil
}

// cancelledReason is the reason of each task that was cancelled.
const cancelledReason = "cancelled"

// reasonOf returns why a task ends so, empty for success.
func reasonOf(e end, cancelled bool) string {
	switch {
	case e.status == taskspb.Status_STATUS_SUCCESS:
		return ""
	case cancelled:
		return cancelledReason
	case e.reason == "":
		return "the plugin gave no reason"
	}
	return shortened(e.reason, maxReason)
}

// endIn ends a pending task, with its reason as the last line of the log, and clears its open
// step on success. What was put out for it is seen from then on.
func (t *Tasks) endIn(tx *store.Tx, r record, e end) (changed, error) {
	id := r.task.GetId()
	e.reason = reasonOf(e, r.task.GetCancelled())
	if e.reason != "" {
		e.log = append(e.log, e.reason)
	}
	now, text := time.Now().UnixMilli(), logText(e.log)
	row, err := touch(tx, r.task.GetCallsign(), &taskspb.UpdateRequest{Task: id}, nil, int64(len(text)))
	if err == nil && text != "" {
		err = appendLog(tx, row.n, row.logBytes, text)
	}
	events := StatusEvent | DetailsEvent
	if err == nil && e.status == taskspb.Status_STATUS_SUCCESS {
		var cleared bool
		if cleared, err = clearOpenSteps(tx, row.n); cleared {
			events |= StepsEvent
		}
	}
	if err == nil {
		_, err = tx.Exec("UPDATE tasks SET status = ?, reason = ?, finished = ?, ended = ?, waits = 0 WHERE n = ?",
			int(e.status), e.reason, now, t.clock.now(), row.n)
	}
	c := row.changed(id, r.task.GetCallsign(), events)
	c.Status = e.status
	return c, err
}
