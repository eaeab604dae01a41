package sdk

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/plugins/tasks/taskspb"
)

// Following says how a task goes along with another one.
type Following struct {
	// Prefix is put before the ids of the steps that are mirrored.
	Prefix string
	// Except are the ids, in the other task, of steps that are not mirrored: OnStep is called for
	// them. "*" stands for all.
	Except []string
	// OnStep does what such a step asks for, once it is open. It is called again in a later life
	// of the plugin if the step is still open then. Its error ends the following. Its context ends
	// when the other task fails or vanishes meanwhile; then its error does not matter.
	OnStep func(ctx context.Context, other *taskspb.Task, s *taskspb.Step) error
}

// ErrVanished means that a task that was followed is not there any more, or can't be followed.
var ErrVanished = errors.New("the followed task has vanished")

// errOtherFailed is the cause with which the context of OnStep ends.
var errOtherFailed = errors.New("the followed task has failed or vanished")

// Follow has the host mirror the steps of another task into this one, waits until the other has
// ended, and returns it as it is then. other is the id of a task of this host or the address of one
// elsewhere. The plugin may sleep meanwhile. The error wraps ErrVanished if the other is gone,
// or follows this one.
func (t *Task) Follow(ctx context.Context, other string, f Following) (*taskspb.Task, error) {
	ofSteps, fail := context.WithCancelCause(ctx)
	events := t.tasks.expectFollowed(t.ID, other, fail)
	defer t.tasks.expectNoMore(t.ID, events)
	waits := true
	if _, err := t.update(ctx, "follow with", &taskspb.UpdateRequest{Waits: &waits}); err != nil {
		return nil, err
	}
	var answer *taskspb.FollowResponse
	err := t.retry(ctx, func(ctx context.Context) (err error) {
		answer, err = t.host.taskClient().Follow(ctx, &taskspb.FollowRequest{Task: t.ID, Other: other, Prefix: f.Prefix, Except: f.Except})
		return err
	})
	if err != nil {
		return nil, errorFromHost(ctx, "follow the task "+other, err)
	}
	t.tasks.alsoExpect(t.ID, answer.GetOther(), events)
	return t.goAlong(ctx, ofSteps, events, f)
}

// Invite adds a step to the task in which a user starts work of another plugin: s.ID and s.Title
// are its id and title; plugin is a callsign of this host or the address of a plugin resource
// elsewhere. The task of that plugin is then followed, as Follow does.
func (t *Task) Invite(ctx context.Context, s Step, plugin string, f Following) (*taskspb.Task, error) {
	ofSteps, fail := context.WithCancelCause(ctx)
	events := t.tasks.expectFollowed(t.ID, invitedKey(s.ID), fail)
	defer t.tasks.expectNoMore(t.ID, events)
	waits := true
	if _, err := t.update(ctx, "invite to", &taskspb.UpdateRequest{Waits: &waits}); err != nil {
		return nil, err
	}
	r := &taskspb.InviteRequest{Task: t.ID, Step: s.ID, Title: s.Title, Plugin: plugin, Prefix: f.Prefix, Except: f.Except}
	err := t.retry(ctx, func(ctx context.Context) error {
		_, err := t.host.taskClient().Invite(ctx, r)
		return err
	})
	if err != nil {
		return nil, errorFromHost(ctx, "invite "+plugin, err)
	}
	return t.goAlong(ctx, ofSteps, events, f)
}

// goAlong calls OnStep, with the context ofSteps, for what comes of the other task until that has
// ended, and returns it.
func (t *Task) goAlong(ctx, ofSteps context.Context, events *followedEvents, f Following) (*taskspb.Task, error) {
	seen := make(map[string]bool)
	for {
		var r *taskspb.FollowedRequest
		select {
		case r = <-events.queue:
		case <-ctx.Done():
			return nil, fmt.Errorf("cannot wait for the other task: %w", context.Cause(ctx))
		}
		if s := r.GetStep(); s != nil && (seen[s.GetId()] || f.OnStep == nil || ofSteps.Err() != nil) {
			continue
		}
		if err := t.SetWaits(ctx, false); err != nil {
			return nil, err
		}
		switch {
		case r.GetStep() != nil:
			seen[r.GetStep().GetId()] = true
			err := f.OnStep(ofSteps, r.GetState(), r.GetStep())
			if err != nil && !errors.Is(context.Cause(ofSteps), errOtherFailed) {
				return r.GetState(), err
			}
		case r.GetState() == nil:
			return nil, &kindError{fmt.Errorf("cannot follow the other task any more: %s", r.GetReason()), ErrVanished}
		default:
			return r.GetState(), nil
		}
		if err := t.SetWaits(ctx, true); err != nil {
			return nil, err
		}
	}
}

// maxFollowed is how many events of one followed task wait for RunTask at most.
const maxFollowed = 64

// invitedKey returns the key under which what comes of an invitation is expected.
func invitedKey(step string) string { return "invited " + step }

// followedEvents is what the host brings of a followed task.
type followedEvents struct {
	queue chan *taskspb.FollowedRequest
	fail  context.CancelCauseFunc // ends the context of OnStep
}

// expectFollowed returns what the host brings of a followed task; the caller must call expectNoMore
// when it does not wait any more.
func (t *tasks) expectFollowed(id, key string, fail context.CancelCauseFunc) *followedEvents {
	events := &followedEvents{make(chan *taskspb.FollowedRequest, maxFollowed), fail}
	t.alsoExpect(id, key, events)
	return events
}

// alsoExpect has what comes under a key go to the same queue.
func (t *tasks) alsoExpect(id, key string, events *followedEvents) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.workOn(id)
	if w.followed == nil {
		w.followed = make(map[string]*followedEvents)
	}
	w.followed[key] = events
}

// expectNoMore ends what expectFollowed has begun.
func (t *tasks) expectNoMore(id string, events *followedEvents) {
	events.fail(nil)
	t.mu.Lock()
	defer t.mu.Unlock()
	if w := t.working[id]; w != nil {
		maps.DeleteFunc(w.followed, func(_ string, e *followedEvents) bool { return e == events })
	}
}

// put queues what has come of the other task. It reports false if the queue is full.
func (e *followedEvents) put(r *taskspb.FollowedRequest) bool {
	select {
	case e.queue <- r:
	default:
		return false
	}
	if r.GetStep() == nil && r.GetState().GetStatus() != taskspb.Status_STATUS_SUCCESS {
		e.fail(errOtherFailed)
	}
	return true
}

// Followed gives RunTask what has come of another task. What it does not wait for yet is to be
// brought again.
func (t *tasks) Followed(_ context.Context, r *taskspb.FollowedRequest) (*taskspb.FollowedResponse, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.working[r.GetTask()]
	if w == nil {
		return nil, status.Error(codes.Unavailable, "the plugin does not work on the task now")
	}
	events := w.followed[r.GetOther()]
	if r.GetInvited() != "" {
		events = w.followed[invitedKey(r.GetInvited())]
	}
	if events == nil || !events.put(r) {
		return nil, status.Error(codes.Unavailable, "the plugin does not wait for the other task now")
	}
	return &taskspb.FollowedResponse{}, nil
}
