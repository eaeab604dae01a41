package tasks

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"dormouse/internal/failpoint"
	"dormouse/internal/store"
	"dormouse/plugins/tasks/taskspb"
)

// answerTime is how long Submit waits for the plugin at most. The values are on disk before.
const answerTime = 4 * time.Second

// submissions are the calls of Submit that wait for what the plugin says of the values.
type submissions struct {
	mu      sync.Mutex
	waiting map[string]chan error // by task and step
}

// begin returns a channel that gets what the plugin says of the values of a step, nil if it takes
// them. The caller must call end.
func (s *submissions) begin(task, step string) (answer <-chan error, end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil {
		s.waiting = make(map[string]chan error)
	}
	key, c := task+"/"+step, make(chan error, 1)
	s.waiting[key] = c
	return c, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.waiting[key] == c {
			delete(s.waiting, key)
		}
	}
}

// claim returns the channel of the call of Submit that waits for the plugin's answer, nil if none
// does any more.
func (s *submissions) claim(task, step string) chan<- error {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := task + "/" + step
	c := s.waiting[key]
	delete(s.waiting, key)
	return c
}

// Submit gives values, a JSON object or empty, for the open step of a task, and returns the task
// once they are on disk and the plugin has taken them, or has not answered for a while: it then
// gets them later. The error wraps ErrUnknown for an unknown task or step, ErrEnded, ErrState if
// the step takes no values now, and ErrInvalid if the plugin refuses the values; the step is then
// open again.
func (t *Tasks) Submit(ctx context.Context, id, step string, values json.RawMessage) (*taskspb.Task, error) {
	if err := checkObject("the values", values); err != nil {
		return nil, err
	}
	if len(values) == 0 {
		values = json.RawMessage("{}")
	}
	if task, mirrors, err := t.submitToMirrored(ctx, id, step, values); mirrors || err != nil {
		if err != nil {
			return nil, fmt.Errorf("cannot submit to the task: %w", err)
		}
		return task, nil
	}
	callsign := ""
	answer, end := t.submissions.begin(id, step)
	defer end()
	err := t.change(ctx, func(tx *store.Tx) (changed, error) {
		r, err := find(tx, id)
		if err != nil {
			return changed{}, err
		}
		callsign = r.task.GetCallsign()
		row, err := touch(tx, callsign, &taskspb.UpdateRequest{Task: id}, nil, 0)
		if err == nil {
			err = giveValues(tx, row.n, step, values)
		}
		return row.changed(id, callsign, StepsEvent), err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot submit to the task: %w", err)
	}
	failpoint.Hit("task.given")
	t.attend(callsign)
	over := time.NewTimer(answerTime)
	defer over.Stop()
	select {
	case err := <-answer:
		if err != nil {
			return nil, err
		}
	case <-over.C:
	case <-ctx.Done():
	}
	return t.Get(context.WithoutCancel(ctx), id)
}

// askToSubmit gives the plugin the values of a step, which is cleared if it takes them and open
// again if it refuses them. The error says why it could not be asked.
func (t *Tasks) askToSubmit(ctx context.Context, worker taskspb.WorkerClient, task *taskspb.Task, step *taskspb.Step) error {
	_, err := worker.Submit(ctx, &taskspb.WorkerSubmitRequest{Task: task.GetId(), Callsign: task.GetCallsign(), Step: step})
	refused := refusalOf(err)
	if err != nil && refused == "" {
		return err
	}
	failpoint.Hit("task.taken")
	waiting := t.submissions.claim(task.GetId(), step.GetId())
	var lines []string
	if refused != "" && waiting == nil {
		lines = []string{fmt.Sprintf("The values of the step %s are not taken: %s", step.GetId(), refused)}
	}
	text := logText(lines)
	err = t.change(ctx, func(tx *store.Tx) (changed, error) {
		row, err := touch(tx, task.GetCallsign(), &taskspb.UpdateRequest{Task: task.GetId()}, nil, int64(len(text)))
		switch {
		case err != nil:
		case refused == "":
			_, err = clearStep(tx, row.n, step.GetId())
		default:
			err = takeValuesBack(tx, row.n, step.GetId())
		}
		if err == nil && text != "" {
			err = appendLog(tx, row.n, row.logBytes, text)
		}
		return row.changed(task.GetId(), task.GetCallsign(), StepsEvent), err
	})
	if err = ignoreEnded(err); waiting != nil {
		waiting <- cmp.Or(err, errIfRefused(refused))
	}
	return err
}

// errIfRefused returns an ErrInvalid with what the plugin has said, nil for nothing.
func errIfRefused(refused string) error {
	if refused == "" {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrInvalid, refused)
}
