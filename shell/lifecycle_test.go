package shell_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/shell"
	"dormouse/statecontrol"
)

var (
	allStates = []shell.State{shell.Unavailable, shell.Deactivated, shell.Deactivation, shell.Activated, shell.Activation, shell.Precondition, shell.Hibernated, shell.Hibernating, shell.Waking, shell.Destroyed}
	allEvents = []shell.Event{shell.Activate, shell.Adopt, shell.Await, shell.Lapse, shell.Deactivate, shell.MakeUnavailable, shell.Replace, shell.Suspend, shell.Resume, shell.Hibernate, shell.Wake, shell.Retire, shell.PutBack, shell.MoveToDisk, shell.Evict, shell.GiveUp, shell.Exit, shell.Destroy}
)

// states returns the states that the row names.
func states(row shell.Row) []shell.State {
	return append([]shell.State{row.From, row.During, row.Then, row.Else}, slices.Collect(maps.Values(row.ElseFor))...)
}

// putInState puts a shell into a state that no test could reach and hold otherwise.
func (r *rig) putInState(state shell.State, control statecontrol.State) {
	r.SetState(state, control)
	r.seen.first = state
}

func TestLifecycleHasNoOtherStates(t *testing.T) {
	for _, row := range shell.Lifecycle {
		for _, state := range states(row) {
			if state != "" && !slices.Contains(allStates, state) {
				t.Errorf("the tests don't know the state %s", state)
			}
		}
		if !slices.Contains(allEvents, row.Event) {
			t.Errorf("the tests don't know the event %s", row.Event)
		}
	}
}

func TestLifecycleListedRows(t *testing.T) {
	for _, row := range shell.Lifecycle {
		for _, failure := range []error{nil, errBroken, errLasting, errUntrusted} {
			name := string(row.Event) + " when " + string(row.From)
			if failure != nil {
				name += " fails, " + string(hibernate.ClassifyFailure(failure))
			}
			t.Run(name, func(t *testing.T) {
				r := newRig(t, setup{})
				r.putInState(row.From, row.NeedsControl)
				var during shell.State
				err := r.Step(t.Context(), row.Event, shell.Requested, func(context.Context) error {
					during = r.State()
					return failure
				})
				if !errors.Is(err, failure) {
					t.Errorf("got error %v, want %v", err, failure)
				}

				wantDuring, want := row.From, row.Then
				if row.During != "" {
					wantDuring = row.During
				}
				if failure != nil {
					want = row.Else
				}
				if end, ok := row.ElseFor[hibernate.ClassifyFailure(failure)]; failure != nil && ok {
					want = end
				}
				if during != wantDuring {
					t.Errorf("it was %s during the work, want %s", during, wantDuring)
				}
				if got := r.State(); got != want {
					t.Errorf("it is %s afterwards, want %s", got, want)
				}
				for _, wrong := range r.seen.contradictions() {
					t.Error(wrong)
				}
			})
		}
	}
}

func TestLifecycleForbidsTheRest(t *testing.T) {
	for _, event := range allEvents {
		for _, state := range allStates {
			if _, ok := shell.FindRow(event, state); ok {
				continue
			}
			r := newRig(t, setup{})
			r.putInState(state, statecontrol.Suspended)
			err := r.Step(t.Context(), event, shell.Requested, func(context.Context) error {
				t.Errorf("%s was done when %s", event, state)
				return nil
			})
			if !errors.Is(err, shell.ErrIllegalState) || !strings.Contains(err.Error(), string(state)) {
				t.Errorf("%s when %s: got %v, want ErrIllegalState and the state", event, state, err)
			}
			if r.State() != state || r.seen.newTransitions() != nil {
				t.Errorf("%s when %s was refused but changed something", event, state)
			}
		}
	}
}

func TestLifecycleNeedsStateControl(t *testing.T) {
	for _, row := range shell.Lifecycle {
		for _, control := range []statecontrol.State{"", statecontrol.Suspended, statecontrol.Resumed} {
			if row.NeedsControl == "" || control == row.NeedsControl {
				continue
			}
			r := newRig(t, setup{})
			r.putInState(row.From, control)
			err := r.Step(t.Context(), row.Event, shell.Requested, func(context.Context) error { return nil })
			if !errors.Is(err, shell.ErrIllegalState) || r.State() != row.From {
				t.Errorf("%s when %q: got %v in %s, want ErrIllegalState in %s", row.Event, control, err, r.State(), row.From)
			}
		}
	}
}

// TestVerbs tries every verb in every state in which an instance can rest.
func TestVerbs(t *testing.T) {
	verbs := map[shell.Event]func(*rig) error{
		shell.Activate:        func(r *rig) error { return r.Activate(r.Context(), shell.Requested) },
		shell.Deactivate:      func(r *rig) error { return r.Deactivate(r.Context(), shell.Requested) },
		shell.MakeUnavailable: func(r *rig) error { return r.MakeUnavailable(r.Context(), shell.Requested) },
		shell.Suspend:         func(r *rig) error { return r.Suspend(r.Context(), shell.Requested) },
		shell.Resume:          func(r *rig) error { return r.Resume(r.Context(), shell.Requested) },
		shell.Hibernate:       func(r *rig) error { return r.Hibernate(r.Context(), shell.Requested, 0) },
		shell.Destroy:         func(r *rig) error { return r.Destroy(r.Context(), shell.Requested) },
		shell.ConfigureEvent:  func(r *rig) error { return r.Configure(r.Context(), r.Config()) },
		shell.Replace:         func(r *rig) error { return r.Replace(r.Context(), shell.Requested, r.Config(), nil) },
		shell.RestartEvent:    func(r *rig) error { return r.Restart(r.Context(), shell.Requested) },
	}
	for _, test := range []struct {
		from  shell.State
		verb  shell.Event
		to    shell.State
		err   error
		quiet bool // nothing is told to anyone
	}{
		{shell.Deactivated, shell.Activate, shell.Activated, nil, false},
		{shell.Deactivated, shell.Deactivate, shell.Deactivated, nil, true},
		{shell.Deactivated, shell.MakeUnavailable, shell.Unavailable, nil, false},
		{shell.Deactivated, shell.Suspend, shell.Deactivated, shell.ErrNoStateControl, true},
		{shell.Deactivated, shell.Resume, shell.Activated, nil, false},
		{shell.Deactivated, shell.Hibernate, shell.Deactivated, shell.ErrIllegalState, true},
		{shell.Deactivated, shell.Destroy, shell.Destroyed, nil, false},
		{shell.Deactivated, shell.ConfigureEvent, shell.Deactivated, nil, true},
		{shell.Deactivated, shell.Replace, shell.Deactivated, nil, true},
		{shell.Deactivated, shell.RestartEvent, shell.Activated, nil, false},

		{shell.Unavailable, shell.Activate, shell.Unavailable, shell.ErrIllegalState, true},
		{shell.Unavailable, shell.Deactivate, shell.Deactivated, nil, false},
		{shell.Unavailable, shell.MakeUnavailable, shell.Unavailable, nil, true},
		{shell.Unavailable, shell.Suspend, shell.Unavailable, shell.ErrNoStateControl, true},
		{shell.Unavailable, shell.Resume, shell.Unavailable, shell.ErrIllegalState, true},
		{shell.Unavailable, shell.Hibernate, shell.Unavailable, shell.ErrIllegalState, true},
		{shell.Unavailable, shell.Destroy, shell.Destroyed, nil, false},
		{shell.Unavailable, shell.ConfigureEvent, shell.Unavailable, nil, true},
		{shell.Unavailable, shell.Replace, shell.Unavailable, nil, true},
		{shell.Unavailable, shell.RestartEvent, shell.Unavailable, shell.ErrIllegalState, true},

		{shell.Activated, shell.Activate, shell.Activated, nil, true},
		{shell.Activated, shell.Deactivate, shell.Deactivated, nil, false},
		{shell.Activated, shell.MakeUnavailable, shell.Activated, shell.ErrIllegalState, true},
		{shell.Activated, shell.Suspend, shell.Activated, shell.ErrIllegalState, true}, // it is suspended
		{shell.Activated, shell.Resume, shell.Activated, nil, false},
		{shell.Activated, shell.Hibernate, shell.Hibernated, nil, false},
		{shell.Activated, shell.Destroy, shell.Destroyed, nil, false},
		{shell.Activated, shell.ConfigureEvent, shell.Activated, shell.ErrIllegalState, true},
		{shell.Activated, shell.Replace, shell.Activated, nil, false},
		{shell.Activated, shell.RestartEvent, shell.Activated, nil, false},

		{shell.Precondition, shell.Activate, shell.Precondition, shell.ErrPending, true},
		{shell.Precondition, shell.Deactivate, shell.Deactivated, nil, false},
		{shell.Precondition, shell.MakeUnavailable, shell.Precondition, shell.ErrIllegalState, true},
		{shell.Precondition, shell.Suspend, shell.Precondition, shell.ErrNoStateControl, true},
		{shell.Precondition, shell.Resume, shell.Precondition, shell.ErrPending, true},
		{shell.Precondition, shell.Hibernate, shell.Precondition, shell.ErrIllegalState, true},
		{shell.Precondition, shell.Destroy, shell.Destroyed, nil, false},
		{shell.Precondition, shell.ConfigureEvent, shell.Precondition, nil, true},
		{shell.Precondition, shell.Replace, shell.Precondition, nil, true},
		{shell.Precondition, shell.RestartEvent, shell.Precondition, shell.ErrPending, true},

		{shell.Hibernated, shell.Activate, shell.Activated, nil, false},
		{shell.Hibernated, shell.Deactivate, shell.Deactivated, nil, false},
		{shell.Hibernated, shell.MakeUnavailable, shell.Hibernated, shell.ErrIllegalState, true},
		{shell.Hibernated, shell.Suspend, shell.Hibernated, shell.ErrNoStateControl, true},
		{shell.Hibernated, shell.Resume, shell.Activated, nil, false},
		{shell.Hibernated, shell.Hibernate, shell.Hibernated, shell.ErrIllegalState, true},
		{shell.Hibernated, shell.Destroy, shell.Destroyed, nil, false},
		{shell.Hibernated, shell.ConfigureEvent, shell.Hibernated, shell.ErrIllegalState, true},
		{shell.Hibernated, shell.Replace, shell.Hibernated, nil, false},
		{shell.Hibernated, shell.RestartEvent, shell.Activated, nil, false},

		{shell.Destroyed, shell.Activate, shell.Destroyed, shell.ErrIllegalState, true},
		{shell.Destroyed, shell.Deactivate, shell.Destroyed, shell.ErrIllegalState, true},
		{shell.Destroyed, shell.MakeUnavailable, shell.Destroyed, shell.ErrIllegalState, true},
		{shell.Destroyed, shell.Suspend, shell.Destroyed, shell.ErrNoStateControl, true},
		{shell.Destroyed, shell.Resume, shell.Destroyed, shell.ErrIllegalState, true},
		{shell.Destroyed, shell.Hibernate, shell.Destroyed, shell.ErrIllegalState, true},
		{shell.Destroyed, shell.Destroy, shell.Destroyed, shell.ErrIllegalState, true},
		{shell.Destroyed, shell.ConfigureEvent, shell.Destroyed, shell.ErrIllegalState, true},
		{shell.Destroyed, shell.Replace, shell.Destroyed, shell.ErrIllegalState, true},
		{shell.Destroyed, shell.RestartEvent, shell.Destroyed, shell.ErrIllegalState, true},
	} {
		t.Run(string(test.verb)+" when "+string(test.from), func(t *testing.T) {
			run(t, setup{}, func(r *rig) {
				switch test.from {
				case shell.Unavailable:
					r.must(r.MakeUnavailable(r.Context(), shell.Requested))
				case shell.Activated:
					r.activate()
				case shell.Hibernated:
					r.activate()
					r.hibernateNow()
				case shell.Precondition:
					r.makeWaiting(shell.Requested)
				case shell.Destroyed:
					r.must(r.Destroy(r.Context(), shell.Requested))
				default:
				}
				r.forgetSoFar()
				if err := verbs[test.verb](r); !errors.Is(err, test.err) {
					r.Errorf("got error %v, want %v", err, test.err)
				}
				if got := r.State(); got != test.to {
					r.Errorf("it is %s afterwards, want %s", got, test.to)
				}
				if quiet := r.seen.newTransitions() == nil; quiet != test.quiet {
					r.Errorf("quiet is %t, want %t", quiet, test.quiet)
				}
			})
		})
	}
}

func TestFirstState(t *testing.T) {
	start := func(mode configs.StartMode) func(*configs.Plugin) {
		return func(c *configs.Plugin) { c.StartMode = mode }
	}
	for _, test := range []struct {
		name  string
		setup setup
		want  shell.State
	}{
		{"deactivated", setup{config: start(configs.StartDeactivated)}, shell.Deactivated},
		{"activated", setup{config: start(configs.StartActivated)}, shell.Deactivated},
		{"unavailable", setup{config: start(configs.StartUnavailable)}, shell.Unavailable},
		{"image", setup{config: start(configs.StartActivated), hibernated: true}, shell.Hibernated},
		{"image of an unavailable one", setup{config: start(configs.StartUnavailable), hibernated: true}, shell.Hibernated},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, test.setup)
			st := r.Status()
			if st.State != test.want || st.Reason != shell.Startup || st.Err != nil {
				t.Errorf("got %s, %s, error %v; want %s, %s", st.State, st.Reason, st.Err, test.want, shell.Startup)
			}
			for _, wrong := range contradictions(st) {
				t.Error(wrong)
			}
		})
	}
}

func TestDiagramInDocumentation(t *testing.T) {
	const begin, end = "<!-- lifecycle -->\n", "<!-- /lifecycle -->"
	path := filepath.Join("..", "docs", "architecture.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, opened := strings.Cut(string(text), begin)
	got, after, closed := strings.Cut(rest, end)
	if !opened || !closed {
		t.Fatalf("%s has no lines %q and %q", path, strings.TrimSpace(begin), end)
	}
	want := "```mermaid\n" + lifecycleDiagram() + "```\n"
	if *update && got != want {
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		got = want
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the diagram in %s is old (-want +got); go test ./shell -update writes it:\n%s", path, diff)
	}
}

// lifecycleDiagram returns the lifecycle table as a Mermaid state diagram.
func lifecycleDiagram() string {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n    [*] --> deactivated\n    [*] --> unavailable\n    [*] --> hibernated: an image from before\n")
	seen := make(map[string]bool)
	arrow := func(from, to shell.State, label string) {
		line := fmt.Sprintf("    %s --> %s: %s\n", from, to, label)
		if !seen[line] {
			seen[line] = true
			b.WriteString(line)
		}
	}
	for _, row := range shell.Lifecycle {
		label := string(row.Event)
		if row.NeedsControl != "" {
			label += " (" + string(row.NeedsControl) + ")"
		}
		if row.During == "" {
			arrow(row.From, row.Then, label)
			continue
		}
		arrow(row.From, row.During, label)
		if row.Then == row.Else {
			arrow(row.During, row.Then, "done")
			continue
		}
		arrow(row.During, row.Then, "done")
		if row.ElseFor == nil {
			arrow(row.During, row.Else, "failed")
			continue
		}
		arrow(row.During, row.Else, "failed, "+string(hibernate.Passing))
		for _, class := range slices.Sorted(maps.Keys(row.ElseFor)) {
			arrow(row.During, row.ElseFor[class], "failed, "+string(class))
		}
	}
	return b.String()
}

func TestEachStateHasTraits(t *testing.T) {
	for _, row := range shell.Lifecycle {
		for _, state := range states(row) {
			if !state.HasTraits() && state != "" && state != shell.Destroyed {
				t.Errorf("%s has no traits", state)
			}
			if row.During == state && state != "" && !state.IsTransitional() {
				t.Errorf("%s is not transitional", state)
			}
		}
	}
}
