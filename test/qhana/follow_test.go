package qhana

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/plugins/qhana/qhanatest"
	"dormouse/plugins/tasks/taskspb"
)

// startInviter starts a task of Inviter, and returns its address and id.
func (h *rig) startInviter(parameters map[string]string) (address, id string) {
	h.t.Helper()
	raw, err := json.Marshal(parameters)
	if err != nil {
		h.t.Fatal(err)
	}
	task, err := h.host.Tasks.Start(h.t.Context(), "Inviter", "", raw)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.url + "/tasks/" + task.GetId() + "/", task.GetId()
}

// steps returns the ids of the steps of a task, each with an x once it is cleared.
func steps(r qhanatest.TaskRecord) (all []string) {
	for _, s := range r.Steps {
		text := s.StepID
		if s.Cleared {
			text += " x"
		}
		all = append(all, text)
	}
	return all
}

// A task invites a plugin of the same host: the step is there, and cleared when a user has started
// the other; the steps of the other are mirrored or brought to the plugin, each once, although the
// host restarts at each step; and the task goes on when the other has ended.
func TestInviteOnThisHost(t *testing.T) {
	for _, restarts := range []bool{false, true} {
		t.Run(map[bool]string{false: "undisturbed", true: "with restarts"}[restarts], func(t *testing.T) {
			runner := newRunner(t)
			h := newRig(t)
			disturb := func() {
				if restarts {
					h.restart()
				}
			}
			data := runner.AddFile("data", qhanatest.File{ContentType: "application/json", Text: "[1, 2]"})
			task, _ := h.startInviter(map[string]string{"plugin": "Hinge", "features": data, "target": data})
			invite := awaitStep(t, runner, task, "invite")
			if !strings.HasPrefix(invite.Href, h.url+"/plugins/hinge-loss@") || !strings.Contains(invite.Href, "callback=") {
				t.Fatalf("the invitation leads to %s", invite.Href)
			}
			disturb()
			if action := formAction(t, invite.UIHref); action != invite.Href {
				t.Fatalf("the form leads to %s", action)
			}
			if restarts { // what Objective does is lost with its process: only the invitation is disturbed
				awaitStep(t, runner, task, "invite")
			}
			of, err := runner.Submit(invite.Href, url.Values{"c": {"0.5"}})
			if err != nil {
				t.Fatal(err)
			}
			mirrored := awaitStep(t, runner, task, "of.evaluate")
			if mirrored.Href != of+"steps/evaluate/" {
				t.Errorf("the values go to %s, not to %s", mirrored.Href, of)
			}
			if _, err := runner.Submit(mirrored.Href, nil); err != nil {
				t.Fatal(err)
			}
			end := awaitEnd(t, runner, task)
			if diff := cmp.Diff([]string{"invite x", "of.evaluate x"}, steps(end)); diff != "" || end.Status != "SUCCESS" {
				t.Errorf("%s (-want +got):\n%s%s", end.Status, diff, end.Log)
			}
			if !strings.Contains(end.Log, "the other ends as STATUS_SUCCESS with 1 outputs\n") {
				t.Errorf("the log is %q", end.Log)
			}
		})
	}
}

// Values for a mirrored step reach the other task also by the following one.
func TestSubmitToMirroredStep(t *testing.T) {
	runner := newRunner(t)
	h := newRig(t)
	data := runner.AddFile("data", qhanatest.File{ContentType: "application/json", Text: "[1, 2]"})
	of, err := h.host.Tasks.Start(t.Context(), "Hinge", "", json.RawMessage(`{"c":1}`))
	if err != nil {
		t.Fatal(err)
	}
	task, id := h.startInviter(map[string]string{"follow": h.url + "/tasks/" + of.GetId() + "/", "features": data, "target": data})
	awaitStep(t, runner, task, "of.evaluate")
	if _, err := h.host.Tasks.Submit(t.Context(), id, "of.evaluate", nil); err != nil {
		t.Fatal(err)
	}
	if end := awaitEnd(t, runner, task); end.Status != "SUCCESS" {
		t.Errorf("%+v", end)
	}
}

// twoSteps adds a plugin to the runner whose tasks have the steps first and second, and returns its
// address.
func twoSteps(runner *qhanatest.Runner) string {
	return runner.AddPlugin(qhanatest.RunnerPlugin{
		Name: "other", Version: "1.0.0",
		Start: func(t *qhanatest.Task, _ url.Values) {
			t.AddStep(qhanatest.Step{StepID: "first", Href: t.StepURL("first"), UIHref: t.StepURL("first")})
		},
		Step: func(t *qhanatest.Task, step string, _ url.Values) {
			if step == "first" {
				t.ClearStep()
				t.AddStep(qhanatest.Step{StepID: "second", Href: t.StepURL("second"), UIHref: t.StepURL("second")})
				return
			}
			t.Finish("")
		},
	})
}

// A task invites a plugin of a runner: a user starts it there, its steps are mirrored with their
// addresses, and its end is told.
func TestInviteElsewhere(t *testing.T) {
	runner := newRunner(t)
	h := newRig(t)
	plugin := twoSteps(runner)
	task, _ := h.startInviter(map[string]string{"plugin": plugin})
	invite := awaitStep(t, runner, task, "invite")
	if !strings.HasPrefix(invite.Href, plugin) {
		t.Fatalf("the invitation leads to %s", invite.Href)
	}
	other, err := runner.Submit(invite.Href, url.Values{})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"of.first", "of.second"} {
		s := awaitStep(t, runner, task, id)
		if !strings.HasPrefix(s.Href, other) {
			t.Errorf("the step %s leads to %s, not to %s", id, s.Href, other)
		}
		h.restart()
		if _, err := runner.Submit(s.Href, url.Values{}); err != nil {
			t.Fatal(err)
		}
	}
	end := awaitEnd(t, runner, task)
	if diff := cmp.Diff([]string{"invite x", "of.first x", "of.second x"}, steps(end)); diff != "" || end.Status != "SUCCESS" {
		t.Errorf("%s (-want +got):\n%s%s", end.Status, diff, end.Log)
	}
}

// A task follows one of another host, which follows one of a runner: each step comes through once,
// and so does the end, whichever of the hosts restarts at each step.
func TestFollowAcrossHosts(t *testing.T) {
	for _, restarts := range []string{"neither", "here", "there", "both"} {
		t.Run(restarts, func(t *testing.T) {
			runner := newRunner(t)
			here, there := newRig(t), newRig(t)
			plugin := twoSteps(runner)
			far, _ := there.startInviter(map[string]string{"plugin": plugin})
			near, _ := here.startInviter(map[string]string{"follow": far})
			disturb := func() {
				if restarts == "here" || restarts == "both" {
					here.restart()
				}
				if restarts == "there" || restarts == "both" {
					there.restart()
				}
			}
			invite := awaitStep(t, runner, near, "of.invite")
			disturb()
			if _, err := runner.Submit(invite.Href, url.Values{}); err != nil {
				t.Fatal(err)
			}
			for _, id := range []string{"of.of.first", "of.of.second"} {
				s := awaitStep(t, runner, near, id)
				disturb()
				if _, err := runner.Submit(s.Href, url.Values{}); err != nil {
					t.Fatal(err)
				}
			}
			for task, want := range map[string][]string{
				far:  {"invite x", "of.first x", "of.second x"},
				near: {"of.invite x", "of.of.first x", "of.of.second x"},
			} {
				end := awaitEnd(t, runner, task)
				if diff := cmp.Diff(want, steps(end)); diff != "" || end.Status != "SUCCESS" {
					t.Errorf("%s (-want +got):\n%s%s", end.Status, diff, end.Log)
				}
			}
		})
	}
}

// A mirrored step of another host is submitted at its own address only, and a task there that fails
// is told as failed.
func TestFollowedTaskFailsElsewhere(t *testing.T) {
	runner := newRunner(t)
	here, there := newRig(t), newRig(t)
	of, err := there.host.Tasks.Start(t.Context(), "Hinge", "", json.RawMessage(`{"c":1}`))
	if err != nil {
		t.Fatal(err)
	}
	task, id := here.startInviter(map[string]string{"follow": there.url + "/tasks/" + of.GetId() + "/", "all": "yes"})
	step := awaitStep(t, runner, task, "of.pass_data")
	if _, err := here.host.Tasks.Submit(t.Context(), id, "of.pass_data", json.RawMessage(`{}`)); err == nil || !strings.Contains(err.Error(), "is to be submitted to "+step.Href) {
		t.Errorf("submitted here: %v", err)
	}
	if _, err := there.host.Tasks.Cancel(t.Context(), of.GetId()); err != nil {
		t.Fatal(err)
	}
	if end := awaitEnd(t, runner, task); !strings.Contains(end.Log, "ends as STATUS_FAILURE with 0 outputs\n") {
		t.Errorf("%s: %s", end.Status, end.Log)
	}
}

// A followed task that is not there any more ends the following with the reason.
func TestFollowedTaskVanishes(t *testing.T) {
	runner := newRunner(t)
	h := newRig(t)
	hooks := make(chan string, 10)
	for _, status := range []int{http.StatusNotFound, http.StatusGone} {
		var gone atomic.Bool
		other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if gone.Load() {
				w.WriteHeader(status)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"status":"PENDING","links":[{"type":"subscribe","href":"http://%s/"}],"steps":[{"stepId":"s","href":"http://%[1]s/s","uiHref":"http://%[1]s/s"}]}`, r.Host)
			if r.Method == http.MethodPost { // it is told of, and then not there
				var command struct{ WebhookHref string }
				_ = json.NewDecoder(r.Body).Decode(&command)
				hooks <- command.WebhookHref
			}
		}))
		task, _ := h.startInviter(map[string]string{"follow": other.URL + "/"})
		awaitStep(t, runner, task, "of.s")
		gone.Store(true)
		if got := post(t, <-hooks+"?event=steps&source="+url.QueryEscape(other.URL+"/")); got != http.StatusNoContent {
			t.Errorf("the webhook is answered %d", got)
		}
		end := awaitEnd(t, runner, task)
		if diff := cmp.Diff([]string{"of.s x"}, steps(end)); diff != "" || end.Status != "FAILURE" || !strings.Contains(end.Log, "cannot follow the other task any more: there is no such task any more") {
			t.Errorf("%d: %s: %s\n%s", status, end.Status, diff, end.Log)
		}
		other.Close()
	}
}

// A webhook that names a task of another origin than the invited plugin's, or has a token that is
// not known, changes nothing.
func TestForgedCallback(t *testing.T) {
	runner := newRunner(t)
	h := newRig(t)
	plugin := runner.AddPlugin(qhanatest.RunnerPlugin{Name: "other", Version: "1.0.0"})
	task, id := h.startInviter(map[string]string{"plugin": plugin})
	invite := awaitStep(t, runner, task, "invite")
	address, err := url.Parse(invite.Href)
	if err != nil {
		t.Fatal(err)
	}
	callback := address.Query().Get("callback")
	for _, forged := range []string{
		callback + "?event=steps&source=" + url.QueryEscape("http://127.0.0.1:1/tasks/1/"),
		callback + "?event=steps&source=" + url.QueryEscape(task),
		callback + "?event=steps",
		strings.TrimSuffix(callback, "/") + "x/?event=steps&source=" + url.QueryEscape(plugin+"tasks/1/"),
	} {
		if status := post(t, forged); status != 404 {
			t.Errorf("%s: %d", forged, status)
		}
	}
	after, err := h.host.Tasks.Get(context.Background(), id)
	if err != nil || after.GetStatus() != taskspb.Status_STATUS_PENDING || after.GetSteps()[0].GetCleared() {
		t.Errorf("%v: %v", after, err)
	}
}
