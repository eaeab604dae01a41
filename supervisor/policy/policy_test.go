package policy

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/statecontrol"
)

var (
	noon     = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	errBroke = errors.New("broken")
)

func ago(d time.Duration) time.Time { return noon.Add(-d) }

// one is an instance that was started an hour before noon and used ago last, in
// the way that changes give it.
func one(callsign string, used time.Duration, changes ...func(*Candidate)) Candidate {
	s := Candidate{Callsign: callsign, Config: configs.DefaultPlugin(), Use: shell.UseStatus{
		State: shell.Activated, Control: statecontrol.Resumed, AwakeSince: ago(time.Hour), LastUse: ago(used), CanHibernate: true,
	}}
	for _, change := range changes {
		change(&s)
	}
	return s
}

func suspendedNow(s *Candidate) { s.Use.Control = statecontrol.Suspended }
func wakes(s *Candidate)        { s.Config.OnCall = configs.OnCallWake }
func calling(s *Candidate)      { s.Use.Calls = 1 }
func streaming(s *Candidate)    { s.Use.Streams = 1 }
func holding(s *Candidate)      { s.Use.Holds = 1 }
func busy(s *Candidate)         { s.Use.Busy = true }
func hopeless(s *Candidate)     { s.Attempts = SleepAttempts{failure: errBroke, hopeless: true} }
func state(to shell.State) func(*Candidate) {
	return func(s *Candidate) { s.Use.State = to }
}
func idleAfter(suspend, hibernate time.Duration) func(*Candidate) {
	return func(s *Candidate) {
		s.Config.IdleSuspend, s.Config.IdleHibernate = configs.IdleTime(suspend), configs.IdleTime(hibernate)
	}
}
func failed(after time.Time) func(*Candidate) {
	return func(s *Candidate) { s.Attempts = SleepAttempts{failures: 1, failure: errBroke, notBefore: after} }
}
func pagedOut(ago, checkpointAfter time.Duration) func(*Candidate) {
	return func(s *Candidate) {
		s.Use.State, s.Use.Control, s.Use.InPlaceSince = shell.Hibernated, statecontrol.Suspended, noon.Add(-ago)
		if checkpointAfter > 0 {
			s.Config.CheckpointAfter = new(configs.Duration(checkpointAfter))
		}
	}
}
func slept(took time.Duration) func(*Candidate) {
	return func(s *Candidate) { s.LastSleepTook = took }
}
func takes(bytes int64) func(*Candidate) { return func(s *Candidate) { s.Memory = bytes } }

func TestDecide(t *testing.T) {
	const none = ""
	on := configs.Tiers{Pressure: configs.PressureOn, PressureWindow: configs.Duration(2 * time.Second)}
	floor := on
	floor.MemoryAvailable = 1
	report := on
	report.Pressure = configs.PressureReport
	dry := configs.Tiers{DryRun: true}
	for _, test := range []struct {
		name  string
		rules configs.Tiers
		short string
		need  int64 // bytes
		all   []Candidate
		want  string        // the steps
		again time.Duration // 0 for not before something changes
	}{
		{"nothing", configs.Tiers{}, none, 0, nil, none, 0},
		{"nothing is configured", configs.Tiers{Pressure: configs.PressureOff}, "short", 0, []Candidate{one("A", time.Hour, wakes, suspendedNow)}, none, 0},

		{"idle for long enough", configs.Tiers{}, none, 0, []Candidate{one("A", 5*time.Minute, idleAfter(5*time.Minute, 0))}, "suspend A", 0},
		{"not for long enough", configs.Tiers{}, none, 0, []Candidate{one("A", 2*time.Minute, idleAfter(5*time.Minute, 0))}, none, 3 * time.Minute},
		{"suspended already", configs.Tiers{}, none, 0, []Candidate{one("A", time.Hour, suspendedNow, idleAfter(5*time.Minute, 0))}, none, 0},
		{"suspended, then hibernated", configs.Tiers{}, none, 0, []Candidate{one("A", 6*time.Minute, suspendedNow, idleAfter(5*time.Minute, 10*time.Minute))}, none, 4 * time.Minute},
		{"hibernated", configs.Tiers{}, none, 0, []Candidate{one("A", 10*time.Minute, suspendedNow, idleAfter(5*time.Minute, 10*time.Minute))}, "hibernate A", 0},
		{"hibernated but not suspended before", configs.Tiers{}, none, 0, []Candidate{one("A", 10*time.Minute, idleAfter(0, 10*time.Minute))}, "suspend A", 0},
		{"paged out for long enough", configs.Tiers{}, none, 0, []Candidate{one("A", time.Hour, pagedOut(10*time.Minute, 10*time.Minute))}, "checkpoint A", 0},
		{"paged out not for long enough", configs.Tiers{}, none, 0, []Candidate{one("A", time.Hour, pagedOut(4*time.Minute, 10*time.Minute))}, none, 6 * time.Minute},
		{"paged out for good", configs.Tiers{}, none, 0, []Candidate{one("A", time.Hour, pagedOut(time.Hour, 0))}, none, 0},
		{"paged out, and short of memory", on, "short", 0, []Candidate{
			one("A", 2*time.Hour, wakes, suspendedNow), one("B", time.Hour, pagedOut(time.Minute, 10*time.Minute)),
		}, "checkpoint B, short", 0},
		{"paged out, and over the budget", configs.Tiers{BudgetCount: 1}, none, 0, []Candidate{
			one("A", 2*time.Hour, wakes, suspendedNow), one("B", time.Hour, pagedOut(time.Minute, 10*time.Minute)), one("C", time.Hour),
		}, "hibernate A, 2 plugins are awake, the budget is 1", 0},
		{"paged out and can't be checkpointed", configs.Tiers{}, none, 0, []Candidate{one("A", time.Hour, pagedOut(time.Hour, time.Minute), hopeless)}, none, 0},
		{"who waits the longest", configs.Tiers{}, none, 0, []Candidate{
			one("A", 6*time.Minute, idleAfter(5*time.Minute, 0)), one("B", 8*time.Minute, idleAfter(5*time.Minute, 0)),
		}, "suspend B", 0},
		{"the soonest", configs.Tiers{}, none, 0, []Candidate{
			one("A", time.Minute, idleAfter(5*time.Minute, 0)), one("B", 3*time.Minute, idleAfter(5*time.Minute, 0)),
		}, none, 2 * time.Minute},
		{"with a call", configs.Tiers{}, none, 0, []Candidate{one("A", time.Hour, calling, idleAfter(5*time.Minute, 0))}, none, 5 * time.Minute},
		{"with a task", configs.Tiers{}, none, 0, []Candidate{one("A", time.Hour, holding, idleAfter(5*time.Minute, 0))}, none, 5 * time.Minute},
		{"with a stream", configs.Tiers{}, none, 0, []Candidate{one("A", time.Hour, streaming, idleAfter(5*time.Minute, 0))}, none, 5 * time.Minute},
		{"during an operation", configs.Tiers{}, none, 0, []Candidate{one("A", time.Hour, busy, idleAfter(5*time.Minute, 0))}, none, 5 * time.Minute},
		{"just woken", configs.Tiers{}, none, 0, []Candidate{one("A", time.Hour, idleAfter(time.Second, 0), func(s *Candidate) { s.Use.AwakeSince = ago(4 * time.Second) })}, none, 6 * time.Second},
		{"failed before", configs.Tiers{}, none, 0, []Candidate{one("A", time.Hour, idleAfter(time.Minute, 0), failed(noon.Add(time.Minute)))}, none, time.Minute},
		{"failed long before", configs.Tiers{}, none, 0, []Candidate{one("A", time.Hour, idleAfter(time.Minute, 0), failed(ago(time.Second)))}, "suspend A", 0},
		{"hopeless", configs.Tiers{}, none, 0, []Candidate{one("A", time.Hour, suspendedNow, idleAfter(0, time.Minute), hopeless)}, none, 0},
		{"hopeless, but can be suspended", configs.Tiers{}, none, 0, []Candidate{one("A", time.Hour, idleAfter(time.Minute, time.Minute), hopeless)}, "suspend A", 0},
		{"in activation", configs.Tiers{}, none, 0, []Candidate{one("A", time.Hour, state(shell.Activation), idleAfter(time.Minute, 0))}, none, 0},
		{"without state control", configs.Tiers{}, none, 0, []Candidate{one("A", time.Hour, idleAfter(time.Minute, time.Minute), func(s *Candidate) { s.Use.Control = "" })}, none, 0},

		{"short", on, "short", 0, []Candidate{one("A", time.Minute, wakes, suspendedNow)}, "hibernate A, short", 0},
		{"not short", on, none, 0, []Candidate{one("A", time.Minute, wakes, suspendedNow)}, none, 0},
		{"suspended before resumed", on, "short", 0, []Candidate{one("A", time.Hour, wakes), one("B", time.Minute, wakes, suspendedNow)}, "hibernate B, short", 0},
		{"least recently used", on, "short", 0, []Candidate{one("A", time.Minute, wakes, suspendedNow), one("B", time.Hour, wakes, suspendedNow)}, "hibernate B, short", 0},
		{"resumed after suspended", on, "short", 0, []Candidate{one("A", time.Minute, wakes), one("B", time.Minute, wakes, suspendedNow, calling)}, "suspend A, short", 0},
		{"callers would be refused", on, "short", 0, []Candidate{one("A", time.Hour, suspendedNow)}, none, 0},
		{"unless they agree", on, "short", 0, []Candidate{one("A", time.Hour, suspendedNow, func(s *Candidate) { yes := true; s.Config.AutoHibernate = &yes })}, "hibernate A, short", 0},
		{"used just now", on, "short", 0, []Candidate{one("A", 4*time.Second, wakes)}, none, 6 * time.Second},
		{"with a call under pressure", on, "short", 0, []Candidate{one("A", time.Hour, wakes, calling)}, none, 10 * time.Second},
		{"as many as are needed", on, "short", 50 << 20, []Candidate{
			one("A", time.Hour, wakes, suspendedNow, takes(30<<20)), one("B", time.Hour, wakes, suspendedNow, takes(20<<20)), one("C", time.Hour, wakes, suspendedNow, takes(10<<20)),
		}, "hibernate A, short; hibernate B, short", 0},
		{"no more than fit side by side", on, "short", 1 << 30, []Candidate{
			one("A", time.Hour, wakes), one("B", time.Hour, wakes), one("C", time.Hour, wakes), one("D", time.Hour, wakes),
		}, "suspend A, short; suspend B, short; suspend C, short", 0},
		{"the largest of the equally idle", on, "short", 1, []Candidate{
			one("A", 70*time.Minute, wakes, suspendedNow, takes(30<<20)), one("B", 80*time.Minute, wakes, suspendedNow, takes(90<<20)),
		}, "hibernate B, short", 0},
		{"the idler before the larger", on, "short", 1, []Candidate{
			one("A", 3*time.Hour, wakes, suspendedNow, takes(30<<20)), one("B", time.Hour, wakes, suspendedNow, takes(90<<20)),
		}, "hibernate A, short", 0},
		{"the faster of the equally idle", on, "short", 1, []Candidate{
			one("A", time.Hour, wakes, suspendedNow, takes(30<<20), slept(100*time.Millisecond)), one("B", time.Hour, wakes, suspendedNow, takes(90<<20), slept(time.Minute)),
		}, "hibernate A, short", 0},
		{"memory before idle times", on, "short", 0, []Candidate{one("A", time.Hour, idleAfter(time.Minute, 0)), one("B", time.Hour, wakes, suspendedNow)}, "hibernate B, short", 0},
		{"part of the host", on, "short", 0, []Candidate{one("A", time.Hour, wakes, func(s *Candidate) { s.Use.CanHibernate = false })}, none, 0},
		{"the floor is looked at", floor, none, 0, []Candidate{one("A", time.Hour, wakes)}, none, 2 * time.Second},
		{"but not without an instance that gains", floor, none, 0, []Candidate{one("A", time.Hour), one("B", time.Hour, wakes, state(shell.Hibernated))}, none, 0},

		{"within the count", configs.Tiers{BudgetCount: 2}, none, 0, []Candidate{one("A", time.Hour, wakes), one("B", time.Hour, wakes)}, none, 0},
		{"beyond the count", configs.Tiers{BudgetCount: 2}, none, 0, []Candidate{
			one("A", time.Hour), one("B", time.Minute, wakes), one("C", time.Hour, state(shell.Waking)),
		}, "suspend B, 3 plugins are awake, the budget is 2", 0},
		{"beyond the bytes", configs.Tiers{BudgetBytes: 3 << 20}, none, 0, []Candidate{
			one("A", time.Hour, takes(2<<20)), one("B", time.Minute, wakes, suspendedNow, takes(2<<20)),
		}, "hibernate B, the plugins take 4.0 MiB, the budget is 3MiB", 0},
		{"within the bytes", configs.Tiers{BudgetBytes: 4 << 20}, none, 0, []Candidate{one("B", time.Hour, wakes, takes(2<<20))}, none, 10 * time.Second},

		{"a dry run", dry, none, 0, []Candidate{one("A", time.Hour, idleAfter(time.Minute, 0))}, "dry: suspend A", 0},
		{"a dry run that was told", dry, none, 0, []Candidate{one("A", time.Hour, idleAfter(time.Minute, 0), func(s *Candidate) { s.Attempts.loggedSuspend = s.Use.LastUse })}, none, 0},
		{"a report", report, "short", 0, []Candidate{one("A", time.Hour, wakes, suspendedNow)}, "dry: hibernate A, short", 0},
		{"a report of the next", report, "short", 0, []Candidate{
			one("A", time.Hour, wakes, suspendedNow, func(s *Candidate) { s.Attempts.loggedHibernate = s.Use.LastUse }), one("B", time.Minute, wakes, suspendedNow),
		}, "dry: hibernate B, short", 0},
		{"a report does not concern idle times", report, none, 0, []Candidate{one("A", time.Hour, idleAfter(time.Minute, 0))}, "suspend A", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := Situation{Rules: test.rules, Now: noon, Shortage: Shortage{test.short, test.need}, Parallel: 3, Candidates: test.all}
			steps, at := s.Decide()
			var words []string
			for _, d := range steps {
				word := string(d.Tier) + " " + d.Callsign
				if d.DryRun {
					word = "dry: " + word
				}
				if because := s.excess().because; because != "" && because == d.Because {
					word += ", " + because
				}
				words = append(words, word)
			}
			if got := strings.Join(words, "; "); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			var again time.Duration
			if !at.IsZero() {
				again = at.Sub(noon)
			}
			if again != test.again {
				t.Errorf("asked again after %s, want %s", again, test.again)
			}
		})
	}
}

func TestAttemptsBackOff(t *testing.T) {
	var a SleepAttempts
	var pauses []time.Duration
	for range 11 {
		a.RecordOutcome(&Decision{Tier: Hibernate}, errBroke, noon)
		pauses = append(pauses, a.notBefore.Sub(noon))
	}
	want := []time.Duration{
		10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second, 320 * time.Second,
		640 * time.Second, 1280 * time.Second, 2560 * time.Second, time.Hour, time.Hour,
	}
	if diff := cmp.Diff(want, pauses); diff != "" {
		t.Errorf("pauses (-want +got):\n%s", diff)
	}
	a.RecordOutcome(&Decision{Tier: Hibernate}, shell.ErrInUse, noon)
	if a.failures != 11 || !errors.Is(a.failure, errBroke) {
		t.Errorf("a call that came first counts as a failure: %+v", a)
	}
	a.RecordOutcome(&Decision{Tier: Hibernate}, nil, noon)
	if diff := cmp.Diff(SleepAttempts{}, a, cmp.AllowUnexported(SleepAttempts{})); diff != "" {
		t.Errorf("after a success (-want +got):\n%s", diff)
	}
}
