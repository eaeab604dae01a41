package follow

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"dormouse/internal/failpoint"
	"dormouse/internal/store"
	"dormouse/plugins/tasks"
	"dormouse/plugins/tasks/taskspb"
)

// maxLinks is how many invitations and follows a task may have.
const maxLinks = 100

// Invite adds the step of an invitation to a task of the owner. The same step again is returned as
// it is.
func (f *Follows) Invite(ctx context.Context, owner string, r *taskspb.InviteRequest) (*taskspb.Step, error) {
	own, err := f.pendingTaskOf(ctx, owner, r.GetTask())
	if err != nil {
		return nil, err
	}
	if r.GetStep() == "" {
		return nil, fmt.Errorf("%w: an invitation needs the id of its step", tasks.ErrInvalid)
	}
	l := link{
		task: r.GetTask(), callsign: owner, step: r.GetStep(), token: newToken(),
		prefix: r.GetPrefix(), except: r.GetExcept(), subscribed: true,
	}
	made, err := f.make(ctx, &l, "step = ?", l.step)
	if err != nil {
		return nil, err
	}
	if has := stepOf(own, l.step); !made && has != nil {
		return has, f.askAnew(ctx, l)
	}
	entry, err := f.entryOf(ctx, r.GetPlugin(), l.token)
	if err == nil {
		err = f.change(ctx, &l, func(l *link) { l.origin = entry.Origin })
	}
	step := &taskspb.Step{Id: l.step, Title: r.GetTitle(), Href: entry.Href, Ui: entry.UI}
	if step.Title == "" {
		step.Title = entry.Title
	}
	if err == nil {
		err = f.tasks.ChangeSteps(ctx, owner, &taskspb.UpdateRequest{Task: l.task, AddStep: step})
	}
	if err != nil && made {
		err = errors.Join(err, f.drop(ctx, l))
	}
	if err != nil {
		return nil, err
	}
	failpoint.Hit("follow.invited")
	f.add(l)
	return step, nil
}

// entryOf returns where a user starts work of a plugin that is to tell the webhook of that token.
func (f *Follows) entryOf(ctx context.Context, plugin, token string) (Entry, error) {
	webhook := f.Callback(token)
	if webhook == "" {
		return Entry{}, fmt.Errorf("%w: to invite a plugin the host needs an address that others reach; set public-url in [host]", tasks.ErrState)
	}
	entry, err := f.Entry(ctx, plugin, webhook)
	if err != nil {
		return entry, fmt.Errorf("cannot invite %.200q: %w", plugin, err)
	}
	return entry, nil
}

// Follow has a task of the owner follow another one.
func (f *Follows) Follow(ctx context.Context, owner string, r *taskspb.FollowRequest) (*taskspb.FollowResponse, error) {
	if _, err := f.pendingTaskOf(ctx, owner, r.GetTask()); err != nil {
		return nil, err
	}
	other := r.GetOther()
	if id, own := f.OwnTask(other); own {
		other = id
	}
	l := link{task: r.GetTask(), callsign: owner, other: other, token: newToken(), prefix: r.GetPrefix(), except: r.GetExcept()}
	switch {
	case other == r.GetTask():
		return nil, fmt.Errorf("%w: a task can't follow itself", tasks.ErrInvalid)
	case l.isElsewhere() && OriginOf(other) == "":
		return nil, fmt.Errorf("%w: %.200q is neither the id of a task nor the address of one", tasks.ErrInvalid, other)
	case !l.isElsewhere():
		if _, err := f.tasks.Get(ctx, other); err != nil {
			return nil, err
		}
	}
	_, err := f.make(ctx, &l, "other = ?", other)
	if err == nil {
		err = f.askAnew(ctx, l)
	}
	if err != nil {
		return nil, err
	}
	return &taskspb.FollowResponse{Other: l.other}, nil
}

// askAnew has a link looked at for which a plugin has asked, perhaps again in another life: it is
// brought again what is still so.
func (f *Follows) askAnew(ctx context.Context, l link) error {
	err := f.change(ctx, &l, func(l *link) {
		l.brought, l.ended = nil, false
		l.asked++
	})
	if err == nil {
		failpoint.Hit("follow.asked")
		f.add(l)
	}
	return err
}

// pendingTaskOf returns a task of the owner that is pending.
func (f *Follows) pendingTaskOf(ctx context.Context, owner, id string) (*taskspb.Task, error) {
	t, err := f.tasks.Get(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case t.GetCallsign() != owner:
		return nil, fmt.Errorf("%w of %s: %.64q", tasks.ErrUnknown, owner, id)
	case isOver(t):
		return nil, fmt.Errorf("%w: %s", tasks.ErrEnded, id)
	}
	return t, nil
}

// make writes a new link, unless its task has one for which the condition holds: l is then that
// one.
func (f *Follows) make(ctx context.Context, l *link, condition string, arg any) (made bool, err error) {
	err = f.Store.Update(ctx, func(tx *store.Tx) error {
		same, err := readLinks(tx, "task = ? AND "+condition, l.task, arg)
		if err != nil {
			return err
		}
		if len(same) > 0 {
			*l = same[0]
			return nil
		}
		if err := refuseLoop(tx, l.task, l.other); err != nil {
			return err
		}
		var count int
		if err := tx.QueryRow("SELECT count(*) FROM follows WHERE task = ?", l.task).Scan(&count); err != nil {
			return err
		}
		if count >= maxLinks {
			return fmt.Errorf("%w: the task follows %d others, and may not follow more", tasks.ErrFull, count)
		}
		made = true
		return l.put(tx)
	})
	failpoint.Hit("follow.made")
	return made, err
}

// refuseLoop returns an error if the other task follows the task, itself or by way of others: each
// would mirror its own steps for ever, and wait for itself to end.
func refuseLoop(tx *store.Tx, task, other string) error {
	var loops bool
	err := tx.QueryRow(`WITH RECURSIVE followed(id) AS (
			VALUES (?) UNION SELECT other FROM follows JOIN followed ON task = id WHERE other <> '')
		SELECT count(*) > 0 FROM followed WHERE id = ?`, other, task).Scan(&loops)
	if err == nil && loops {
		err = fmt.Errorf("%w: the task %s can't follow %s, which follows it", tasks.ErrInvalid, task, other)
	}
	return err
}

// Called is what a webhook with that token has said: a task has changed, whose address is source.
// The error wraps tasks.ErrUnknown for a token or a source that is not known.
func (f *Follows) Called(ctx context.Context, token, source string) error {
	if id, own := f.OwnTask(source); own {
		source = id
	}
	var l link
	err := f.Store.Update(ctx, func(tx *store.Tx) (err error) {
		l, err = f.calledIn(tx, token, source)
		return err
	})
	if err == nil {
		failpoint.Hit("follow.called")
		f.add(l)
	}
	return err
}

// CalledIn is Called in the transaction of a change of a task of this host.
func (f *Follows) CalledIn(tx *store.Tx, token, task string) error {
	l, err := f.calledIn(tx, token, task)
	if errors.Is(err, tasks.ErrUnknown) {
		return nil // the task that has invited has ended
	}
	if err == nil {
		tx.AfterCommit(func() { f.add(l) })
	}
	return err
}

// calledIn returns the link of a token that is called for a task. The first task that answers an
// invitation is the one that is followed from then on.
func (f *Follows) calledIn(tx *store.Tx, token, source string) (l link, err error) {
	all, err := readLinks(tx, "token = ?", token)
	if err != nil {
		return l, err
	}
	if len(all) == 0 {
		return l, tasks.ErrUnknown
	}
	l = all[0]
	switch {
	case l.other == source && source != "":
		return l, nil
	case l.other != "" || source == "" || originOfTask(source) != l.origin:
		return l, fmt.Errorf("%w: nothing is known of %.200q", tasks.ErrUnknown, source)
	}
	if err := refuseLoop(tx, l.task, source); errors.Is(err, tasks.ErrInvalid) {
		return l, fmt.Errorf("%w: %w", tasks.ErrUnknown, err)
	} else if err != nil {
		return l, err
	}
	l.other = source
	return l, l.put(tx)
}

// originOfTask returns the origin of a task: "" for one of this host.
func originOfTask(task string) string {
	if !strings.Contains(task, "://") {
		return ""
	}
	return OriginOf(task)
}

// OriginOf returns scheme and host of an address, empty if it has none.
func OriginOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return ""
	}
	return u.Scheme + "://" + strings.ToLower(u.Host)
}

// newToken returns a text that can't be guessed.
func newToken() string { return strings.ToLower(rand.Text()) }
