package shell

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
)

func wakeOnCall(c *configs.Plugin) { c.OnCall = configs.OnCallWake }

// bring leads the instance to a state; finish ends the operation that keeps it
// there, if one does.
func (r *rig) bring(state State) (finish func()) {
	r.Helper()
	hold := func(step string, operate func() error) func() {
		held := r.fake.hold(step)
		done := background(operate)
		return func() {
			held.open()
			r.must(<-done)
		}
	}
	finish = func() {}
	switch state {
	case Deactivated:
	case Unavailable:
		r.must(r.MakeUnavailable(r.Context(), Requested))
	case Precondition:
		r.wait(Requested)
	case Destroyed:
		r.must(r.Destroy(r.Context(), Requested))
	case Activation:
		finish = hold(launch, r.up)
	case Activated:
		r.activate()
	case Deactivation:
		r.activate()
		finish = hold(deinitialize, func() error { return r.Deactivate(r.Context(), Requested) })
	case Hibernating:
		r.activate()
		finish = hold(hibernation, func() error { return r.Hibernate(r.Context(), Requested, 0) })
	case Hibernated:
		r.activate()
		r.hibernateNow()
	case Waking:
		r.activate()
		r.hibernateNow()
		finish = hold(wakening, r.up)
	}
	if got := r.State(); got != state {
		r.Fatalf("it is %s, want %s", got, state)
	}
	return finish
}

func TestAdmission(t *testing.T) {
	for _, test := range []struct {
		state  State
		reject error // with on-call = "reject"
		wake   error // with on-call = "wake"
		held   bool  // and whether it waits for the operation that runs
	}{
		{Unavailable, ErrUnavailable, ErrUnavailable, false},
		{Deactivated, ErrUnavailable, ErrUnavailable, false},
		{Activation, ErrUnavailable, nil, true},
		{Activated, nil, nil, false},
		{Deactivation, ErrUnavailable, ErrUnavailable, false},
		{Hibernating, ErrHibernated, nil, true},
		{Hibernated, ErrHibernated, nil, false},
		{Waking, ErrUnavailable, nil, true},
		{Precondition, ErrUnavailable, ErrUnavailable, false},
		{Destroyed, ErrUnavailable, ErrUnavailable, false},
	} {
		for _, policy := range []configs.OnCall{configs.OnCallReject, configs.OnCallWake} {
			t.Run(fmt.Sprintf("%s, %s", test.state, policy), func(t *testing.T) {
				config := func(c *configs.Plugin) { c.OnCall = policy }
				run(t, setup{config: config}, func(r *rig) {
					finish := r.bring(test.state)
					want, held := test.reject, false
					if policy == configs.OnCallWake {
						want, held = test.wake, test.held
					}
					answered := background(func() error { return r.invoke(r.Context(), "x") })
					if pending(answered) != held {
						r.Errorf("held is %t, want %t", !held, held)
					}
					finish()
					if err := <-answered; !errors.Is(err, want) {
						r.Errorf("got error %v, want %v", err, want)
					}
					wantDelivered := 0
					if want == nil {
						wantDelivered = 1
					}
					if n := r.fake.delivered("x"); n != wantDelivered {
						r.Errorf("it was delivered %d times, want %d", n, wantDelivered)
					}
				})
			})
		}
	}
}

func TestAnswers(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		result, err := r.Invoke(r.Context(), Call{Method: "echo", Params: []byte(`{"a":1}`)})
		if diff := cmp.Diff(json.RawMessage(`{"a":1}`), result); diff != "" || err != nil {
			r.Errorf("error %v, result (-want +got):\n%s", err, diff)
		}
		for method, want := range map[string]bool{"echo": true, "ohce": false} {
			if got, err := r.Exists(r.Context(), method); got != want || err != nil {
				r.Errorf("%s: got %t, %v; want %t", method, got, err, want)
			}
		}
		for _, want := range []error{&PluginError{Code: 7, Message: "no"}, ErrUnknownMethod, ErrInvalidParams} {
			r.fake.fail(invocation, want)
			if err := r.invoke(r.Context(), ""); !errors.Is(err, want) {
				r.Errorf("got error %v, want %v", err, want)
			}
		}
	})
}

func TestCallEndsInTime(t *testing.T) {
	limit := time.Duration(configs.DefaultPlugin().CallTimeout)
	t.Run("in the plugin", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			r.fake.hold(invocation)
			begun := time.Now()
			err := r.invoke(r.Context(), "")
			if took := time.Since(begun); took != limit || !errors.Is(err, ErrTimedOut) {
				r.Errorf("got %v after %s", err, took)
			}
			r.fake.fail(invocation, fmt.Errorf("%w: its own clock is ahead", context.DeadlineExceeded))
			if err := r.invoke(r.Context(), ""); !errors.Is(err, ErrTimedOut) {
				r.Errorf("got error %v, want ErrTimedOut", err)
			}
		})
	})
	t.Run("in less, which the caller set", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			r.fake.hold(invocation)
			for _, ask := range []func(context.Context) error{
				func(ctx context.Context) error { return r.invoke(ctx, "") },
				func(ctx context.Context) error {
					return r.callWithoutUse(ctx, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
				},
			} {
				ctx, cancel := context.WithTimeout(r.Context(), time.Second)
				const want = "timed out: no answer from the plugin within the caller's own deadline"
				if err := ask(ctx); !errors.Is(err, ErrTimedOut) || err.Error() != want {
					r.Errorf("got %v, want %s", err, want)
				}
				cancel()
			}
		})
	})
	t.Run("while it waits for the wake", func(t *testing.T) {
		run(t, setup{config: wakeOnCall, image: true}, func(r *rig) {
			held := r.fake.hold(wakening)
			begun := time.Now()
			err := r.invoke(r.Context(), "")
			if took := time.Since(begun); took != limit || !errors.Is(err, ErrTimedOut) {
				r.Errorf("got %v after %s", err, took)
			}
			held.open()
			synctest.Wait()
			if got := r.State(); got != Activated {
				r.Errorf("it is %s: the waking must go on without the call", got)
			}
		})
	})
	t.Run("the caller's own", func(t *testing.T) {
		run(t, setup{config: wakeOnCall, image: true}, func(r *rig) {
			ctx, cancel := context.WithCancel(r.Context())
			held := r.fake.hold(wakening)
			answered := background(func() error { return r.invoke(ctx, "") })
			cancel()
			if err := <-answered; !errors.Is(err, context.Canceled) {
				r.Errorf("got error %v, want context.Canceled", err)
			}
			held.open()
		})
	})
}

func TestHeldCalls(t *testing.T) {
	run(t, setup{config: wakeOnCall, image: true}, func(r *rig) {
		held := r.fake.hold(wakening)
		results := make(chan error, maxHeldCalls)
		for i := range maxHeldCalls {
			go func() { results <- r.invoke(r.Context(), fmt.Sprint(i)) }()
		}
		synctest.Wait()
		if err := r.invoke(r.Context(), "one more"); !errors.Is(err, ErrBusy) {
			r.Errorf("got error %v, want ErrBusy", err)
		}
		held.open()
		for range maxHeldCalls {
			if err := <-results; err != nil {
				r.Error(err)
			}
		}
		for i := range maxHeldCalls {
			if n := r.fake.delivered(fmt.Sprint(i)); n != 1 {
				r.Errorf("call %d was delivered %d times", i, n)
			}
		}
		if n := countOf(r.fake.steps(), wakening); n != 1 {
			r.Errorf("it was woken %d times", n)
		}
		if n := r.LaneStatus().Held; n != 0 {
			r.Errorf("%d calls still count as held", n)
		}
	})
}

func TestHeldCallsWhenTheWakeFails(t *testing.T) {
	const calls = 20
	for _, test := range []struct {
		name   string
		policy configs.OnFailedWake
		launch error
		want   error
		steps  []string
	}{
		{"cold start", configs.FailedWakeColdStart, nil, nil, []string{wakening, stop, launch, initialize, asking}},
		{"cold start fails too", configs.FailedWakeColdStart, ErrInstantiation, ErrInstantiation, []string{wakening, stop, launch, stop}},
		{"deactivate", configs.FailedWakeDeactivate, nil, errBroken, []string{wakening, stop}},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := func(c *configs.Plugin) { c.OnCall, c.OnFailedWake = configs.OnCallWake, test.policy }
			run(t, setup{image: true, config: config}, func(r *rig) {
				r.fake.fail(wakening, errBroken)
				r.fake.fail(launch, test.launch)
				held := r.fake.hold(wakening)
				results := make(chan error, calls)
				for range calls {
					go func() { results <- r.invoke(r.Context(), "") }()
					synctest.Wait() // the first begins the wake, the others find it waking
				}
				held.open()
				for range calls {
					if err := <-results; !errors.Is(err, test.want) {
						r.Errorf("got error %v, want %v", err, test.want)
					}
				}
				steps := slices.DeleteFunc(r.fake.steps(), func(s string) bool { return s == invocation })
				if diff := cmp.Diff(test.steps, steps); diff != "" {
					r.Errorf("steps (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestHeldCallStartsNothing lets calls wait for an operation that ends in
// deactivated, from where no call may start a plugin.
func TestHeldCallStartsNothing(t *testing.T) {
	for _, test := range []struct {
		name   string
		finish func(*rig) (step string, operate func() error)
	}{
		{"hibernation", func(r *rig) (string, func() error) {
			r.activate()
			return hibernation, func() error { return r.Hibernate(r.Context(), Requested, 0) }
		}},
		{"activation", func(r *rig) (string, func() error) { return launch, r.up }},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, setup{config: wakeOnCall}, func(r *rig) {
				step, operate := test.finish(r)
				r.fake.fail(step, errKilled)
				held := r.fake.hold(step)
				done := background(operate)
				answered := background(func() error { return r.invoke(r.Context(), "") })
				r.forget()
				held.open()
				if err := <-done; !errors.Is(err, ErrExited) {
					r.Errorf("got error %v, want ErrExited", err)
				}
				if err := <-answered; !errors.Is(err, ErrUnavailable) {
					r.Errorf("got error %v, want ErrUnavailable", err)
				}
				r.expectSteps(stop)
			})
		})
	}
}

func TestHeldCallAtShutdown(t *testing.T) {
	run(t, setup{config: wakeOnCall, image: true}, func(r *rig) {
		r.must(r.Deactivate(r.Context(), Shutdown))
		if err := r.invoke(r.Context(), ""); !errors.Is(err, ErrUnavailable) {
			r.Errorf("got error %v, want ErrUnavailable", err)
		}
		if got := r.State(); got != Hibernated {
			r.Errorf("it is %s, want hibernated", got)
		}
	})
}

func TestHibernationLetsCallsEnd(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		held := r.fake.hold(invocation)
		answered := background(func() error { return r.invoke(r.Context(), "before") })
		asleep := background(func() error { return r.Hibernate(r.Context(), Requested, 0) })
		if got := r.State(); got != Hibernating {
			r.Errorf("it is %s, want hibernating", got)
		}
		r.expectSteps(invocation) // and no hibernation yet
		if err := r.invoke(r.Context(), "after"); !errors.Is(err, ErrHibernated) {
			r.Errorf("got error %v, want ErrHibernated", err)
		}
		held.open()
		r.must(<-answered)
		r.must(<-asleep)
		r.expectSteps(hibernation)
	})
	t.Run("or gives up", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			held := r.fake.hold(invocation)
			answered := background(func() error { return r.invoke(r.Context(), "") })
			if err := r.Hibernate(r.Context(), Requested, time.Second); !errors.Is(err, ErrTimedOut) {
				r.Errorf("got error %v, want ErrTimedOut", err)
			}
			if !pending(answered) || r.State() != Activated {
				r.Errorf("the call must go on; it is %s", r.State())
			}
			held.open()
			r.must(<-answered)
			r.expectSteps(invocation)
		})
	})
}

func TestCallsAreGivenUp(t *testing.T) {
	t.Run("exit", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			r.fake.hold(invocation)
			answered := background(func() error { return r.invoke(r.Context(), "") })
			begun := time.Now()
			r.fake.die()
			if err := <-answered; !errors.Is(err, ErrUnavailable) || time.Since(begun) != 0 {
				r.Errorf("got error %v after %s, want ErrUnavailable at once", err, time.Since(begun))
			}
		})
	})
	t.Run("exit while a hibernation waits for them", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			r.fake.hold(invocation)
			answered := background(func() error { return r.invoke(r.Context(), "") })
			asleep := background(func() error { return r.Hibernate(r.Context(), Requested, 0) })
			begun := time.Now()
			r.fake.die()
			if err := <-asleep; !errors.Is(err, ErrExited) || time.Since(begun) != 0 {
				r.Errorf("got error %v after %s, want ErrExited at once", err, time.Since(begun))
			}
			if err := <-answered; !errors.Is(err, ErrUnavailable) {
				r.Errorf("got error %v, want ErrUnavailable", err)
			}
		})
	})
	t.Run("exit that nobody has noticed yet", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			held := r.fake.hold(asking)
			up := background(r.up)
			resuming := r.fake.hold("resume")
			resumed := background(func() error { return r.Resume(r.Context(), Requested) })
			background(func() error { r.fake.die(); return nil }) // comes after the two
			held.open()
			r.must(<-up)
			r.fake.hold(invocation)
			answered := background(func() error { return r.invoke(r.Context(), "") })
			begun := time.Now()
			resuming.open()
			if err := <-resumed; !errors.Is(err, ErrExited) {
				r.Errorf("got error %v, want ErrExited", err)
			}
			if err := <-answered; !errors.Is(err, ErrUnavailable) || time.Since(begun) != 0 {
				r.Errorf("got error %v after %s, want ErrUnavailable at once", err, time.Since(begun))
			}
		})
	})
	t.Run("deactivate", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			r.fake.hold(invocation)
			answered := background(func() error { return r.invoke(r.Context(), "") })
			begun := time.Now()
			r.must(r.Deactivate(r.Context(), Requested))
			if took := time.Since(begun); took != time.Duration(r.Config().StopTimeout) {
				r.Errorf("it took %s", took)
			}
			if err := <-answered; !errors.Is(err, ErrUnavailable) {
				r.Errorf("got error %v, want ErrUnavailable", err)
			}
			r.expectSteps(invocation, deinitialize+" requested", stop)
		})
	})
	t.Run("answered in the last moment", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			answer := &PluginError{Code: 7, Message: "no"}
			held := r.fake.hold(stop)
			err := r.callPlugin(r.Context(), 0, func(context.Context) error {
				background(func() error { r.fake.die(); return nil })
				return answer
			})
			held.open()
			if !errors.Is(err, answer) {
				r.Errorf("got error %v, want %v", err, answer)
			}
		})
	})
}

// TestCallsDuringSleepCycles calls from many goroutines while the instance
// falls asleep and is woken again and again.
func TestCallsDuringSleepCycles(t *testing.T) {
	const callers, each = 16, 100
	config := func(c *configs.Plugin) {
		c.OnCall = configs.OnCallWake
		c.CallTimeout = configs.Duration(time.Hour)
	}
	run(t, setup{config: config}, func(r *rig) {
		r.activate()
		var calling, sleeping sync.WaitGroup
		for caller := range callers {
			calling.Go(func() {
				for i := range each {
					if err := r.invoke(r.Context(), fmt.Sprintf("%d.%d", caller, i)); err != nil {
						r.Errorf("call %d of %d: %v", i, caller, err)
					}
				}
			})
		}
		done, cycles := make(chan struct{}), 0
		sleeping.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := r.Hibernate(r.Context(), Requested, 0); err == nil {
					cycles++
				} else if !errors.Is(err, ErrIllegalState) { // it sleeps already
					r.Errorf("cannot hibernate: %v", err)
				}
				if cycles%2 == 0 {
					if err := r.up(); err != nil {
						r.Errorf("cannot wake: %v", err)
					}
				}
			}
		})
		calling.Wait()
		close(done)
		sleeping.Wait()
		for caller := range callers {
			for i := range each {
				if n := r.fake.delivered(fmt.Sprintf("%d.%d", caller, i)); n != 1 {
					r.Errorf("call %d of %d was delivered %d times", i, caller, n)
				}
			}
		}
		r.Logf("%d cycles", cycles)
	})
}
