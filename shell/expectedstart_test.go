package shell_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shelltest"
)

// TestCallsWaitForTheExpectedStart has calls come before, and while, the host starts the
// instance, with either on-call.
func TestCallsWaitForTheExpectedStart(t *testing.T) {
	for _, config := range []func(*configs.Plugin){nil, wakeOnCall} {
		run(t, setup{config: config}, func(r *rig) {
			r.ExpectStart()
			before := background(func() error { return r.invoke(r.Context(), "") })
			probe := r.Conn().Invoke(r.Context(), "/grpc.health.v1.Health/Check", nil, nil)
			if !pending(before) || !errors.Is(probe, shell.ErrUnavailable) || r.State() != shell.Deactivated {
				r.Errorf("a probe got %v, a call waits: %t, in %s", probe, pending(before), r.State())
			}
			launch := r.fake.Hold(shelltest.Launch)
			started := background(func() error { return r.StartIfExpected(r.Context()) })
			meanwhile := background(func() error { return r.Conn().Invoke(r.Context(), "/any/Method", nil, nil) })
			if !pending(meanwhile) || r.LaneStatus().Held != 2 || r.State() != shell.Activation {
				r.Errorf("%d calls wait in %s", r.LaneStatus().Held, r.State())
			}
			launch.Open()
			for _, done := range []<-chan error{started, before, meanwhile} {
				r.must(<-done)
			}
			if r.IsStartExpected() {
				r.Error("the start is still expected")
			}
		})
	}
}

// TestExpectedStartEnds ends the expected start in every way but success.
func TestExpectedStartEnds(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(*rig)
		want string
	}{
		"the start fails": {func(r *rig) {
			r.fake.Fail(shelltest.Initialize, errBroken)
			if err := r.StartIfExpected(r.Context()); !errors.Is(err, errBroken) {
				r.Error(err)
			}
		}, "the host could not start it: initialization failed: broken"},
		"a client deactivates it": {func(r *rig) {
			r.must(r.Deactivate(r.Context(), shell.Requested))
			r.must(r.StartIfExpected(r.Context()))
			if r.State() != shell.Deactivated || r.dismissals.Load() != 1 {
				r.Errorf("it is %s, %d were dismissed", r.State(), r.dismissals.Load())
			}
		}, "it is deactivated"},
		"a client makes it unavailable": {func(r *rig) {
			r.must(r.MakeUnavailable(r.Context(), shell.Requested))
			r.must(r.StartIfExpected(r.Context()))
		}, "it is unavailable"},
		"it waits for a subsystem": {func(r *rig) {
			r.requirements.set(shell.ErrPending, nil)
			if err := r.StartIfExpected(r.Context()); !errors.Is(err, shell.ErrPending) || !r.IsStartExpected() {
				r.Errorf("got %v, expected: %t", err, r.IsStartExpected())
			}
			r.EndExpectedStart()
		}, "it is precondition"},
		"the host ends": {func(r *rig) { r.must(r.Deactivate(r.Context(), shell.Shutdown)) }, "the host is shutting down"},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, setup{}, func(r *rig) {
				r.ExpectStart()
				call := background(func() error { return r.invoke(r.Context(), "") })
				test.end(r)
				if err := <-call; !errors.Is(err, shell.ErrUnavailable) || errors.Is(err, errBroken) || !strings.Contains(err.Error(), test.want) {
					r.Errorf("the call got %v, want %q", err, test.want)
				}
				if err := r.invoke(r.Context(), ""); !errors.Is(err, shell.ErrUnavailable) {
					r.Errorf("the next call got %v", err)
				}
			})
		})
	}
}

// A client that activates the instance before its turn starts it, once.
func TestActivatedBeforeTheExpectedStart(t *testing.T) {
	run(t, setup{noControl: true}, func(r *rig) {
		r.ExpectStart()
		call := background(func() error { return r.invoke(r.Context(), "") })
		r.must(r.Activate(r.Context(), shell.Requested))
		r.must(<-call)
		r.must(r.StartIfExpected(r.Context()))
		r.expect("activate: deactivated > activation, requested", "activate: activation > activated, requested")
	})
}

// A call waits no longer than the call timeout, and one of a plugin that starts itself does
// not wait.
func TestWaitForTheExpectedStartIsBounded(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.ExpectStart()
		if err := r.invoke(shell.RefuseUntilStarted(r.Context()), ""); !errors.Is(err, shell.ErrUnavailable) {
			r.Errorf("a plugin that starts got %v", err)
		}
		begun := time.Now()
		err := r.invoke(r.Context(), "")
		if took := time.Since(begun); !errors.Is(err, shell.ErrTimedOut) || took != time.Duration(r.Config().CallTimeout) {
			r.Errorf("after %s: got %v", took, err)
		}
		if want := "the host is still starting"; !strings.Contains(err.Error(), want) {
			r.Errorf("got %v, want %q", err, want)
		}
		ctx, cancel := context.WithCancel(r.Context())
		gone := background(func() error { return r.invoke(ctx, "") })
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) || r.LaneStatus().Held != 0 {
			r.Errorf("got %v, %d calls wait", err, r.LaneStatus().Held)
		}
	})
}

// Only what is deactivated can be expected to start.
func TestStartIsNotExpected(t *testing.T) {
	run(t, setup{hibernated: true}, func(r *rig) {
		r.ExpectStart()
		if err := r.invoke(r.Context(), ""); r.IsStartExpected() || !errors.Is(err, shell.ErrHibernated) {
			r.Errorf("expected: %t, a call got %v", r.IsStartExpected(), err)
		}
	})
}
