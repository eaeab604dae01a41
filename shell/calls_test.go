package shell_test

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
	"dormouse/shell"
	"dormouse/shell/shelltest"
)

func wakeOnCall(c *configs.Plugin) { c.OnCall = configs.OnCallWake }

// bringInto leads the instance to a state; finish ends the operation that keeps it
// there, if one does.
func (r *rig) bringInto(state shell.State) (finish func()) {
	r.Helper()
	hold := func(action string, operate func() error) func() {
		held := r.fake.Hold(action)
		done := background(operate)
		return func() {
			held.Open()
			r.must(<-done)
		}
	}
	finish = func() {}
	switch state {
	case shell.Deactivated:
	case shell.Unavailable:
		r.must(r.MakeUnavailable(r.Context(), shell.Requested))
	case shell.Precondition:
		r.makeWaiting(shell.Requested)
	case shell.Destroyed:
		r.must(r.Destroy(r.Context(), shell.Requested))
	case shell.Activation:
		finish = hold(shelltest.Launch, r.activateRequested)
	case shell.Activated:
		r.activate()
	case shell.Deactivation:
		r.activate()
		finish = hold(shelltest.Deinitialize, func() error { return r.Deactivate(r.Context(), shell.Requested) })
	case shell.Hibernating:
		r.activate()
		finish = hold(shelltest.Hibernate, func() error { return r.Hibernate(r.Context(), shell.Requested, 0) })
	case shell.Hibernated:
		r.activate()
		r.hibernateNow()
	case shell.Waking:
		r.activate()
		r.hibernateNow()
		finish = hold(shelltest.Wake, r.activateRequested)
	}
	if got := r.State(); got != state {
		r.Fatalf("it is %s, want %s", got, state)
	}
	return finish
}

func TestAdmission(t *testing.T) {
	for _, test := range []struct {
		state  shell.State
		reject error // with on-call = "reject"
		wake   error // with on-call = "wake"
		held   bool  // and whether it waits for the operation that runs
	}{
		{shell.Unavailable, shell.ErrUnavailable, shell.ErrUnavailable, false},
		{shell.Deactivated, shell.ErrUnavailable, shell.ErrUnavailable, false},
		{shell.Activation, shell.ErrUnavailable, nil, true},
		{shell.Activated, nil, nil, false},
		{shell.Deactivation, shell.ErrUnavailable, shell.ErrUnavailable, false},
		{shell.Hibernating, shell.ErrHibernated, nil, true},
		{shell.Hibernated, shell.ErrHibernated, nil, false},
		{shell.Waking, shell.ErrUnavailable, nil, true},
		{shell.Precondition, shell.ErrUnavailable, shell.ErrUnavailable, false},
		{shell.Destroyed, shell.ErrUnavailable, shell.ErrUnavailable, false},
	} {
		for _, policy := range []configs.OnCall{configs.OnCallReject, configs.OnCallWake} {
			t.Run(fmt.Sprintf("%s, %s", test.state, policy), func(t *testing.T) {
				config := func(c *configs.Plugin) { c.OnCall = policy }
				run(t, setup{config: config}, func(r *rig) {
					finish := r.bringInto(test.state)
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
					if n := r.fake.CountDeliveredCalls("x"); n != wantDelivered {
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
		result, err := r.Invoke(r.Context(), shell.Call{Method: "echo", Params: []byte(`{"a":1}`)})
		if diff := cmp.Diff(json.RawMessage(`{"a":1}`), result); diff != "" || err != nil {
			r.Errorf("error %v, result (-want +got):\n%s", err, diff)
		}
		for method, want := range map[string]bool{"echo": true, "ohce": false} {
			if got, err := r.Exists(r.Context(), method); got != want || err != nil {
				r.Errorf("%s: got %t, %v; want %t", method, got, err, want)
			}
		}
		for _, want := range []error{&shell.PluginError{Code: 7, Message: "no"}, shell.ErrUnknownMethod, shell.ErrInvalidParams} {
			r.fake.Fail(shelltest.Invoke, want)
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
			r.fake.Hold(shelltest.Invoke)
			begun := time.Now()
			err := r.invoke(r.Context(), "")
			late, _ := errors.AsType[*shell.CallTimeoutError](err)
			if took := time.Since(begun); took != limit || !errors.Is(err, shell.ErrTimedOut) || !late.Delivered {
				r.Errorf("got %v after %s", err, took)
			}
			r.fake.Fail(shelltest.Invoke, fmt.Errorf("%w: %w", shell.ErrNotDelivered, context.DeadlineExceeded))
			if late, ok := errors.AsType[*shell.CallTimeoutError](r.invoke(r.Context(), "")); !ok || late.Delivered {
				r.Errorf("got %+v of a call that the plugin has not got", late)
			}
			r.fake.Fail(shelltest.Invoke, fmt.Errorf("%w: its own clock is ahead", context.DeadlineExceeded))
			if err := r.invoke(r.Context(), ""); !errors.Is(err, shell.ErrTimedOut) {
				r.Errorf("got error %v, want ErrTimedOut", err)
			}
		})
	})
	t.Run("in less, which the caller set", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			r.fake.Hold(shelltest.Invoke)
			for _, ask := range []func(context.Context) error{
				func(ctx context.Context) error { return r.invoke(ctx, "") },
				func(ctx context.Context) error {
					return r.CallAsProbe(ctx, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
				},
			} {
				ctx, cancel := context.WithTimeout(r.Context(), time.Second)
				const want = "timed out: no answer from the plugin within the caller's own deadline"
				if err := ask(ctx); !errors.Is(err, shell.ErrTimedOut) || err.Error() != want {
					r.Errorf("got %v, want %s", err, want)
				}
				cancel()
			}
		})
	})
	t.Run("while it waits for the wake", func(t *testing.T) {
		run(t, setup{config: wakeOnCall, hibernated: true}, func(r *rig) {
			held := r.fake.Hold(shelltest.Wake)
			begun := time.Now()
			err := r.invoke(r.Context(), "")
			late, _ := errors.AsType[*shell.CallTimeoutError](err)
			if took := time.Since(begun); took != limit || !errors.Is(err, shell.ErrTimedOut) || late.Delivered {
				r.Errorf("got %v after %s", err, took)
			}
			held.Open()
			synctest.Wait()
			if got := r.State(); got != shell.Activated {
				r.Errorf("it is %s: the waking must go on without the call", got)
			}
		})
	})
	t.Run("the caller's own", func(t *testing.T) {
		run(t, setup{config: wakeOnCall, hibernated: true}, func(r *rig) {
			ctx, cancel := context.WithCancel(r.Context())
			held := r.fake.Hold(shelltest.Wake)
			answered := background(func() error { return r.invoke(ctx, "") })
			cancel()
			if err := <-answered; !errors.Is(err, context.Canceled) {
				r.Errorf("got error %v, want context.Canceled", err)
			}
			held.Open()
		})
	})
}

func TestHeldCalls(t *testing.T) {
	run(t, setup{config: wakeOnCall, hibernated: true}, func(r *rig) {
		held := r.fake.Hold(shelltest.Wake)
		results := make(chan error, shell.MaxHeldCalls)
		for i := range shell.MaxHeldCalls {
			go func() { results <- r.invoke(r.Context(), fmt.Sprint(i)) }()
		}
		synctest.Wait()
		if err := r.invoke(r.Context(), "one more"); !errors.Is(err, shell.ErrBusy) {
			r.Errorf("got error %v, want ErrBusy", err)
		}
		held.Open()
		for range shell.MaxHeldCalls {
			if err := <-results; err != nil {
				r.Error(err)
			}
		}
		for i := range shell.MaxHeldCalls {
			if n := r.fake.CountDeliveredCalls(fmt.Sprint(i)); n != 1 {
				r.Errorf("call %d was delivered %d times", i, n)
			}
		}
		if n := countOf(r.fake.TakeActions(), shelltest.Wake); n != 1 {
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
		name    string
		policy  configs.OnFailedWake
		launch  error
		want    error
		actions []string
	}{
		{"cold start", configs.FailedWakeColdStart, nil, nil, []string{shelltest.Wake, putAside, shelltest.Stop, shelltest.Launch, shelltest.Initialize, shelltest.AskState}},
		{"cold start fails too", configs.FailedWakeColdStart, shell.ErrInstantiation, shell.ErrInstantiation, []string{shelltest.Wake, putAside, shelltest.Stop, shelltest.Launch, shelltest.Stop}},
		{"deactivate", configs.FailedWakeDeactivate, nil, errBroken, []string{shelltest.Wake, putAside, shelltest.Stop}},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := func(c *configs.Plugin) { c.OnCall, c.OnFailedWake = configs.OnCallWake, test.policy }
			run(t, setup{hibernated: true, config: config}, func(r *rig) {
				r.fake.Fail(shelltest.Wake, errLasting)
				r.fake.Fail(shelltest.Launch, test.launch)
				held := r.fake.Hold(shelltest.Wake)
				results := make(chan error, calls)
				for range calls {
					go func() { results <- r.invoke(r.Context(), "") }()
					synctest.Wait() // the first begins the wake, the others find it waking
				}
				held.Open()
				for range calls {
					if err := <-results; !errors.Is(err, test.want) {
						r.Errorf("got error %v, want %v", err, test.want)
					}
				}
				actions := slices.DeleteFunc(r.fake.TakeActions(), func(s string) bool { return s == shelltest.Invoke })
				if diff := cmp.Diff(test.actions, actions); diff != "" {
					r.Errorf("actions (-want +got):\n%s", diff)
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
		finish func(*rig) (action string, operate func() error)
	}{
		{"hibernation", func(r *rig) (string, func() error) {
			r.activate()
			return shelltest.Hibernate, func() error { return r.Hibernate(r.Context(), shell.Requested, 0) }
		}},
		{"activation", func(r *rig) (string, func() error) { return shelltest.Launch, r.activateRequested }},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, setup{config: wakeOnCall}, func(r *rig) {
				action, operate := test.finish(r)
				r.fake.Fail(action, shelltest.ErrKilled)
				held := r.fake.Hold(action)
				done := background(operate)
				answered := background(func() error { return r.invoke(r.Context(), "") })
				r.forgetSoFar()
				held.Open()
				if err := <-done; !errors.Is(err, shell.ErrExited) {
					r.Errorf("got error %v, want ErrExited", err)
				}
				if err := <-answered; !errors.Is(err, shell.ErrUnavailable) {
					r.Errorf("got error %v, want ErrUnavailable", err)
				}
				r.expectActions(shelltest.Stop)
			})
		})
	}
}

func TestHeldCallAtShutdown(t *testing.T) {
	run(t, setup{config: wakeOnCall, hibernated: true}, func(r *rig) {
		r.must(r.Deactivate(r.Context(), shell.Shutdown))
		if err := r.invoke(r.Context(), ""); !errors.Is(err, shell.ErrUnavailable) {
			r.Errorf("got error %v, want ErrUnavailable", err)
		}
		if got := r.State(); got != shell.Hibernated {
			r.Errorf("it is %s, want hibernated", got)
		}
	})
}

func TestHibernationLetsCallsEnd(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		held := r.fake.Hold(shelltest.Invoke)
		answered := background(func() error { return r.invoke(r.Context(), "before") })
		asleep := background(func() error { return r.Hibernate(r.Context(), shell.Requested, 0) })
		if got := r.State(); got != shell.Hibernating {
			r.Errorf("it is %s, want hibernating", got)
		}
		r.expectActions(shelltest.Invoke) // and no hibernation yet
		if err := r.invoke(r.Context(), "after"); !errors.Is(err, shell.ErrHibernated) {
			r.Errorf("got error %v, want ErrHibernated", err)
		}
		held.Open()
		r.must(<-answered)
		r.must(<-asleep)
		r.expectActions(shelltest.Hibernate)
	})
	t.Run("or gives up", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			held := r.fake.Hold(shelltest.Invoke)
			answered := background(func() error { return r.invoke(r.Context(), "") })
			if err := r.Hibernate(r.Context(), shell.Requested, time.Second); !errors.Is(err, shell.ErrTimedOut) {
				r.Errorf("got error %v, want ErrTimedOut", err)
			}
			if !pending(answered) || r.State() != shell.Activated {
				r.Errorf("the call must go on; it is %s", r.State())
			}
			held.Open()
			r.must(<-answered)
			r.expectActions(shelltest.Invoke)
		})
	})
}

func TestCallsAreGivenUp(t *testing.T) {
	t.Run("exit", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			r.fake.Hold(shelltest.Invoke)
			answered := background(func() error { return r.invoke(r.Context(), "") })
			begun := time.Now()
			r.fake.Kill()
			if err := <-answered; !errors.Is(err, shell.ErrNotAnswered) || time.Since(begun) != 0 {
				r.Errorf("got error %v after %s, want ErrNotAnswered at once", err, time.Since(begun))
			}
		})
	})
	t.Run("exit while a hibernation waits for them", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			r.fake.Hold(shelltest.Invoke)
			answered := background(func() error { return r.invoke(r.Context(), "") })
			asleep := background(func() error { return r.Hibernate(r.Context(), shell.Requested, 0) })
			begun := time.Now()
			r.fake.Kill()
			if err := <-asleep; !errors.Is(err, shell.ErrExited) || time.Since(begun) != 0 {
				r.Errorf("got error %v after %s, want ErrExited at once", err, time.Since(begun))
			}
			if err := <-answered; !errors.Is(err, shell.ErrNotAnswered) {
				r.Errorf("got error %v, want ErrNotAnswered", err)
			}
		})
	})
	t.Run("exit that the host has not noticed yet", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			held := r.fake.Hold(shelltest.AskState)
			up := background(r.activateRequested)
			resuming := r.fake.Hold("resume")
			resumed := background(func() error { return r.Resume(r.Context(), shell.Requested) })
			background(func() error { r.fake.Kill(); return nil }) // comes after the two
			held.Open()
			r.must(<-up)
			r.fake.Hold(shelltest.Invoke)
			answered := background(func() error { return r.invoke(r.Context(), "") })
			begun := time.Now()
			resuming.Open()
			if err := <-resumed; !errors.Is(err, shell.ErrExited) {
				r.Errorf("got error %v, want ErrExited", err)
			}
			if err := <-answered; !errors.Is(err, shell.ErrNotAnswered) || time.Since(begun) != 0 {
				r.Errorf("got error %v after %s, want ErrNotAnswered at once", err, time.Since(begun))
			}
		})
	})
	t.Run("deactivate", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			r.fake.Hold(shelltest.Invoke)
			answered := background(func() error { return r.invoke(r.Context(), "") })
			begun := time.Now()
			r.must(r.Deactivate(r.Context(), shell.Requested))
			if took := time.Since(begun); took != time.Duration(r.Config().StopTimeout) {
				r.Errorf("it took %s", took)
			}
			if err := <-answered; !errors.Is(err, shell.ErrNotAnswered) {
				r.Errorf("got error %v, want ErrNotAnswered", err)
			}
			r.expectActions(shelltest.Invoke, shelltest.Deinitialize+" requested", shelltest.Stop)
		})
	})
	t.Run("answered in the last moment", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			answer := &shell.PluginError{Code: 7, Message: "no"}
			held := r.fake.Hold(shelltest.Stop)
			err := r.CallPlugin(r.Context(), 0, func(context.Context) error {
				background(func() error { r.fake.Kill(); return nil })
				return answer
			})
			held.Open()
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
				if err := r.Hibernate(r.Context(), shell.Requested, 0); err == nil {
					cycles++
				} else if !errors.Is(err, shell.ErrIllegalState) { // it sleeps already
					r.Errorf("cannot hibernate: %v", err)
				}
				if cycles%2 == 0 {
					if err := r.activateRequested(); err != nil {
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
				if n := r.fake.CountDeliveredCalls(fmt.Sprintf("%d.%d", caller, i)); n != 1 {
					r.Errorf("call %d of %d was delivered %d times", i, caller, n)
				}
			}
		}
		r.Logf("%d cycles", cycles)
	})
}
