package shell_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shelltest"
	"dormouse/statecontrol"
)

// another returns the instance's configuration with another program.
func (r *rig) another() configs.Plugin {
	c := r.Config()
	c.Executable = "another"
	return c
}

// expectProgram fails the test unless the instance is configured with that program.
func (r *rig) expectProgram(want string) {
	r.Helper()
	if got := r.Config().Executable; got != want {
		r.Errorf("its program is %q, want %q", got, want)
	}
}

// TestReplaceLeavesTheState replaces an instance in each state in which it can rest.
func TestReplaceLeavesTheState(t *testing.T) {
	ended := []string{"replace: activated > deactivation, requested", "replace: deactivation > deactivated, requested", "replace: deactivated > activation, requested"}
	started := []string{"replace: activation > activated, requested"}
	suspended, resumed := []string{"suspend: activation is suspended, requested"}, []string{"resume: activation is resumed, requested"}
	sleep := []string{"hibernate: activated > hibernating, requested", "hibernate: hibernating > hibernated, requested"}
	wake := []string{"wake: hibernated > waking, requested", "wake: waking > activated, requested"}
	for name, test := range map[string]struct {
		setup       setup
		enter       func(*rig)
		transitions []string
		actions     []string
	}{
		"active without state control": {
			setup{noControl: true}, (*rig).activate,
			slices.Concat(ended, started), []string{"deinitialize requested", "stop", "launch", "initialize"},
		},
		"suspended": {
			setup{}, (*rig).activate,
			slices.Concat(ended, suspended, started), []string{"deinitialize requested", "stop", "launch", "initialize", "state"},
		},
		"suspended although it starts resumed": {
			setup{config: startsResumed}, func(r *rig) {
				r.activate()
				r.must(r.Suspend(r.Context(), shell.Requested))
				r.forgetSoFar()
			},
			slices.Concat(ended, suspended, started), []string{"deinitialize requested", "stop", "launch", "initialize", "state"},
		},
		"resumed although it starts suspended": {
			setup{}, func(r *rig) {
				r.activate()
				r.must(r.Resume(r.Context(), shell.Requested))
				r.forgetSoFar()
			},
			slices.Concat(ended, resumed, started), []string{"deinitialize requested", "stop", "launch", "initialize", "state", "resume"},
		},
		"hibernated": {
			setup{}, func(r *rig) { r.activate(); r.hibernateNow() },
			slices.Concat(wake, ended, suspended, started, sleep), []string{"wake", "deinitialize requested", "stop", "launch", "initialize", "state", "hibernate"},
		},
		"hibernated by an earlier host": {
			setup{hibernated: true}, func(*rig) {},
			slices.Concat(wake, ended, suspended, started, sleep), []string{"wake", "deinitialize requested", "stop", "launch", "initialize", "state", "hibernate"},
		},
		"deactivated": {setup{}, func(*rig) {}, nil, nil},
		"unavailable": {setup{config: func(c *configs.Plugin) { c.StartMode = configs.StartUnavailable }}, func(*rig) {}, nil, nil},
		"waiting": {
			setup{}, func(r *rig) {
				r.requirements.set(errAbsent, nil)
				if err := r.Activate(r.Context(), shell.Requested); !errors.Is(err, shell.ErrPending) {
					r.Fatal(err)
				}
				r.forgetSoFar()
			}, nil, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, test.setup, func(r *rig) {
				test.enter(r)
				r.requirements.leave = func(context.Context) { r.Error("the instances that require it were to end") }
				before, control := r.StateAndControl()
				times := 0
				r.must(r.Replace(r.Context(), shell.Requested, r.another(), func(context.Context) error {
					times++
					if r.fake.HasProcess() || r.Config().Executable == "another" {
						r.Error("the work between was not done between")
					}
					return nil
				}))
				if now, ctl := r.StateAndControl(); now != before || ctl != control || times != 1 {
					r.Errorf("it is %s, %q; was %s, %q; the work between was done %d times", now, ctl, before, control, times)
				}
				r.expect(test.transitions...)
				r.expectActions(test.actions...)
				r.expectProgram("another")
				r.requirements.leave = nil
			})
		})
	}
}

// A plugin that slept is replaced by one that is awake and suspended for its trial, and put to
// sleep again if the work between fails.
func TestReplaceForTrial(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		r.hibernateNow()
		failed := func(context.Context) error { return errAbsent }
		if err := r.ReplaceForTrial(r.Context(), shell.Requested, r.another(), failed); !errors.Is(err, errAbsent) || r.State() != shell.Hibernated {
			r.Errorf("after %v it is %s", err, r.State())
		}
		_, control := r.StateAndControl()
		r.must(r.ReplaceForTrial(r.Context(), shell.Requested, r.another(), nil))
		if state, now := r.StateAndControl(); state != shell.Activated || now != control {
			r.Errorf("it is %s, %q; want active, %q", state, now, control)
		}
		r.expectProgram("another")
	})
}

// A plugin that slept in place does so again, and one on disk is on disk again.
func TestReplaceLeavesTheKindOfSleep(t *testing.T) {
	for _, onDisk := range []bool{false, true} {
		run(t, setup{}, func(r *rig) {
			r.fake.InPlace = true
			r.activate()
			r.hibernateNow()
			if onDisk {
				r.must(r.MoveToDisk(r.Context(), shell.Requested, 0))
			}
			before := r.Status().Sleep.Kind
			r.must(r.Replace(r.Context(), shell.Requested, r.another(), nil))
			if sleep := r.Status().Sleep; sleep == nil || sleep.Kind != before {
				r.Errorf("it sleeps %+v, slept %s", sleep, before)
			}
		})
	}
}

// A plugin that the host suspended since it was idle is resumed at its next use, also by a call
// that waited for the new plugin.
func TestReplaceOfAnIdlePlugin(t *testing.T) {
	run(t, setup{config: startsResumed}, func(r *rig) {
		r.activate()
		pass(time.Minute)
		r.must(r.SuspendIdle(r.Context(), time.Now()))
		r.must(r.Replace(r.Context(), shell.Requested, r.another(), nil))
		r.expectControl(statecontrol.Suspended, true)

		gate := r.fake.Hold(shelltest.Launch)
		replaced := background(func() error { return r.Replace(r.Context(), shell.Requested, r.another(), nil) })
		answered := background(func() error { return r.invoke(r.Context(), "") })
		gate.Open()
		r.must(<-replaced)
		r.must(<-answered)
		r.expectControl(statecontrol.Resumed, false)
	})
}

// Calls under way are answered by the old plugin, even if they take longer than its end may,
// and later ones by the new one, although calls don't wake this instance.
func TestReplaceAnswersEveryCall(t *testing.T) {
	run(t, setup{config: func(c *configs.Plugin) { c.OnCall, c.StopTimeout = configs.OnCallReject, configs.Duration(time.Second) }}, func(r *rig) {
		r.activate()
		byWhich := func(name string, gate *shelltest.Gate) <-chan string {
			answer := make(chan string, 1)
			go func() {
				err := r.invoke(r.Context(), name)
				answer <- fmt.Sprintf("%s %v", r.Config().Executable, err)
			}()
			if gate != nil {
				<-gate.Reached
			}
			return answer
		}
		invoke, launch := r.fake.Hold(shelltest.Invoke), r.fake.Hold(shelltest.Launch)
		stream, streamEnded := r.stream(r.Context())
		_ = stream
		early := byWhich("early", invoke)
		replaced := background(func() error { return r.Replace(r.Context(), shell.Requested, r.another(), nil) })
		late := byWhich("late", nil)
		if err := r.invoke(shell.RefuseUntilReplaced(r.Context()), "its own"); !errors.Is(err, shell.ErrUnavailable) {
			r.Errorf("a call of the plugin to itself: %v", err)
		}
		pass(10 * time.Second)
		if len(early)+len(late) != 0 || !r.DeliversCalls() || r.LaneStatus().Running != shell.Replace || r.LaneStatus().Held != 1 {
			r.Errorf("%d, %d answers; %+v", len(early), len(late), r.LaneStatus())
		}
		invoke.Open()
		if got := <-early; got != " <nil>" {
			r.Errorf("the early call: %s", got)
		}
		<-launch.Reached
		if err := <-streamEnded; err == nil || errors.Is(err, context.Canceled) {
			r.Errorf("the stream ended with %v", err)
		}
		later := byWhich("later", nil)
		pass(time.Second)
		if len(late)+len(later) != 0 || r.State() != shell.Activation {
			r.Errorf("%d, %d answers; it is %s", len(late), len(later), r.State())
		}
		launch.Open()
		r.must(<-replaced)
		for _, answer := range []<-chan string{late, later} {
			if got := <-answer; got != "another <nil>" {
				r.Errorf("a call that waited: %s", got)
			}
		}
	})
}

// A storm of callers sees no error while an active plugin is replaced again and again, and the
// calls that wait keep their bounds.
func TestReplaceInAStorm(t *testing.T) {
	run(t, setup{config: func(c *configs.Plugin) { c.OnCall = configs.OnCallReject }}, func(r *rig) {
		r.activate()
		var callers sync.WaitGroup
		call := func() {
			if err := r.invoke(r.Context(), "storm"); err != nil {
				r.Error(err)
			}
		}
		var over atomic.Bool
		for range 32 {
			callers.Go(func() {
				for !over.Load() {
					call()
					<-time.After(100 * time.Microsecond)
				}
			})
		}
		for range 10 {
			<-time.After(time.Millisecond)
			r.must(r.Replace(r.Context(), shell.Requested, r.another(), func(context.Context) error {
				<-time.After(time.Millisecond)
				return nil
			}))
		}
		over.Store(true)
		callers.Wait()

		launch := r.fake.Hold(shelltest.Launch)
		replaced := background(func() error { return r.Replace(r.Context(), shell.Requested, r.another(), nil) })
		for range shell.MaxHeldCalls {
			callers.Go(call)
		}
		synctest.Wait()
		if err := r.invoke(r.Context(), "one more"); !errors.Is(err, shell.ErrBusy) {
			r.Errorf("one call more than may wait: %v", err)
		}
		short, end := context.WithTimeout(r.Context(), time.Second)
		defer end()
		launch.Open()
		r.must(<-replaced)
		callers.Wait()
		launch = r.fake.Hold(shelltest.Launch)
		replaced = background(func() error { return r.Replace(r.Context(), shell.Requested, r.another(), nil) })
		if err := r.invoke(short, "impatient"); !errors.Is(err, shell.ErrTimedOut) || !strings.Contains(err.Error(), "being replaced") {
			r.Errorf("an impatient call: %v", err)
		}
		launch.Open()
		r.must(<-replaced)
	})
}

// TestReplaceFails has each part of a replacement fail.
func TestReplaceFails(t *testing.T) {
	errPassing := errBroken
	for name, test := range map[string]struct {
		hibernated bool
		fail       func(*rig)
		between    func(*rig) error
		state      shell.State
		program    string
		says       string
	}{
		"between":                    {between: func(*rig) error { return errBroken }, state: shell.Activated, program: "", says: "cannot replace: broken; the plugin was started again as it was"},
		"between, while it slept":    {hibernated: true, between: func(*rig) error { return errBroken }, state: shell.Hibernated, program: "", says: "started again as it was"},
		"between, and the old start": {between: func(r *rig) error { r.fake.Fail(shelltest.Initialize, errBroken); return errBroken }, state: shell.Deactivated, program: "", says: "could not be started again as it was"},
		"the new launch":             {fail: func(r *rig) { r.fake.Fail(shelltest.Launch, errBroken) }, state: shell.Deactivated, program: "another", says: "cannot replace: instantiation failed: broken"},
		"the new start while the old one slept": {
			hibernated: true, fail: func(r *rig) { r.fake.Fail(shelltest.Initialize, errBroken) }, state: shell.Deactivated, program: "another", says: "initialization failed",
		},
		"the old end":                     {fail: func(r *rig) { r.fake.Fail(shelltest.Deinitialize, errBroken) }, state: shell.Activated, program: "another"},
		"the wake, for a passing cause":   {hibernated: true, fail: func(r *rig) { r.fake.Fail(shelltest.Wake, errPassing) }, state: shell.Hibernated, program: "", says: "cannot replace: cannot wake: broken"},
		"the wake, for a lasting cause":   {hibernated: true, fail: func(r *rig) { r.fake.Fail(shelltest.Wake, errLasting) }, state: shell.Hibernated, program: "another"},
		"the sleep of the new one":        {hibernated: true, fail: func(r *rig) { r.fake.Fail(shelltest.Hibernate, errBroken) }, state: shell.Activated, program: "another"},
		"the requirements":                {fail: func(r *rig) { r.requirements.set(errAbsent, nil) }, state: shell.Precondition, program: "another", says: errAbsent.Error()},
		"the requirements while it slept": {hibernated: true, fail: func(r *rig) { r.requirements.set(errAbsent, nil) }, state: shell.Precondition, program: "another", says: errAbsent.Error()},
		"the requirements in the start":   {fail: func(r *rig) { r.requirements.set(nil, errAbsent) }, state: shell.Precondition, program: "another", says: "cannot stay active"},
		"the old one dies between": {
			between: func(r *rig) error { r.fake.Kill(); return nil }, state: shell.Activated, program: "another",
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, setup{config: func(c *configs.Plugin) { c.OnCall, c.OnFailedWake = configs.OnCallReject, configs.FailedWakeDeactivate }}, func(r *rig) {
				r.activate()
				if test.hibernated {
					r.hibernateNow()
				}
				if test.fail != nil {
					test.fail(r)
				}
				old, held := r.Config(), make(chan error, 1)
				between := func(context.Context) error {
					go func() { held <- r.invoke(r.Context(), "held") }() //nolint:contextcheck // it goes on after the work between
					synctest.Wait()
					if test.between != nil {
						return test.between(r)
					}
					return nil
				}
				err := r.Replace(r.Context(), shell.Requested, r.another(), between)
				if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
					t.Errorf("got %v, want %q", err, test.says)
				}
				if r.State() != test.state {
					t.Errorf("it is %s, want %s; history:\n%s", r.State(), test.state, history(r.Status()))
				}
				r.expectProgram(test.program)
				if _, asleep := errors.AsType[*shell.AsleepError](err); asleep {
					return // nothing was done between
				}
				if err := <-held; (err == nil) != (test.state == shell.Activated || test.state == shell.Hibernated) {
					t.Errorf("the call that waited: %v", err)
				}
				r.fake.ClearFailures()
				r.requirements.set(nil, nil)
				r.must(r.Replace(r.Context(), shell.Requested, old, nil)) // back
				r.expectProgram("")
				if got := r.State(); got != test.state {
					t.Errorf("put back it is %s", got)
				}
			})
		})
	}
}

// What a client asks for meanwhile waits for its turn, and finds the new plugin.
func TestReplaceGoesFirst(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		launch := r.fake.Hold(shelltest.Launch)
		replaced := background(func() error { return r.Replace(r.Context(), shell.Requested, r.another(), nil) })
		hibernated := background(func() error { return r.Hibernate(r.Context(), shell.Requested, 0) })
		deactivated := background(func() error { return r.Deactivate(r.Context(), shell.Requested) })
		if !pending(hibernated) || !pending(deactivated) {
			r.Error("an operation did not wait")
		}
		launch.Open()
		r.must(<-replaced)
		r.must(<-hibernated)
		r.must(<-deactivated)
		r.expectProgram("another")
		if r.State() != shell.Deactivated {
			r.Errorf("it is %s", r.State())
		}
	})
}

// A plugin that dies while it is replaced leaves the instance in a known state.
func TestReplaceOfADyingPlugin(t *testing.T) {
	for action, want := range map[string]shell.State{
		shelltest.Invoke: shell.Activated, shelltest.Deinitialize: shell.Activated, shelltest.Launch: shell.Deactivated, shelltest.Initialize: shell.Deactivated,
	} {
		run(t, setup{}, func(r *rig) {
			r.activate()
			gate := r.fake.Hold(action)
			answered := make(chan error, 1)
			if action == shelltest.Invoke {
				go func() { answered <- r.invoke(r.Context(), "") }()
				<-gate.Reached
			}
			replaced := background(func() error { return r.Replace(r.Context(), shell.Requested, r.another(), nil) })
			<-gate.Reached
			r.fake.Kill()
			gate.Open()
			if err := <-replaced; (err == nil) != (want == shell.Activated) {
				t.Errorf("dying in %s: %v", action, err)
			}
			if action == shelltest.Invoke {
				if err := <-answered; !errors.Is(err, shell.ErrNotAnswered) {
					t.Errorf("the call: %v", err)
				}
			}
			synctest.Wait()
			if r.State() != want {
				t.Errorf("it died in %s, and is %s", action, r.State())
			}
		})
	}
}

// A request that ends before its turn does nothing; later, it ends only the work between.
func TestReplaceOfAnImpatientCaller(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		launch := r.fake.Hold(shelltest.Launch)
		first := background(func() error { return r.Restart(r.Context(), shell.Requested) })
		ctx, cancel := context.WithCancel(r.Context())
		second := background(func() error { return r.Replace(ctx, shell.Requested, r.another(), nil) })
		cancel()
		if err := <-second; !errors.Is(err, shell.ErrInProgress) {
			r.Errorf("got %v", err)
		}
		launch.Open()
		r.must(<-first)
		r.expectProgram("")

		ctx, cancel = context.WithCancel(r.Context())
		err := r.Replace(ctx, shell.Requested, r.another(), func(ctx context.Context) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		})
		if !errors.Is(err, context.Canceled) || r.State() != shell.Activated {
			r.Errorf("got %v, it is %s", err, r.State())
		}
		r.expectProgram("")
		ctx, cancel = context.WithCancel(r.Context())
		r.must(r.Replace(ctx, shell.Requested, r.another(), func(context.Context) error { cancel(); return nil }))
		r.expectProgram("another")
	})
}

// The end of the host ends a replacement, at each of its parts, and leaves no process.
func TestReplaceAtTheEndOfTheHost(t *testing.T) {
	for _, action := range []string{shelltest.Invoke, shelltest.Deinitialize, "between", shelltest.Launch, shelltest.Initialize} {
		t.Run(action, func(t *testing.T) {
			run(t, setup{}, func(r *rig) {
				r.activate()
				reached := make(chan struct{})
				if action != "between" {
					reached = r.fake.Hold(action).Reached
				}
				if action == shelltest.Invoke {
					go func() { _ = r.invoke(r.Context(), "") }()
					synctest.Wait()
				}
				replaced := background(func() error {
					return r.Replace(r.Context(), shell.Requested, r.another(), func(ctx context.Context) error {
						if action == "between" {
							close(reached)
							<-ctx.Done()
						}
						return ctx.Err()
					})
				})
				<-reached
				held := background(func() error { return r.invoke(r.Context(), "held") })
				begun := time.Now()
				r.must(r.Deactivate(r.Context(), shell.Shutdown))
				if took := time.Since(begun); took > time.Duration(r.Config().StopTimeout)*2 {
					t.Errorf("the end of the host took %s", took)
				}
				if err := <-replaced; !errors.Is(err, shell.ErrUnavailable) {
					t.Errorf("got %v", err)
				}
				if err := <-held; !errors.Is(err, shell.ErrUnavailable) {
					t.Errorf("the call that waited: %v", err)
				}
				if r.State() != shell.Deactivated || r.fake.HasProcess() {
					t.Errorf("it is %s", r.State())
				}
			})
		})
	}
}

// The new plugin makes a golden image of its own, also if those of the old one were in doubt.
func TestReplaceMakesAGoldenImage(t *testing.T) {
	run(t, setup{golden: true, config: func(c *configs.Plugin) { c.WarmStart = true }}, func(r *rig) {
		r.activate()
		r.must(r.Restart(r.Context(), shell.Requested))
		r.expectActions("deinitialize requested", "stop", "warm", "state")
		r.fake.Kill()
		synctest.Wait()
		r.activate()
		if image, why := r.GoldenImage(); image != nil || why == nil {
			r.Fatalf("the image is not in doubt: %v, %v", image, why)
		}
		r.must(r.Replace(r.Context(), shell.Requested, r.another(), nil))
		if image, why := r.GoldenImage(); image == nil {
			r.Errorf("it has no golden image: %v", why)
		}
	})
}

// A restart on request starts what does not run, and leaves a plugin running that slept.
func TestRestartOnRequest(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.must(r.Restart(r.Context(), shell.Requested))
		r.expectActions("launch", "initialize", "state")
		r.must(r.Resume(r.Context(), shell.Requested))
		r.must(r.Restart(r.Context(), shell.Requested))
		if _, control := r.StateAndControl(); control != statecontrol.Suspended {
			r.Errorf("it is %s, not as configured", control)
		}
		r.hibernateNow()
		r.must(r.Restart(r.Context(), shell.Requested))
		r.expectActions("wake", "deinitialize requested", "stop", "launch", "initialize", "state")
		r.hibernateNow()
		r.fake.Fail(shelltest.Wake, errBroken)
		if err := r.Restart(r.Context(), shell.Requested); err == nil || err.Error() != "cannot restart: cannot wake: broken" || r.State() != shell.Hibernated {
			r.Errorf("got %v, it is %s", err, r.State())
		}
	})
}

// A host that leaves its plugins lets a replacement go on for a start timeout, and leaves the
// new plugin running.
func TestReplaceWhenTheHostLeaves(t *testing.T) {
	for _, slow := range []bool{false, true} {
		run(t, setup{}, func(r *rig) {
			r.activate()
			between := make(chan struct{})
			replaced := background(func() error {
				return r.Replace(r.Context(), shell.Requested, r.another(), func(ctx context.Context) error {
					select {
					case <-between:
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				})
			})
			left := background(func() error { return r.LeaveOrDeactivate(r.Context()) })
			if !slow {
				close(between)
			}
			if err := <-replaced; (err != nil) != slow {
				t.Errorf("slow %t: got %v", slow, err)
			}
			r.must(<-left)
			if want := map[bool]shell.State{false: shell.Activated, true: shell.Deactivated}[slow]; r.State() != want {
				t.Errorf("slow %t: it is %s", slow, r.State())
			}
		})
	}
}

// The host goes on to repeat the wake of a plugin that could not be replaced, if it did so
// before, and does not begin to.
func TestReplaceLeavesTheRepeatedWake(t *testing.T) {
	for _, wanted := range []bool{false, true} {
		run(t, setup{hibernated: true}, func(r *rig) {
			r.fake.Fail(shelltest.Wake, errBroken)
			if wanted {
				if err := r.Activate(r.Context(), shell.Requested); err == nil {
					r.Error("it woke")
				}
			}
			pass(10 * time.Second)
			if err := r.Replace(r.Context(), shell.Requested, r.another(), nil); err == nil {
				r.Error("it was replaced")
			}
			r.fake.ClearFailures()
			pass(10 * time.Minute)
			if got := r.State() == shell.Activated; got != wanted {
				t.Errorf("wanted %t: it is %s", wanted, r.State())
			}
		})
	}
}
