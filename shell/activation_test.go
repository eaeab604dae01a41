package shell_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shelltest"
	"dormouse/statecontrol"
)

func TestActivate(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.must(r.Activate(r.Context(), shell.Startup))
		r.expect(
			"activate: deactivated > activation, startup",
			"suspend: activation is suspended, startup",
			"activate: activation > activated, startup",
		)
		r.expectActions(shelltest.Launch, shelltest.Initialize, shelltest.AskState)
		st := r.Status()
		if st.Err != nil || st.Reason != shell.Startup || st.Control != statecontrol.Suspended || st.Information.Class != "Fake" || st.Figures.PID != 1 {
			r.Errorf("got %+v", st)
		}

		r.must(r.Deactivate(r.Context(), shell.Requested))
		r.expect(
			"deactivate: activated > deactivation, requested",
			"deactivate: deactivation > deactivated, requested",
		)
		r.expectActions(shelltest.Deinitialize+" requested", shelltest.Stop)
	})
}

func TestActivateResumes(t *testing.T) {
	yes, no := true, false
	for _, test := range []struct {
		name  string
		mode  configs.StartMode
		key   *bool
		first statecontrol.State
		want  []string
	}{
		{"starts with the host", configs.StartActivated, nil, statecontrol.Uninitialized, []string{"resume: activation is resumed, startup"}},
		{"does not", configs.StartDeactivated, nil, statecontrol.Uninitialized, []string{"suspend: activation is suspended, startup"}},
		{"is told to", configs.StartDeactivated, &yes, statecontrol.Suspended, []string{"resume: activation is resumed, startup"}},
		{"is told not to", configs.StartActivated, &no, statecontrol.Suspended, []string{"suspend: activation is suspended, startup"}},
		{"is resumed already", configs.StartActivated, nil, statecontrol.Resumed, []string{"resume: activation is resumed, startup"}},
		{"resumes by itself", configs.StartDeactivated, nil, statecontrol.Resumed, []string{"resume: activation is resumed, startup"}},
		{"has exited", configs.StartDeactivated, nil, statecontrol.Exited, []string{"suspend: activation is suspended, startup"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := func(c *configs.Plugin) { c.StartMode, c.Resume = test.mode, test.key }
			run(t, setup{config: config}, func(r *rig) {
				r.fake.Control.AfterLaunch = test.first
				r.must(r.Activate(r.Context(), shell.Startup))
				r.expect("activate: deactivated > activation, startup", test.want[0], "activate: activation > activated, startup")
			})
		})
	}
}

func TestActivateFails(t *testing.T) {
	for _, test := range []struct {
		action  string
		err     error
		want    error
		reason  shell.Reason
		actions []string
	}{
		{shelltest.Launch, errBroken, shell.ErrInstantiation, shell.InstantiationFailed, []string{shelltest.Launch, shelltest.Stop}},
		{shelltest.Initialize, errBroken, shell.ErrInitialization, shell.InitializationFailed, []string{shelltest.Launch, shelltest.Initialize, shelltest.Stop}},
		{shelltest.AskState, errBroken, shell.ErrInitialization, shell.InitializationFailed, []string{shelltest.Launch, shelltest.Initialize, shelltest.AskState, shelltest.Stop}},
		{"resume", errBroken, shell.ErrInitialization, shell.InitializationFailed, []string{shelltest.Launch, shelltest.Initialize, shelltest.AskState, "resume", shelltest.Stop}},
	} {
		t.Run(test.action, func(t *testing.T) {
			config := func(c *configs.Plugin) { c.StartMode = configs.StartActivated }
			run(t, setup{config: config}, func(r *rig) {
				r.fake.Fail(test.action, test.err)
				err := r.Activate(r.Context(), shell.Requested)
				if !errors.Is(err, test.want) || !errors.Is(err, test.err) {
					r.Errorf("got error %v, want %v and %v in it", err, test.want, test.err)
				}
				r.expect(
					"activate: deactivated > activation, requested",
					fmt.Sprintf("activate: activation > deactivated, %s: %v", test.reason, err),
				)
				r.expectActions(test.actions...)
				st := r.Status()
				if st.Reason != test.reason || st.Err == nil || !strings.Contains(st.Err.Error(), errBroken.Error()) {
					r.Errorf("got reason %s and error %v", st.Reason, st.Err)
				}

				// The next one that succeeds leaves nothing of it.
				r.fake.Fail(test.action, nil)
				r.activate()
				if st := r.Status(); st.Err != nil || st.Reason != shell.Requested {
					r.Errorf("got reason %s and error %v", st.Reason, st.Err)
				}
			})
		})
	}
}

func TestActivateEndsInTime(t *testing.T) {
	for _, action := range []string{shelltest.Launch, shelltest.Initialize, shelltest.AskState} {
		run(t, setup{}, func(r *rig) {
			r.fake.Hold(action)
			begun := time.Now()
			err := r.Activate(r.Context(), shell.Requested)
			if !errors.Is(err, shell.ErrTimedOut) || r.State() != shell.Deactivated {
				r.Errorf("%s: got error %v in state %s", action, err, r.State())
			}
			if took := time.Since(begun); took != time.Duration(r.Config().StartTimeout) {
				r.Errorf("%s: it took %s", action, took)
			}
		})
	}
}

func TestDeactivateInDisorder(t *testing.T) {
	t.Run("plugin does not answer", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			r.fake.Hold(shelltest.Deinitialize)
			begun := time.Now()
			r.must(r.Deactivate(r.Context(), shell.Requested))
			if took := time.Since(begun); took != time.Duration(r.Config().StopTimeout) {
				r.Errorf("it took %s", took)
			}
			r.expectActions(shelltest.Deinitialize+" requested", shelltest.Stop)
			r.expect(
				"deactivate: activated > deactivation, requested",
				"deactivate: deactivation > deactivated, requested",
			)
		})
	})
	t.Run("cannot be cleared away", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			r.fake.Fail(shelltest.Stop, errBroken)
			if err := r.Deactivate(r.Context(), shell.Conditions); !errors.Is(err, errBroken) {
				r.Errorf("got error %v", err)
			}
			r.expect(
				"deactivate: activated > deactivation, conditions",
				"deactivate: deactivation > deactivated, conditions: broken",
			)
		})
	})
}

func TestStateControl(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		r.must(r.Resume(r.Context(), shell.Requested))
		r.must(r.Suspend(r.Context(), shell.Requested))
		r.expect("resume: activated is resumed, requested", "suspend: activated is suspended, requested")
		r.expectActions("resume", "suspend")

		if err := r.Suspend(r.Context(), shell.Requested); !errors.Is(err, shell.ErrIllegalState) {
			r.Errorf("got error %v, want ErrIllegalState", err)
		}
		r.fake.Fail("resume", errBroken)
		if err := r.Resume(r.Context(), shell.Requested); !errors.Is(err, errBroken) {
			r.Errorf("got error %v", err)
		}
		r.fake.Fail("resume", nil)
		r.fake.Hold("resume")
		if err := r.Resume(r.Context(), shell.Requested); !errors.Is(err, shell.ErrTimedOut) {
			r.Errorf("got error %v, want ErrTimedOut", err)
		}
		r.expect()
		if st := r.Status(); st.State != shell.Activated || st.Control != statecontrol.Suspended {
			r.Errorf("got %s, %s", st.State, st.Control)
		}

		// The plugin changes by itself.
		r.fake.Control.ChangeByItself(statecontrol.Resumed)
		r.fake.Control.ChangeByItself(statecontrol.Resumed)
		r.fake.Control.ChangeByItself(statecontrol.Exited)
		r.expect("resume: activated is resumed, automatic")
	})
}

func TestSuspendWithoutStateControl(t *testing.T) {
	run(t, setup{noControl: true}, func(r *rig) {
		r.activate()
		r.must(r.Suspend(r.Context(), shell.Requested))
		r.expect(
			"deactivate: activated > deactivation, requested",
			"deactivate: deactivation > deactivated, requested",
		)
	})
	config := func(c *configs.Plugin) { c.StartMode = configs.StartActivated }
	run(t, setup{noControl: true, config: config}, func(r *rig) {
		r.activate()
		if err := r.Suspend(r.Context(), shell.Requested); !errors.Is(err, shell.ErrNoStateControl) {
			r.Errorf("got error %v, want ErrNoStateControl", err)
		}
		r.expect()
	})
}

func TestResumeFromElsewhere(t *testing.T) {
	t.Run("deactivated", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.must(r.Resume(r.Context(), shell.Requested))
			r.expect(
				"activate: deactivated > activation, requested",
				"suspend: activation is suspended, requested",
				"activate: activation > activated, requested",
				"resume: activated is resumed, requested",
			)
		})
	})
	t.Run("deactivated, resumes with the activation", func(t *testing.T) {
		config := func(c *configs.Plugin) { c.StartMode = configs.StartActivated }
		run(t, setup{config: config}, func(r *rig) {
			r.must(r.Resume(r.Context(), shell.Requested))
			r.expectActions(shelltest.Launch, shelltest.Initialize, shelltest.AskState, "resume")
		})
	})
	t.Run("hibernated", func(t *testing.T) {
		run(t, setup{hibernated: true}, func(r *rig) {
			r.must(r.Resume(r.Context(), shell.Requested))
			r.expect(
				"wake: hibernated > waking, requested",
				"wake: waking > activated, requested",
				"resume: activated is resumed, requested",
			)
		})
	})
	t.Run("without state control", func(t *testing.T) {
		run(t, setup{noControl: true}, func(r *rig) {
			if err := r.Resume(r.Context(), shell.Requested); !errors.Is(err, shell.ErrNoStateControl) || r.State() != shell.Activated {
				r.Errorf("got error %v in state %s, want ErrNoStateControl in activated", err, r.State())
			}
		})
	})
}

func TestShutdownIsTheLastOperation(t *testing.T) {
	for _, state := range []shell.State{shell.Unavailable, shell.Hibernated} {
		t.Run(string(state), func(t *testing.T) {
			run(t, setup{hibernated: state == shell.Hibernated}, func(r *rig) {
				if state == shell.Unavailable {
					r.must(r.MakeUnavailable(r.Context(), shell.Requested))
				}
				r.forgetSoFar()
				r.must(r.Deactivate(r.Context(), shell.Shutdown))
				r.must(r.Deactivate(r.Context(), shell.Requested))
				if err := r.Activate(r.Context(), shell.Requested); !errors.Is(err, shell.ErrUnavailable) {
					r.Errorf("got error %v, want ErrUnavailable", err)
				}
				r.expect()
			})
		})
	}
	t.Run("activated", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			held := r.fake.Hold(shelltest.Deinitialize)
			down := background(func() error { return r.Deactivate(context.Background(), shell.Shutdown) })
			again := background(func() error { return r.Activate(r.Context(), shell.Requested) })
			held.Open()
			r.must(<-down)
			if err := <-again; !errors.Is(err, shell.ErrUnavailable) {
				r.Errorf("got error %v, want ErrUnavailable", err)
			}
			r.expectActions(shelltest.Deinitialize+" shutdown", shelltest.Stop)
		})
	})
	for _, action := range []string{shelltest.Probe, shelltest.Launch, shelltest.Initialize} {
		t.Run("cuts short in "+action, func(t *testing.T) {
			run(t, setup{probe: action == shelltest.Probe}, func(r *rig) {
				begun := time.Now()
				r.fake.Hold(action)
				up := background(r.activateRequested)
				waits := background(func() error { return r.Suspend(r.Context(), shell.Requested) })
				r.must(r.Deactivate(context.Background(), shell.Shutdown))
				for _, done := range []<-chan error{up, waits} {
					if err := <-done; !errors.Is(err, shell.ErrClosing) {
						r.Errorf("got error %v, want %v", err, shell.ErrClosing)
					}
				}
				if st := r.Status(); st.State != shell.Deactivated || st.Reason != shell.Shutdown || time.Since(begun) != 0 {
					r.Errorf("it is %s (%s) after %s", st.State, st.Reason, time.Since(begun))
				}
			})
		})
	}
	t.Run("gives a wake up after the start timeout, and no cold start follows", func(t *testing.T) {
		config := func(c *configs.Plugin) { c.StopTimeout = configs.Duration(time.Second) }
		run(t, setup{config: config, hibernated: true}, func(r *rig) {
			r.fake.Hold(shelltest.Wake) // until its time is over
			up := background(r.activateRequested)
			begun := time.Now()
			r.must(r.Deactivate(context.Background(), shell.Shutdown))
			if err := <-up; !errors.Is(err, shell.ErrClosing) {
				r.Errorf("got error %v, want ErrClosing", err)
			}
			if took, want := time.Since(begun), time.Duration(r.Config().StartTimeout); took != want {
				r.Errorf("it took %s, want the start timeout, %s", took, want)
			}
			r.expectActions(shelltest.Wake)
			if r.State() != shell.Hibernated {
				r.Errorf("it is %s", r.State())
			}
		})
	})
}
