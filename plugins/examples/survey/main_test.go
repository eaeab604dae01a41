package main

import (
	"testing"

	"dormouse/plugins/sdk/sdktest"
	"dormouse/plugins/tasks/taskspb"
)

func TestMain(m *testing.M) { sdktest.Main(m, &survey{}) }

// A survey goes on after a restart, with the answers that it has.
func TestSurvey(t *testing.T) {
	h := sdktest.Start(t, sdktest.Options{})
	id := h.StartTask("", map[string]any{"questions": []string{"One?", "Two?"}}).GetId()
	for _, step := range []string{"question-1", "question-2"} {
		h.WaitStep(id, step)
		if err := h.SubmitStep(id, step, map[string]string{"answer": ""}); err == nil {
			t.Error("an empty answer is taken")
		}
		h.Restart()
		if err := h.SubmitStep(id, step, map[string]string{"answer": step}); err != nil {
			t.Fatal(err)
		}
	}
	task := h.EndTask(id)
	if got := string(h.Output(id, "answers.json")); task.GetStatus() != taskspb.Status_STATUS_SUCCESS || got != `["question-1","question-2"]` {
		t.Errorf("it ended %v with %s", task, got)
	}
}
