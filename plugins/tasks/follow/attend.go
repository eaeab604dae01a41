package follow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"dormouse/internal/failpoint"
	"dormouse/internal/store"
	"dormouse/plugins/tasks"
	"dormouse/plugins/tasks/taskspb"
)

// attendLocked looks at a link in the background. One goroutine at a time does that for a link.
// The caller holds mu.
func (f *Follows) attendLocked(l *live) {
	if f.running == nil {
		return
	}
	if l.attended {
		l.again = true
		return
	}
	l.stopTimer()
	l.attended = true
	ctx := f.running
	f.background.Go(func() { f.attendUntilDone(ctx, l) })
}

// attendUntilDone looks at a link until nothing is left to do now, and has it looked at later if
// that may be needed.
func (f *Follows) attendUntilDone(ctx context.Context, l *live) {
	for {
		select {
		case f.places <- struct{}{}:
		case <-ctx.Done():
			f.endAttending(l, 0, nil)
			return
		}
		later, err := f.attend(ctx, l)
		<-f.places
		if err != nil && ctx.Err() == nil {
			f.Log.Debug().Err(err).Str("task", l.task).Msg("what it follows waits")
		}
		if f.endAttending(l, later, err) {
			return
		}
	}
}

// endAttending reports whether a link is not to be looked at again at once. After an error it is
// looked at again after a pause that grows, else after the time later if that is not 0.
func (f *Follows) endAttending(l *live, later time.Duration, err error) (done bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		l.retry = 0
	} else {
		l.retry = min(max(2*l.retry, minRetry), f.Every)
		later = l.retry
	}
	if l.again && f.running != nil {
		l.again = false
		return false
	}
	l.attended = false
	if later > 0 && f.running != nil && f.links[l.n] == l {
		l.timer = time.AfterFunc(later, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.links[l.n] == l {
				f.attendLocked(l)
			}
		})
	}
	return true
}

// attend does what is to be done for a link now. It returns when the link is to be looked at
// again, 0 for not by itself.
func (f *Follows) attend(ctx context.Context, known *live) (later time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, attendLimit)
	defer cancel()
	l, found, err := f.read(ctx, known.n)
	if err != nil || !found {
		return 0, err
	}
	own, err := f.tasks.Get(ctx, l.task)
	switch {
	case errors.Is(err, tasks.ErrUnknown), err == nil && isOver(own):
		return 0, f.drop(ctx, l)
	case err != nil || l.ended:
		return 0, err
	case l.other == "":
		return 0, nil
	}
	if err := f.clearInvitation(ctx, l, own); err != nil {
		return 0, err
	}
	other, err := f.readOther(ctx, known, &l)
	switch {
	case errors.Is(err, ErrVanished):
		return 0, f.endVanished(ctx, l, own, err)
	case err != nil:
		return 0, err
	}
	if s := f.ownStepIn(l, other); s != nil {
		why := fmt.Errorf("the task %s follows this one, whose step %.64q it mirrors: neither would end before the other", l.other, s.GetId())
		return 0, f.endVanished(ctx, l, own, why)
	}
	if own, err = f.mirror(ctx, &l, own, other); err != nil {
		return 0, err
	}
	if err := f.bringSteps(ctx, &l, other); err != nil {
		return 0, err
	}
	if isOver(other) && isMirrored(own, other, l) {
		return 0, f.bringEnd(ctx, l, other, "")
	}
	if l.isElsewhere() {
		return f.Every, nil
	}
	return 0, nil
}

// clearInvitation clears the step of an invitation that was answered.
func (f *Follows) clearInvitation(ctx context.Context, l link, own *taskspb.Task) error {
	s := stepOf(own, l.step)
	if l.step == "" || s == nil || s.GetCleared() {
		return nil
	}
	s.Cleared = true
	err := f.tasks.ChangeSteps(ctx, l.callsign, &taskspb.UpdateRequest{Task: l.task, ClearSteps: []string{l.step}})
	failpoint.Hit("follow.cleared")
	return err
}

// ownStepIn returns a step of the task elsewhere that mirrors one of the link's own task, maybe by way
// of others, nil for none. It is the sign of a loop: values for it go to the own task.
func (f *Follows) ownStepIn(l link, other *taskspb.Task) *taskspb.Step {
	if !l.isElsewhere() {
		return nil // a loop on this host is refused when it would be made
	}
	for _, s := range other.GetSteps() {
		if task, own := f.OwnStep(s.GetHref()); own && task == l.task {
			return s
		}
	}
	return nil
}

// read returns the link of that number, false if there is none any more.
func (f *Follows) read(ctx context.Context, n int64) (l link, found bool, err error) {
	err = f.Store.View(ctx, func(tx *store.Tx) error {
		all, err := readLinks(tx, "n = ?", n)
		if len(all) == 1 {
			l, found = all[0], true
		}
		return err
	})
	return l, found, err
}

// readOther returns the other task. One elsewhere is subscribed to before it is read, so that no
// change is missed, and has vanished when it was out of reach for long.
func (f *Follows) readOther(ctx context.Context, known *live, l *link) (*taskspb.Task, error) {
	if !l.isElsewhere() {
		t, err := f.tasks.Get(ctx, l.other)
		if errors.Is(err, tasks.ErrUnknown) {
			err = ErrVanished
		}
		return t, err
	}
	if webhook := f.Callback(l.token); !l.subscribed && webhook != "" {
		err := f.Elsewhere.Subscribe(ctx, l.other, webhook)
		failpoint.Hit("follow.subscribed")
		if err == nil {
			err = f.change(ctx, l, func(l *link) { l.subscribed = true })
		}
		if err != nil { // it is read each minute all the same
			f.Log.Debug().Err(err).Str("task", l.other).Msg("a followed task does not take a webhook")
		}
	}
	t, err := f.Elsewhere.Read(ctx, l.other)
	lost := l.lost + known.noteTry(err == nil, 2*f.Every).Milliseconds()
	if err == nil {
		lost = 0
	}
	if lost > vanishedAfter.Milliseconds() && !errors.Is(err, ErrVanished) {
		return nil, fmt.Errorf("%w: it was out of reach for %s: %w", ErrVanished, vanishedAfter, err)
	}
	if l.lost != lost {
		err = errors.Join(err, f.change(ctx, l, func(l *link) { l.lost = lost }))
	}
	return t, err
}

// noteTry notes that the other task was tried to be read, and returns how long it has been out of
// reach since the try before, limit at most. What this host has not seen is not counted: it may have
// been down, asleep, or its clock set anew. Only the goroutine that attends the link calls noteTry.
func (l *live) noteTry(succeeded bool, limit time.Duration) (lost time.Duration) {
	if succeeded {
		l.missed = time.Time{}
		return 0
	}
	if !l.missed.IsZero() {
		lost = min(time.Since(l.missed), limit)
	}
	l.missed = time.Now()
	return lost
}

// mirror brings the steps of own in line with those of the other task, and returns own as it is
// then. The link knows of a step before it is there, so that whatever stops the host it is cleared.
func (f *Follows) mirror(ctx context.Context, l *link, own, other *taskspb.Task) (*taskspb.Task, error) {
	for {
		change := nextChange(own, other, *l)
		if change == nil {
			return own, nil
		}
		if s := change.GetAddStep(); s != nil {
			if err := f.change(ctx, l, func(l *link) { l.mirrored = s.GetId() }); err != nil {
				return own, err
			}
			failpoint.Hit("follow.mirroring")
		}
		if err := f.tasks.ChangeSteps(ctx, l.callsign, change); err != nil {
			return own, err
		}
		failpoint.Hit("follow.mirrored")
		next, err := f.tasks.Get(ctx, l.task)
		if err != nil {
			return own, err
		}
		own = next
	}
}

// bringSteps brings the plugin the steps that are not mirrored.
func (f *Follows) bringSteps(ctx context.Context, l *link, other *taskspb.Task) error {
	for _, s := range stepsToBring(other, *l) {
		if err := f.bring(ctx, *l, &taskspb.FollowedRequest{State: other, Step: s}); err != nil {
			return err
		}
		failpoint.Hit("follow.handed")
		asked := l.asked
		err := f.change(ctx, l, func(l *link) {
			if l.asked == asked && !slices.Contains(l.brought, s.GetId()) {
				l.brought = append(l.brought, s.GetId())
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// endVanished clears the mirrored step that is open, whose task has vanished, and brings the plugin
// the end.
func (f *Follows) endVanished(ctx context.Context, l link, own *taskspb.Task, why error) error {
	if s := stepOf(own, l.mirrored); l.mirrored != "" && s != nil && !s.GetCleared() {
		if err := f.tasks.ChangeSteps(ctx, l.callsign, &taskspb.UpdateRequest{Task: l.task, ClearSteps: []string{l.mirrored}}); err != nil {
			return err
		}
	}
	return f.bringEnd(ctx, l, nil, why.Error())
}

// bringEnd brings the plugin the end of the other task, and then leaves that alone, unless the
// plugin has asked anew meanwhile: it may have begun another life.
func (f *Follows) bringEnd(ctx context.Context, l link, other *taskspb.Task, reason string) error {
	if err := f.bring(ctx, l, &taskspb.FollowedRequest{State: other, Reason: reason}); err != nil {
		return err
	}
	failpoint.Hit("follow.brought")
	asked := l.asked
	err := f.change(ctx, &l, func(l *link) { l.ended = l.asked == asked })
	failpoint.Hit("follow.ended")
	return err
}

// bring calls Worker.Followed. A plugin that sleeps is woken. The error is nil if the plugin has
// answered, also with a refusal.
func (f *Follows) bring(ctx context.Context, l link, r *taskspb.FollowedRequest) error {
	r.Task, r.Callsign, r.Other, r.Invited = l.task, l.callsign, l.other, l.step
	refused, err := f.tasks.AskWorker(ctx, l.callsign, func(worker taskspb.WorkerClient) error {
		_, err := worker.Followed(ctx, r)
		return err
	})
	if refused != "" {
		f.Log.Warn().Str("callsign", l.callsign).Str("task", l.task).Msg("cannot bring a followed task: " + refused)
	}
	return err
}

// change changes a link as it is on disk now, and l with it. A link that is gone stays gone.
func (f *Follows) change(ctx context.Context, l *link, to func(*link)) error {
	return f.Store.Update(ctx, func(tx *store.Tx) error {
		all, err := readLinks(tx, "n = ?", l.n)
		if err != nil || len(all) == 0 {
			return err
		}
		now := all[0]
		to(&now)
		*l = now
		return l.put(tx)
	})
}

// drop removes the link of a task that has ended.
func (f *Follows) drop(ctx context.Context, l link) error {
	if l.subscribed && l.isElsewhere() && !l.ended {
		if err := f.Elsewhere.Unsubscribe(ctx, l.other, f.Callback(l.token)); err != nil {
			f.Log.Debug().Err(err).Str("task", l.other).Msg("cannot unsubscribe from a followed task")
		}
	}
	failpoint.Hit("follow.dropping")
	err := f.Store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		_, err := tx.Exec("DELETE FROM follows WHERE n = ?", l.n)
		return err
	})
	if err == nil {
		f.mu.Lock()
		f.forgetLocked(l.n)
		f.mu.Unlock()
	}
	return err
}
