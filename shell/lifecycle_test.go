package shell

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/statecontrol"
)

var (
	allStates = []State{Unavailable, Deactivated, Deactivation, Activated, Activation, Precondition, Hibernated, Hibernating, Waking, Destroyed}
	allEvents = []Event{Activate, Adopt, Await, Lapse, Deactivate, MakeUnavailable, Suspend, Resume, Hibernate, Wake, MoveToDisk, Evict, Exit, Destroy}
)

// place puts a shell into a state that no test could reach and hold otherwise.
func (r *rig) place(state State, control statecontrol.State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state, r.control, r.reason = state, control, Startup
	r.seen.first = state
}

func TestLifecycleHasNoOtherStates(t *testing.T) {
	for _, row := range Lifecycle {
		for _, state := range []State{row.From, row.During, row.Then, row.Else} {
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
	for _, row := range Lifecycle {
		for _, failure := range []error{nil, errBroken} {
			name := string(row.Event) + " when " + string(row.From)
			if failure != nil {
				name += " fails"
			}
			t.Run(name, func(t *testing.T) {
				r := newRig(t, setup{})
				r.place(row.From, row.NeedsControl)
				var during State
				err := r.step(t.Context(), row.Event, Requested, func(context.Context) error {
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
			if _, ok := findRow(event, state); ok {
				continue
			}
			r := newRig(t, setup{})
			r.place(state, statecontrol.Suspended)
			err := r.step(t.Context(), event, Requested, func(context.Context) error {
				t.Errorf("%s was done when %s", event, state)
				return nil
			})
			if !errors.Is(err, ErrIllegalState) || !strings.Contains(err.Error(), string(state)) {
				t.Errorf("%s when %s: got %v, want ErrIllegalState and the state", event, state, err)
			}
			if r.State() != state || r.seen.news() != nil {
				t.Errorf("%s when %s was refused but changed something", event, state)
			}
		}
	}
}

func TestLifecycleNeedsStateControl(t *testing.T) {
	for _, row := range Lifecycle {
		for _, control := range []statecontrol.State{"", statecontrol.Suspended, statecontrol.Resumed} {
			if row.NeedsControl == "" || control == row.NeedsControl {
				continue
			}
			r := newRig(t, setup{})
			r.place(row.From, control)
			err := r.step(t.Context(), row.Event, Requested, func(context.Context) error { return nil })
			if !errors.Is(err, ErrIllegalState) || r.State() != row.From {
				t.Errorf("%s when %q: got %v in %s, want ErrIllegalState in %s", row.Event, control, err, r.State(), row.From)
			}
		}
	}
}

// TestVerbs tries every verb in every state in which an instance can rest.
func TestVerbs(t *testing.T) {
	verbs := map[Event]func(*rig) error{
		Activate:        func(r *rig) error { return r.Activate(r.Context(), Requested) },
		Deactivate:      func(r *rig) error { return r.Deactivate(r.Context(), Requested) },
		MakeUnavailable: func(r *rig) error { return r.MakeUnavailable(r.Context(), Requested) },
		Suspend:         func(r *rig) error { return r.Suspend(r.Context(), Requested) },
		Resume:          func(r *rig) error { return r.Resume(r.Context(), Requested) },
		Hibernate:       func(r *rig) error { return r.Hibernate(r.Context(), Requested, 0) },
		Destroy:         func(r *rig) error { return r.Destroy(r.Context(), Requested) },
		configureEvent:  func(r *rig) error { return r.Configure(r.Context(), r.Config()) },
	}
	for _, test := range []struct {
		from  State
		verb  Event
		to    State
		err   error
		quiet bool // nothing is told to anyone
	}{
		{Deactivated, Activate, Activated, nil, false},
		{Deactivated, Deactivate, Deactivated, nil, true},
		{Deactivated, MakeUnavailable, Unavailable, nil, false},
		{Deactivated, Suspend, Deactivated, ErrNoStateControl, true},
		{Deactivated, Resume, Activated, nil, false},
		{Deactivated, Hibernate, Deactivated, ErrIllegalState, true},
		{Deactivated, Destroy, Destroyed, nil, false},
		{Deactivated, configureEvent, Deactivated, nil, true},

		{Unavailable, Activate, Unavailable, ErrIllegalState, true},
		{Unavailable, Deactivate, Deactivated, nil, false},
		{Unavailable, MakeUnavailable, Unavailable, nil, true},
		{Unavailable, Suspend, Unavailable, ErrNoStateControl, true},
		{Unavailable, Resume, Unavailable, ErrIllegalState, true},
		{Unavailable, Hibernate, Unavailable, ErrIllegalState, true},
		{Unavailable, Destroy, Destroyed, nil, false},
		{Unavailable, configureEvent, Unavailable, nil, true},

		{Activated, Activate, Activated, nil, true},
		{Activated, Deactivate, Deactivated, nil, false},
		{Activated, MakeUnavailable, Activated, ErrIllegalState, true},
		{Activated, Suspend, Activated, ErrIllegalState, true}, // it is suspended
		{Activated, Resume, Activated, nil, false},
		{Activated, Hibernate, Hibernated, nil, false},
		{Activated, Destroy, Destroyed, nil, false},
		{Activated, configureEvent, Activated, ErrIllegalState, true},

		{Precondition, Activate, Precondition, ErrPending, true},
		{Precondition, Deactivate, Deactivated, nil, false},
		{Precondition, MakeUnavailable, Precondition, ErrIllegalState, true},
		{Precondition, Suspend, Precondition, ErrNoStateControl, true},
		{Precondition, Resume, Precondition, ErrPending, true},
		{Precondition, Hibernate, Precondition, ErrIllegalState, true},
		{Precondition, Destroy, Destroyed, nil, false},
		{Precondition, configureEvent, Precondition, nil, true},

		{Hibernated, Activate, Activated, nil, false},
		{Hibernated, Deactivate, Deactivated, nil, false},
		{Hibernated, MakeUnavailable, Hibernated, ErrIllegalState, true},
		{Hibernated, Suspend, Hibernated, ErrNoStateControl, true},
		{Hibernated, Resume, Activated, nil, false},
		{Hibernated, Hibernate, Hibernated, ErrIllegalState, true},
		{Hibernated, Destroy, Destroyed, nil, false},
		{Hibernated, configureEvent, Hibernated, ErrIllegalState, true},

		{Destroyed, Activate, Destroyed, ErrIllegalState, true},
		{Destroyed, Deactivate, Destroyed, ErrIllegalState, true},
		{Destroyed, MakeUnavailable, Destroyed, ErrIllegalState, true},
		{Destroyed, Suspend, Destroyed, ErrNoStateControl, true},
		{Destroyed, Resume, Destroyed, ErrIllegalState, true},
		{Destroyed, Hibernate, Destroyed, ErrIllegalState, true},
		{Destroyed, Destroy, Destroyed, ErrIllegalState, true},
		{Destroyed, configureEvent, Destroyed, ErrIllegalState, true},
	} {
		t.Run(string(test.verb)+" when "+string(test.from), func(t *testing.T) {
			run(t, setup{}, func(r *rig) {
				switch test.from {
				case Unavailable:
					r.must(r.MakeUnavailable(r.Context(), Requested))
				case Activated:
					r.activate()
				case Hibernated:
					r.activate()
					r.hibernateNow()
				case Precondition:
					r.wait(Requested)
				case Destroyed:
					r.must(r.Destroy(r.Context(), Requested))
				default:
				}
				r.forget()
				if err := verbs[test.verb](r); !errors.Is(err, test.err) {
					r.Errorf("got error %v, want %v", err, test.err)
				}
				if got := r.State(); got != test.to {
					r.Errorf("it is %s afterwards, want %s", got, test.to)
				}
				if quiet := r.seen.news() == nil; quiet != test.quiet {
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
		want  State
	}{
		{"deactivated", setup{config: start(configs.StartDeactivated)}, Deactivated},
		{"activated", setup{config: start(configs.StartActivated)}, Deactivated},
		{"unavailable", setup{config: start(configs.StartUnavailable)}, Unavailable},
		{"image", setup{config: start(configs.StartActivated), image: true}, Hibernated},
		{"image of an unavailable one", setup{config: start(configs.StartUnavailable), image: true}, Hibernated},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, test.setup)
			st := r.Status()
			if st.State != test.want || st.Reason != Startup || st.Err != nil {
				t.Errorf("got %s, %s, error %v; want %s, %s", st.State, st.Reason, st.Err, test.want, Startup)
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
	want := "```mermaid\n" + LifecycleDiagram() + "```\n"
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

func TestEachStateHasTraits(t *testing.T) {
	for _, row := range Lifecycle {
		for _, state := range []State{row.From, row.During, row.Then, row.Else} {
			if _, ok := stateTraits[state]; !ok && state != "" && state != Destroyed {
				t.Errorf("%s has no traits", state)
			}
			if row.During == state && state != "" && !state.IsTransitional() {
				t.Errorf("%s is not transitional", state)
			}
		}
	}
}
