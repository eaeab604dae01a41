package policy

import (
	"fmt"
	"strings"
	"time"

	"dormouse/configs"
	"dormouse/shell"
)

// Explanation says why an instance is awake or asleep, and what comes next.
type Explanation struct {
	Callsign string
	State    shell.State
	// Why is the whole answer in a sentence or two.
	Why string
	// Keeps lists the reasons that keep the instance awake now.
	Keeps []string
	// Next is the step that the host will take by itself, nil if none is planned.
	Next *Prospect
	// LastUse is when the instance was last used, zero when it does not run.
	LastUse time.Time
	// Failure is why the last attempt failed, nil if it did not. Retry is when the
	// next attempt may come, zero for not before the instance is started anew.
	Failure error
	Retry   time.Time
	// Resumes reports whether the host has suspended the instance and resumes it at
	// its next use.
	Resumes bool
}

// Prospect is a step that is planned: the tier to do, when, and why.
type Prospect struct {
	Do      string
	At      time.Time
	Because string
	// DryRun reports whether the host will only log the step.
	DryRun bool
}

// Explain explains one candidate. It does not need the other candidates nor any
// measurement. WhyUnwatched is why the kernel reports no memory pressure, nil if
// it does.
func (s Situation) Explain(c Candidate, whyUnwatched error) Explanation {
	e := Explanation{Callsign: c.Callsign, State: c.Use.State, Failure: c.Attempts.failure}
	if c.Use.State != shell.Activated {
		e.Why = inactiveStateText(c)
		return e
	}
	e.LastUse, e.Resumes = c.Use.LastUse, c.Use.IdleSuspended
	if c.Attempts.failure != nil && !c.Attempts.hopeless {
		e.Retry = c.Attempts.notBefore
	}
	if tier, at, because := s.nextIdleStep(c); tier != "" {
		e.Next = &Prospect{string(tier), at, because, s.Rules.DryRun}
	}
	e.Keeps = s.keepAwakeReasons(c)
	e.Why = s.summaryText(c, e, whyUnwatched)
	return e
}

// inactiveStateText returns the state of an instance that is not activated, in words, and
// what wakes a hibernated one.
func inactiveStateText(c Candidate) string {
	switch {
	case c.Use.State == shell.Hibernated && c.Config.OnCall == configs.OnCallWake:
		return "it is hibernated, and wakes when it is called"
	case c.Use.State == shell.Hibernated:
		return `it is hibernated, and calls are refused until it is activated (on-call = "reject")`
	case c.Use.StartExpected:
		return "the host is still starting, and has not started it yet: it is " + string(c.Use.State) + ", its calls wait"
	case c.Use.State.IsTransitional():
		return "it is in " + strings.Replace(string(c.Use.State), "hibernating", "hibernation", 1)
	}
	return "it does not run: it is " + string(c.Use.State)
}

// keepAwakeReasons returns the reasons that keep an activated instance awake now, whatever
// step is planned.
func (s Situation) keepAwakeReasons(c Candidate) (texts []string) {
	if why := c.whyMayNotHibernate(); why != "" {
		texts = append(texts, why)
	}
	if c.Use.Calls > 0 {
		texts = append(texts, fmt.Sprintf("%d calls are under way", c.Use.Calls))
	}
	if c.Use.Streams > 0 {
		texts = append(texts, fmt.Sprintf("%d streams are open", c.Use.Streams))
	}
	if c.Use.Holds > 0 {
		texts = append(texts, "tasks of it are under way")
	}
	if c.Use.Busy {
		texts = append(texts, "an operation runs, or waits for its turn")
	}
	minAwake := time.Duration(c.Config.MinAwake)
	if c.Use.AwakeSince.Add(minAwake).After(s.Now) {
		texts = append(texts, fmt.Sprintf("it was started or woken less than %s ago (min-awake)", minAwake))
	} else if c.Use.LastUse.Add(minAwake).After(s.Now) {
		texts = append(texts, fmt.Sprintf("it was used less than %s ago (min-awake)", minAwake))
	}
	if c.Attempts.failure != nil && c.Attempts.notBefore.After(s.Now) {
		texts = append(texts, fmt.Sprintf("the last attempt failed, the next comes in %s: %v", formatWholeSeconds(c.Attempts.notBefore.Sub(s.Now)), c.Attempts.failure))
	}
	return texts
}

// summaryText returns the explanation of an activated instance in one sentence, made from
// the parts in e.
func (s Situation) summaryText(c Candidate, e Explanation, whyUnwatched error) string {
	var parts []string
	verb := "will"
	if s.Rules.DryRun {
		verb = "would (dry-run)"
	}
	switch {
	case e.Next == nil:
	case c.isInUse():
		parts = append(parts, fmt.Sprintf("the host %s %s it when it has not been used for long enough: %s", verb, e.Next.Do, strings.Join(e.Keeps, ", ")))
	default:
		parts = append(parts, fmt.Sprintf("the host %s %s it in %s, unless it is used before", verb, e.Next.Do, formatWholeSeconds(e.Next.At.Sub(s.Now))))
	}
	never := c.whyMayNotHibernate()
	switch causes := s.hostwideHibernationCauses(whyUnwatched); {
	case never != "" && e.Next == nil:
		parts = append(parts, "the host does not put it to sleep: "+never)
	case never != "":
		parts = append(parts, "but does not hibernate it: "+never)
	case causes != "":
		parts = append(parts, "the host hibernates it "+causes)
	case e.Next == nil:
		parts = append(parts, "nothing puts it to sleep: it has neither idle-suspend nor idle-hibernate, and the host has neither pressure nor a budget")
	}
	if e.Resumes {
		parts = append(parts, "the host suspended it because it was idle, and resumes it at the next use")
	}
	return strings.Join(parts, "; ")
}

// hostwideHibernationCauses returns a text that lists the causes for which the host
// hibernates any instance, whatever the idle times of that instance are; "" if there are
// none.
func (s Situation) hostwideHibernationCauses(whyUnwatched error) string {
	var causes []string
	r := s.Rules
	if r.Pressure != configs.PressureOff {
		cause := "when memory is short"
		if r.Pressure == configs.PressureReport || r.DryRun {
			cause += " (only told)"
		}
		if whyUnwatched != nil && r.MemoryAvailable == 0 {
			cause += fmt.Sprintf(", which the host can't notice: %v", whyUnwatched)
		}
		causes = append(causes, cause)
	}
	if r.BudgetCount > 0 {
		causes = append(causes, fmt.Sprintf("when more than %d plugins are awake", r.BudgetCount))
	}
	if r.BudgetBytes > 0 {
		causes = append(causes, fmt.Sprintf("when the plugins take more than %s", r.BudgetBytes))
	}
	return strings.Join(causes, ", or ")
}

// formatWholeSeconds formats a time to come, to the second; one that has passed is "0s".
func formatWholeSeconds(d time.Duration) string { return max(0, d.Round(time.Second)).String() }
