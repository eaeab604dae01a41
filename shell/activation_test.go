package shell

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"dormouse/configs"
	"dormouse/statecontrol"
)

func TestActivate(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.must(r.Activate(r.Context(), Startup))
		r.expect(
			"activate: deactivated > activation, startup",
			"suspend: activation is suspended",
			"activate: activation > activated, startup",
		)
		r.expectSteps(launch, initialize, asking)
		st := r.Status()
		if st.Err != nil || st.Reason != Startup || st.Control != statecontrol.Suspended || st.Information.Class != "Fake" || st.Facts.PID != 1 {
			r.Errorf("got %+v", st)
		}

		r.must(r.Deactivate(r.Context(), Requested))
		r.expect(
			"deactivate: activated > deactivation, requested",
			"deactivate: deactivation > deactivated, requested",
		)
		r.expectSteps(deinitialize+" requested", stop)
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
		{"starts with the host", configs.StartActivated, nil, statecontrol.Uninitialized, []string{"resume: activation is resumed"}},
		{"does not", configs.StartDeactivated, nil, statecontrol.Uninitialized, []string{"suspend: activation is suspended"}},
		{"is told to", configs.StartDeactivated, &yes, statecontrol.Suspended, []string{"resume: activation is resumed"}},
		{"is told not to", configs.StartActivated, &no, statecontrol.Suspended, []string{"suspend: activation is suspended"}},
		{"is resumed already", configs.StartActivated, nil, statecontrol.Resumed, []string{"resume: activation is resumed"}},
		{"resumes by itself", configs.StartDeactivated, nil, statecontrol.Resumed, []string{"resume: activation is resumed"}},
		{"has exited", configs.StartDeactivated, nil, statecontrol.Exited, []string{"suspend: activation is suspended"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := func(c *configs.Plugin) { c.StartMode, c.Resume = test.mode, test.key }
			run(t, setup{config: config}, func(r *rig) {
				r.fake.control.first = test.first
				r.must(r.Activate(r.Context(), Startup))
				r.expect("activate: deactivated > activation, startup", test.want[0], "activate: activation > activated, startup")
			})
		})
	}
}

func TestActivateFails(t *testing.T) {
	for _, test := range []struct {
		step   string
		err    error
		want   error
		reason Reason
		steps  []string
	}{
		{launch, errBroken, ErrInstantiation, InstantiationFailed, []string{launch, stop}},
		{initialize, errBroken, ErrInitialization, InitializationFailed, []string{launch, initialize, stop}},
		{asking, errBroken, ErrInitialization, InitializationFailed, []string{launch, initialize, asking, stop}},
		{"resume", errBroken, ErrInitialization, InitializationFailed, []string{launch, initialize, asking, "resume", stop}},
	} {
		t.Run(test.step, func(t *testing.T) {
			config := func(c *configs.Plugin) { c.StartMode = configs.StartActivated }
			run(t, setup{config: config}, func(r *rig) {
				r.fake.fail(test.step, test.err)
				err := r.Activate(r.Context(), Requested)
				if !errors.Is(err, test.want) || !errors.Is(err, test.err) {
					r.Errorf("got error %v, want %v and %v in it", err, test.want, test.err)
				}
				r.expect(
					"activate: deactivated > activation, requested",
					fmt.Sprintf("activate: activation > deactivated, %s: %v", test.reason, err),
				)
				r.expectSteps(test.steps...)
				st := r.Status()
				if st.Reason != test.reason || st.Err == nil || !strings.Contains(st.Err.Error(), errBroken.Error()) {
					r.Errorf("got reason %s and error %v", st.Reason, st.Err)
				}

				// The next one that succeeds leaves nothing of it.
				r.fake.fail(test.step, nil)
				r.activate()
				if st := r.Status(); st.Err != nil || st.Reason != Requested {
					r.Errorf("got reason %s and error %v", st.Reason, st.Err)
				}
			})
		})
	}
}

func TestActivateEndsInTime(t *testing.T) {
	for _, step := range []string{launch, initialize, asking} {
		run(t, setup{}, func(r *rig) {
			r.fake.hold(step)
			begun := time.Now()
			err := r.Activate(r.Context(), Requested)
			if !errors.Is(err, ErrTimedOut) || r.State() != Deactivated {
				r.Errorf("%s: got error %v in state %s", step, err, r.State())
			}
			if took := time.Since(begun); took != time.Duration(r.Config().StartTimeout) {
				r.Errorf("%s: it took %s", step, took)
			}
		})
	}
}

func TestDeactivateInDisorder(t *testing.T) {
	t.Run("plugin does not answer", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			r.fake.hold(deinitialize)
			begun := time.Now()
			r.must(r.Deactivate(r.Context(), Requested))
			if took := time.Since(begun); took != time.Duration(r.Config().StopTimeout) {
				r.Errorf("it took %s", took)
			}
			r.expectSteps(deinitialize+" requested", stop)
			r.expect(
				"deactivate: activated > deactivation, requested",
				"deactivate: deactivation > deactivated, requested",
			)
		})
	})
	t.Run("cannot be cleared away", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			r.fake.fail(stop, errBroken)
			if err := r.Deactivate(r.Context(), Conditions); !errors.Is(err, errBroken) {
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
		r.must(r.Resume(r.Context(), Requested))
		r.must(r.Suspend(r.Context(), Requested))
		r.expect("resume: activated is resumed", "suspend: activated is suspended")
		r.expectSteps("resume", "suspend")

		if err := r.Suspend(r.Context(), Requested); !errors.Is(err, ErrIllegalState) {
			r.Errorf("got error %v, want ErrIllegalState", err)
		}
		r.fake.fail("resume", errBroken)
		if err := r.Resume(r.Context(), Requested); !errors.Is(err, errBroken) {
			r.Errorf("got error %v", err)
		}
		r.fake.fail("resume", nil)
		r.fake.hold("resume")
		if err := r.Resume(r.Context(), Requested); !errors.Is(err, ErrTimedOut) {
			r.Errorf("got error %v, want ErrTimedOut", err)
		}
		r.expect()
		if st := r.Status(); st.State != Activated || st.Control != statecontrol.Suspended {
			r.Errorf("got %s, %s", st.State, st.Control)
		}

		// The plugin changes by itself.
		r.fake.control.turn(statecontrol.Resumed)
		r.fake.control.turn(statecontrol.Resumed)
		r.fake.control.turn(statecontrol.Exited)
		r.expect("resume: activated is resumed")
	})
}

func TestSuspendWithoutStateControl(t *testing.T) {
	run(t, setup{plain: true}, func(r *rig) {
		r.activate()
		r.must(r.Suspend(r.Context(), Requested))
		r.expect(
			"deactivate: activated > deactivation, requested",
			"deactivate: deactivation > deactivated, requested",
		)
	})
	config := func(c *configs.Plugin) { c.StartMode = configs.StartActivated }
	run(t, setup{plain: true, config: config}, func(r *rig) {
		r.activate()
		if err := r.Suspend(r.Context(), Requested); !errors.Is(err, ErrNoStateControl) {
			r.Errorf("got error %v, want ErrNoStateControl", err)
		}
		r.expect()
	})
}

func TestResumeFromElsewhere(t *testing.T) {
	t.Run("deactivated", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.must(r.Resume(r.Context(), Requested))
			r.expect(
				"activate: deactivated > activation, requested",
				"suspend: activation is suspended",
				"activate: activation > activated, requested",
				"resume: activated is resumed",
			)
		})
	})
	t.Run("deactivated, resumes with the activation", func(t *testing.T) {
		config := func(c *configs.Plugin) { c.StartMode = configs.StartActivated }
		run(t, setup{config: config}, func(r *rig) {
			r.must(r.Resume(r.Context(), Requested))
			r.expectSteps(launch, initialize, asking, "resume")
		})
	})
	t.Run("hibernated", func(t *testing.T) {
		run(t, setup{image: true}, func(r *rig) {
			r.must(r.Resume(r.Context(), Requested))
			r.expect(
				"wake: hibernated > waking, requested",
				"wake: waking > activated, requested",
				"resume: activated is resumed",
			)
		})
	})
	t.Run("without state control", func(t *testing.T) {
		run(t, setup{plain: true}, func(r *rig) {
			if err := r.Resume(r.Context(), Requested); !errors.Is(err, ErrNoStateControl) || r.State() != Activated {
				r.Errorf("got error %v in state %s, want ErrNoStateControl in activated", err, r.State())
			}
		})
	})
}

func TestShutdownIsTheLastOperation(t *testing.T) {
	for _, state := range []State{Unavailable, Hibernated} {
		t.Run(string(state), func(t *testing.T) {
			run(t, setup{image: state == Hibernated}, func(r *rig) {
				if state == Unavailable {
					r.must(r.MakeUnavailable(r.Context(), Requested))
				}
				r.forget()
				r.must(r.Deactivate(r.Context(), Shutdown))
				r.must(r.Deactivate(r.Context(), Requested))
				if err := r.Activate(r.Context(), Requested); !errors.Is(err, ErrUnavailable) {
					r.Errorf("got error %v, want ErrUnavailable", err)
				}
				r.expect()
			})
		})
	}
	t.Run("activated", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			held := r.fake.hold(deinitialize)
			down := background(func() error { return r.Deactivate(context.Background(), Shutdown) })
			again := background(func() error { return r.Activate(r.Context(), Requested) })
			held.open()
			r.must(<-down)
			if err := <-again; !errors.Is(err, ErrUnavailable) {
				r.Errorf("got error %v, want ErrUnavailable", err)
			}
			r.expectSteps(deinitialize+" shutdown", stop)
		})
	})
	for _, step := range []string{probing, launch, initialize} {
		t.Run("cuts short in "+step, func(t *testing.T) {
			run(t, setup{probe: step == probing}, func(r *rig) {
				begun := time.Now()
				r.fake.hold(step)
				up := background(r.up)
				waits := background(func() error { return r.Suspend(r.Context(), Requested) })
				r.must(r.Deactivate(context.Background(), Shutdown))
				for _, done := range []<-chan error{up, waits} {
					if err := <-done; !errors.Is(err, errClosing) {
						r.Errorf("got error %v, want %v", err, errClosing)
					}
				}
				if st := r.Status(); st.State != Deactivated || st.Reason != Shutdown || time.Since(begun) != 0 {
					r.Errorf("it is %s (%s) after %s", st.State, st.Reason, time.Since(begun))
				}
			})
		})
	}
	t.Run("cuts no wake, but no cold start follows", func(t *testing.T) {
		config := func(c *configs.Plugin) { c.StopTimeout = configs.Duration(time.Second) }
		run(t, setup{config: config, image: true}, func(r *rig) {
			r.fake.hold(wakening) // until its time is over
			up := background(r.up)
			r.must(r.Deactivate(context.Background(), Shutdown))
			if err := <-up; !errors.Is(err, ErrTimedOut) {
				r.Errorf("got error %v, want ErrTimedOut", err)
			}
			r.expectSteps(wakening, stop)
		})
	})
}
