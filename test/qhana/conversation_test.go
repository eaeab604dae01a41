package qhana

import (
	"encoding/json"
	"html"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/plugins/qhana/qhanatest"
)

// The whole conversation of QHAna's optimizer, with our plugin as the objective function: a registry
// finds it, a user sets it up with its plain form, the coordinator follows it by its callback, the
// minimizer evaluates it, and the coordinator ends it.
func TestOptimizerConversation(t *testing.T) {
	registry, runner := newRegistry(t), newRunner(t)
	h := newRig(t, registry.Root())
	registry.AddSeed(h.url)
	if err := registry.Discover(); err != nil {
		t.Fatal(err)
	}
	if err := registry.AwaitPlugins(limited(t), "hinge-loss 0.2.0.dev0+snapshot"); err != nil {
		t.Fatal(err)
	}
	found := registry.Find("objective-function", "!minimizer")
	if len(found) != 1 {
		t.Fatalf("the registry finds %v", found)
	}
	minAddress := runner.AddPlugin((&minimizer{runner}).plugin())
	c := &coordinator{
		runner: runner, objective: found[0],
		minimizer: qhanatest.Plugin{Href: minAddress + "process/", UIHref: minAddress + "ui/"},
	}
	target := []float64{0.5, -2, 3}
	text, err := json.Marshal(target)
	if err != nil {
		t.Fatal(err)
	}
	features := runner.AddFile("features", qhanatest.File{ContentType: "application/json", Text: "[]"})
	targetFile := runner.AddFile("target", qhanatest.File{ContentType: "application/json", Text: string(text)})

	task, err := runner.Submit(runner.AddPlugin(c.plugin())+"process/", url.Values{"features": {features}, "target": {targetFile}})
	if err != nil {
		t.Fatal(err)
	}
	setup := awaitStep(t, runner, task, "of_setup")
	action := formAction(t, setup.UIHref)
	if action != setup.Href {
		t.Fatalf("the form is sent to %s, not to %s", action, setup.Href)
	}
	of, err := runner.Submit(action, url.Values{"c": {"0.5"}})
	if err != nil {
		t.Fatal(err)
	}
	setup = awaitStep(t, runner, task, "minimizer_setup")
	if _, err := runner.Submit(setup.Href, url.Values{"method": {"nelder_mead"}}); err != nil {
		t.Fatal(err)
	}
	result := awaitEnd(t, runner, task)
	if result.Status != "SUCCESS" || len(result.Outputs) != 1 {
		t.Fatalf("the coordinator's task: %+v, %v; it was told %q", result, c.failed, c.seen)
	}
	_, _, weights := get(t, result.Outputs[0].Href)
	if !isNear(t, weights, target) {
		t.Errorf("the weights are %s, not %v", weights, target)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of != of {
		t.Errorf("the webhooks have the source %s, the redirection led to %s", c.of, of)
	}
	checkObjective(t, runner, of)
	// It was told of each step and of the end, and of nothing twice that it had taken.
	if !slices.Contains(c.seen, "of details false") || !slices.Contains(c.seen, "of status true") {
		t.Errorf("the coordinator was told %q", c.seen)
	}
}

// checkObjective checks what is left of our task.
func checkObjective(t *testing.T, runner *qhanatest.Runner, of string) {
	t.Helper()
	record, err := runner.Get(of)
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	for _, s := range record.Steps {
		if !s.Cleared {
			t.Errorf("the step %s is not cleared", s.StepID)
		}
		steps = append(steps, s.StepID)
	}
	if diff := cmp.Diff([]string{"pass_data", "evaluate"}, steps); diff != "" || record.Status != "SUCCESS" {
		t.Errorf("%s (-want +got):\n%s", record.Status, diff)
	}
	if len(record.Outputs) != 1 {
		t.Fatalf("it has left %v", record.Outputs)
	}
	status, header, body := get(t, record.Outputs[0].Href)
	var left struct {
		Loss        float64
		Evaluations int
	}
	if err := json.Unmarshal([]byte(body), &left); err != nil || status != 200 || left.Loss > 1e-3 || left.Evaluations < 10 {
		t.Errorf("%d %s: %v", status, body, err)
	}
	if header.Get("Content-Type") != "application/json" || header.Get("X-Data-Type") != "entity/vector" {
		t.Errorf("%v", header)
	}
	if !strings.Contains(record.Log, "waits for data\n") || !strings.Contains(record.Log, "done\n") {
		t.Errorf("the log is %q", record.Log)
	}
}

// formAction returns the address to which the form on a page is sent.
func formAction(t *testing.T, page string) string {
	t.Helper()
	status, _, body := get(t, page)
	found := regexp.MustCompile(`<form method="post" action="([^"]*)"`).FindStringSubmatch(body)
	if status != 200 || found == nil {
		t.Fatalf("%s: %d, no form in\n%s", page, status, body)
	}
	return html.UnescapeString(found[1])
}

// isNear reports whether the JSON text has numbers near those.
func isNear(t *testing.T, text string, want []float64) bool {
	t.Helper()
	var got []float64
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return slices.EqualFunc(want, got, func(a, b float64) bool { return math.Abs(a-b) < 0.01 })
}

// awaitStep returns the open step of that id of a task, once there is one.
func awaitStep(t *testing.T, runner *qhanatest.Runner, task, id string) (found qhanatest.Step) {
	t.Helper()
	awaitTask(t, runner, task, func(r qhanatest.TaskRecord) bool {
		var open bool
		found, open = r.Open()
		return open && found.StepID == id || r.Status != "PENDING"
	})
	if found.StepID != id {
		_, _, body := get(t, task)
		t.Fatalf("there is no step %s in %s: %s", id, task, body)
	}
	return found
}

// awaitEnd returns the task once it has ended.
func awaitEnd(t *testing.T, runner *qhanatest.Runner, task string) qhanatest.TaskRecord {
	t.Helper()
	return awaitTask(t, runner, task, func(r qhanatest.TaskRecord) bool { return r.Status != "PENDING" })
}

// awaitTask returns the task once it is as wanted, as a program that polls it does.
func awaitTask(t *testing.T, runner *qhanatest.Runner, task string, isWanted func(qhanatest.TaskRecord) bool) qhanatest.TaskRecord {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	ctx := limited(t)
	for {
		record, err := runner.Get(task)
		if err != nil {
			t.Fatal(err)
		}
		if isWanted(record) {
			return record
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the task %s stays %+v", task, record)
		}
	}
}
