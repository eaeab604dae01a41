package supervisor

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/statecontrol"
)

// tier is a step down that the host takes with an instance by itself.
type tier string

const (
	suspending  tier = "suspend"
	hibernating tier = "hibernate"
	deepening   tier = "checkpoint" // what sleeps in place
)

// standing is an instance as the policy sees it.
type standing struct {
	callsign string
	config   configs.Plugin
	use      shell.Use
	trial    trial
	memory   int64 // what it takes, where that counts
}

// trial is what came of the attempts to put an instance to sleep.
type trial struct {
	failures int
	err      error     // of the last one
	after    time.Time // no other before this
	hopeless bool      // no other hibernation until it is started anew
	// toldSuspend and toldHibernate are the last use of which it has been told
	// what would follow.
	toldSuspend, toldHibernate time.Time
}

func (t trial) told(do tier) time.Time {
	if do == suspending {
		return t.toldSuspend
	}
	return t.toldHibernate
}

// situation is all that the policy knows.
type situation struct {
	rules configs.Tiers
	now   time.Time
	// short says why memory is short, empty when it is not.
	short string
	// settled is when what was done about short memory will have shown.
	settled time.Time
	all     []standing
}

// move is one thing to do.
type move struct {
	standing
	do       tier
	because  string
	pressure bool // since memory is short
	dry      bool // only to be told
}

// decide says what is to be done now, nil for nothing, and when to ask again,
// zero for when something has changed.
func (w situation) decide() (*move, time.Time) {
	var again time.Time
	soonest := func(at time.Time) {
		if !at.IsZero() && (again.IsZero() || at.Before(again)) {
			again = at
		}
	}
	var due *move
	var since time.Time
	for _, s := range w.all {
		do, at, because := w.idle(s)
		switch {
		case do == "" || w.rules.DryRun && s.trial.told(do).Equal(s.use.Last):
		case at.After(w.now):
			soonest(at)
		case due == nil || at.Before(since):
			due, since = &move{standing: s, do: do, because: because, dry: w.rules.DryRun}, at
		}
	}
	if due != nil {
		return due, time.Time{}
	}
	because, pressure := w.need()
	switch {
	case because == "":
	case pressure && w.settled.After(w.now):
		soonest(w.settled)
	default:
		m, at := w.leastRecentlyUsed(because, pressure)
		if m != nil {
			return m, time.Time{}
		}
		soonest(at)
	}
	if w.measures() > 0 && slices.ContainsFunc(w.all, func(s standing) bool { return s.never() == "" }) {
		soonest(w.now.Add(w.measures()))
	}
	return nil, again
}

// measures is how often memory has to be looked at, 0 for never.
func (w situation) measures() time.Duration {
	const memory = 10 * time.Second
	switch {
	case w.rules.Pressure != configs.PressureOff && w.rules.MemoryAvailable > 0:
		return time.Duration(w.rules.PressureWindow)
	case w.rules.BudgetBytes > 0:
		return memory
	}
	return 0
}

// need says why an instance should sleep that nobody has left alone for long
// enough, empty when none should, and whether that is for want of memory.
func (w situation) need() (because string, pressure bool) {
	count, bytes := 0, int64(0)
	for _, s := range w.all {
		switch s.use.State {
		case shell.Activation, shell.Activated, shell.Hibernating, shell.Waking:
			count++
			bytes += s.memory
		default:
		}
	}
	switch {
	case w.rules.BudgetCount > 0 && count > w.rules.BudgetCount:
		return fmt.Sprintf("%d plugins are awake, the budget is %d", count, w.rules.BudgetCount), false
	case w.rules.BudgetBytes > 0 && bytes > int64(w.rules.BudgetBytes):
		return fmt.Sprintf("the plugins take %s, the budget is %s", configs.Bytes(bytes&^1023), w.rules.BudgetBytes), false
	case w.rules.Pressure != configs.PressureOff && w.short != "":
		return w.short, true
	}
	return "", false
}

// leastRecentlyUsed picks the instance that is missed the least, or says when one
// may be had: suspended ones go first.
func (w situation) leastRecentlyUsed(because string, pressure bool) (*move, time.Time) {
	dry := w.rules.DryRun || pressure && w.rules.Pressure == configs.PressureReport
	var soonest time.Time
	var able []standing
	for _, s := range w.all {
		if s.never() != "" || s.next() == deepening && !pressure || dry && s.trial.told(s.next()).Equal(s.use.Last) {
			continue
		}
		at := s.earliest(w.now, s.use.Last.Add(time.Duration(s.config.MinAwake)))
		switch {
		case !at.After(w.now):
			able = append(able, s)
		case soonest.IsZero() || at.Before(soonest):
			soonest = at
		}
	}
	if len(able) == 0 {
		return nil, soonest
	}
	s := slices.MinFunc(able, func(a, b standing) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), a.use.Last.Compare(b.use.Last), cmp.Compare(a.callsign, b.callsign))
	})
	return &move{s, s.next(), because, pressure, dry}, time.Time{}
}

// idle is what follows when nobody uses the instance, and when; nothing if do is
// empty.
func (w situation) idle(s standing) (do tier, at time.Time, because string) {
	if after := s.config.CheckpointAfter; !s.use.Paged.IsZero() && s.never() == "" {
		because = fmt.Sprintf("it has been paged out for %s (checkpoint-after)", after)
		return deepening, s.earliest(w.now, s.use.Paged.Add(time.Duration(*after))), because
	}
	if s.use.State != shell.Activated || s.use.Control == "" {
		return "", at, ""
	}
	if after := time.Duration(s.config.IdleHibernate); after > 0 && s.never() == "" {
		do, at = s.next(), s.earliest(w.now, s.use.Last.Add(after))
		because = fmt.Sprintf("nobody has used it for %s (idle-hibernate)", after)
	}
	if after := time.Duration(s.config.IdleSuspend); after > 0 && s.use.Control == statecontrol.Resumed {
		suspend := s.earliest(w.now, s.use.Last.Add(after))
		if do == "" || suspend.Before(at) {
			do, at = suspending, suspend
			because = fmt.Sprintf("nobody has used it for %s (idle-suspend)", after)
		}
	}
	return do, at, because
}

// next is the next step down.
func (s standing) next() tier {
	if !s.use.Paged.IsZero() {
		return deepening
	}
	if s.use.Control == statecontrol.Resumed {
		return suspending
	}
	return hibernating
}

// rank orders the steps: those that nobody notices go first.
func (s standing) rank() int {
	return slices.Index([]tier{deepening, hibernating, suspending}, s.next())
}

// earliest is when something may be done that is due at a moment: an instance
// that is in use is so until now at least, and not idle before its time after
// that has passed.
func (s standing) earliest(now, due time.Time) time.Time {
	if s.inUse() {
		due = now.Add(max(due.Sub(s.use.Last), time.Duration(s.config.MinAwake)))
	}
	for _, other := range []time.Time{s.use.Awake.Add(time.Duration(s.config.MinAwake)), s.trial.after} {
		if other.After(due) {
			due = other
		}
	}
	return due
}

func (s standing) inUse() bool { return s.use.Calls+s.use.Streams > 0 || s.use.Busy }

// never says why the instance is not hibernated by the host, whatever happens to
// memory or how long it is idle, empty when it may be.
func (s standing) never() string {
	switch {
	case !s.use.Hibernates:
		return "it is part of the host"
	case !s.use.Paged.IsZero() && s.trial.hopeless:
		return fmt.Sprintf("it can't be checkpointed until it is started anew: %v", s.trial.err)
	case !s.use.Paged.IsZero() && s.config.CheckpointAfter != nil:
		return ""
	case s.use.State != shell.Activated:
		return "it is " + string(s.use.State)
	case s.use.Control == "":
		return "it has no state control, and only what can be suspended can be hibernated"
	case !s.config.MaySleep() && s.config.AutoHibernate != nil:
		return "auto-hibernate = false"
	case !s.config.MaySleep():
		return `its callers would be refused: on-call = "reject", and auto-hibernate is not set`
	case s.trial.hopeless:
		return fmt.Sprintf("it can't be hibernated until it is started anew: %v", s.trial.err)
	}
	return ""
}
