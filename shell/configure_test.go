package shell_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shelltest"
)

func TestConfigure(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		want := r.Config()
		want.Configuration = map[string]any{"word": "new"}
		given := want
		given.Callsign = "Other"
		r.must(r.Configure(r.Context(), given))
		for what, got := range map[string]configs.Plugin{"shell": r.Config(), "status": r.Status().Config, "backend": r.fake.Config()} {
			if diff := cmp.Diff(want, got); diff != "" {
				r.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
	})
}

// TestConfigureIsNeverShared has two configurations wait for one turn.
func TestConfigureIsNeverShared(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		held := r.fake.Hold(shelltest.Launch)
		r.fake.Fail(shelltest.Launch, errBroken)
		launched := background(func() error { return r.Activate(r.Context(), shell.Requested) })
		first, second := r.Config(), r.Config()
		first.Arguments, second.Arguments = []string{"1"}, []string{"2"}
		one := background(func() error { return r.Configure(r.Context(), first) })
		two := background(func() error { return r.Configure(r.Context(), second) })
		held.Open()
		if err := <-launched; !errors.Is(err, errBroken) {
			r.Errorf("got error %v", err)
		}
		r.must(<-one)
		r.must(<-two)
		if diff := cmp.Diff(second, r.Config()); diff != "" {
			r.Errorf("the last one counts (-want +got):\n%s", diff)
		}
	})
}

func TestAdjust(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		yes := true
		want := r.Config()
		want.StartMode, want.StartupOrder, want.Resume = configs.StartUnavailable, 7, &yes
		want.OnCall, want.OnFailedWake = configs.OnCallWake, configs.FailedWakeDeactivate
		want.Restart = configs.Restart{Policy: configs.RestartAlways, Limit: 9}
		want.StartTimeout, want.StopTimeout, want.CallTimeout = 1e9, 2e9, 3e9
		given := want
		given.Callsign, given.Executable, given.Controls, given.Requires = "Other", "/other", []string{"Time"}, []string{"Net"}
		r.AdjustConfig(given)
		if diff := cmp.Diff(want, r.Config()); diff != "" {
			r.Errorf("(-want +got):\n%s", diff)
		}

		r.fake.Hold(shelltest.Invoke)
		begun := time.Now()
		if err := r.invoke(r.Context(), ""); !errors.Is(err, shell.ErrTimedOut) || time.Since(begun) != 3*time.Second {
			r.Errorf("got error %v after %s", err, time.Since(begun))
		}
		r.must(r.Deactivate(r.Context(), shell.Requested))
		r.activate()
		if diff := cmp.Diff(want, r.fake.Config()); diff != "" {
			r.Errorf("the backend was launched with another (-want +got):\n%s", diff)
		}
	})
}

func TestDestroy(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		r.must(r.Destroy(r.Context(), shell.Requested))
		r.expect(
			"destroy: activated > deactivation, requested",
			"destroy: deactivation > destroyed, requested",
		)
		r.expectActions("deinitialize requested", shelltest.Stop)
		if err := r.invoke(r.Context(), ""); !errors.Is(err, shell.ErrUnavailable) {
			r.Errorf("got error %v, want ErrUnavailable", err)
		}
	})
}

func TestDestroyHibernated(t *testing.T) {
	for _, failure := range []error{nil, errLasting} {
		run(t, setup{hibernated: true}, func(r *rig) {
			r.fake.Fail(shelltest.Wake, failure)
			r.must(r.Destroy(r.Context(), shell.Requested))
			if failure != nil {
				r.expect(
					"wake: hibernated > waking, requested",
					"wake: waking > deactivated, failure: cannot wake: broken",
					"destroy: deactivated > destroyed, requested",
				)
				return
			}
			r.expect(
				"wake: hibernated > waking, requested",
				"wake: waking > activated, requested",
				"destroy: activated > deactivation, requested",
				"destroy: deactivation > destroyed, requested",
			)
			r.expectActions(shelltest.Wake, "deinitialize requested", shelltest.Stop)
		})
	}
}

// TestDestroyAlthoughItDoesNotEnd keeps the error: whatever is left of the
// plugin, there is no instance any more.
func TestDestroyAlthoughItDoesNotEnd(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		r.fake.Fail(shelltest.Stop, errBroken)
		if err := r.Destroy(r.Context(), shell.Requested); !errors.Is(err, errBroken) {
			r.Errorf("got error %v", err)
		}
		if st := r.Status(); st.State != shell.Destroyed || st.Reason != shell.Requested || !errors.Is(st.Err, errBroken) {
			r.Errorf("got %s, %s, %v", st.State, st.Reason, st.Err)
		}
	})
}
