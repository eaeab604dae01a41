// Command follower is a plugin whose tasks go along with a task elsewhere: each follows the one that
// its parameters name, or invites a user to start one, and answers the steps that it excepts itself.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"dormouse/plugins/sdk"
	"dormouse/plugins/tasks/taskspb"
)

func main() { sdk.Serve(follower{}) }

// follower is the plugin. It keeps nothing itself.
type follower struct{}

// Information describes the plugin.
func (follower) Information() sdk.Information {
	return sdk.Information{Name: "follower", Description: "Goes along with others", Tasks: sdk.TaskRules{Resumes: 1000}}
}

func (follower) Initialize(context.Context, *sdk.Instance) error { return nil }

func (follower) Deinitialize(context.Context, sdk.Reason) error { return nil }

// Suspend and Resume let the plugin be hibernated.
func (follower) Suspend(context.Context) error { return nil }

func (follower) Resume(context.Context) error { return nil }

// RunTask goes along with another task.
func (follower) RunTask(ctx context.Context, t *sdk.Task) error {
	var given struct {
		Follow, Invite string // a task, or a plugin; neither to ask for the task in the step "which"
		Except         []string
		Values         json.RawMessage // for a step that is excepted
	}
	if err := json.Unmarshal(t.Parameters, &given); err != nil {
		return err
	}
	following := sdk.Following{Prefix: "of.", Except: given.Except, OnStep: func(ctx context.Context, _ *taskspb.Task, s *taskspb.Step) error {
		return submit(ctx, s.GetHref(), given.Values)
	}}
	if given.Follow == "" && given.Invite == "" {
		if err := t.Ask(ctx, sdk.Step{ID: "which"}, &given); err != nil {
			return err
		}
	}
	var other *taskspb.Task
	var err error
	if given.Follow != "" {
		other, err = t.Follow(ctx, given.Follow, following)
	} else {
		other, err = t.Invite(ctx, sdk.Step{ID: "invite"}, given.Invite, following)
	}
	if err != nil {
		return err
	}
	return t.Log(ctx, fmt.Sprintf("the other ends as %s with %d outputs", other.GetStatus(), len(other.GetOutputs())))
}

// submit gives values to a step elsewhere, as often as that needs to be there. One that an earlier
// life has submitted answers with a conflict.
func submit(ctx context.Context, href string, values []byte) error {
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true}, // a connection would keep it from sleep
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, href, bytes.NewReader(values))
		if err != nil {
			return err
		}
		request.Header.Set("Content-Type", "application/json")
		answer, err := client.Do(request)
		if err == nil {
			_ = answer.Body.Close()
			switch answer.StatusCode {
			case http.StatusSeeOther, http.StatusConflict:
				return nil
			case http.StatusNotFound, http.StatusUnprocessableEntity:
				return errors.New(answer.Status)
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
