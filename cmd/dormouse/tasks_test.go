package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

const surveyPlugin = `
[[plugin]]
callsign = "Survey"
executable = "EXAMPLES/survey"
start-mode = "activated"
`

// A task is started, followed, submitted to, cancelled and shown; what it leaves is fetched.
func TestTaskVerbs(t *testing.T) {
	h := startHost(t, t.TempDir(), surveyPlugin)
	h.wait(t, "ready")
	h.dormouse(t, "task", "list").expect(t, exitDone, "there are no tasks")
	h.dormouse(t, "task", "start", "Nothing").expect(t, exitFailed, `!cannot start a task of Nothing: there is no such instance: "Nothing"`)
	h.dormouse(t, "task", "start", "Flows").expect(t, exitFailed, "!Flows is a part of the host")
	h.dormouse(t, "task", "list", "Survye").expect(t, exitFailed, `!there is no instance "Survye"`, "!Survey")
	h.dormouse(t, "task", "start", "Survey", "[1]").expect(t, exitFailed, "!the parameters must be a JSON object")
	id := strings.TrimSpace(h.dormouse(t, "task", "start", "Survey", `{"questions": ["Name?"]}`, "--title", "who are you").expect(t, exitDone).out)
	h.waitForStep(t, id, "question-1")
	h.dormouse(t, "task", "list", "Survey", "--pending").expect(t, exitDone, id+"  Survey    who are you  PENDING, waits")
	h.dormouse(t, "task", "submit", id, "question-1", `{"answer": " "}`).expect(t, exitFailed, `!"Name?" needs an answer`)
	h.dormouse(t, "task", "submit", id, "question-2").expect(t, exitFailed, `!with a step "question-2"`)
	h.dormouse(t, "task", "submit", id, "question-1", `{"answer": "Alice"}`).expect(t, exitDone)
	h.dormouse(t, "task", "follow", id).expect(t, exitDone, "Name? Alice\n", "-- 1 of 1 answers", "-- SUCCESS")
	shown := h.dormouse(t, "task", "show", id).expect(t, exitDone, "SUCCESS", "step question-1", "done Name?", "output answers.json", `{"questions":["Name?"]}`)
	_, path, _ := strings.Cut(shown.out, "/Service/Tasks/")
	path, _, _ = strings.Cut(path, "\n")
	if got, header := h.fetch(t, "/Service/Tasks/"+path); got != `["Alice"]` || header.Get("X-Data-Type") != "entity/list" || header.Get("Content-Type") != "application/json" {
		t.Errorf("the output is %q, %v", got, header)
	}
	if got, _ := h.fetch(t, "/Service/Tasks/"+id+"/nothing"); !strings.Contains(got, "there is no such task with an output") {
		t.Errorf("an unknown output is %q", got)
	}

	id = strings.TrimSpace(h.dormouse(t, "task", "start", "Survey", `{"questions": ["Why?"]}`).expect(t, exitDone).out)
	h.dormouse(t, "task", "cancel", id).expect(t, exitDone)
	h.dormouse(t, "task", "follow", id).expect(t, exitFailed, "-- FAILURE", "!the task has failed: cancelled")
	h.dormouse(t, "task", "cancel", id).expect(t, exitFailed, "!cannot cancel the task "+id+": the task has ended: FAILURE: cancelled")
	h.dormouse(t, "task", "show", "nothing").expect(t, exitFailed, `!there is no such task: "nothing"`)
	h.dormouse(t, "task", "list", "-o", "json").expect(t, exitDone, `"status": "FAILURE"`, `"status": "SUCCESS"`)
	if metrics := h.get(t, "/metrics"); !strings.Contains(metrics, `dormouse_tasks{status="FAILURE"} 1`) || !strings.Contains(metrics, `dormouse_tasks{status="PENDING"} 0`) {
		t.Error("the metrics do not count the tasks")
	}
}

// waitForStep waits until the task has the step.
func (h *testHost) waitForStep(t *testing.T, id, step string) {
	t.Helper()
	for r := (taskRecord{}); len(r.Steps) == 0 || r.Steps[len(r.Steps)-1].ID != step; {
		answer := h.dormouse(t, "call", "Tasks.get", fmt.Sprintf(`{"task":%q,"revision":%d,"wait":20}`, id, r.Revision), "-o", "json").expect(t, exitDone)
		if err := json.Unmarshal([]byte(answer.out), &r); err != nil || r.Status != "PENDING" {
			t.Fatalf("%v: %s", err, answer.out)
		}
	}
}

// fetch returns the body and the header of an answer.
func (h *testHost) fetch(t *testing.T, path string) (string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+h.address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body), answer.Header
}

// What was not shown of a log is shown, also of one that was cut meanwhile.
func TestUnseenLog(t *testing.T) {
	for _, test := range []struct{ shown, log, want string }{
		{"", "a\n", "a\n"},
		{"a\n", "a\nb\n", "b\n"},
		{"a\nb\nc\n", "a\n… 1 lines are left out …\nc\nd\n", "d\n"},
		{"a\nb\n", "a\n… 5 lines are left out …\nx\ny\n", "…\nx\ny\n"},
		{"a\n", "a\n", ""},
	} {
		if got := unseenLog(test.shown, test.log); got != test.want {
			t.Errorf("after %q, of %q: %q, want %q", test.shown, test.log, got, test.want)
		}
	}
}
