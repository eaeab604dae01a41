package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/shell"
)

// sorted puts lines of equal rank, which come in any order, into one.
func sorted(lines []string) []string {
	slices.Sort(lines)
	return lines
}

func (r *rig) expect(want ...string) {
	r.Helper()
	if diff := cmp.Diff(want, r.journal.read()); diff != "" {
		r.Errorf("journal (-want +got):\n%s", diff)
	}
}

func TestOrder(t *testing.T) {
	run(t, []instance{
		{"D", configs.StartActivated, 90, nil},
		{"B", configs.StartActivated, 10, nil},
		{"C", configs.StartActivated, 50, nil},
		{"A", configs.StartActivated, -5, nil},
	}, func(r *rig) {
		r.expect()
		r.Start(r.Context())
		r.expect("launch First", "launch Second", "launch A", "launch B", "launch C", "launch D")
		for _, s := range r.Shells() {
			if st := s.Status(); st.State != shell.Activated || st.Reason != shell.Startup {
				r.Errorf("%s is %s, %s", s.Callsign(), st.State, st.Reason)
			}
		}

		r.Stop(context.Background())
		r.expect("end D, shutdown", "end C, shutdown", "end B, shutdown", "end A, shutdown", "end Second, shutdown", "end First, shutdown")
		for callsign, state := range r.states() {
			if state != shell.Deactivated {
				r.Errorf("%s is %s", callsign, state)
			}
		}
	})
}

func TestSameRankInParallel(t *testing.T) {
	run(t, []instance{
		{"A", configs.StartActivated, 50, nil},
		{"B", configs.StartActivated, 50, nil},
		{"C", configs.StartActivated, 51, nil},
	}, func(r *rig) {
		held := make(chan struct{})
		r.plugins["A"].held, r.plugins["B"].held = held, held
		started := background(func() { r.Start(r.Context()) })
		want := []string{"launch A", "launch B", "launch First", "launch Second"}
		if diff := cmp.Diff(want, sorted(r.journal.read())); diff != "" {
			r.Errorf("the first rank (-want +got):\n%s", diff)
		}
		close(held)
		<-started
		r.expect("launch C")

		held = make(chan struct{})
		r.plugins["A"].held, r.plugins["B"].held = held, held
		stopped := background(func() { r.Stop(context.Background()) })
		want = []string{"end A, shutdown", "end B, shutdown", "end C, shutdown"}
		if diff := cmp.Diff(want, sorted(r.journal.read())); diff != "" {
			r.Errorf("the last ranks (-want +got):\n%s", diff)
		}
		close(held)
		<-stopped
		r.expect("end Second, shutdown", "end First, shutdown")
	})
}

func TestStartModes(t *testing.T) {
	run(t, []instance{
		{"On", configs.StartActivated, 50, nil},
		{"Off", configs.StartDeactivated, 50, nil},
		{"Barred", configs.StartUnavailable, 50, nil},
		{"Asleep", configs.StartActivated, 50, func(p *plugin) { p.Asleep = &shell.Sleep{} }},
	}, func(r *rig) {
		r.Start(r.Context())
		want := map[string]shell.State{
			"First": shell.Activated, "Second": shell.Activated,
			"On": shell.Activated, "Off": shell.Deactivated, "Barred": shell.Unavailable, "Asleep": shell.Hibernated,
		}
		if diff := cmp.Diff(want, r.states()); diff != "" {
			r.Errorf("started (-want +got):\n%s", diff)
		}

		r.Stop(context.Background())
		want["First"], want["Second"], want["On"] = shell.Deactivated, shell.Deactivated, shell.Deactivated
		if diff := cmp.Diff(want, r.states()); diff != "" {
			r.Errorf("stopped (-want +got):\n%s", diff)
		}
		r.expect("launch First", "launch Second", "launch On", "end On, shutdown", "end Second, shutdown", "end First, shutdown")
	})
}

func TestFailureStopsNobodyElse(t *testing.T) {
	broken := errors.New("broken")
	fail := func(p *plugin) { p.fails = broken }
	run(t, []instance{
		{"A", configs.StartActivated, 10, fail},
		{"B", configs.StartActivated, 20, nil},
	}, func(r *rig) {
		r.plugins["First"].fails = broken
		r.Start(r.Context())
		r.expect("launch First", "launch Second", "launch A", "launch B")
		for callsign, want := range map[string]shell.State{"First": shell.Deactivated, "A": shell.Deactivated, "B": shell.Activated} {
			s, _ := r.Shell(callsign)
			st := s.Status()
			if failed := errors.Is(st.Err, broken); st.State != want || failed != (want == shell.Deactivated) {
				r.Errorf("%s is %s with error %v, want %s", callsign, st.State, st.Err, want)
			}
		}
	})
}

func TestStartIsCutShort(t *testing.T) {
	run(t, []instance{
		{"A", configs.StartActivated, 10, nil},
		{"B", configs.StartActivated, 20, nil},
	}, func(r *rig) {
		r.plugins["A"].held = make(chan struct{})
		ctx, cancel := context.WithCancel(r.Context())
		started := background(func() { r.Start(ctx) })
		cancel()
		close(r.plugins["A"].held)
		<-started
		r.expect("launch First", "launch Second", "launch A")
	})
}

func TestNothingStartsAfterStop(t *testing.T) {
	run(t, []instance{
		{"Off", configs.StartDeactivated, 50, nil},
		{"Barred", configs.StartUnavailable, 50, nil},
		{"Asleep", configs.StartActivated, 50, func(p *plugin) { p.Asleep = &shell.Sleep{} }},
	}, func(r *rig) {
		r.Stop(context.Background())
		for _, s := range r.Shells() {
			before := s.State()
			if err := s.Activate(r.Context(), shell.Requested); !errors.Is(err, shell.ErrUnavailable) || s.State() != before {
				r.Errorf("%s: got error %v in state %s, want ErrUnavailable in %s", s.Callsign(), err, s.State(), before)
			}
		}
		r.expect()
	})
}

func TestShell(t *testing.T) {
	run(t, []instance{{"Tuner", configs.StartDeactivated, 50, nil}}, func(r *rig) {
		for callsign, want := range map[string]bool{"Tuner": true, "First": true, "tuner": false, "TUNER": false, "": false} {
			s, ok := r.Shell(callsign)
			if ok != want || ok && s.Callsign() != callsign {
				r.Errorf("%q: got %t, want %t", callsign, ok, want)
			}
		}
		var names []string
		for _, s := range r.Shells() {
			names = append(names, s.Callsign())
		}
		if diff := cmp.Diff([]string{"First", "Second", "Tuner"}, names); diff != "" {
			r.Errorf("all (-want +got):\n%s", diff)
		}
	})
}

// ear writes down what it hears. It can't be compared, which no one asks
// of it.
type ear []*journal

// Roster ignores changes of the roster.
func (e ear) Roster(RosterChange) {}

func (e ear) Subsystems(changed []Subsystem) {
	for _, s := range changed {
		e[0].add(fmt.Sprintf("%s: %t", s.Name, s.Active))
	}
}

func (e ear) Transition(t shell.Transition) {
	e[0].add(t.Callsign + ": " + string(t.From) + " > " + string(t.To))
}

func (e ear) Notification(callsign string, n shell.Notification) {
	e[0].add(callsign + " " + n.Event)
}

func TestListen(t *testing.T) {
	run(t, []instance{{"A", configs.StartDeactivated, 50, nil}}, func(r *rig) {
		a, _ := r.Shell("A")
		one, other := ear{&journal{}}, ear{&journal{}}
		stopOne := r.Listen(one)
		stopOneAgain := r.Listen(one)
		stopOther := r.Listen(other)
		check := func(e ear, want ...string) {
			r.Helper()
			if diff := cmp.Diff(want, e[0].read()); diff != "" {
				r.Errorf("heard (-want +got):\n%s", diff)
			}
		}

		stopOneAgain()
		stopOneAgain() // does nothing
		r.plugins["A"].Sink.Notify(shell.Notification{Event: "ticked"})
		check(one, "A ticked")
		check(other, "A ticked")

		stopOne()
		if err := a.Activate(r.Context(), shell.Requested); err != nil {
			r.Fatal(err)
		}
		check(one)
		check(other, "A: deactivated > activation", "A: activation > activated")

		stopOther()
		if err := a.Deactivate(r.Context(), shell.Requested); err != nil {
			r.Fatal(err)
		}
		check(other)
	})
}

// follower holds each instance's transitions against the one before.
type follower struct {
	mu    sync.Mutex
	at    map[string]shell.State
	wrong []string
}

func (f *follower) Subsystems([]Subsystem) {}

// Roster ignores changes of the roster.
func (f *follower) Roster(RosterChange) {}

func (f *follower) Transition(t shell.Transition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at, ok := f.at[t.Callsign]; ok && at != t.From {
		f.wrong = append(f.wrong, fmt.Sprintf("%s: %s > %s came when it was %s", t.Callsign, t.From, t.To, at))
	}
	f.at[t.Callsign] = t.To
}

func (f *follower) Notification(string, shell.Notification) {}

// TestEventsInOrder operates several instances at once and follows each.
func TestEventsInOrder(t *testing.T) {
	callsigns := []string{"A", "B", "C", "D"}
	var instances []instance
	for _, c := range callsigns {
		instances = append(instances, instance{c, configs.StartDeactivated, 50, nil})
	}
	run(t, instances, func(r *rig) {
		heard := &follower{at: map[string]shell.State{}}
		stop := r.Listen(heard)
		defer stop()
		doInParallelAndWait(r.roster.allExceptHostBuiltins(), func(s *shell.Shell) {
			for range 50 {
				doInParallelAndWait([]*shell.Shell{s, s}, func(s *shell.Shell) { _ = s.Activate(r.Context(), shell.Requested) })
				r.Listen(ear{&journal{}})() // others come and go meanwhile
				_ = s.Deactivate(r.Context(), shell.Requested)
			}
		})
		synctest.Wait()
		for _, c := range callsigns {
			if got := heard.at[c]; got != shell.Deactivated {
				r.Errorf("%s was last heard of as %q", c, got)
			}
		}
		for _, wrong := range heard.wrong {
			r.Error(wrong)
		}
	})
}
