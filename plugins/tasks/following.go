package tasks

import (
	"context"
	"errors"
	"fmt"

	"dormouse/plugins/tasks/taskspb"
	"dormouse/shell"
)

// Following lets tasks of this host go along with other tasks.
type Following interface {
	// Use says which tasks those are. It is called once, before any other method.
	Use(t *Tasks)
	// Run looks after the tasks that follow others until ctx ends.
	Run(ctx context.Context)
	// Note is told of each change of a task that is on disk.
	Note(task string)
	// Invite adds a step that has a user start a task of another plugin, which is then followed.
	Invite(ctx context.Context, owner string, r *taskspb.InviteRequest) (*taskspb.Step, error)
	// Follow has a task of the owner follow another one.
	Follow(ctx context.Context, owner string, r *taskspb.FollowRequest) (*taskspb.FollowResponse, error)
}

// ChangeSteps makes a change of a task of the owner that the host wants.
func (t *Tasks) ChangeSteps(ctx context.Context, owner string, r *taskspb.UpdateRequest) error {
	_, err := t.update(ctx, owner, r)
	return err
}

// errNoCalls means that the plugin takes no calls now.
var errNoCalls = fmt.Errorf("%w: its plugin takes no calls now", shell.ErrUnavailable)

// AskWorker calls the plugin of an instance, which is woken if it sleeps. It returns what the
// plugin says if it refuses; the error says why it could not be asked.
func (t *Tasks) AskWorker(ctx context.Context, callsign string, ask func(taskspb.WorkerClient) error) (refused string, err error) {
	worker, err := t.workerOf(ctx, callsign)
	if err == nil && worker == nil {
		err = errNoCalls
	}
	if err != nil {
		return "", err
	}
	err = ask(worker)
	if refused = refusalOf(err); refused != "" {
		return refused, nil
	}
	return "", err
}

// submitToMirrored gives the values to the step of another task that this one mirrors, and returns
// the task. It reports false for a step that mirrors none.
func (t *Tasks) submitToMirrored(ctx context.Context, id, step string, values []byte) (task *taskspb.Task, mirrors bool, err error) {
	task, err = t.Get(ctx, id)
	if err != nil {
		return nil, false, err
	}
	for _, s := range task.GetSteps() {
		if s.GetId() != step || s.GetOf() == nil {
			continue
		}
		if s.GetCleared() {
			return nil, true, fmt.Errorf("%w: the step %s is done", ErrState, step)
		}
		_, err := t.Submit(ctx, s.GetOf().GetTask(), s.GetOf().GetStep(), values)
		if err == nil {
			task, err = t.Get(context.WithoutCancel(ctx), id)
		}
		return task, true, err
	}
	return nil, false, nil
}

// errNoFollowing means that the host has no tasks that follow others.
var errNoFollowing = errors.New("this host's tasks follow no others")

// Invite adds an invitation to a task of the calling plugin.
func (s service) Invite(ctx context.Context, r *taskspb.InviteRequest) (*taskspb.Step, error) {
	caller, err := ownerOf(ctx)
	if err == nil && s.tasks.Following == nil {
		err = fmt.Errorf("%w: %w", ErrState, errNoFollowing)
	}
	if err != nil {
		return nil, asStatus(err)
	}
	step, err := s.tasks.Following.Invite(ctx, caller, r)
	return step, asStatus(err)
}

// Follow has a task of the calling plugin follow another.
func (s service) Follow(ctx context.Context, r *taskspb.FollowRequest) (*taskspb.FollowResponse, error) {
	caller, err := ownerOf(ctx)
	if err == nil && s.tasks.Following == nil {
		err = fmt.Errorf("%w: %w", ErrState, errNoFollowing)
	}
	if err != nil {
		return nil, asStatus(err)
	}
	answer, err := s.tasks.Following.Follow(ctx, caller, r)
	return answer, asStatus(err)
}
