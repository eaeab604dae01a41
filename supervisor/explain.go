package supervisor

import (
	"fmt"
	"strings"
	"time"

	"dormouse/configs"
	"dormouse/shell"
)

// Explanation is why an instance is awake or asleep, and what comes next.
type Explanation struct {
	Callsign string
	State    shell.State
	// Why says it all in a sentence or two.
	Why string
	// Keeps are the causes that keep it awake now.
	Keeps []string
	// Next is what the host will do with it by itself, nil for nothing that is
	// planned.
	Next *Prospect
	// LastUse is when somebody used it last, zero when it does not run.
	LastUse time.Time
	// Failure is what the last attempt failed with, nil when it did not; Retry is
	// when there may be another, zero for not before it is started anew.
	Failure error
	Retry   time.Time
	// Resumes tells that the host has suspended it and resumes it when it is used.
	Resumes bool
	// Saves is the memory that its sleep would give back, in bytes, and Obstacle
	// what would stop it. Only Explain looks.
	Saves    int64
	Obstacle error
	// Golden is the golden image that its next life may begin from, NoGolden why there
	// is none. Both are nil for an instance without warm-start.
	Golden   *shell.GoldenImage
	NoGolden error
	// Loading is how much of its memory has come in since its wake, zero once all is
	// there. Only Explain looks.
	Loading shell.Progress
}

// Prospect is a step that is planned.
type Prospect struct {
	Do      string
	At      time.Time
	Because string
	// DryRun tells that it will only be told.
	DryRun bool
}

// Explain tells why an instance is awake or asleep. It wakes nothing and is no
// use of the plugin. The error wraps ErrUnknown.
func (s *Supervisor) Explain(callsign string) (Explanation, error) {
	sh, ok := s.Shell(callsign)
	if !ok {
		return Explanation{}, fmt.Errorf("cannot explain: %w: %q", ErrUnknown, callsign)
	}
	e := s.tiers.explain(sh)
	e.Golden, e.NoGolden = sh.Golden()
	if e.State == shell.Activated && !sh.InProcess() {
		facts := sh.Status().Facts
		e.Saves, e.Loading, e.Obstacle = facts.Memory, facts.Loading, sh.HibernationObstacle()
		if e.Obstacle != nil {
			e.Keeps = append(e.Keeps, "a hibernation would fail: "+e.Obstacle.Error())
		}
	}
	return e, nil
}

// Why is the sentence of Explain alone, which costs next to nothing; empty for an
// instance that there is not.
func (s *Supervisor) Why(callsign string) string {
	sh, ok := s.Shell(callsign)
	if !ok {
		return ""
	}
	return s.tiers.explain(sh).Why
}

func (t *tiers) explain(sh *shell.Shell) Explanation {
	w := situation{rules: t.Rules, now: time.Now()}
	s := standing{callsign: sh.Callsign(), config: sh.Config(), use: sh.Use()}
	t.mu.Lock()
	if known := t.trials[s.callsign]; known != nil {
		s.trial = *known
	}
	blind := t.blind
	t.mu.Unlock()
	e := Explanation{Callsign: s.callsign, State: s.use.State, Failure: s.trial.err}
	if s.use.State != shell.Activated {
		e.Why = asleepText(s)
		return e
	}
	e.LastUse, e.Resumes = s.use.Last, s.use.Idled
	if s.trial.err != nil && !s.trial.hopeless {
		e.Retry = s.trial.after
	}
	if do, at, because := w.idle(s); do != "" {
		e.Next = &Prospect{string(do), at, because, t.Rules.DryRun}
	}
	e.Keeps = w.keeps(s)
	e.Why = w.sentence(s, e, blind)
	return e
}

func asleepText(s standing) string {
	switch {
	case s.use.State == shell.Hibernated && s.config.OnCall == configs.OnCallWake:
		return "it is hibernated, and wakes when it is called"
	case s.use.State == shell.Hibernated:
		return `it is hibernated, and calls are refused until it is activated (on-call = "reject")`
	case s.use.State == shell.Hibernating || s.use.State == shell.Waking || s.use.State == shell.Activation || s.use.State == shell.Deactivation:
		return "it is in " + strings.Replace(string(s.use.State), "hibernating", "hibernation", 1)
	}
	return "it does not run: it is " + string(s.use.State)
}

// keeps is what keeps an activated instance awake now, whatever is planned.
func (w situation) keeps(s standing) (texts []string) {
	if why := s.never(); why != "" {
		texts = append(texts, why)
	}
	if s.use.Calls > 0 {
		texts = append(texts, fmt.Sprintf("%d calls are under way", s.use.Calls))
	}
	if s.use.Streams > 0 {
		texts = append(texts, fmt.Sprintf("%d streams are open", s.use.Streams))
	}
	if s.use.Busy {
		texts = append(texts, "an operation runs, or waits for its turn")
	}
	least := time.Duration(s.config.MinAwake)
	if awake := s.use.Awake.Add(least); awake.After(w.now) {
		texts = append(texts, fmt.Sprintf("it was started or woken less than %s ago (min-awake)", least))
	} else if s.use.Last.Add(least).After(w.now) {
		texts = append(texts, fmt.Sprintf("it was used less than %s ago (min-awake)", least))
	}
	if s.trial.err != nil && s.trial.after.After(w.now) {
		texts = append(texts, fmt.Sprintf("the last attempt failed, the next comes in %s: %v", span(s.trial.after.Sub(w.now)), s.trial.err))
	}
	return texts
}

// sentence is what an operator wants to hear first.
func (w situation) sentence(s standing, e Explanation, blind error) string {
	var parts []string
	verb := "will"
	if w.rules.DryRun {
		verb = "would (dry-run)"
	}
	switch {
	case e.Next == nil:
	case s.inUse():
		parts = append(parts, fmt.Sprintf("the host %s %s it when it has not been used for long enough: %s", verb, e.Next.Do, strings.Join(w.keeps(s), ", ")))
	default:
		parts = append(parts, fmt.Sprintf("the host %s %s it in %s, if nobody uses it until then", verb, e.Next.Do, span(e.Next.At.Sub(w.now))))
	}
	switch causes := w.causes(blind); {
	case s.never() != "" && e.Next == nil:
		parts = append(parts, "the host does not put it to sleep: "+s.never())
	case s.never() != "":
		parts = append(parts, "but does not hibernate it: "+s.never())
	case causes != "":
		parts = append(parts, "the host hibernates it "+causes)
	case e.Next == nil:
		parts = append(parts, "nothing puts it to sleep: it has neither idle-suspend nor idle-hibernate, and the host has neither pressure nor a budget")
	}
	if e.Resumes {
		parts = append(parts, "it was suspended since nobody used it, and is resumed when somebody does")
	}
	return strings.Join(parts, "; ")
}

// causes are those beside its own times for which the host puts an instance to
// sleep.
func (w situation) causes(blind error) string {
	var all []string
	r := w.rules
	if r.Pressure != configs.PressureOff {
		word := "when memory is short"
		if r.Pressure == configs.PressureReport || r.DryRun {
			word += " (only told)"
		}
		if blind != nil && r.MemoryAvailable == 0 {
			word += fmt.Sprintf(", which nobody tells: %v", blind)
		}
		all = append(all, word)
	}
	if r.BudgetCount > 0 {
		all = append(all, fmt.Sprintf("when more than %d plugins are awake", r.BudgetCount))
	}
	if r.BudgetBytes > 0 {
		all = append(all, fmt.Sprintf("when the plugins take more than %s", r.BudgetBytes))
	}
	return strings.Join(all, ", or ")
}

// span is a time that is to come, as a person says it.
func span(d time.Duration) string {
	return max(0, d.Round(time.Second)).String()
}
