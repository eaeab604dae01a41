package shell_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/shell"
	"dormouse/shell/shelltest"
	"dormouse/statecontrol"
)

func deactivateOnFailedWake(c *configs.Plugin) { c.OnFailedWake = configs.FailedWakeDeactivate }

// putAside is the action that keeps an image after a wake with errLasting.
const putAside = shelltest.PutAside + " " + string(hibernate.Lasting)

func TestHibernateAndWake(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.must(r.Activate(r.Context(), shell.Startup))
		r.forgetSoFar()
		r.must(r.Hibernate(r.Context(), shell.Automatic, 0))
		r.expect(
			"hibernate: activated > hibernating, automatic",
			"hibernate: hibernating > hibernated, automatic",
		)
		r.expectActions(shelltest.Hibernate)
		st := r.Status()
		if st.Control != statecontrol.Suspended || st.Reason != shell.Automatic || st.Sleep == nil || st.Figures.PID != 0 {
			r.Errorf("got %+v", st)
		}

		r.must(r.Activate(r.Context(), shell.Requested))
		r.expect(
			"wake: hibernated > waking, requested",
			"wake: waking > activated, requested",
		)
		r.expectActions(shelltest.Wake)
		if st := r.Status(); st.Control != statecontrol.Suspended || st.Sleep != nil || st.Figures.PID != 2 {
			r.Errorf("got %+v", st)
		}
		r.must(r.invoke(r.Context(), ""))
	})
}

func TestHibernateRefused(t *testing.T) {
	for _, test := range []struct {
		name  string
		setup setup
		want  error
		text  string
	}{
		{"resumed", setup{config: func(c *configs.Plugin) { c.StartMode = configs.StartActivated }}, shell.ErrIllegalState, "it is resumed, suspend it first"},
		{"no state control", setup{noControl: true}, shell.ErrIllegalState, "no state control"},
		{"in process", setup{builtIn: true}, shell.ErrBuiltIn, "cannot hibernate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, test.setup, func(r *rig) {
				r.activate()
				err := r.Hibernate(r.Context(), shell.Requested, 0)
				if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
					r.Errorf("got error %q, want %v with %q", err, test.want, test.text)
				}
				r.expect()
				if st := r.Status(); st.State != shell.Activated || st.Err != nil {
					r.Errorf("got %s with error %v", st.State, st.Err)
				}
			})
		})
	}
}

func TestHibernateFails(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.must(r.Activate(r.Context(), shell.Startup))
		r.forgetSoFar()
		r.fake.Fail(shelltest.Hibernate, errBroken)
		if err := r.Hibernate(r.Context(), shell.Requested, 0); !errors.Is(err, errBroken) {
			r.Errorf("got error %v", err)
		}
		r.expect(
			"hibernate: activated > hibernating, requested",
			"hibernate: hibernating > activated, startup: broken",
		)
		st := r.Status()
		if st.Control != statecontrol.Suspended || st.Reason != shell.Startup || !errors.Is(st.Err, errBroken) || st.Figures.PID != 1 {
			r.Errorf("got %+v", st)
		}
		r.must(r.invoke(r.Context(), ""))

		r.fake.Fail(shelltest.Hibernate, nil)
		r.must(r.Hibernate(r.Context(), shell.Requested, 0))
		if st := r.Status(); st.Err != nil {
			r.Errorf("the error %v has outlived its state", st.Err)
		}
	})
}

func TestHibernateEndsInTime(t *testing.T) {
	for _, test := range []struct{ limit, want time.Duration }{
		{0, hibernateTimeout},
		{time.Second, time.Second},
		{time.Hour, hibernateTimeout},
	} {
		run(t, setup{}, func(r *rig) {
			r.activate()
			r.fake.Hold(shelltest.Hibernate)
			begun := time.Now()
			err := r.Hibernate(r.Context(), shell.Requested, test.limit)
			if took := time.Since(begun); took != test.want || !errors.Is(err, shell.ErrTimedOut) || r.State() != shell.Activated {
				r.Errorf("limit %s: %s after %s: %v", test.limit, r.State(), took, err)
			}
		})
	}
}

func TestControlChangesWhileHibernating(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		held := r.fake.Hold(shelltest.Hibernate)
		r.fake.Fail(shelltest.Hibernate, errBroken)
		asleep := background(func() error { return r.Hibernate(r.Context(), shell.Requested, 0) })
		r.fake.Control.ChangeByItself(statecontrol.Resumed)
		held.Open()
		if err := <-asleep; !errors.Is(err, errBroken) {
			r.Errorf("got error %v", err)
		}
		if st := r.Status(); st.State != shell.Activated || st.Control != statecontrol.Resumed {
			r.Errorf("got %s, %s; want activated, resumed", st.State, st.Control)
		}
	})
}

func TestPluginDiesOfHibernation(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		held := r.fake.Hold(shelltest.Hibernate)
		asleep := background(func() error { return r.Hibernate(r.Context(), shell.Requested, 0) })
		r.fake.Kill()
		held.Open()
		if err := <-asleep; !errors.Is(err, shell.ErrExited) {
			r.Errorf("got error %v, want ErrExited", err)
		}
		r.expect(
			"hibernate: activated > hibernating, requested",
			"exit: hibernating > deactivation, failure",
			fmt.Sprintf("exit: deactivation > deactivated, failure: %v", shelltest.ErrKilled),
		)
		r.expectActions(shelltest.Hibernate, shelltest.Stop)
	})
}

func TestWakeFails(t *testing.T) {
	t.Run("deactivate", func(t *testing.T) {
		run(t, setup{hibernated: true, config: deactivateOnFailedWake}, func(r *rig) {
			r.fake.Fail(shelltest.Wake, errLasting)
			if err := r.Activate(r.Context(), shell.Requested); !errors.Is(err, errBroken) {
				r.Errorf("got error %v", err)
			}
			r.expect(
				"wake: hibernated > waking, requested",
				"wake: waking > deactivated, failure: cannot wake: broken",
			)
			r.expectActions(shelltest.Wake, putAside, shelltest.Stop)
			if st := r.Status(); !errors.Is(st.Err, errBroken) {
				r.Errorf("got error %v", st.Err)
			}
		})
	})
	t.Run("cold start", func(t *testing.T) {
		run(t, setup{hibernated: true}, func(r *rig) {
			r.fake.Fail(shelltest.Wake, errLasting)
			r.must(r.Activate(r.Context(), shell.Requested))
			r.expect(
				"wake: hibernated > waking, requested",
				"wake: waking > deactivated, failure: cannot wake: broken",
				"activate: deactivated > activation, automatic",
				"suspend: activation is suspended, automatic",
				"activate: activation > activated, automatic",
			)
			r.expectActions(shelltest.Wake, putAside, shelltest.Stop, shelltest.Launch, shelltest.Initialize, shelltest.AskState)
			if st := r.Status(); st.Err != nil {
				r.Errorf("got error %v", st.Err)
			}
		})
	})
	t.Run("cold start fails too", func(t *testing.T) {
		run(t, setup{hibernated: true}, func(r *rig) {
			r.fake.Fail(shelltest.Wake, errLasting)
			r.fake.Fail(shelltest.Launch, errBroken)
			if err := r.Activate(r.Context(), shell.Requested); !errors.Is(err, shell.ErrInstantiation) {
				r.Errorf("got error %v, want ErrInstantiation", err)
			}
			if st := r.Status(); st.State != shell.Deactivated || st.Reason != shell.InstantiationFailed {
				r.Errorf("got %s, %s", st.State, st.Reason)
			}
		})
	})
	t.Run("too late", func(t *testing.T) {
		run(t, setup{hibernated: true, config: deactivateOnFailedWake}, func(r *rig) {
			r.fake.Hold(shelltest.Wake)
			begun := time.Now()
			err := r.Activate(r.Context(), shell.Requested)
			if took := time.Since(begun); took != hibernateTimeout || !errors.Is(err, shell.ErrTimedOut) || r.State() != shell.Hibernated {
				r.Errorf("%s after %s: %v", r.State(), took, err)
			}
		})
	})
}

func TestDeactivateHibernated(t *testing.T) {
	t.Run("wakes first", func(t *testing.T) {
		run(t, setup{hibernated: true}, func(r *rig) {
			r.must(r.Deactivate(r.Context(), shell.Requested))
			r.expect(
				"wake: hibernated > waking, requested",
				"wake: waking > activated, requested",
				"deactivate: activated > deactivation, requested",
				"deactivate: deactivation > deactivated, requested",
			)
			r.expectActions(shelltest.Wake, shelltest.Deinitialize+" requested", shelltest.Stop)
		})
	})
	t.Run("cannot wake", func(t *testing.T) {
		run(t, setup{hibernated: true}, func(r *rig) {
			r.fake.Fail(shelltest.Wake, errLasting)
			r.must(r.Deactivate(r.Context(), shell.Requested))
			r.expect(
				"wake: hibernated > waking, requested",
				"wake: waking > deactivated, failure: cannot wake: broken",
			)
			r.expectActions(shelltest.Wake, putAside, shelltest.Stop)
		})
	})
	t.Run("sleeps on when the host ends", func(t *testing.T) {
		run(t, setup{hibernated: true}, func(r *rig) {
			r.must(r.Deactivate(r.Context(), shell.Shutdown))
			r.expect()
			if st := r.Status(); st.State != shell.Hibernated || st.Sleep == nil {
				r.Errorf("got %s with image %v", st.State, st.Sleep)
			}
		})
	})
}

// Who has to make room is gone, and it is said why.
func TestEvict(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		full := errors.New("no room")
		r.must(r.Activate(r.Context(), shell.Startup))
		if err := r.EvictImage(r.Context(), full); !errors.Is(err, shell.ErrIllegalState) {
			r.Errorf("an activated instance: %v", err)
		}
		r.must(r.Hibernate(r.Context(), shell.Automatic, 0))
		r.forgetSoFar()
		r.must(r.EvictImage(r.Context(), full))
		if st := r.Status(); st.State != shell.Deactivated || st.Reason != shell.Automatic || !errors.Is(st.Err, full) || st.Sleep != nil {
			r.Errorf("got %+v", st)
		}
		r.must(r.Activate(r.Context(), shell.Requested))
		if st := r.Status(); st.State != shell.Activated || st.Figures.PID != 2 {
			r.Errorf("got %+v", st)
		}
	})
}
