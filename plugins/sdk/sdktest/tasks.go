package sdktest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"dormouse/plugins/tasks/taskspb"
)

// StartTask has the plugin run a task with these parameters, which are encoded as a JSON object, as
// a client would. It fails the test if the host refuses the task.
func (h *Harness) StartTask(title string, parameters any) *taskspb.Task {
	h.t.Helper()
	raw, err := json.Marshal(parameters)
	if string(raw) == "null" {
		raw = nil
	}
	var task *taskspb.Task
	if err == nil {
		task, err = h.host.Tasks.Start(h.t.Context(), h.callsign, title, raw)
	}
	h.failTestOnError("start a task of", err)
	return task
}

// Task returns any task as it is now.
func (h *Harness) Task(id string) *taskspb.Task {
	h.t.Helper()
	task, err := h.host.Tasks.Get(h.t.Context(), id)
	h.failTestOnError("get a task of", err)
	return task
}

// WaitTask waits until the task is as it should be, at most 30 seconds.
func (h *Harness) WaitTask(id string, is func(*taskspb.Task) bool) *taskspb.Task {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	for revision := uint64(0); ; {
		task, err := h.host.Tasks.Wait(ctx, id, revision, patience)
		h.failTestOnError("wait for a task of", err)
		if is(task) {
			return task
		}
		if ctx.Err() != nil || task.GetStatus() != taskspb.Status_STATUS_PENDING {
			h.t.Fatalf("the task did not become what it should: %v", task)
		}
		revision = task.GetRevision()
	}
}

// WaitStep waits until the task has that step, which is not cleared.
func (h *Harness) WaitStep(id, step string) *taskspb.Step {
	h.t.Helper()
	var open *taskspb.Step
	h.WaitTask(id, func(task *taskspb.Task) bool {
		for _, s := range task.GetSteps() {
			if s.GetId() == step && !s.GetCleared() {
				open = s
			}
		}
		return open != nil
	})
	return open
}

// EndTask waits until the task has ended.
func (h *Harness) EndTask(id string) *taskspb.Task {
	h.t.Helper()
	return h.WaitTask(id, func(task *taskspb.Task) bool { return task.GetStatus() != taskspb.Status_STATUS_PENDING })
}

// SubmitStep submits values, which are encoded as a JSON object, for a step, as a client would. The
// error says that the plugin or the host refuses them.
func (h *Harness) SubmitStep(id, step string, values any) error {
	raw, err := json.Marshal(values)
	if err != nil {
		return err
	}
	if string(raw) == "null" {
		raw = nil
	}
	_, err = h.host.Tasks.Submit(h.t.Context(), id, step, raw)
	return err
}

// CancelTask asks for the end of a task, as a client would.
func (h *Harness) CancelTask(id string) {
	h.t.Helper()
	_, err := h.host.Tasks.Cancel(h.t.Context(), id)
	h.failTestOnError("cancel a task of", err)
}

// Output returns the content of a file of that name that a task has left.
func (h *Harness) Output(id, name string) []byte {
	h.t.Helper()
	for _, o := range h.Task(id).GetOutputs() {
		if o.GetName() != name {
			continue
		}
		_, f, err := h.host.Tasks.OpenOutput(h.t.Context(), id, o.GetKey())
		h.failTestOnError("open an output of", err)
		defer func() { _ = f.Close() }()
		content, err := io.ReadAll(f)
		h.failTestOnError("read an output of", err)
		return content
	}
	h.failTestOnError("find an output of", fmt.Errorf("the task has none that is named %q", name))
	return nil
}
