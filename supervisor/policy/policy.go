// Package policy decides which instances the host puts to sleep next by itself, and
// says why. It decides only on its arguments: the package neither measures anything nor
// operates instances.
package policy

import (
	"cmp"
	"fmt"
	"math/bits"
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
	// Memory is how many bytes of memory the plugin uses. It is needed only while memory
	// is short and under a budget of bytes.
	Memory int64
	// LastSleepTook is how long the instance took to go to sleep last, 0 if that is not
	// known.
	LastSleepTook time.Duration
}

// Shortage says that memory is short. The zero value says that it is not.
type Shortage struct {
	Because string
	// Needed is how many bytes to free, as far as that can be estimated.
	Needed int64
}

// Situation is everything that a decision depends on.
type Situation struct {
	Rules    configs.Tiers
	Now      time.Time
	Shortage Shortage
	// Available is how many bytes of memory are available, 0 if that was not measured.
	Available int64
	// LookAgain is when memory pressure must be looked at again, zero for not before the
	// kernel reports some.
	LookAgain time.Time
	// Parallel is how many instances may go to sleep side by side, at least 1.
	Parallel   int
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

// Decide returns the steps to take now, side by side. If there is none, decideAgainAt is
// when to decide again: zero means not before something changes. A step of an idle
// instance is taken alone, after steps for want of memory and before those beyond a budget.
func (s Situation) Decide() (due []*Decision, decideAgainAt time.Time) {
	decideBy := func(at time.Time) {
		if !at.IsZero() && (decideAgainAt.IsZero() || at.Before(decideAgainAt)) {
			decideAgainAt = at
		}
	}
	e := s.excess()
	if e.shortage {
		steps, at := s.stepsAgainst(e)
		if steps != nil {
			return steps, time.Time{}
		}
		decideBy(at)
	}
	step, at := s.longestDueIdleStep()
	if step != nil {
		return []*Decision{step}, time.Time{}
	}
	decideBy(at)
	if e.because != "" && !e.shortage {
		steps, at := s.stepsAgainst(e)
		if steps != nil {
			return steps, time.Time{}
		}
		decideBy(at)
	}
	if slices.ContainsFunc(s.Candidates, Candidate.mayHibernate) {
		if interval := s.measureIntervalOrZero(); interval > 0 {
			decideBy(s.Now.Add(interval))
		}
		decideBy(s.LookAgain)
	}
	return nil, decideAgainAt
}

// longestDueIdleStep returns the step of the instance whose idle time is over for longest.
// If no step is due, step is nil and soonest is when the first one will be, zero for none.
func (s Situation) longestDueIdleStep() (step *Decision, soonest time.Time) {
	var since time.Time
	for _, c := range s.Candidates {
		tier, at, because := s.nextIdleStep(c)
		switch {
		case tier == "" || s.Rules.DryRun && c.Attempts.lastUseLoggedInDryRun(tier).Equal(c.Use.LastUse):
		case at.After(s.Now):
			if soonest.IsZero() || at.Before(soonest) {
				soonest = at
			}
		case step == nil || at.Before(since):
			step, since = &Decision{Candidate: c, Tier: tier, Because: because, DryRun: s.Rules.DryRun}, at
		}
	}
	return step, soonest
}

const (
	budgetInterval      = 10 * time.Second
	shortestInterval    = 100 * time.Millisecond
	fastestFill         = 512 << 20 // bytes a second by which a machine loses memory in a hurry
	sleepOverhead       = 100 * time.Millisecond
	typicalSleepingRate = 256 << 20 // bytes a second that go into an image
)

// measureIntervalOrZero returns how often the host has to measure memory, 0 if the rules
// need no measurement. The nearer the available memory is to the floor, the shorter it is.
func (s Situation) measureIntervalOrZero() time.Duration {
	switch {
	case s.Rules.Pressure != configs.PressureOff && s.Rules.MemoryAvailable > 0:
		interval := time.Duration(s.Rules.PressureWindow)
		if above := s.Available - int64(s.Rules.MemoryAvailable); above > 0 && above < fastestFill*int64(interval/time.Second) {
			interval = max(shortestInterval, time.Duration(above)*time.Second/fastestFill)
		}
		return interval
	case s.Rules.BudgetBytes > 0:
		return budgetInterval
	}
	return 0
}

// excess is what the plugins that are awake take too much.
type excess struct {
	because  string // empty if they don't
	shortage bool   // memory is short
	plugins  int    // how many plugins too many, 0 if only bytes count
	bytes    int64  // how many bytes too many
}

// isCoveredBy reports whether it is enough that so many plugins with so many bytes go to
// sleep.
func (e excess) isCoveredBy(plugins int, bytes int64) bool {
	if e.plugins > 0 {
		return plugins >= e.plugins
	}
	return bytes >= e.bytes
}

// excess returns by how much a budget is exceeded, or how much memory is needed. A shortage
// of memory comes first.
func (s Situation) excess() excess {
	plugins, bytes := 0, int64(0)
	for _, c := range s.Candidates {
		if c.Use.State.IsRunning() {
			plugins++
			bytes += c.Memory
		}
	}
	switch {
	case s.Rules.Pressure != configs.PressureOff && s.Shortage.Because != "":
		return excess{because: s.Shortage.Because, shortage: true, bytes: s.Shortage.Needed}
	case s.Rules.BudgetCount > 0 && plugins > s.Rules.BudgetCount:
		because := fmt.Sprintf("%d plugins are awake, the budget is %d", plugins, s.Rules.BudgetCount)
		return excess{because: because, plugins: plugins - s.Rules.BudgetCount}
	case s.Rules.BudgetBytes > 0 && bytes > int64(s.Rules.BudgetBytes):
		because := fmt.Sprintf("the plugins take %s, the budget is %s", bytesize.Format(bytes), s.Rules.BudgetBytes)
		return excess{because: because, bytes: bytes - int64(s.Rules.BudgetBytes)}
	}
	return excess{}
}

// stepsAgainst returns the next steps with as many instances as are needed to end the
// excess, at most Parallel: first with those that callers will miss least. When no instance
// can take a step yet, steps is nil and soonest is when the first one can, zero for none.
func (s Situation) stepsAgainst(e excess) (steps []*Decision, soonest time.Time) {
	able, soonest := s.ableInstances(e)
	slices.SortFunc(able, s.compareByLoss)
	var bytes int64
	for _, c := range able {
		if len(steps) >= max(1, s.Parallel) || e.isCoveredBy(len(steps), bytes) && len(steps) > 0 {
			break
		}
		steps = append(steps, &Decision{c, c.nextTier(), e.because, e.shortage, s.onlyLogs(e.shortage)})
		bytes += c.Memory
	}
	if steps != nil {
		soonest = time.Time{}
	}
	return steps, soonest
}

// onlyLogs reports whether the rules ask that steps are only logged.
func (s Situation) onlyLogs(shortage bool) bool {
	return s.Rules.DryRun || shortage && s.Rules.Pressure == configs.PressureReport
}

// ableInstances returns the instances that can take a step against the excess now, and when
// the first of the others can, zero for never.
func (s Situation) ableInstances(e excess) (able []Candidate, soonest time.Time) {
	for _, c := range s.Candidates {
		tier := c.nextTier()
		logged := s.onlyLogs(e.shortage) && c.Attempts.lastUseLoggedInDryRun(tier).Equal(c.Use.LastUse)
		if !c.mayHibernate() || tier == MoveToDisk && !e.shortage || logged {
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
	return able, soonest
}

// compareByLoss orders instances by what callers lose for what the machine gains: a
// suspended instance goes before a resumed one, then the one that is idle for much longer,
// and of those about equally idle the one that frees the most memory in a second.
func (s Situation) compareByLoss(a, b Candidate) int {
	return cmp.Or(
		cmp.Compare(a.noticeabilityRank(), b.noticeabilityRank()),
		-cmp.Compare(a.idleDoublings(s.Now), b.idleDoublings(s.Now)),
		-cmp.Compare(a.bytesPerSecond(), b.bytesPerSecond()),
		a.Use.LastUse.Compare(b.Use.LastUse),
		cmp.Compare(a.Callsign, b.Callsign))
}

// idleDoublings returns how often one second must be doubled to be the time since the last
// use. Instances with the same number are about equally idle.
func (c Candidate) idleDoublings(now time.Time) int {
	return bits.Len64(uint64(max(0, now.Sub(c.Use.LastUse)/time.Second)))
}

// bytesPerSecond returns how much memory the sleep of the instance frees for each second
// that it takes, as an estimate.
func (c Candidate) bytesPerSecond() int64 {
	took := c.LastSleepTook
	if took <= 0 {
		return int64(float64(c.Memory) / (sleepOverhead.Seconds() + float64(c.Memory)/typicalSleepingRate))
	}
	return int64(float64(c.Memory) / took.Seconds())
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

// isInUse reports whether calls, streams, tasks or operations of the instance are under way.
func (c Candidate) isInUse() bool { return c.Use.Calls+c.Use.Streams+c.Use.Holds > 0 || c.Use.Busy }

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
