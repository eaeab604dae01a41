// Command inviter is a plugin for tests of tasks that follow others: each of its tasks invites the
// user to start a plugin, hands the step pass_data of that plugin's task its data, mirrors the other
// steps, and ends with it.
package main

import (
	"context"
	"encoding/json"
	"fmt"

	"dormouse/plugins/sdk"
	"dormouse/plugins/tasks/taskspb"
)

func main() { sdk.Serve(&inviter{}) }

type inviter struct{ host *sdk.Host }

// Information describes the plugin.
func (p *inviter) Information() sdk.Information {
	return sdk.Information{Name: "inviter", Description: "Has others work", Tasks: sdk.TaskRules{Resumes: 10}}
}

func (p *inviter) Initialize(_ context.Context, in *sdk.Instance) error {
	p.host = in.Host
	return nil
}

func (p *inviter) Deinitialize(context.Context, sdk.Reason) error { return nil }

// RunTask invites the plugin that the parameters name, or follows the task that they name.
func (p *inviter) RunTask(ctx context.Context, t *sdk.Task) error {
	var given struct{ Plugin, Follow, Features, Target, All string }
	if err := json.Unmarshal(t.Parameters, &given); err != nil {
		return err
	}
	following := sdk.Following{Prefix: "of.", Except: []string{"pass_data"}, OnStep: func(ctx context.Context, other *taskspb.Task, s *taskspb.Step) error {
		_, err := p.host.SubmitStep(ctx, other.GetId(), s.GetId(), map[string]string{"features": given.Features, "target": given.Target})
		return err
	}}
	if given.All != "" { // mirror the step that it takes itself, too
		following.Except = nil
	}
	var other *taskspb.Task
	var err error
	if given.Follow != "" {
		other, err = t.Follow(ctx, given.Follow, following)
	} else {
		other, err = t.Invite(ctx, sdk.Step{ID: "invite", Title: "Start the other"}, given.Plugin, following)
	}
	if err != nil {
		return err
	}
	return t.Log(ctx, fmt.Sprintf("the other ends as %s with %d outputs", other.GetStatus(), len(other.GetOutputs())))
}
