package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dormouse/internal/store"
	"dormouse/shell"
	"dormouse/supervisor"
)

// lifeEnd is the end of one life of an instance, or more.
type lifeEnd struct {
	before uint64 // tasks of the lives before that one have lost their plugin
	reason string
	last   bool // the instance has no further life
}

// listener notes the ends and beginnings of plugins.
type listener struct{ *Tasks }

var _ supervisor.Listener = listener{}

// Transition notes that a life of an instance has ended, or that its plugin can be asked again.
// What happens to a plugin happens to the virtual plugins that are a part of it.
func (l listener) Transition(t shell.Transition) {
	if t.From == t.To || l.followsParent(t) {
		return
	}
	for _, callsign := range append(l.virtualOwnersOf(t.Callsign), t.Callsign) {
		switch {
		case t.To.IsDown(), t.To == shell.Destroyed:
			l.endLife(callsign, reasonOfEnd(t), t.To == shell.Destroyed)
		case t.To == shell.Activation && t.Event != shell.Adopt:
			l.endLife(callsign, "the plugin has ended with an earlier host", false)
		case t.To == shell.Activated:
			l.attend(callsign)
		}
	}
}

// followsParent reports whether a virtual plugin has taken the step because its parent has.
func (t *Tasks) followsParent(step shell.Transition) bool {
	s := t.supervised()
	if s == nil || s.ParentOf(step.Callsign) == "" {
		return false
	}
	return step.Event != shell.Deactivate && step.Event != shell.MakeUnavailable && step.Event != shell.Destroy
}

// virtualOwnersOf returns the callsigns of the virtual plugins of a parent that have tasks.
func (t *Tasks) virtualOwnersOf(parent string) (all []string) {
	s := t.supervised()
	if s == nil {
		return nil
	}
	for _, callsign := range t.owners.callsigns() {
		if s.ParentOf(callsign) == parent {
			all = append(all, callsign)
		}
	}
	return all
}

// Roster looks after the tasks of instances that were missing: they have come back, or will not.
// It does nothing else, since what goes off the roster has ended before.
func (l listener) Roster(change supervisor.RosterChange) {
	if change.Kind == supervisor.RosterComplete {
		l.start(func(context.Context) { l.lookAtAll() })
	}
}

// Notification does nothing.
func (l listener) Notification(string, shell.Notification) {}

// Subsystems does nothing.
func (l listener) Subsystems([]supervisor.Subsystem) {}

// reasonOfEnd returns why the tasks of a plugin have lost it, without what the plugin has written,
// which is not for every reader.
func reasonOfEnd(t shell.Transition) string {
	exit, exited := errors.AsType[*shell.ExitError](t.Err)
	switch {
	case errors.Is(t.Err, shell.ErrMemoryExceeded):
		return "the plugin has ended: " + shell.ErrMemoryExceeded.Error()
	case exited:
		return "the plugin has ended: it exited " + exit.Describe()
	case t.Event == shell.Exit:
		return "the plugin has ended: " + shell.ErrExited.Error()
	case t.To == shell.Destroyed:
		return "the instance was destroyed"
	case t.Event == shell.Replace:
		return "the plugin was replaced"
	case t.Event == shell.Evict, t.Event == shell.GiveUp, t.From == shell.Waking, t.Event == shell.Retire:
		return "what the plugin slept in was given up"
	case t.Reason == shell.Shutdown:
		return "the host was stopped"
	}
	return fmt.Sprintf("the plugin was deactivated: %s", t.Reason)
}

// endLife notes that the present life of an instance is over. It does nothing for an instance
// whose life has no tasks.
func (t *Tasks) endLife(callsign, reason string, last bool) {
	if t.owners.endLife(callsign, reason, last) {
		t.attend(callsign)
	}
}

// endLife begins another life of an instance with tasks. It reports false if no task belonged to
// the life before.
func (o *owners) endLife(callsign, reason string, last bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := o.all[callsign]
	if w == nil || w.unused && !last {
		return false
	}
	w.life++
	w.unused = true
	w.ends = append(w.ends, lifeEnd{w.life, reason, last})
	return true
}

// endLifeAgain notes once more that the life is over, if it is: a task of it was made meanwhile.
func (o *owners) endLifeAgain(callsign string, life uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := o.ownerLocked(callsign)
	if w.life == life {
		return false
	}
	w.ends = append(w.ends, lifeEnd{w.life, "the plugin has ended", false})
	return true
}

// takeEnd removes and returns the oldest end of a life that was not seen to yet, and the present
// life. Once all ends were taken, found is false.
func (o *owners) takeEnd(callsign string) (end lifeEnd, life uint64, found bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := o.ownerLocked(callsign)
	if len(w.ends) == 0 {
		return lifeEnd{}, w.life, false
	}
	end, w.ends = w.ends[0], w.ends[1:]
	return end, w.life, true
}

// putEndBack has an end seen to again.
func (o *owners) putEndBack(callsign string, end lifeEnd) {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := o.ownerLocked(callsign)
	w.ends = append([]lifeEnd{end}, w.ends...)
}

// Lives that get a task which no plugin has confirmed yet, and the lines of a plugin's own log
// that the log of a lost task ends with.
const (
	unconfirmedLives = 3
	lastLines        = 20
)

// endTasksOf ends the tasks whose plugin has ended, except for those that the next life gets.
func (t *Tasks) endTasksOf(ctx context.Context, callsign string, over lifeEnd) error {
	lines := t.lastLinesOf(callsign)
	ended := 0
	err := t.changeAll(ctx, func(tx *store.Tx) (all []changed, err error) {
		rows, err := pendingOf(tx, callsign)
		ended = 0
		for _, r := range rows {
			if err != nil {
				break
			}
			if r.life >= over.before || r.life == 0 && !over.last || !over.last && goesOn(r) {
				continue
			}
			var c changed
			c, err = t.endIn(tx, r, failed(over.reason, lines...))
			all = append(all, c)
			ended++
		}
		return all, err
	})
	if err == nil && ended > 0 {
		t.Log.Warn().Str("callsign", callsign).Int("tasks", ended).Str("why", over.reason).Msg("tasks have failed, since their plugin has ended")
	}
	return err
}

// goesOn reports whether the next life of the plugin gets a task, whose last one is over.
func goesOn(r record) bool {
	t := r.task
	if t.GetCancelled() {
		return false
	}
	return r.lives <= t.GetResumes() || t.GetStarted() == nil && r.lives < unconfirmedLives
}

// pendingOf returns the pending tasks of an instance, oldest first.
func pendingOf(tx *store.Tx, callsign string) (all []record, err error) {
	rows, err := tx.Query("SELECT "+columns+" FROM tasks WHERE callsign = ? AND status = 0 ORDER BY n", callsign)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		r, err := scanRecord(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// lastLinesOf returns the last lines that the plugin has written, with a line before them.
func (t *Tasks) lastLinesOf(callsign string) []string {
	sh := t.processOf(callsign)
	if sh == nil {
		return nil
	}
	lines := sh.LogLines(time.Time{})
	if len(lines) == 0 {
		return nil
	}
	return append([]string{"The last lines of the plugin's own log:"}, lines[max(len(lines)-lastLines, 0):]...)
}

// shellOf returns the instance of that callsign, nil if there is none.
func (t *Tasks) shellOf(callsign string) *shell.Shell {
	s := t.supervised()
	if s == nil {
		return nil
	}
	sh, _ := s.Shell(callsign)
	return sh
}

// processOf returns the instance whose plugin works on the tasks of that callsign: the parent of a
// virtual plugin, else the instance itself; nil if there is none.
func (t *Tasks) processOf(callsign string) *shell.Shell {
	sh := t.shellOf(callsign)
	if sh != nil && sh.IsVirtual() {
		return t.shellOf(sh.Parent())
	}
	return sh
}

// hold keeps the plugin of an instance awake while it has tasks that do not wait.
func (t *Tasks) hold(callsign string) {
	sh := t.processOf(callsign)
	t.owners.mu.Lock()
	defer t.owners.mu.Unlock()
	w := t.owners.all[callsign]
	switch {
	case w == nil:
	case w.busy > 0 && w.release == nil && sh != nil:
		w.release = sh.HoldAwake()
	case w.busy == 0 && w.release != nil:
		w.release()
		w.release = nil
		t.owners.forgetLocked(callsign)
	}
}

// lookAtAll looks after the tasks of an earlier host: of those instances that neither run nor
// sleep the plugins have ended. It can be repeated.
func (t *Tasks) lookAtAll() {
	for _, callsign := range t.owners.callsigns() {
		switch sh := t.processOf(callsign); {
		case sh == nil && t.supervised().IsMissing(callsign): // it comes back when its file is mended
		case sh == nil:
			t.endLife(callsign, "there is no such instance any more", true)
		case sh.State().IsDown():
			t.endLife(callsign, "the plugin has ended with an earlier host", false)
		}
		t.hold(callsign)
		t.attend(callsign)
	}
}

// retryAfter is how long the host waits before it looks after the tasks of an instance again that
// could not be asked, or after a store that could not be written.
const retryAfter = 5 * time.Second

// retryLater looks after the tasks of an instance again, after a while.
func (t *Tasks) retryLater(callsign string) {
	t.owners.mu.Lock()
	defer t.owners.mu.Unlock()
	w := t.owners.ownerLocked(callsign)
	if w.retry != nil {
		return
	}
	w.retry = time.AfterFunc(retryAfter, func() {
		t.owners.mu.Lock()
		w.retry = nil
		t.owners.mu.Unlock()
		t.attend(callsign)
	})
}

// stopRetries ends what would look after tasks later.
func (o *owners) stopRetries() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, w := range o.all {
		if w.retry != nil {
			w.retry.Stop()
			w.retry = nil
		}
	}
	for _, p := range o.tasks {
		if p.grace != nil {
			p.grace.Stop()
			p.grace = nil
		}
	}
}
