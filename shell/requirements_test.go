package shell_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shelltest"
)

var errAbsent = fmt.Errorf("%w for Network", shell.ErrPending)

// makeWaiting makes the instance wait for a requirement, and forgets the transitions so far.
func (r *rig) makeWaiting(why shell.Reason) {
	r.Helper()
	r.requirements.set(errAbsent, nil)
	if err := r.Activate(r.Context(), why); !errors.Is(err, errAbsent) {
		r.Fatalf("got error %v, want %v", err, errAbsent)
	}
	r.forgetSoFar()
}

func TestActivationWaits(t *testing.T) {
	for _, why := range []shell.Reason{shell.Requested, shell.Startup} {
		run(t, setup{noControl: true}, func(r *rig) {
			r.requirements.set(errAbsent, nil)
			for range 2 { // it says so each time
				if err := r.Activate(r.Context(), why); !errors.Is(err, shell.ErrPending) || err.Error() != "cannot activate: waiting for Network" {
					r.Errorf("got error %q", err)
				}
			}
			r.expect("await: deactivated > precondition, " + string(why))
			r.expectActions()
			if st := r.Status(); st.Reason != why || !errors.Is(st.Err, errAbsent) {
				r.Errorf("got %s, %v", st.Reason, st.Err)
			}

			if err := r.ActivateIfWaiting(r.Context()); !errors.Is(err, shell.ErrPending) {
				r.Errorf("got error %v, want ErrPending", err)
			}
			r.expect()

			r.requirements.set(nil, nil)
			r.must(r.ActivateIfWaiting(r.Context()))
			r.must(r.ActivateIfWaiting(r.Context())) // does nothing
			r.expect(
				"activate: precondition > activation, "+string(why),
				"activate: activation > activated, "+string(why),
			)
		})
	}
}

func TestWaitingIsGivenUp(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.makeWaiting(shell.Requested)
		r.must(r.Deactivate(r.Context(), shell.Requested))
		r.expect("deactivate: precondition > deactivated, requested")
		r.requirements.set(nil, nil)
		r.must(r.ActivateIfWaiting(r.Context()))
		r.expect()
		r.expectActions()
	})
}

func TestWaitingEndsInFailure(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.makeWaiting(shell.Startup)
		r.requirements.set(nil, nil)
		r.fake.Fail(shelltest.Launch, errBroken)
		if err := r.ActivateIfWaiting(r.Context()); !errors.Is(err, shell.ErrInstantiation) {
			r.Errorf("got error %v", err)
		}
		r.expect(
			"activate: precondition > activation, startup",
			"activate: activation > deactivated, instantiation failed: instantiation failed: broken",
		)
	})
}

// TestConditionsMetWithoutWaiters changes them between the moment when one is
// missing and that when the instance is known to wait for it.
func TestConditionsMetWithoutWaiters(t *testing.T) {
	run(t, setup{noControl: true}, func(r *rig) {
		r.requirements.set(errAbsent, nil)
		r.seen.tell = func(t shell.Transition) {
			if t.To == shell.Precondition {
				r.requirements.set(nil, nil)
			}
		}
		r.must(r.Activate(r.Context(), shell.Requested))
		r.expect(
			"await: deactivated > precondition, requested",
			"activate: precondition > activation, requested",
			"activate: activation > activated, requested",
		)
	})
}

func TestConditionsLost(t *testing.T) {
	run(t, setup{noControl: true}, func(r *rig) {
		r.activate()
		r.must(r.DeactivateIfRequirementsLost(r.Context())) // they are not
		r.expect()

		r.requirements.set(errAbsent, errAbsent)
		r.must(r.DeactivateIfRequirementsLost(r.Context()))
		r.must(r.DeactivateIfRequirementsLost(r.Context())) // does nothing
		r.expect(
			"lapse: activated > deactivation, conditions",
			"lapse: deactivation > precondition, conditions",
		)
		r.expectActions("deinitialize conditions", shelltest.Stop)

		r.requirements.set(nil, nil)
		r.must(r.ActivateIfWaiting(r.Context()))
		r.expect(
			"activate: precondition > activation, conditions",
			"activate: activation > activated, conditions",
		)
	})
}

func TestConditionsLostAndTheEndFails(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		r.requirements.set(errAbsent, errAbsent)
		r.fake.Fail(shelltest.Stop, errBroken)
		if err := r.DeactivateIfRequirementsLost(r.Context()); !errors.Is(err, errBroken) {
			r.Errorf("got error %v", err)
		}
		r.expect(
			"lapse: activated > deactivation, conditions",
			"lapse: deactivation > deactivated, conditions: broken",
		)
	})
}

func TestConditionsLostWhileItComesUp(t *testing.T) {
	run(t, setup{noControl: true}, func(r *rig) {
		held := r.fake.Hold(shelltest.Launch)
		up := background(func() error { return r.Activate(r.Context(), shell.Requested) })
		r.requirements.set(errAbsent, errAbsent)
		held.Open()
		if err := <-up; !errors.Is(err, shell.ErrPending) || err.Error() != "cannot stay active: waiting for Network" {
			r.Errorf("got error %v", err)
		}
		r.expect(
			"activate: deactivated > activation, requested",
			"activate: activation > activated, requested",
			"lapse: activated > deactivation, conditions",
			"lapse: deactivation > precondition, conditions",
		)
	})
}

func TestConditionsLostWhileAsleep(t *testing.T) {
	run(t, setup{hibernated: true, config: func(c *configs.Plugin) { c.OnCall = configs.OnCallWake }}, func(r *rig) {
		r.requirements.set(errAbsent, errAbsent)
		r.must(r.DeactivateIfRequirementsLost(r.Context()))
		r.expect()
		if err := r.invoke(r.Context(), "x"); !errors.Is(err, shell.ErrPending) || r.fake.CountDeliveredCalls("x") != 0 {
			r.Errorf("got error %v, delivered %d times", err, r.fake.CountDeliveredCalls("x"))
		}
		r.expect(
			"wake: hibernated > waking, automatic",
			"wake: waking > activated, automatic",
			"lapse: activated > deactivation, conditions",
			"lapse: deactivation > precondition, conditions",
		)
	})
}

// TestColdStartWaits has a wake fail, and what an activation needs missing.
func TestColdStartWaits(t *testing.T) {
	run(t, setup{hibernated: true}, func(r *rig) {
		r.fake.Fail(shelltest.Wake, errLasting)
		r.requirements.set(errAbsent, nil)
		if err := r.Activate(r.Context(), shell.Requested); !errors.Is(err, shell.ErrPending) {
			r.Errorf("got error %v", err)
		}
		r.expect(
			"wake: hibernated > waking, requested",
			"wake: waking > deactivated, failure: cannot wake: broken",
			"await: deactivated > precondition, automatic",
		)
	})
}

func TestProbe(t *testing.T) {
	config := func(c *configs.Plugin) {
		c.Preconditions, c.Terminations, c.Controls = []string{"Network", "Time"}, []string{"!Network"}, []string{"Graphics"}
	}
	run(t, setup{probe: true, config: config}, func(r *rig) {
		r.must(r.Activate(r.Context(), shell.Requested))
		r.expectActions(shelltest.Probe, shelltest.Launch, shelltest.Initialize, shelltest.AskState)
		asked := r.requirements.asked[0]
		for what, diff := range map[string]string{
			"preconditions": cmp.Diff([]string{"Network", "Time"}, asked.Preconditions),
			"terminations":  cmp.Diff([]string{"!Network", "!Time"}, asked.Terminations),
			"controls":      cmp.Diff([]string{"Graphics", "Location"}, asked.Controls),
		} {
			if diff != "" {
				r.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		r.must(r.Activate(r.Context(), shell.Requested))
		r.must(r.ProbeProgram(r.Context()))
		r.expectActions()

		r.must(r.Deactivate(r.Context(), shell.Requested))
		r.forgetSoFar()
		r.must(r.ProbeProgram(r.Context()))
		r.expectActions(shelltest.Probe)
		r.expect()
		if got := r.Status().ControlledSubsystems(); !slices.Equal(got, []string{"Graphics", "Location"}) {
			r.Errorf("the status tells the controls %v", got)
		}
	})
	for name, s := range map[string]setup{
		"not asked for": {probe: true, config: func(c *configs.Plugin) { c.Probe = false }},
		"not able to":   {},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, s, func(r *rig) {
				r.must(r.ProbeProgram(r.Context()))
				r.must(r.Activate(r.Context(), shell.Requested))
				r.expectActions(shelltest.Launch, shelltest.Initialize, shelltest.AskState)
			})
		})
	}
}

// A host that ends does not wait for programs that it only wanted to ask.
func TestProbeEndsWithItsCaller(t *testing.T) {
	run(t, setup{probe: true}, func(r *rig) {
		r.fake.Hold(shelltest.Probe)
		ctx, cancel := context.WithCancel(r.Context())
		begun, asked := time.Now(), background(func() error { return r.ProbeProgram(ctx) })
		cancel()
		if err := <-asked; !errors.Is(err, context.Canceled) || time.Since(begun) != 0 {
			r.Errorf("got error %v after %v", err, time.Since(begun))
		}
		r.must(r.Activate(r.Context(), shell.Requested))
	})
}

func TestProbeFails(t *testing.T) {
	run(t, setup{probe: true}, func(r *rig) {
		r.fake.Fail(shelltest.Probe, errBroken)
		for _, state := range []shell.State{shell.Deactivated, shell.Precondition} {
			if state == shell.Precondition {
				r.fake.Fail(shelltest.Probe, nil)
				r.makeWaiting(shell.Requested)
				r.fake.Fail(shelltest.Probe, errBroken)
			}
			if err := r.Activate(r.Context(), shell.Requested); !errors.Is(err, shell.ErrInstantiation) || !errors.Is(err, errBroken) {
				r.Errorf("got error %v", err)
			}
			r.expect(
				fmt.Sprintf("activate: %s > activation, requested", state),
				"activate: activation > deactivated, instantiation failed: instantiation failed: broken",
			)
			r.expectActions(shelltest.Probe)
		}
		r.must(r.MakeUnavailable(r.Context(), shell.Requested))
		if err := r.Activate(r.Context(), shell.Requested); !errors.Is(err, shell.ErrIllegalState) {
			r.Errorf("got error %v", err)
		}
		r.expectActions()
	})
}

func TestProbeEndsInTime(t *testing.T) {
	run(t, setup{probe: true}, func(r *rig) {
		r.fake.Hold(shelltest.Probe)
		begun := time.Now()
		err := r.Activate(r.Context(), shell.Requested)
		if took := time.Since(begun); took != time.Duration(r.Config().StartTimeout) || !errors.Is(err, shell.ErrTimedOut) {
			r.Errorf("after %s: %v", took, err)
		}
	})
}

// TestLeaving has a dependant that calls the plugin for the last time while the
// plugin is about to end, whatever the end is.
func TestLeaving(t *testing.T) {
	ends := map[string]func(*rig) error{
		"deactivate": func(r *rig) error { return r.Deactivate(r.Context(), shell.Requested) },
		"suspend":    func(r *rig) error { return r.Suspend(r.Context(), shell.Requested) },
		"destroy":    func(r *rig) error { return r.Destroy(r.Context(), shell.Requested) },
		"conditions": func(r *rig) error {
			r.requirements.set(errAbsent, errAbsent)
			return r.DeactivateIfRequirementsLost(r.Context())
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			run(t, setup{noControl: name == "suspend"}, func(r *rig) {
				r.activate()
				r.requirements.leave = func(ctx context.Context) {
					r.expect()
					r.must(r.invoke(ctx, "last"))
				}
				r.must(end(r))
				if n := r.fake.CountDeliveredCalls("last"); n != 1 {
					r.Errorf("the last call was delivered %d times", n)
				}
			})
		})
	}
	t.Run("shutdown", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			r.requirements.leave = func(context.Context) { r.Error("the host knows that it leaves") }
		})
	})
	t.Run("exit", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			r.requirements.leave = func(context.Context) { r.Error("it is gone already") }
			r.fake.Kill()
			synctest.Wait()
		})
	})
}

// TestLeavingTakesTooLong ends the plugin in order all the same.
func TestLeavingTakesTooLong(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		r.requirements.leave = func(ctx context.Context) { <-ctx.Done() }
		begun := time.Now()
		r.must(r.Deactivate(r.Context(), shell.Requested))
		if took, want := time.Since(begun), hibernateTimeout+3*time.Duration(r.Config().StopTimeout); took != want {
			r.Errorf("it took %s, want %s", took, want)
		}
		r.expectActions("deinitialize requested", shelltest.Stop)
		r.requirements.leave = nil
	})
}

func TestWithoutRequirements(t *testing.T) {
	run(t, setup{noControl: true, withoutRequirements: true}, func(r *rig) {
		r.must(r.Activate(r.Context(), shell.Requested))
		r.must(r.DeactivateIfRequirementsLost(r.Context()))
		r.must(r.ActivateIfWaiting(r.Context()))
		r.must(r.Deactivate(r.Context(), shell.Requested))
		r.expect(
			"activate: deactivated > activation, requested",
			"activate: activation > activated, requested",
			"deactivate: activated > deactivation, requested",
			"deactivate: deactivation > deactivated, requested",
		)
	})
}
