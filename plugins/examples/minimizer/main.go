// Command minimizer is an example of a plugin that uses another one, by its callsign or over HTTP.
// Each of its tasks asks for an objective function and leaves the weights at which that is smallest.
// After a restart or a crash it goes on where it was.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"dormouse/plugins/sdk"
)

func main() { sdk.Serve(&minimizer{}) }

// minimizer is the plugin.
type minimizer struct{ host *sdk.Host }

// setUpForm is the JSON Schema of what a task is started with, functionForm that of what it asks
// for.
const (
	setUpForm = `{
		"type": "object",
		"properties": {
			"method": {"type": "string", "title": "Method", "enum": ["pattern_search"], "default": "pattern_search"},
			"tolerance": {"type": "number", "title": "How exact the weights are", "exclusiveMinimum": 0, "default": 0.001},
			"confirm": {"type": "boolean", "title": "Ask before the weights are taken", "default": false}
		}
	}`
	functionForm = `{
		"type": "object",
		"properties": {"objectiveFunction": {"type": "string", "title": "The function: a callsign, or the address of its task"}},
		"required": ["objectiveFunction"]
	}`
)

func (m *minimizer) Information() sdk.Information {
	return sdk.Information{
		Name: "pattern-search", Description: "Finds the least of an objective function", Version: sdk.Version{Major: 1},
		Tasks: sdk.TaskRules{Resumes: 1000},
		Profile: sdk.Profile{
			Title: "Pattern search", Tags: []string{"minimizer"},
			Provides: []sdk.Type{{Name: "minimizer", Version: "1.0.0"}},
			Uses:     []sdk.Use{{Type: "objective-function", Range: "^1"}},
			Entry: &sdk.EntryPoint{
				Kind: sdk.Processing, Schema: json.RawMessage(setUpForm),
				DataOutputs: []sdk.Data{{Name: "weights.json", DataType: "entity/vector", ContentTypes: []string{"application/json"}, Required: true}},
			},
		},
	}
}

func (m *minimizer) Initialize(_ context.Context, in *sdk.Instance) error {
	m.host = in.Host
	return nil
}

func (m *minimizer) Deinitialize(context.Context, sdk.Reason) error { return nil }

// Suspend and Resume let the plugin be hibernated.
func (m *minimizer) Suspend(context.Context) error { return nil }

func (m *minimizer) Resume(context.Context) error { return nil }

// RunTask asks for the function, and searches. How far the search is stands in the data of the task
// after each round, so that a later life finds the same weights.
func (m *minimizer) RunTask(ctx context.Context, t *sdk.Task) error {
	setUp := struct {
		Tolerance float64
		Confirm   bool
	}{Tolerance: 0.001}
	if len(t.Parameters) > 0 {
		if err := json.Unmarshal(t.Parameters, &setUp); err != nil {
			return fmt.Errorf("cannot read the parameters: %w", err)
		}
	}
	var asked struct{ ObjectiveFunction string }
	if err := t.Ask(ctx, sdk.Step{ID: "minimize", Title: "Minimize a function", Schema: json.RawMessage(functionForm)}, &asked); err != nil {
		return err
	}
	f := m.functionOf(asked.ObjectiveFunction)
	var s search
	found, err := t.Data(&s)
	if err == nil && !found {
		s, err = newSearch(ctx, f)
	}
	for err == nil && s.Step >= setUp.Tolerance {
		if err = s.round(ctx, f); err == nil {
			err = errors.Join(t.SetData(ctx, s), t.SetProgress(ctx, sdk.Progress{Value: float64(s.Rounds), Unit: "rounds"}))
		}
	}
	if err != nil {
		return err
	}
	if setUp.Confirm {
		if err := t.Ask(ctx, sdk.Step{ID: "confirm", Title: fmt.Sprintf("Take weights with the loss %.4g?", s.Loss)}, nil); err != nil {
			return err
		}
	}
	content, err := json.Marshal(s.Weights)
	if err != nil {
		return err
	}
	return t.PutOutput(ctx, sdk.Output{Name: "weights.json", ContentType: "application/json", DataType: "entity/vector"}, bytes.NewReader(content))
}

// functionOf returns the function of an address or a callsign.
func (m *minimizer) functionOf(name string) function {
	if strings.Contains(name, "://") {
		return &remoteFunction{task: name}
	}
	return pluginFunction{m.host, name}
}
