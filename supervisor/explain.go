package supervisor

import (
	"fmt"
	"time"

	"dormouse/shell"
	"dormouse/supervisor/policy"
)

// Explanation is the policy's explanation of an instance, with facts that only the
// instance's shell knows.
type Explanation struct {
	policy.Explanation
	// Saves is how many bytes of memory a hibernation would free, and Obstacle why a
	// hibernation would fail. Both are zero for an instance that is not active.
	Saves    int64
	Obstacle error
	// Golden is the golden image for the next start, NoGolden why there is none. Both
	// are nil for an instance without warm-start.
	Golden   *shell.GoldenImage
	NoGolden error
	// Loading is how much memory has been loaded since a lazy wake, zero once all memory
	// is.
	Loading shell.Progress
}

// Explain says why an instance is awake or asleep, and what comes next. It wakes
// nothing and does not count as use. The error wraps ErrUnknown.
func (s *Supervisor) Explain(callsign string) (Explanation, error) {
	sh, ok := s.Shell(callsign)
	if !ok {
		return Explanation{}, fmt.Errorf("cannot explain: %w", s.UnknownError(callsign))
	}
	e := Explanation{Explanation: s.explainWithNotes(sh)}
	e.Golden, e.NoGolden = sh.GoldenImage()
	if e.State == shell.Activated && !sh.IsBuiltIn() && !sh.IsVirtual() {
		figures := sh.Status().Figures
		e.Saves, e.Loading, e.Obstacle = figures.Memory, figures.Loading, sh.HibernationObstacle()
		if e.Obstacle != nil {
			e.Keeps = append(e.Keeps, "a hibernation would fail: "+e.Obstacle.Error())
		}
	}
	return e, nil
}

// ExplainBriefly returns only the sentence Explanation.Why, without measuring anything;
// empty for an unknown callsign.
func (s *Supervisor) ExplainBriefly(callsign string) string {
	sh, ok := s.Shell(callsign)
	if !ok {
		return ""
	}
	return s.explainWithNotes(sh).Why
}

// explainWithNotes returns the policy's explanation of an instance, with why it can't be
// activated, and that its source is gone, if that is so.
func (s *Supervisor) explainWithNotes(sh *shell.Shell) policy.Explanation {
	if parent, ok := s.Shell(sh.Parent()); ok {
		return s.explainVirtual(sh, parent)
	}
	e := s.autoSleep.explain(sh)
	if unstartable := sh.Unstartable(); unstartable != nil {
		e.Why += ", and can't be activated: " + unstartable.Error()
	}
	if outdated := sh.OutdatedSleep(); outdated != nil {
		e.Why += ". It will wake only to end, and then start anew: " + outdated.Error()
	}
	if failed := sh.LastFailedWake(); failed != nil {
		e.Failure, e.Retry = failed.Cause, failed.RetryAt
		e.Why += ". It could not be woken and sleeps on: " + failed.Error()
	}
	if source, _ := s.CloneSource(sh.Callsign()); source.Gone {
		e.Why += ". Its configuration is the last one of " + source.Of + ", which is gone"
		if why := s.WhyMissing(source.Of); why != nil {
			e.Why += ": " + why.Error()
		}
	}
	return e
}

// explainVirtual returns the explanation of a virtual plugin: that of its parent, while it is what
// the parent is.
func (s *Supervisor) explainVirtual(sh, parent *shell.Shell) policy.Explanation {
	e := policy.Explanation{Callsign: sh.Callsign(), State: sh.State()}
	if e.State.IsDown() && e.State != shell.Precondition {
		e.Why = fmt.Sprintf("%s is %s, while its parent %s is %s", e.Callsign, e.State, parent.Callsign(), parent.State())
		return e
	}
	of := s.explainWithNotes(parent)
	of.Callsign, of.State = e.Callsign, e.State
	of.Why = fmt.Sprintf("it is a virtual plugin of %s and is what that is: %s", parent.Callsign(), of.Why)
	return of
}

// explain returns the policy's explanation of an instance, and measures nothing.
func (a *autoSleep) explain(sh *shell.Shell) policy.Explanation {
	now := policy.Situation{Rules: a.rules, Now: time.Now()}
	return now.Explain(a.candidateWithoutMemory(sh), a.memory.whyPressureUnwatched())
}
