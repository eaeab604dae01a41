// Command optimizer is an example of a plugin that has others work. Each of its tasks invites a user
// to set up an objective function and a minimizer, hands the data to the one and the function to the
// other, shows their further steps as its own, and leaves what the minimizer has found. The two are
// plugins of this host, of another one, or of QHAna.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"dormouse/plugins/sdk"
	"dormouse/plugins/tasks/taskspb"
)

func main() { sdk.Serve(&optimizer{}) }

// optimizer is the plugin. It keeps nothing itself: what a task knows is with the host.
type optimizer struct{ host *sdk.Host }

// form is the JSON Schema of what a task is started with. The plugins are named as QHAna's own
// optimizer has it.
const form = `{
	"type": "object",
	"properties": {
		"features": {"type": "string", "format": "uri", "title": "Features"},
		"target": {"type": "string", "format": "uri", "title": "Target"},
		"objectiveFunctionPluginSelector": {"type": "string", "title": "Objective function: a callsign or the address of a plugin; empty for any"},
		"minimizerPluginSelector": {"type": "string", "title": "Minimizer: a callsign or the address of a plugin; empty for any"}
	},
	"required": ["features", "target"]
}`

// What the plugin uses: the first provider that the host finds, unless the user names one.
var (
	objective = sdk.Use{Type: "objective-function-setup", Range: "^1"}
	minimizer = sdk.Use{Type: "minimizer", Range: "^1"}
)

func (o *optimizer) Information() sdk.Information {
	return sdk.Information{
		Name: "optimizer", Description: "Fits a model to data", Version: sdk.Version{Major: 1},
		Tasks: sdk.TaskRules{Resumes: 1000},
		Profile: sdk.Profile{
			Title: "Optimizer", Tags: []string{"optimization"},
			Provides: []sdk.Type{{Name: "optimizer", Version: "1.0.0"}},
			Uses:     []sdk.Use{objective, minimizer},
			Entry: &sdk.EntryPoint{
				Kind: sdk.Processing, Schema: json.RawMessage(form),
				DataInputs: []sdk.Data{
					{Name: "features", DataType: "*", ContentTypes: []string{"application/json"}, Required: true},
					{Name: "target", DataType: "*", ContentTypes: []string{"application/json"}, Required: true},
				},
				DataOutputs: []sdk.Data{{Name: "weights.json", DataType: "entity/vector", ContentTypes: []string{"application/json"}, Required: true}},
			},
		},
	}
}

func (o *optimizer) Initialize(_ context.Context, in *sdk.Instance) error {
	o.host = in.Host
	return nil
}

func (o *optimizer) Deinitialize(context.Context, sdk.Reason) error { return nil }

// Suspend and Resume let the plugin be hibernated.
func (o *optimizer) Suspend(context.Context) error { return nil }

func (o *optimizer) Resume(context.Context) error { return nil }

// parameters are what a task is started with.
type parameters struct {
	Features, Target string
	Objective        string `json:"objectiveFunctionPluginSelector"`
	Minimizer        string `json:"minimizerPluginSelector"`
}

// RunTask has the user set up the objective function, and goes along with its task until that ends,
// after the minimizer has used it. In a later life of the plugin the host tells again what is still
// to be done.
func (o *optimizer) RunTask(ctx context.Context, t *sdk.Task) error {
	p, err := o.choose(ctx, t)
	if err != nil {
		return err
	}
	of, err := t.Invite(ctx, sdk.Step{ID: "of_setup", Title: "Set up the objective function"}, p.Objective, sdk.Following{
		Prefix: "of.", Except: []string{"pass_data", "evaluate"},
		OnStep: func(ctx context.Context, of *taskspb.Task, s *taskspb.Step) error {
			if s.GetId() == "pass_data" {
				return o.submit(ctx, of, s, map[string]string{"features": p.Features, "target": p.Target})
			}
			err := o.minimize(ctx, t, of, p.Minimizer)
			if ctx.Err() != nil {
				return err // another life goes on, or the function has failed
			}
			return errors.Join(err, o.submit(ctx, of, s, map[string]string{}))
		},
	})
	return errors.Join(err, failureOf("objective function", of))
}

// minimize has the user set up the minimizer, gives it the function, and keeps what it has found.
func (o *optimizer) minimize(ctx context.Context, t *sdk.Task, of *taskspb.Task, plugin string) error {
	found, err := t.Invite(ctx, sdk.Step{ID: "minimizer_setup", Title: "Set up the minimizer"}, plugin, sdk.Following{
		Prefix: "min.", Except: []string{"minimize"},
		OnStep: func(ctx context.Context, minimizer *taskspb.Task, s *taskspb.Step) error {
			function, err := o.nameOf(ctx, of, minimizer)
			if err != nil {
				return err
			}
			return o.submit(ctx, minimizer, s, map[string]string{"objectiveFunction": function})
		},
	})
	if err := errors.Join(err, failureOf("minimizer", found)); err != nil {
		return err
	}
	for _, output := range found.GetOutputs() {
		if err := o.takeOver(ctx, t, found, output); err != nil {
			return fmt.Errorf("cannot take over the output %s: %w", output.GetName(), err)
		}
	}
	return nil
}

// choose returns the parameters of the task, with the plugins that the user has not named. A later
// life chooses the same.
func (o *optimizer) choose(ctx context.Context, t *sdk.Task) (p parameters, err error) {
	if found, err := t.Data(&p); found || err != nil {
		return p, err
	}
	if err := json.Unmarshal(t.Parameters, &p); err != nil {
		return p, fmt.Errorf("cannot read the parameters: %w", err)
	}
	if p.Objective, err = o.find(ctx, objective, p.Objective); err != nil {
		return p, err
	}
	if p.Minimizer, err = o.find(ctx, minimizer, p.Minimizer); err != nil {
		return p, err
	}
	return p, t.SetData(ctx, p)
}

// find returns the plugin that is named, else the callsign of the first one of this host.
func (o *optimizer) find(ctx context.Context, u sdk.Use, named string) (string, error) {
	if named != "" {
		return named, nil
	}
	found, err := o.host.Find(ctx, u)
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", fmt.Errorf("no plugin provides %s: install one, or name one", u.Type)
	}
	return found[0].Callsign, nil
}

// nameOf returns what a minimizer knows the function by: if both are of this host, the callsign of
// the virtual plugin that the function's task has made, else the address of the task.
func (o *optimizer) nameOf(ctx context.Context, of, minimizer *taskspb.Task) (string, error) {
	if isElsewhere(of) {
		return of.GetId(), nil
	}
	if !isElsewhere(minimizer) {
		found, err := o.host.Find(ctx, sdk.Use{Type: "objective-function", Tags: []string{of.GetId()}})
		if err != nil {
			return "", err
		}
		if len(found) > 0 {
			return found[0].Callsign, nil
		}
	}
	return of.GetAddress(), nil
}

// isElsewhere reports whether a task is not of this host. Its id is then its address.
func isElsewhere(t *taskspb.Task) bool { return strings.Contains(t.GetId(), "://") }

// failureOf returns an error if the task has failed. A task that is nil or pending has not.
func failureOf(whose string, t *taskspb.Task) error {
	if t.GetStatus() != taskspb.Status_STATUS_FAILURE {
		return nil
	}
	reason := t.GetReason()
	if reason == "" { // of a task elsewhere the log has it
		lines := strings.Split(strings.TrimSpace(t.GetLog()), "\n")
		reason = lines[len(lines)-1]
	}
	return fmt.Errorf("the %s has failed: %s", whose, reason)
}
