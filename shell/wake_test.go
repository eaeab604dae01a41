package shell_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

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
					pass(time.Second)
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

// The host repeats a wake that was to make the instance active, less often each time, and no
// wake that was to end it.
func TestFailedWakeIsRepeated(t *testing.T) {
	run(t, setup{hibernated: true}, func(r *rig) {
		var at []time.Duration
		begun := time.Now()
		r.fake.OnAction = func(_ context.Context, action, _ string) error {
			if action != shelltest.Wake {
				return nil
			}
			if at = append(at, time.Since(begun)); len(at) < 10 {
				return errBroken
			}
			return nil
		}
		asleep, ok := errors.AsType[*shell.AsleepError](r.Activate(r.Context(), shell.Requested))
		if !ok || asleep.RetryAfter() != time.Second {
			r.Fatalf("got %+v", asleep)
		}
		pass(10 * time.Minute)
		const want = "[0s 1s 3s 7s 15s 31s 1m3s 2m3s 3m3s 4m3s]"
		if got := fmt.Sprint(at); got != want || r.State() != shell.Activated {
			r.Errorf("it was tried at %s, want %s; it is %s", got, want, r.State())
		}
	})
	run(t, setup{hibernated: true}, func(r *rig) {
		r.fake.Fail(shelltest.Wake, errBroken)
		_ = r.Activate(r.Context(), shell.Requested)
		pass(1500 * time.Millisecond) // the second attempt has failed
		r.forgetSoFar()
		asleep, ok := errors.AsType[*shell.AsleepError](r.Deactivate(r.Context(), shell.Requested))
		if !ok || asleep.RetryAfter() != 1500*time.Millisecond {
			r.Errorf("got %+v", asleep)
		}
		pass(10 * time.Minute)
		r.expectActions()
		if r.State() != shell.Hibernated {
			r.Errorf("it is %s", r.State())
		}
	})
}

// A request tries again at once, but not within a second of the last wake: meanwhile it gets
// the cause of that.
func TestRequestRepeatsAFailedWake(t *testing.T) {
	for _, policy := range []configs.OnCall{configs.OnCallWake, configs.OnCallReject} {
		run(t, setup{hibernated: true, config: func(c *configs.Plugin) { c.OnCall = policy }}, func(r *rig) {
			r.fake.Fail(shelltest.Wake, errBroken)
			_ = r.Deactivate(r.Context(), shell.Requested) // after which the host itself does not try
			r.expectActions(shelltest.Wake)
			for range 3 {
				for name, err := range map[string]error{
					"activate": r.Activate(r.Context(), shell.Requested),
					"call":     r.invoke(r.Context(), ""),
				} {
					asleep, ok := errors.AsType[*shell.AsleepError](err)
					if !ok || !errors.Is(err, errBroken) || asleep.RetryAfter() != time.Second {
						r.Errorf("%s: got %v", name, err)
					}
				}
			}
			r.expectActions()
			pass(time.Second)
			err := r.invoke(r.Context(), "")
			if !errors.Is(err, errBroken) || !errors.Is(err, shell.ErrHibernated) {
				r.Errorf("got %v", err)
			}
			if policy == configs.OnCallReject {
				r.expectActions()
				return
			}
			r.expectActions(shelltest.Wake)
			r.fake.Fail(shelltest.Wake, nil)
			pass(time.Second)
			r.must(r.invoke(r.Context(), ""))
		})
	}
}

// A host that ends waits for no repeated wake.
func TestNoRepeatedWakeAfterTheEnd(t *testing.T) {
	run(t, setup{hibernated: true}, func(r *rig) {
		r.fake.Fail(shelltest.Wake, errBroken)
		for range 8 {
			_ = r.Activate(r.Context(), shell.Requested)
			pass(time.Second)
		}
		begun := time.Now()
		r.must(r.Deactivate(context.Background(), shell.Shutdown))
		r.Close()
		if took := time.Since(begun); took != 0 || r.State() != shell.Hibernated {
			r.Errorf("it is %s after %s", r.State(), took)
		}
	})
}

// With cold no wake is tried, and nothing is told to the plugin.
func TestCold(t *testing.T) {
	for name, test := range map[string]struct {
		ask  func(*rig) error
		want shell.State
	}{
		"activate":   {func(r *rig) error { return r.ActivateCold(r.Context(), shell.Requested) }, shell.Activated},
		"deactivate": {func(r *rig) error { return r.DeactivateCold(r.Context(), shell.Requested) }, shell.Deactivated},
		"destroy":    {func(r *rig) error { return r.DestroyCold(r.Context(), shell.Requested) }, shell.Destroyed},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, setup{hibernated: true}, func(r *rig) {
				r.fake.Fail(shelltest.Wake, errBroken)
				r.must(test.ask(r))
				actions := r.fake.TakeActions()
				if r.State() != test.want || r.losses != nil || slices.Contains(actions, shelltest.Wake) || slices.Contains(actions, shelltest.Deinitialize) {
					r.Errorf("it is %s after %v, lost %v", r.State(), actions, r.losses)
				}
				if test.want == shell.Activated {
					r.must(test.ask(r)) // which changes nothing
					r.expectActions()
				}
			})
		})
	}
	run(t, setup{}, func(r *rig) {
		r.activate()
		r.must(r.DeactivateCold(r.Context(), shell.Requested))
		r.expectActions(shelltest.Deinitialize+" requested", shelltest.Stop)
	})
}
