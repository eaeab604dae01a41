// Command survey is an example of a plugin that runs tasks. Each task asks a user so many questions,
// one after the other, and leaves the answers as a file. It goes on where it was after a restart or
// a crash, and the plugin may sleep while it waits.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"dormouse/plugins/sdk"
)

func main() { sdk.Serve(&survey{}) }

// survey is the plugin. It keeps nothing itself: what a task knows is with the host.
type survey struct{}

func (s *survey) Information() sdk.Information {
	return sdk.Information{Name: "survey", Description: "Asks questions", Version: sdk.Version{Major: 1}, Tasks: sdk.TaskRules{Resumes: 1000}}
}

func (s *survey) Initialize(context.Context, *sdk.Instance) error { return nil }

func (s *survey) Deinitialize(context.Context, sdk.Reason) error { return nil }

// Suspend and Resume let the plugin be hibernated.
func (s *survey) Suspend(context.Context) error { return nil }

func (s *survey) Resume(context.Context) error { return nil }

// form is the JSON Schema of an answer.
const form = `{
	"type": "object",
	"properties": {"answer": {"type": "string", "title": "Your answer"}},
	"required": ["answer"]
}`

// RunTask asks the questions that the parameters name, as {"questions": ["…"]}. The answers that an
// earlier life has got are in the data of the task.
func (s *survey) RunTask(ctx context.Context, t *sdk.Task) error {
	var parameters struct {
		Questions []string `json:"questions"`
	}
	if err := json.Unmarshal(t.Parameters, &parameters); err != nil {
		return fmt.Errorf("cannot read the questions: %w", err)
	}
	answers := []string{}
	if _, err := t.Data(&answers); err != nil {
		return err
	}
	for len(answers) < len(parameters.Questions) {
		answer, err := s.ask(ctx, t, len(answers), parameters.Questions[len(answers)])
		if err != nil {
			return err
		}
		answers = append(answers, answer)
		if err := t.SetData(ctx, answers); err != nil {
			return err
		}
		if err := t.SetProgress(ctx, sdk.Progress{Value: float64(len(answers)), Target: float64(len(parameters.Questions)), Unit: "answers"}); err != nil {
			return err
		}
	}
	content, err := json.Marshal(answers)
	if err != nil {
		return err
	}
	return t.PutOutput(ctx, sdk.Output{Name: "answers.json", ContentType: "application/json", DataType: "entity/list"}, bytes.NewReader(content))
}

// ask asks the question of that number and returns the answer, which must not be empty.
func (s *survey) ask(ctx context.Context, t *sdk.Task, number int, question string) (string, error) {
	type values struct {
		Answer string `json:"answer"`
	}
	check := func(raw json.RawMessage) error {
		var v values
		if err := json.Unmarshal(raw, &v); err != nil || strings.TrimSpace(v.Answer) == "" {
			return fmt.Errorf("%q needs an answer", question)
		}
		return nil
	}
	var v values
	step := sdk.Step{ID: fmt.Sprintf("question-%d", number+1), Title: question, Schema: json.RawMessage(form), Check: check}
	if err := t.Ask(ctx, step, &v); err != nil {
		return "", err
	}
	return v.Answer, t.Logf(ctx, "%s %s", question, v.Answer)
}
