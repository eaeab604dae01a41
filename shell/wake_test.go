package shell_test

import (
	"context"
	"errors"
	"testing"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/shell"
	"dormouse/shell/shelltest"
)

func onFailedWake(what configs.OnFailedWake) func(*configs.Plugin) {
	return func(c *configs.Plugin) { c.OnFailedWake = what }
}

// After a wake that can't be now the plugin sleeps on, whatever was asked of it and whatever
// is to follow a wake that can never be.
func TestSleepsOnAfterAPassingFailure(t *testing.T) {
	for _, then := range []configs.OnFailedWake{configs.FailedWakeColdStart, configs.FailedWakeKeep, configs.FailedWakeDeactivate} {
		for name, ask := range map[string]func(*rig, context.Context, shell.Reason) error{
			"activate": (*rig).doActivate, "resume": (*rig).doResume, "deactivate": (*rig).doDeactivate, "destroy": (*rig).doDestroy,
		} {
			t.Run(name+", "+string(then), func(t *testing.T) {
				run(t, setup{hibernated: true, config: onFailedWake(then)}, func(r *rig) {
					r.fake.Fail(shelltest.Wake, errBroken)
					err := ask(r, r.Context(), shell.Requested)
					if asleep, ok := errors.AsType[*shell.AsleepError](err); !ok || !errors.Is(asleep, errBroken) || !errors.Is(err, shell.ErrHibernated) {
						r.Errorf("got error %v", err)
					}
					r.expect(
						"wake: hibernated > waking, requested",
						"wake: waking > hibernated, startup: cannot wake: broken",
					)
					r.expectActions(shelltest.Wake)
					st := r.Status()
					if st.Sleep == nil || !errors.Is(st.Err, errBroken) || r.losses != nil {
						r.Errorf("got %+v, lost %v", st, r.losses)
					}
					r.fake.Fail(shelltest.Wake, nil)
					r.must(r.Activate(r.Context(), shell.Requested))
					if st := r.Status(); st.Err != nil {
						r.Errorf("the error %v has outlived the sleep", st.Err)
					}
				})
			})
		}
	}
}

func (r *rig) doActivate(ctx context.Context, why shell.Reason) error { return r.Activate(ctx, why) }
func (r *rig) doResume(ctx context.Context, why shell.Reason) error   { return r.Resume(ctx, why) }
func (r *rig) doDeactivate(ctx context.Context, why shell.Reason) error {
	return r.Deactivate(ctx, why)
}
func (r *rig) doDestroy(ctx context.Context, why shell.Reason) error { return r.Destroy(ctx, why) }

// What follows a wake that can never be, by its class and the configuration, and which loss
// is reported.
func TestFailedWakeEndsByClass(t *testing.T) {
	for _, test := range []struct {
		then       configs.OnFailedWake
		failure    error
		want       shell.State
		class      hibernate.FailureClass // of the loss, empty for none
		restorable bool
	}{
		{configs.FailedWakeColdStart, errLasting, shell.Activated, hibernate.Lasting, true},
		{configs.FailedWakeKeep, errLasting, shell.Hibernated, "", false},
		{configs.FailedWakeDeactivate, errLasting, shell.Deactivated, hibernate.Lasting, true},
		{configs.FailedWakeColdStart, errUntrusted, shell.Activated, hibernate.Untrusted, false},
		{configs.FailedWakeKeep, errUntrusted, shell.Deactivated, hibernate.Untrusted, false},
		{configs.FailedWakeDeactivate, errUntrusted, shell.Deactivated, hibernate.Untrusted, false},
	} {
		t.Run(string(test.then)+", "+string(hibernate.ClassifyFailure(test.failure)), func(t *testing.T) {
			run(t, setup{config: onFailedWake(test.then)}, func(r *rig) {
				r.activate()
				r.hibernateNow()
				r.fake.Fail(shelltest.Wake, test.failure)
				err := r.Activate(r.Context(), shell.Requested)
				if started := test.want == shell.Activated; started != (err == nil) || r.State() != test.want {
					r.Errorf("it is %s with error %v, want %s", r.State(), err, test.want)
				}
				if test.class == "" {
					if r.losses != nil {
						r.Errorf("lost %+v", r.losses)
					}
					return
				}
				if len(r.losses) != 1 {
					r.Fatalf("lost %+v", r.losses)
				}
				l := r.losses[0]
				if l.Callsign != r.Callsign() || l.Class != test.class || !errors.Is(l.Cause, errBroken) || l.Generation != 1 || l.At.IsZero() || l.Kept.Path == "" || l.Kept.Restorable != test.restorable {
					r.Errorf("lost %+v", l)
				}
			})
		})
	}
}

// An eviction is a loss too, of an image that is gone.
func TestEvictionIsALoss(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		r.hibernateNow()
		r.must(r.EvictImage(r.Context(), errBroken))
		if len(r.losses) != 1 || r.losses[0].Generation != 1 || r.losses[0].Class != "" || r.losses[0].Kept != (shell.KeptImage{}) || !errors.Is(r.losses[0].Cause, errBroken) {
			r.Errorf("lost %+v", r.losses)
		}
	})
}
