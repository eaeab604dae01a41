package shell_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shelltest"
)

// runWarm is run for an instance that is to be started warm.
func runWarm(t *testing.T, test func(*rig, *shelltest.Plugin)) {
	t.Helper()
	s := setup{config: func(c *configs.Plugin) { c.WarmStart = true }, golden: true}
	run(t, s, func(r *rig) { test(r, r.fake) })
}

var (
	coldSteps     = []string{shelltest.Launch, shelltest.Initialize, shelltest.MakeGolden, shelltest.AskState}
	doubtfulSteps = []string{shelltest.Launch, shelltest.Initialize, shelltest.SkipGolden, shelltest.AskState}
	warmSteps     = []string{shelltest.StartWarm, shelltest.AskState}
)

// expectStart activates the instance and compares how.
func (r *rig) expectStart(want ...string) {
	r.Helper()
	r.forgetSoFar()
	r.must(r.Activate(r.Context(), shell.Requested))
	r.expectActions(want...)
}

func (r *rig) deactivate() {
	r.Helper()
	r.must(r.Deactivate(r.Context(), shell.Requested))
}

// dieUnasked is an end that nobody asked for.
func (r *rig) dieUnasked() {
	r.Helper()
	background(func() error { r.fake.Kill(); return nil })
	if s := r.State(); s != shell.Deactivated {
		r.Fatalf("it is %s", s)
	}
}

func TestWarmStart(t *testing.T) {
	runWarm(t, func(r *rig, _ *shelltest.Plugin) {
		r.expectStart(coldSteps...)
		if st := r.Status(); st.StartedFrom != nil {
			r.Errorf("it began from %+v", st.StartedFrom)
		}
		r.deactivate()
		r.expectStart(warmSteps...)
		r.expect(
			"activate: deactivated > activation, requested",
			"suspend: activation is suspended, requested",
			"activate: activation > activated, requested",
		)
		if st := r.Status(); st.StartedFrom == nil || st.StartedFrom.Generation != 7 {
			r.Errorf("it began from %+v", st.StartedFrom)
		}
		r.hibernateNow()
		r.must(r.Activate(r.Context(), shell.Requested))
		if st := r.Status(); st.StartedFrom == nil {
			r.Error("a sleep has made its beginning cold")
		}
		r.deactivate()
		if st := r.Status(); st.StartedFrom != nil {
			r.Errorf("it does not run, and began from %+v", st.StartedFrom)
		}
	})
}

// Whatever goes wrong with the image, the same activation starts the plugin cold.
func TestWarmStartFails(t *testing.T) {
	for action, want := range map[string][]string{
		shelltest.StartWarm: {shelltest.StartWarm, shelltest.InvalidateGolden},
		shelltest.AskState:  {shelltest.StartWarm, shelltest.AskState, shelltest.Stop, shelltest.InvalidateGolden},
	} {
		t.Run(action, func(t *testing.T) {
			runWarm(t, func(r *rig, w *shelltest.Plugin) {
				r.expectStart(coldSteps...)
				r.deactivate()
				first := true
				r.fake.OnAction = func(_ context.Context, at, _ string) (err error) {
					if at == action && first {
						first, err = false, errBroken
					}
					return err
				}
				r.expectStart(append(want, doubtfulSteps...)...)
				if image, why := r.GoldenImage(); image != nil || !errors.Is(why, errBroken) {
					r.Errorf("its golden image is %v: %v", image, why)
				}
				if st := r.Status(); st.StartedFrom != nil || st.Err != nil || w.GoldenMade != nil {
					r.Errorf("it is %+v", st)
				}
			})
		})
	}
}

// The end of the process that was given up is not that of the one in its place.
func TestWarmStartDies(t *testing.T) {
	runWarm(t, func(r *rig, _ *shelltest.Plugin) {
		r.expectStart(coldSteps...)
		r.deactivate()
		g := r.fake.Hold(shelltest.StartWarm)
		done := background(func() error { return r.Activate(r.Context(), shell.Requested) })
		r.fake.Kill()
		g.Open()
		r.must(<-done)
		synctest.Wait()
		if s := r.State(); s != shell.Activated {
			r.Errorf("it is %s", s)
		}
		r.must(r.invoke(r.Context(), ""))
	})
}

// A plugin that fails soon after a warm start is started cold, and has no image again
// before it has lasted.
func TestBrokenGoldenImage(t *testing.T) {
	runWarm(t, func(r *rig, _ *shelltest.Plugin) {
		window := time.Duration(r.Config().Restart.Window)
		r.expectStart(coldSteps...)
		r.dieUnasked() // which says nothing of an image that it did not begin from
		r.expectStart(warmSteps...)
		pass(window - time.Second)
		r.dieUnasked()
		r.expectStart(doubtfulSteps...)
		r.deactivate()
		r.expectStart(doubtfulSteps...)
		if _, why := r.GoldenImage(); !errors.Is(why, shelltest.ErrKilled) {
			r.Errorf("there is no golden image since %v", why)
		}
		pass(window)
		r.dieUnasked()
		r.expectStart(coldSteps...)
		r.dieUnasked()
		r.expectStart(warmSteps...)
		pass(window)
		r.dieUnasked()
		r.expectStart(warmSteps...)
		r.must(r.Deactivate(r.Context(), shell.WatchdogExpired))
		r.expectStart(doubtfulSteps...)
	})
}

// TestMakeGoldenFails starts a plugin of which no golden image can be made.
func TestMakeGoldenFails(t *testing.T) {
	runWarm(t, func(r *rig, _ *shelltest.Plugin) {
		r.fake.Fail(shelltest.MakeGolden, errBroken)
		r.expectStart(coldSteps...)
		r.deactivate()
		r.expectStart(coldSteps...)
		r.deactivate()
		r.fake.Fail(shelltest.MakeGolden, shelltest.ErrKilled)
		r.expectStart(append([]string{shelltest.Launch, shelltest.Initialize, shelltest.MakeGolden, shelltest.Stop}, doubtfulSteps...)...)
		if _, why := r.GoldenImage(); !errors.Is(why, shelltest.ErrKilled) {
			r.Errorf("there is no golden image since %v", why)
		}
	})
}

// TestMakeGoldenTakesLong makes a golden image for longer than the start timeout.
func TestMakeGoldenTakesLong(t *testing.T) {
	runWarm(t, func(r *rig, _ *shelltest.Plugin) {
		g := r.fake.Hold(shelltest.MakeGolden)
		done := background(func() error { return r.Activate(r.Context(), shell.Requested) })
		<-g.Reached
		pass(3 * time.Duration(r.Config().StartTimeout))
		if !pending(done) {
			r.Error("it was not waited for")
		}
		pass(hibernateTimeout)
		r.must(<-done)
	})
}
