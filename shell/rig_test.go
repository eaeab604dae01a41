package shell_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/shell"
	"dormouse/shell/shelltest"
	"dormouse/statecontrol"
)

var errBroken = errors.New("broken")

// errLasting is an errBroken that is a lasting cause of a failed wake, errUntrusted one of an
// image that can't be trusted.
var (
	errLasting   = classedError{hibernate.ErrChanged}
	errUntrusted = classedError{hibernate.ErrRefused}
)

// classedError reads and acts like errBroken, and has the class of another error.
type classedError struct{ class error }

func (classedError) Error() string     { return errBroken.Error() }
func (e classedError) Unwrap() []error { return []error{errBroken, e.class} }

// hibernateTimeout is the host's limit in all tests here.
const hibernateTimeout = time.Minute

// rig is a shell over a fake, with all that it tells its observer.
type rig struct {
	*shell.Shell
	*testing.T
	fake         *shelltest.Plugin
	requirements *fakeRequirements
	seen         *recorder

	dismissals atomic.Int64
	losses     []shell.Loss
}

// setup is how a test wants its instance.
type setup struct {
	config              func(*configs.Plugin) // nil leaves the defaults
	noControl           bool                  // no state control
	builtIn             bool                  // no Process
	hibernated          bool                  // hibernated from before
	probe               bool                  // it can be probed
	withoutRequirements bool                  // without requirements
	golden              bool                  // it makes golden images
	postMortem          func(why shell.Reason, err error, evidence func() shell.Evidence)
	beforeStart         func(to configs.Plugin) func(context.Context) error
}

// run runs test in a bubble with a clock of its own, and looks after the end
// whether all that must always hold did.
func run(t *testing.T, s setup, test func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, s)
		test(r)
		r.shutDownAndCheck()
	})
}

func newRig(t *testing.T, s setup) *rig {
	t.Helper()
	config := configs.DefaultPlugin()
	config.Callsign = "Fake"
	if s.config != nil {
		s.config(&config)
	}
	r := &rig{T: t, requirements: &fakeRequirements{}, seen: &recorder{}}
	about := shell.Information{Class: "Fake", Version: shell.Version{Major: 1}}
	r.fake = &shelltest.Plugin{Info: about, KeepsGolden: s.golden, Complain: t.Errorf}
	if !s.noControl {
		r.fake.AddControl(statecontrol.Suspended)
	}
	if s.probe {
		about.Preconditions, about.Terminations, about.Controls = []string{"Time"}, []string{"!Time"}, []string{"Location"}
		r.fake.ProbeInfo = &about
	}
	if s.hibernated {
		r.fake.Asleep = &shell.Sleep{Kind: shell.Stored, Bytes: 4096}
	}
	var requirements shell.Requirements
	if !s.withoutRequirements {
		requirements = r.requirements
	}
	r.Shell = shell.New(shell.Options{
		Config:           config,
		HibernateTimeout: hibernateTimeout,
		Log:              zerolog.Nop(),
		Observer:         r.seen,
		Requirements:     requirements,
		Dismissed:        func() { r.dismissals.Add(1) },
		PostMortem:       s.postMortem,
		BeforeStart:      s.beforeStart,
		Lost:             func(l shell.Loss) { r.losses = append(r.losses, l) },
		Backend: func(config func() configs.Plugin, sink shell.Sink) shell.Backend {
			r.fake.Attach(config, sink)
			if s.builtIn {
				return struct{ shell.Backend }{r.fake}
			}
			return r.fake
		},
	})
	r.seen.first = r.State()
	return r
}

// shutDownAndCheck shuts the instance down as its host would, and checks the whole record.
func (r *rig) shutDownAndCheck() {
	r.Helper()
	r.fake.ClearFailures()
	if err := r.Deactivate(context.Background(), shell.Shutdown); err != nil {
		r.Errorf("cannot shut down: %v", err)
	}
	r.Close()
	if r.fake.HasProcess() {
		r.Errorf("a process is left in state %s", r.State())
	}
	for _, wrong := range append(r.seen.contradictions(), contradictions(r.Status())...) {
		r.Error(wrong)
	}
}

// fakeRequirements is the rest of a host. Nothing is missing at first.
type fakeRequirements struct {
	mu     sync.Mutex
	absent error // what is missing
	gone   error // what is lost
	asked  []shell.Information
	leave  func(context.Context)
}

func (a *fakeRequirements) set(absent, gone error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.absent, a.gone = absent, gone
}

func (a *fakeRequirements) MayActivate(about shell.Information) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, about)
	return a.absent
}

func (a *fakeRequirements) MayStayActive(shell.Information) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.gone
}

func (a *fakeRequirements) EndDependants(ctx context.Context) {
	a.mu.Lock()
	leave := a.leave
	a.mu.Unlock()
	if leave != nil {
		leave(ctx)
	}
}

// must fails the test on an operation's error.
func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// activate brings the instance up and forgets how.
func (r *rig) activate() {
	r.Helper()
	r.must(r.Activate(r.Context(), shell.Requested))
	r.forgetSoFar()
}

// hibernateNow puts the activated instance to sleep and forgets how.
func (r *rig) hibernateNow() {
	r.Helper()
	if r.Status().Control != statecontrol.Suspended {
		r.must(r.Suspend(r.Context(), shell.Requested))
	}
	r.must(r.Hibernate(r.Context(), shell.Requested, 0))
	r.forgetSoFar()
}

// forgetSoFar makes expect and actions begin here.
func (r *rig) forgetSoFar() {
	r.fake.TakeActions()
	r.seen.newTransitions()
}

// expect compares what the observer was told since the last time.
func (r *rig) expect(want ...string) {
	r.Helper()
	if diff := cmp.Diff(want, r.seen.newTransitions()); diff != "" {
		r.Errorf("transitions (-want +got):\n%s", diff)
	}
}

// expectActions compares what the plugin was asked for since the last time.
func (r *rig) expectActions(want ...string) {
	r.Helper()
	if diff := cmp.Diff(want, r.fake.TakeActions()); diff != "" {
		r.Errorf("actions (-want +got):\n%s", diff)
	}
}

// invoke makes a call that answers with its parameters.
func (r *rig) invoke(ctx context.Context, index string) error {
	_, err := r.Invoke(ctx, shell.Call{Method: "echo", Index: index, Params: []byte(`1`)})
	return err
}

// background starts work and returns when it has ended or waits for something.
func background(work func() error) (result <-chan error) {
	done := make(chan error, 1)
	go func() { done <- work() }()
	synctest.Wait()
	return done
}

// pending tells that work from background is still running.
func pending(result <-chan error) bool { return len(result) == 0 }

// recorder is an observer that remembers.
type recorder struct {
	mu    sync.Mutex
	first shell.State
	all   []shell.Transition
	read  int
	notes []shell.Notification
	tell  func(shell.Transition)
}

func (r *recorder) Transition(t shell.Transition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, t)
	if r.tell != nil {
		r.tell(t)
	}
}

func (r *recorder) Notification(_ string, n shell.Notification) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, n)
}

// newTransitions are the transitions since the last call, one line each.
func (r *recorder) newTransitions() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lines []string
	for _, t := range r.all[r.read:] {
		lines = append(lines, line(t))
	}
	r.read = len(r.all)
	return lines
}

// line is a transition as the tests write it:
//
//	activate: activation > deactivated, initialization failed: the error
//	resume: activated is resumed, requested
func line(t shell.Transition) string {
	if t.From == t.To {
		return fmt.Sprintf("%s: %s is %s, %s", t.Event, t.From, t.Control, t.Reason)
	}
	s := fmt.Sprintf("%s: %s > %s, %s", t.Event, t.From, t.To, t.Reason)
	if t.Err != nil {
		s += ": " + strings.ReplaceAll(t.Err.Error(), "\n", "; ")
	}
	return s
}

// contradictions are the transitions that don't follow from the one before or
// that the lifecycle does not list.
func (r *recorder) contradictions() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var wrong []string
	at := r.first
	for _, t := range r.all {
		if t.From != at {
			wrong = append(wrong, fmt.Sprintf("%q came when the state was %s", line(t), at))
		}
		if !listed(t) {
			wrong = append(wrong, fmt.Sprintf("%q is in no row of the lifecycle", line(t)))
		}
		at = t.To
	}
	return wrong
}

// listed tells whether a row leads this way.
func listed(t shell.Transition) bool {
	return t.From == t.To || slices.ContainsFunc(shell.Lifecycle, func(row shell.Row) bool {
		if row.Event != t.Event {
			return false
		}
		if row.During == "" {
			return t.From == row.From && t.To == row.Then
		}
		return t.From == row.From && t.To == row.During && t.Err == nil ||
			t.From == row.During && t.To == row.Then && (t.Err == nil || row.Else == row.Then) ||
			t.From == row.During && t.To == row.Else && t.Err != nil ||
			t.From == row.During && slices.Contains(slices.Collect(maps.Values(row.ElseFor)), t.To) && t.Err != nil
	})
}

// contradictions are the parts of a status that can't be true together.
func contradictions(st shell.Status) []string {
	var wrong []string
	check := func(ok bool, what string) {
		if !ok {
			wrong = append(wrong, fmt.Sprintf("%s although the state is %s", what, st.State))
		}
	}
	check((st.Sleep != nil) == (st.State == shell.Hibernated), fmt.Sprintf("image is %v", st.Sleep))
	check(st.Progress == shell.Progress{} || st.State == shell.Hibernating || st.State == shell.Waking, "there is progress")
	switch st.State {
	case shell.Deactivated, shell.Unavailable, shell.Destroyed:
		check(st.Control == "", fmt.Sprintf("control is %q", st.Control))
		check(st.Figures == shell.ProcessFigures{}, "there is a process")
	case shell.Precondition:
		check(st.Control == "", fmt.Sprintf("control is %q", st.Control))
		check(st.Figures == shell.ProcessFigures{}, "there is a process")
		check(st.Err == nil || errors.Is(st.Err, shell.ErrPending), fmt.Sprintf("the error is %v", st.Err))
	case shell.Hibernated:
		check(st.Figures == shell.ProcessFigures{} || st.Sleep != nil && st.Sleep.Kind == shell.InPlace, "there is a process")
	default:
		check(st.Err == nil || st.State == shell.Activated, "there is an error")
	}
	check(len(st.History) <= shell.HistoryLength, fmt.Sprintf("%d transitions are remembered", len(st.History)))
	if n := len(st.History); n > 0 {
		last := st.History[n-1]
		check(last.To == st.State, fmt.Sprintf("history ends with %s", last.To))
		check(last.Reason == st.Reason || last.From == last.To, fmt.Sprintf("history ends with the reason %s, the status has %s", last.Reason, st.Reason))
		check(last.Control == st.Control, fmt.Sprintf("history ends with control %q, the status has %q", last.Control, st.Control))
	}
	return wrong
}
