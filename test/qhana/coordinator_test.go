package qhana

import (
	"fmt"
	"net/url"
	"sync"

	"dormouse/plugins/qhana/qhanatest"
)

// coordinator is QHAna's optimizer coordinator: it has a user set an objective function and a
// minimizer up, gives the one to the other, and ends both.
type coordinator struct {
	runner               *qhanatest.Runner
	objective, minimizer qhanatest.Plugin

	mu       sync.Mutex
	features string
	target   string
	of, min  string   // their tasks, by the sources of the first webhooks
	phase    string   // of the conversation
	seen     []string // what it was told, and what it answered
	failed   error
}

// plugin returns the coordinator as a plugin of a runner.
func (c *coordinator) plugin() qhanatest.RunnerPlugin {
	return qhanatest.RunnerPlugin{
		Name: "optimizer-coordinator", Version: "0.1.0", Tags: []string{"optimization"},
		Start: c.start, Callback: c.callback,
	}
}

// start has the user set the objective function up.
func (c *coordinator) start(t *qhanatest.Task, form url.Values) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.features, c.target, c.phase = form.Get("features"), form.Get("target"), "of_setup"
	t.AddStep(calleeStep("of_setup", c.objective, t.CallbackURL("of")))
}

// calleeStep returns a step that is the entry point of another plugin, with a callback.
func calleeStep(id string, p qhanatest.Plugin, callback string) qhanatest.Step {
	query := "?" + url.Values{"callback": {callback}}.Encode()
	return qhanatest.Step{StepID: id, Href: p.Href + query, UIHref: p.UIHref + query}
}

// callback takes a webhook of the objective function or the minimizer. Events that are of no
// interest are answered with 404, all of "details" among them.
func (c *coordinator) callback(t *qhanatest.Task, name, source, event string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	interesting := c.take(t, name, source, event)
	c.seen = append(c.seen, fmt.Sprintf("%s %s %t", name, event, interesting))
	return interesting
}

// take is callback for a caller that holds mu.
func (c *coordinator) take(t *qhanatest.Task, name, source, event string) bool {
	if event != "steps" && event != "status" {
		return false
	}
	task := map[string]*string{"of": &c.of, "min": &c.min}[name]
	if *task == "" { // the first webhook says which task it is
		*task = source
		t.ClearStep()
	}
	if *task != source {
		return false
	}
	record, err := c.runner.Get(source)
	if err != nil {
		c.failed = err
		return false
	}
	step, open := record.Open()
	var why error
	switch {
	case name == "of" && open && step.StepID == "pass_data" && c.phase == "of_setup":
		c.phase = "pass_data"
		_, why = c.runner.Submit(step.Href, url.Values{"features": {c.features}, "target": {c.target}})
	case name == "of" && open && step.StepID == "evaluate" && c.phase == "pass_data":
		c.phase = "min_setup"
		t.AddStep(calleeStep("minimizer_setup", c.minimizer, t.CallbackURL("min")))
	case name == "min" && open && step.StepID == "minimize" && c.phase == "min_setup":
		c.phase = "minimize"
		_, why = c.runner.Submit(step.Href, url.Values{"objectiveFunction": {c.of}})
	case name == "min" && record.Status == "SUCCESS" && c.phase == "minimize":
		c.phase = "evaluated"
		var of qhanatest.TaskRecord
		if of, why = c.runner.Get(c.of); why == nil {
			last, _ := of.Open()
			_, why = c.runner.Submit(last.Href, nil)
		}
	case name == "of" && record.Status == "SUCCESS" && c.phase == "evaluated":
		c.phase = "done"
		result, err := c.runner.Get(c.min)
		why = err
		t.Finish("", result.Outputs...)
	case record.Status == "FAILURE":
		t.Finish(name + " has failed: " + record.Log)
	}
	if why != nil {
		c.failed = why
		t.Finish(why.Error())
	}
	return true
}
