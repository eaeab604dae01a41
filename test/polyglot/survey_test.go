package polyglot

import (
	"strings"
	"testing"

	"dormouse/plugins/sdk/sdktest"
	"dormouse/plugins/tasks/taskspb"
)

// questions are the parameters of a task of the examples.
var questions = map[string]any{"questions": []string{"Who?", "Where?"}}

// TestTask takes a task of each example through its steps, the last in another life.
func TestTask(t *testing.T) {
	each(t, func(t *testing.T, program string) {
		t.Helper()
		h := sdktest.Start(t, sdktest.Options{Executable: program, State: map[string]any{"surveys": 6}})
		id := h.StartTask("survey", questions).GetId()
		h.WaitStep(id, "question-1")
		if err := h.SubmitStep(id, "question-1", map[string]any{"answer": ""}); err == nil || !strings.Contains(err.Error(), "needs an answer") {
			t.Errorf("an empty answer: %v", err)
		}
		submit(t, h, id, "question-1", "Ann")
		h.WaitStep(id, "question-2")
		h.Restart()
		submit(t, h, id, "question-2", "here")
		isAnswered(t, h, id, 7)
		if task := h.Task(id); task.GetResumed() != 1 || task.GetLog() != "Who? Ann\nWhere? here\n" || task.GetProgress().GetValue() != 2 {
			t.Errorf("got %v", task)
		}
	})
}

// TestTaskSleeps hibernates each example while its task waits; the answer wakes it.
func TestTaskSleeps(t *testing.T) {
	eachThatSleeps(t, func(t *testing.T, program string) {
		t.Helper()
		h := sdktest.Start(t, sdktest.Options{Executable: program})
		id := h.StartTask("survey", questions).GetId()
		h.WaitStep(id, "question-1")
		h.Hibernate()
		submit(t, h, id, "question-1", "Ann")
		h.WaitStep(id, "question-2")
		h.Hibernate()
		h.Wake()
		submit(t, h, id, "question-2", "here")
		isAnswered(t, h, id, 1)
		if resumed := h.Task(id).GetResumed(); resumed != 0 {
			t.Errorf("%d further lives worked on it", resumed)
		}
	})
}

// TestOwnTask has each example make a task by itself, which others then end.
func TestOwnTask(t *testing.T) {
	each(t, func(t *testing.T, program string) {
		t.Helper()
		h := sdktest.Start(t, sdktest.Options{Executable: program})
		var made struct{ Task string }
		if err := h.Call("survey", questions, &made); err != nil {
			t.Fatal(err)
		}
		h.WaitStep(made.Task, "question-1")
		h.CancelTask(made.Task)
		if task := h.EndTask(made.Task); task.GetStatus() != taskspb.Status_STATUS_FAILURE || task.GetReason() != "cancelled" || task.GetResumed() != 0 {
			t.Errorf("got %v", task)
		}
		var surveys int
		if h.KeptKey("surveys", &surveys) {
			t.Errorf("a cancelled survey counts: %d", surveys)
		}
	})
}

// submit gives the answer to a question.
func submit(t *testing.T, h *sdktest.Harness, id, step, answer string) {
	t.Helper()
	if err := h.SubmitStep(id, step, map[string]any{"answer": answer}); err != nil {
		t.Fatal(err)
	}
}

// isAnswered waits for the end of a task, and makes sure of what it and the state have then.
func isAnswered(t *testing.T, h *sdktest.Harness, id string, surveys int) {
	t.Helper()
	const want = `["Ann","here"]`
	if task := h.EndTask(id); task.GetStatus() != taskspb.Status_STATUS_SUCCESS {
		t.Fatalf("got %v", task)
	}
	if got := h.Output(id, "answers.json"); string(got) != want {
		t.Errorf("the output is %s", got)
	}
	if got, _ := h.KeptBlob("last.json"); string(got) != want {
		t.Errorf("the blob is %s", got)
	}
	var got int
	if h.KeptKey("surveys", &got); got != surveys {
		t.Errorf("%d surveys, want %d", got, surveys)
	}
}
