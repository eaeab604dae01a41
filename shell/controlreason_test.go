package shell_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shelltest"
	"dormouse/statecontrol"
)

// Each suspend and resume in the history has the reason for which it happened, whatever
// the reason of the state before.
func TestReasonOfControl(t *testing.T) {
	for _, test := range []struct {
		name  string
		setup setup
		do    func(r *rig)
		want  []string
	}{
		{"requested", setup{}, func(r *rig) {
			r.must(r.Resume(r.Context(), shell.Requested))
			r.must(r.Suspend(r.Context(), shell.Conditions))
		}, []string{"resume: activated is resumed, requested", "suspend: activated is suspended, conditions"}},

		{"idle, then on call", setup{config: startsResumed}, func(r *rig) {
			pass(time.Minute)
			r.must(r.SuspendIdle(r.Context(), r.UseStatus().LastUse))
			r.must(r.invoke(r.Context(), ""))
			r.expectControl(statecontrol.Resumed, false)
		}, []string{"suspend: activated is suspended, automatic", "resume: activated is resumed, automatic"}},

		{"idle, then woken by a call", setup{config: wakeOnCallResumed}, func(r *rig) {
			idleAndHibernate(r)
			r.must(r.invoke(r.Context(), ""))
			r.expectControl(statecontrol.Resumed, false)
		}, []string{
			"suspend: activated is suspended, automatic",
			"hibernate: activated > hibernating, automatic", "hibernate: hibernating > hibernated, automatic",
			"wake: hibernated > waking, automatic", "wake: waking > activated, automatic",
			"resume: activated is resumed, automatic",
		}},

		{"idle, then woken by a client", setup{config: wakeOnCallResumed}, func(r *rig) {
			idleAndHibernate(r)
			r.must(r.Activate(r.Context(), shell.Requested))
		}, []string{
			"suspend: activated is suspended, automatic",
			"hibernate: activated > hibernating, automatic", "hibernate: hibernating > hibernated, automatic",
			"wake: hibernated > waking, requested", "wake: waking > activated, requested",
			"resume: activated is resumed, requested",
		}},

		{"by itself, after a request", setup{}, func(r *rig) {
			r.must(r.Resume(r.Context(), shell.Requested))
			r.fake.Control.ChangeByItself(statecontrol.Suspended)
		}, []string{"resume: activated is resumed, requested", "suspend: activated is suspended, automatic"}},

		{"told by the plugin before it answers", setup{}, func(r *rig) {
			r.fake.OnAction = func(_ context.Context, action, _ string) error {
				if action == string(statecontrol.Resume) {
					r.fake.Sink.ControlChanged(statecontrol.Resumed)
				}
				return nil
			}
			r.must(r.Resume(r.Context(), shell.Requested))
		}, []string{"resume: activated is resumed, requested"}},

		{"refused", setup{config: startsResumed}, func(r *rig) {
			r.fake.Fail(string(statecontrol.Suspend), errBroken)
			if err := r.Suspend(r.Context(), shell.Requested); !errors.Is(err, errBroken) {
				r.Errorf("got error %v", err)
			}
			r.fake.Fail(string(statecontrol.Suspend), nil)
			r.must(r.SuspendIdle(r.Context(), time.Now()))
		}, []string{"suspend: activated is suspended, automatic"}},

		{"after a failure", setup{config: startsResumed}, func(r *rig) {
			background(func() error { r.fake.Kill(); return nil })
			r.must(r.RestartIf(r.Context(), yes))
			r.must(r.Suspend(r.Context(), shell.Requested))
		}, []string{
			"exit: activated > deactivation, failure",
			"exit: deactivation > deactivated, failure: " + shelltest.ErrKilled.Error(),
			"activate: deactivated > activation, automatic", "resume: activation is resumed, automatic",
			"activate: activation > activated, automatic",
			"suspend: activated is suspended, requested",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, test.setup, func(r *rig) {
				r.activate()
				test.do(r)
				r.expect(test.want...)
				if st := r.Status(); st.Reason == "" {
					r.Error("the status has lost its reason")
				}
			})
		})
	}
}

// wakeOnCallResumed configures a plugin that starts resumed, and that calls wake.
func wakeOnCallResumed(c *configs.Plugin) {
	startsResumed(c)
	wakeOnCall(c)
}

// idleAndHibernate lets the host suspend the plugin and hibernate it, as the tiers do.
func idleAndHibernate(r *rig) {
	r.Helper()
	pass(time.Minute)
	r.must(r.SuspendIdle(r.Context(), r.UseStatus().LastUse))
	r.must(r.HibernateIdle(r.Context(), r.UseStatus().LastUse))
}

// The reason of the state is not that of a suspension.
func TestReasonOfStateStays(t *testing.T) {
	run(t, setup{config: startsResumed}, func(r *rig) {
		r.must(r.Activate(r.Context(), shell.Startup))
		r.must(r.Suspend(r.Context(), shell.Requested))
		if st := r.Status(); st.Reason != shell.Startup {
			r.Errorf("the status has the reason %s", st.Reason)
		}
	})
}
