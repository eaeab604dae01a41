// Command objective is an example of a plugin that makes virtual plugins. Each of its tasks asks for
// data, makes a virtual plugin that is the objective function of that data, and ends when it is told
// that nothing evaluates it any more. All that it must know later is with the host, so that it may
// sleep, crash and be replaced meanwhile.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"dormouse/plugins/sdk"
	"dormouse/plugins/tasks/taskspb"
)

func main() { sdk.Serve(&objective{problems: make(map[string]*problem)}) }

// objective is the plugin.
type objective struct {
	callsign string
	host     *sdk.Host

	mu       sync.Mutex
	problems map[string]*problem // by the callsign of the virtual plugin; they can be read anew
}

// setUpForm is the JSON Schema of what a task is started with, dataForm that of the data it asks for.
const (
	setUpForm = `{
		"type": "object",
		"properties": {"regularization": {"type": "number", "title": "Weight of the size of the weights", "minimum": 0, "default": 0}}
	}`
	dataForm = `{
		"type": "object",
		"properties": {
			"features": {"type": "string", "format": "uri", "title": "Features, a list of lists of numbers"},
			"target": {"type": "string", "format": "uri", "title": "Target, a list of numbers"}
		},
		"required": ["features", "target"]
	}`
	weightsForm = `{
		"type": "object",
		"properties": {"weights": {"type": "array", "items": {"type": "number"}}},
		"required": ["weights"]
	}`
)

func (o *objective) Information() sdk.Information {
	return sdk.Information{
		Name: "least-squares", Description: "Squared errors of a linear model", Version: sdk.Version{Major: 1},
		Tasks: sdk.TaskRules{Resumes: 1000},
		Profile: sdk.Profile{
			Title: "Least squares", Tags: []string{"objective-function"},
			Provides: []sdk.Type{{Name: "objective-function-setup", Version: "1.0.0"}},
			Entry:    &sdk.EntryPoint{Kind: sdk.Processing, Schema: json.RawMessage(setUpForm)},
		},
	}
}

// Initialize removes the virtual plugins of tasks that have ended without the plugin.
func (o *objective) Initialize(ctx context.Context, in *sdk.Instance) error {
	o.callsign, o.host = in.Callsign, in.Host
	children, err := o.host.ListVirtual(ctx)
	if err != nil {
		return err
	}
	for _, child := range children {
		task, err := o.host.GetTask(ctx, o.taskOf(child.Callsign))
		if err == nil && task.GetStatus() == taskspb.Status_STATUS_PENDING {
			continue
		}
		if err := o.host.RemoveVirtual(ctx, child.Callsign); err != nil {
			return err
		}
	}
	return nil
}

func (o *objective) Deinitialize(context.Context, sdk.Reason) error { return nil }

// Suspend and Resume let the plugin be hibernated.
func (o *objective) Suspend(context.Context) error { return nil }

func (o *objective) Resume(context.Context) error { return nil }

// childOf returns the callsign of the virtual plugin of a task, and taskOf the task of one.
func (o *objective) childOf(task string) string { return o.callsign + "-" + task }

func (o *objective) taskOf(child string) string { return child[len(o.callsign)+1:] }

// RunTask asks for data and is then an objective function until its last step is submitted. A later
// life of the plugin runs it from the start: what was asked and made is there already.
func (o *objective) RunTask(ctx context.Context, t *sdk.Task) (err error) {
	var setUp struct{ Regularization float64 }
	if len(t.Parameters) > 0 {
		if err := json.Unmarshal(t.Parameters, &setUp); err != nil {
			return fmt.Errorf("cannot read the parameters: %w", err)
		}
	}
	var data struct{ Features, Target string }
	if err := t.Ask(ctx, sdk.Step{ID: "pass_data", Title: "Pass the data", Schema: json.RawMessage(dataForm)}, &data); err != nil {
		return err
	}
	child := o.childOf(t.ID)
	defer func() {
		// Without this test the next life would miss it when the plugin itself ends.
		if ctx.Err() == nil || errors.Is(context.Cause(ctx), sdk.ErrCancelled) {
			err = errors.Join(err, o.remove(context.WithoutCancel(ctx), child))
		}
	}()
	if err := o.host.CreateVirtual(ctx, virtualFor(child, t.ID)); err != nil {
		return err
	}
	if err := o.keepData(ctx, child, data.Features, data.Target, setUp.Regularization); err != nil {
		return err
	}
	for _, name := range []string{"weights", "evaluate"} {
		if err := t.SetLink(ctx, "of-"+name, "of/"+t.ID+"/"+name); err != nil {
			return err
		}
	}
	return t.Ask(ctx, sdk.Step{ID: "evaluate", Title: "End the evaluation"}, nil)
}

// virtualFor returns the virtual plugin of a task. Its tag has the task by which others find it.
func virtualFor(callsign, task string) sdk.Virtual {
	return sdk.Virtual{
		Callsign: callsign, Title: "Least squares of one problem", Tags: []string{task},
		Provides: []sdk.Type{{Name: "objective-function", Version: "1.0.0", Methods: []sdk.TypeMethod{
			{Name: "weights"}, {Name: "evaluate", Params: json.RawMessage(weightsForm)},
		}}},
	}
}

// remove removes the virtual plugin with its data.
func (o *objective) remove(ctx context.Context, child string) error {
	o.mu.Lock()
	delete(o.problems, child)
	o.mu.Unlock()
	return o.host.RemoveVirtual(ctx, child)
}
