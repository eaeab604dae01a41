package shell_test

import (
	"errors"
	"slices"
	"testing"

	"dormouse/shell"
	"dormouse/shell/shelltest"

	"github.com/google/go-cmp/cmp"
)

func yes() bool { return true }

func TestRestart(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		background(func() error { r.fake.Kill(); return nil })
		r.forgetSoFar()
		r.must(r.RestartIf(r.Context(), func() bool { return false }))
		r.expect()
		r.must(r.RestartIf(r.Context(), yes))
		r.expect(
			"activate: deactivated > activation, automatic",
			"suspend: activation is suspended, automatic",
			"activate: activation > activated, automatic",
		)
		r.must(r.RestartIf(r.Context(), func() bool { t.Error("it is up"); return true }))
	})
}

// TestDismissed has an instance that is down be asked to be so: that is news to
// whoever would restart it.
func TestDismissed(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		r.must(r.Deactivate(r.Context(), shell.Requested))
		if n := r.dismissals.Load(); n != 0 {
			r.Errorf("dismissed %d times by its end", n)
		}
		r.must(r.Deactivate(r.Context(), shell.Requested))
		if n := r.dismissals.Load(); n != 1 {
			r.Errorf("dismissed %d times", n)
		}
	})
}

func TestRestartsGivenUp(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.NoteRestartsGivenUp("no more")
		if err := r.Status().Err; err != nil {
			r.Errorf("nothing was wrong, now there is %v", err)
		}
		r.activate()
		background(func() error { r.fake.Kill(); return nil })
		r.NoteRestartsGivenUp("no more")
		if err := r.Status().Err; !errors.Is(err, shell.ErrExited) || err.Error() != shelltest.ErrKilled.Error()+"; no more" {
			r.Errorf("got %v", err)
		}
		r.activate()
		r.NoteRestartsGivenUp("no more")
		if err := r.Status().Err; err != nil {
			r.Errorf("it is up, and yet %v", err)
		}
	})
}

// TestPostMortem looks at when the host is shown a plugin: before its end, and
// while there is something to be seen.
func TestPostMortem(t *testing.T) {
	var told []string
	var r *rig
	document := func(why shell.Reason, err error, evidence func() shell.Evidence) {
		line := string(why)
		if err != nil {
			line += ": " + err.Error()
		}
		told = append(told, line)
		if e := evidence(); e.Exit != "" {
			t.Errorf("got evidence %+v from who has none", e)
		}
		if slices.Contains(r.fake.TakeActions(), shelltest.Stop) {
			t.Errorf("%s: it is cleared away", line)
		}
	}
	run(t, setup{postMortem: document}, func(now *rig) {
		r = now
		r.activate()
		r.forgetSoFar()
		r.must(r.Deactivate(r.Context(), shell.WatchdogExpired))
		r.activate()
		r.forgetSoFar()
		background(func() error { r.fake.Kill(); return nil })
		r.forgetSoFar()
		r.fake.Fail(shelltest.Initialize, errBroken)
		if err := r.Activate(r.Context(), shell.Requested); err == nil {
			r.Error("it is active")
		}
		want := []string{"watchdog expired", "failure: " + shelltest.ErrKilled.Error(), "initialization failed: initialization failed: broken"}
		if diff := cmp.Diff(want, told); diff != "" {
			r.Errorf("(-want +got):\n%s", diff)
		}
		r.forgetSoFar()
	})
}
