package sdk

import (
	"context"
	"encoding/json"
	"fmt"

	"dormouse/plugins/tasks/taskspb"
)

// Step is something that a task waits for a user to do.
type Step struct {
	// ID is the same in each life of the plugin, and unique in the task.
	ID    string
	Title string
	// Href is where the values are sent to; empty: to the host, which gives them to Ask.
	Href string
	// UI is a page with a form, an absolute address or a path below the plugin's Web. Empty: the
	// host makes a plain form from Schema.
	UI     string
	Schema json.RawMessage // a JSON Schema of the values; empty for any
	// Check returns why the plugin does not take the values, nil if it does; the user is told. A
	// nil Check takes all.
	Check func(values json.RawMessage) error
}

// Ask adds the step, waits until a user has submitted values for it, and decodes them into values,
// which may be nil. The plugin may sleep meanwhile. A step with an ID that the task has already is
// not added again: if its values were given to an earlier life of the plugin, Ask returns these at
// once. The step is cleared when Ask returns nil.
func (t *Task) Ask(ctx context.Context, s Step, values any) error {
	given, done := t.tasks.expect(t.ID, s)
	defer done()
	waits := true
	answer, err := t.update(ctx, "ask in", &taskspb.UpdateRequest{AddStep: s.toWire(), Waits: &waits})
	if err != nil {
		return err
	}
	raw := json.RawMessage(answer.GetStep().GetValues())
	if !answer.GetStep().GetCleared() {
		select {
		case raw = <-given:
		case <-ctx.Done():
			return fmt.Errorf("cannot wait for the step %s: %w", s.ID, context.Cause(ctx))
		}
	}
	waits = false
	// The host clears the step too once it has the plugin's answer, which may come later.
	if _, err := t.update(ctx, "go on with", &taskspb.UpdateRequest{ClearSteps: []string{s.ID}, Waits: &waits}); err != nil {
		return err
	}
	if values == nil || len(raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, values); err != nil {
		return fmt.Errorf("cannot read the values of the step %s: %w", s.ID, err)
	}
	return nil
}

// AddStep adds a step whose values go elsewhere, or for which a part of the plugin's own waits. One
// with an ID that the task has already is not added again.
func (t *Task) AddStep(ctx context.Context, s Step) error {
	_, err := t.update(ctx, "add a step to", &taskspb.UpdateRequest{AddStep: s.toWire()})
	return err
}

// ClearStep says that a step is done. One that is cleared already stays so.
func (t *Task) ClearStep(ctx context.Context, id string) error {
	_, err := t.update(ctx, "clear a step of", &taskspb.UpdateRequest{ClearSteps: []string{id}})
	return err
}

// toWire returns the step as the host gets it.
func (s Step) toWire() *taskspb.Step {
	return &taskspb.Step{Id: s.ID, Title: s.Title, Href: s.Href, Ui: s.UI, Schema: s.Schema}
}
