// Package policy decides which instance the host puts to sleep next by itself, and
// says why. It decides only on its arguments: the package neither measures anything nor
// operates instances.
package policy

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"dormouse/configs"
	"dormouse/internal/bytesize"
	"dormouse/shell"
	"dormouse/statecontrol"
)

// Tier is one step of sleep that the host takes with an instance by itself.
type Tier string

// The tiers, from the lightest sleep to the deepest.
const (
	Suspend    Tier = "suspend"
	Hibernate  Tier = "hibernate"
	MoveToDisk Tier = "checkpoint" // of an instance that sleeps in place
)

// Candidate is an instance as the policy sees it.
type Candidate struct {
	Callsign string
	Config   configs.Plugin
	Use      shell.UseStatus
	Attempts SleepAttempts
	// Memory is how many bytes of memory the plugin uses. It is needed only under a
	// budget of bytes.
	Memory int64
}

// Situation is everything that a decision depends on.
type Situation struct {
	Rules configs.Tiers
	Now   time.Time
	// Shortage says why memory is short; it is empty when memory is not short.
	Shortage string
	// ReliefBy is when memory will show the effect of the last step. Until then the
	// policy takes no other step because of a shortage.
	ReliefBy   time.Time
	Candidates []Candidate
}

// Decision is a step that the host is to take with one instance.
type Decision struct {
	Candidate
	Tier          Tier
	Because       string
	ShortOfMemory bool // the cause is that memory is short
	DryRun        bool // the host only logs the step
}

// Decide returns the step to take now, nil for none. If there is none, decideAgainAt is
// when to decide again: zero means not before something changes. Steps of idle instances
// come before steps for want of memory or beyond a budget.
func (s Situation) Decide() (due *Decision, decideAgainAt time.Time) {
	decideBy := func(at time.Time) {
		if !at.IsZero() && (decideAgainAt.IsZero() || at.Before(decideAgainAt)) {
			decideAgainAt = at
		}
	}
	var since time.Time
	for _, c := range s.Candidates {
		tier, at, because := s.nextIdleStep(c)
		switch {
		case tier == "" || s.Rules.DryRun && c.Attempts.lastUseLoggedInDryRun(tier).Equal(c.Use.LastUse):
		case at.After(s.Now):
			decideBy(at)
		case due == nil || at.Before(since):
			due, since = &Decision{Candidate: c, Tier: tier, Because: because, DryRun: s.Rules.DryRun}, at
		}
	}
	if due != nil {
		return due, time.Time{}
	}
	because, shortage := s.exceededLimitText()
	switch {
	case because == "":
	case shortage && s.ReliefBy.After(s.Now):
		decideBy(s.ReliefBy)
	default:
		d, at := s.leastRecentlyUsedStep(because, shortage)
		if d != nil {
			return d, time.Time{}
		}
		decideBy(at)
	}
	if interval := s.measureIntervalOrZero(); interval > 0 && slices.ContainsFunc(s.Candidates, Candidate.mayHibernate) {
		decideBy(s.Now.Add(interval))
	}
	return nil, decideAgainAt
}

// measureIntervalOrZero returns how often the host has to measure memory, 0 if the rules
// need no measurement.
func (s Situation) measureIntervalOrZero() time.Duration {
	const budgetInterval = 10 * time.Second
	switch {
	case s.Rules.Pressure != configs.PressureOff && s.Rules.MemoryAvailable > 0:
		return time.Duration(s.Rules.PressureWindow)
	case s.Rules.BudgetBytes > 0:
		return budgetInterval
	}
	return 0
}

// exceededLimitText returns a text that says which budget is exceeded or why memory is
// short, and whether memory is short; the text is empty when neither is so.
func (s Situation) exceededLimitText() (because string, shortage bool) {
	count, bytes := 0, int64(0)
	for _, c := range s.Candidates {
		if c.Use.State.IsRunning() {
			count++
			bytes += c.Memory
		}
	}
	switch {
	case s.Rules.BudgetCount > 0 && count > s.Rules.BudgetCount:
		return fmt.Sprintf("%d plugins are awake, the budget is %d", count, s.Rules.BudgetCount), false
	case s.Rules.BudgetBytes > 0 && bytes > int64(s.Rules.BudgetBytes):
		return fmt.Sprintf("the plugins take %s, the budget is %s", bytesize.Format(bytes), s.Rules.BudgetBytes), false
	case s.Rules.Pressure != configs.PressureOff && s.Shortage != "":
		return s.Shortage, true
	}
	return "", false
}

// leastRecentlyUsedStep returns the next step with the instance that callers will miss
// least: a suspended instance goes before a resumed one, then the one unused for longest.
// When no instance can take a step yet, step is nil and soonest is when the first one can,
// zero for none.
func (s Situation) leastRecentlyUsedStep(because string, shortage bool) (step *Decision, soonest time.Time) {
	dry := s.Rules.DryRun || shortage && s.Rules.Pressure == configs.PressureReport
	var able []Candidate
	for _, c := range s.Candidates {
		tier := c.nextTier()
		if !c.mayHibernate() || tier == MoveToDisk && !shortage || dry && c.Attempts.lastUseLoggedInDryRun(tier).Equal(c.Use.LastUse) {
			continue
		}
		at := c.earliestStepTime(s.Now, c.Use.LastUse.Add(time.Duration(c.Config.MinAwake)))
		switch {
		case !at.After(s.Now):
			able = append(able, c)
		case soonest.IsZero() || at.Before(soonest):
			soonest = at
		}
	}
	if len(able) == 0 {
		return nil, soonest
	}
	c := slices.MinFunc(able, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(a.noticeabilityRank(), b.noticeabilityRank()), a.Use.LastUse.Compare(b.Use.LastUse), cmp.Compare(a.Callsign, b.Callsign))
	})
	return &Decision{c, c.nextTier(), because, shortage, dry}, time.Time{}
}

// nextIdleStep returns the step that follows if the instance stays unused, when the step is
// due, and why. Tier is empty when no step follows.
func (s Situation) nextIdleStep(c Candidate) (tier Tier, at time.Time, because string) {
	if after := c.Config.CheckpointAfter; !c.Use.InPlaceSince.IsZero() && c.mayHibernate() {
		because = fmt.Sprintf("it has been paged out for %s (checkpoint-after)", after)
		return MoveToDisk, c.earliestStepTime(s.Now, c.Use.InPlaceSince.Add(time.Duration(*after))), because
	}
	if c.Use.State != shell.Activated || c.Use.Control == "" {
		return "", at, ""
	}
	if after := time.Duration(c.Config.IdleHibernate); after > 0 && c.mayHibernate() {
		tier, at = c.nextTier(), c.earliestStepTime(s.Now, c.Use.LastUse.Add(after))
		because = fmt.Sprintf("it has not been used for %s (idle-hibernate)", after)
	}
	if after := time.Duration(c.Config.IdleSuspend); after > 0 && c.Use.Control == statecontrol.Resumed {
		suspend := c.earliestStepTime(s.Now, c.Use.LastUse.Add(after))
		if tier == "" || suspend.Before(at) {
			tier, at = Suspend, suspend
			because = fmt.Sprintf("it has not been used for %s (idle-suspend)", after)
		}
	}
	return tier, at, because
}

// nextTier returns the step of sleep that is next for the instance as it is now.
func (c Candidate) nextTier() Tier {
	switch {
	case !c.Use.InPlaceSince.IsZero():
		return MoveToDisk
	case c.Use.Control == statecontrol.Resumed:
		return Suspend
	}
	return Hibernate
}

// noticeabilityRank returns a number for the next step of the instance: the more a caller
// notices of that step, the higher.
func (c Candidate) noticeabilityRank() int {
	return slices.Index([]Tier{MoveToDisk, Hibernate, Suspend}, c.nextTier())
}

// earliestStepTime returns when a step that is due at the moment due may be taken: later if
// the instance is in use, was just started or woken, or has failed to sleep.
func (c Candidate) earliestStepTime(now, due time.Time) time.Time {
	minAwake := time.Duration(c.Config.MinAwake)
	if c.isInUse() { // as if its last use ended now
		due = now.Add(max(due.Sub(c.Use.LastUse), minAwake))
	}
	for _, limit := range []time.Time{c.Use.AwakeSince.Add(minAwake), c.Attempts.notBefore} {
		if limit.After(due) {
			due = limit
		}
	}
	return due
}

// isInUse reports whether calls, streams or operations of the instance are under way.
func (c Candidate) isInUse() bool { return c.Use.Calls+c.Use.Streams > 0 || c.Use.Busy }

// mayHibernate reports whether the host may hibernate the instance by itself, or move it to
// disk if it sleeps in place.
func (c Candidate) mayHibernate() bool { return c.whyMayNotHibernate() == "" }

// whyMayNotHibernate returns why the host does not hibernate the instance in its present
// state, however short memory is and however long the instance is idle; "" if the host may
// do so.
func (c Candidate) whyMayNotHibernate() string {
	switch {
	case !c.Use.CanHibernate:
		return "it is part of the host"
	case !c.Use.InPlaceSince.IsZero() && c.Attempts.hopeless:
		return fmt.Sprintf("it can't be checkpointed until it is started anew: %v", c.Attempts.failure)
	case !c.Use.InPlaceSince.IsZero() && c.Config.CheckpointAfter != nil:
		return ""
	case c.Use.State != shell.Activated:
		return "it is " + string(c.Use.State)
	case c.Use.Control == "":
		return "it has no state control, and only what can be suspended can be hibernated"
	case !c.Config.MayAutoHibernate() && c.Config.AutoHibernate != nil:
		return "auto-hibernate = false"
	case !c.Config.MayAutoHibernate():
		return `its callers would be refused: on-call = "reject", and auto-hibernate is not set`
	case c.Attempts.hopeless:
		return fmt.Sprintf("it can't be hibernated until it is started anew: %v", c.Attempts.failure)
	}
	return ""
}
