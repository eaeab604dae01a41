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

var errOtherConfig = errors.New("its configuration has changed")

// outdate makes the plugin sleep since an earlier host with another configuration.
func (r *rig) outdate() { r.fake.Outdated = errOtherConfig }

// A plugin whose sleep is outdated is woken only to end, whatever was asked of it, and gets no
// call. What was asked is then done with the present configuration.
func TestOutdatedSleepIsRetired(t *testing.T) {
	started := []string{
		"activate: deactivated > activation, requested", "suspend: activation is suspended, requested", "activate: activation > activated, requested",
	}
	for name, test := range map[string]struct {
		ask     func(*rig, context.Context, shell.Reason) error
		follows []string
		actions []string
	}{
		"activate":   {(*rig).doActivate, started, []string{shelltest.Launch, shelltest.Initialize, "state"}},
		"replace":    {(*rig).doReplace, started, []string{shelltest.Launch, shelltest.Initialize, "state"}},
		"deactivate": {(*rig).doDeactivate, nil, nil},
		"destroy":    {(*rig).doDestroy, []string{"destroy: deactivated > destroyed, requested"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, setup{hibernated: true}, func(r *rig) {
				r.outdate()
				if err := r.OutdatedSleep(); !errors.Is(err, errOtherConfig) {
					r.Errorf("it is outdated because %v", err)
				}
				r.must(test.ask(r, r.Context(), shell.Requested))
				r.expect(append([]string{
					"retire: hibernated > deactivation, requested",
					"retire: deactivation > deactivated, requested",
				}, test.follows...)...)
				r.expectActions(append([]string{shelltest.Wake, shelltest.Deinitialize + " requested", shelltest.Stop}, test.actions...)...)
				if r.losses != nil || r.OutdatedSleep() != nil {
					r.Errorf("lost %v, outdated because %v", r.losses, r.OutdatedSleep())
				}
			})
		})
	}
}

// At the start of a host the plugin ends as on request, and the one that follows has started with
// the host.
func TestOutdatedSleepAtStart(t *testing.T) {
	run(t, setup{hibernated: true}, func(r *rig) {
		r.outdate()
		r.must(r.ReplaceOutdated(r.Context(), shell.Startup))
		r.expect(
			"retire: hibernated > deactivation, requested", "retire: deactivation > deactivated, requested",
			"activate: deactivated > activation, startup", "suspend: activation is suspended, startup", "activate: activation > activated, startup",
		)
	})
}

func (r *rig) doReplace(ctx context.Context, why shell.Reason) error {
	return r.ReplaceOutdated(ctx, why)
}

// A call that wakes such an instance is answered by the plugin that was started anew.
func TestCallOfAnOutdatedSleep(t *testing.T) {
	run(t, setup{hibernated: true, config: func(c *configs.Plugin) { c.OnCall = configs.OnCallWake }}, func(r *rig) {
		r.outdate()
		if answer, err := r.Invoke(r.Context(), shell.Call{Method: "echo", Params: []byte(`1`)}); err != nil || string(answer) != "1" {
			r.Errorf("got %s, %v", answer, err)
		}
		r.expectActions(shelltest.Wake, shelltest.Deinitialize+" automatic", shelltest.Stop, shelltest.Launch, shelltest.Initialize, "state", shelltest.Invoke)
	})
}

// While the wake can't be the plugin sleeps on, with the reason, and nothing goes on as it was.
func TestOutdatedSleepThatCannotWake(t *testing.T) {
	run(t, setup{hibernated: true}, func(r *rig) {
		r.outdate()
		r.fake.Fail(shelltest.Wake, errBroken)
		err := r.ReplaceOutdated(r.Context(), shell.Automatic)
		if _, asleep := errors.AsType[*shell.AsleepError](err); !asleep {
			r.Errorf("got error %v", err)
		}
		r.expect(
			"retire: hibernated > deactivation, automatic",
			"retire: deactivation > hibernated, startup: cannot wake: broken",
		)
		if st := r.Status(); st.Sleep == nil || !errors.Is(st.Err, errBroken) || r.losses != nil {
			r.Errorf("got %+v, lost %v", st, r.losses)
		}
		r.fake.Fail(shelltest.Wake, nil)
		pass(2 * time.Second)
		synctest.Wait()
		if r.State() != shell.Activated || r.OutdatedSleep() != nil {
			r.Errorf("it is %s", r.State())
		}
	})
}

// A sleep that can never end in order is a loss like any other.
func TestOutdatedSleepThatIsLost(t *testing.T) {
	run(t, setup{hibernated: true}, func(r *rig) {
		r.outdate()
		r.fake.Fail(shelltest.Wake, errLasting)
		r.must(r.ReplaceOutdated(r.Context(), shell.Automatic))
		if r.State() != shell.Activated || len(r.losses) != 1 {
			r.Errorf("it is %s and has lost %v", r.State(), r.losses)
		}
	})
}

// An end out of order leaves nothing to wake.
func TestOutdatedSleepEndsOutOfOrder(t *testing.T) {
	run(t, setup{hibernated: true}, func(r *rig) {
		r.outdate()
		r.fake.Fail(shelltest.Stop, errBroken)
		r.must(r.Deactivate(r.Context(), shell.Requested))
		if st := r.Status(); st.State != shell.Deactivated || !errors.Is(st.Err, errBroken) {
			r.Errorf("it is %s with error %v", st.State, st.Err)
		}
		r.fake.Fail(shelltest.Stop, nil)
	})
}
