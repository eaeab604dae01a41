package shell

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"dormouse/configs"
	"dormouse/statecontrol"
)

func deactivateOnFailedWake(c *configs.Plugin) { c.OnFailedWake = configs.FailedWakeDeactivate }

func TestHibernateAndWake(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.must(r.Activate(r.Context(), Startup))
		r.forget()
		r.must(r.Hibernate(r.Context(), Automatic, 0))
		r.expect(
			"hibernate: activated > hibernating, automatic",
			"hibernate: hibernating > hibernated, automatic",
		)
		r.expectSteps(hibernation)
		st := r.Status()
		if st.Control != statecontrol.Suspended || st.Reason != Automatic || st.Sleep == nil || st.Facts.PID != 0 {
			r.Errorf("got %+v", st)
		}

		r.must(r.Activate(r.Context(), Requested))
		r.expect(
			"wake: hibernated > waking, requested",
			"wake: waking > activated, requested",
		)
		r.expectSteps(wakening)
		if st := r.Status(); st.Control != statecontrol.Suspended || st.Sleep != nil || st.Facts.PID != 2 {
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
		{"resumed", setup{config: func(c *configs.Plugin) { c.StartMode = configs.StartActivated }}, ErrIllegalState, "it is resumed, suspend it first"},
		{"no state control", setup{plain: true}, ErrIllegalState, "no state control"},
		{"in process", setup{inProcess: true}, ErrBuiltIn, "cannot hibernate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, test.setup, func(r *rig) {
				r.activate()
				err := r.Hibernate(r.Context(), Requested, 0)
				if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
					r.Errorf("got error %q, want %v with %q", err, test.want, test.text)
				}
				r.expect()
				if st := r.Status(); st.State != Activated || st.Err != nil {
					r.Errorf("got %s with error %v", st.State, st.Err)
				}
			})
		})
	}
}

func TestHibernateFails(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.must(r.Activate(r.Context(), Startup))
		r.forget()
		r.fake.fail(hibernation, errBroken)
		if err := r.Hibernate(r.Context(), Requested, 0); !errors.Is(err, errBroken) {
			r.Errorf("got error %v", err)
		}
		r.expect(
			"hibernate: activated > hibernating, requested",
			"hibernate: hibernating > activated, startup: broken",
		)
		st := r.Status()
		if st.Control != statecontrol.Suspended || st.Reason != Startup || !errors.Is(st.Err, errBroken) || st.Facts.PID != 1 {
			r.Errorf("got %+v", st)
		}
		r.must(r.invoke(r.Context(), ""))

		r.fake.fail(hibernation, nil)
		r.must(r.Hibernate(r.Context(), Requested, 0))
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
			r.fake.hold(hibernation)
			begun := time.Now()
			err := r.Hibernate(r.Context(), Requested, test.limit)
			if took := time.Since(begun); took != test.want || !errors.Is(err, ErrTimedOut) || r.State() != Activated {
				r.Errorf("limit %s: %s after %s: %v", test.limit, r.State(), took, err)
			}
		})
	}
}

func TestControlChangesWhileHibernating(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		held := r.fake.hold(hibernation)
		r.fake.fail(hibernation, errBroken)
		asleep := background(func() error { return r.Hibernate(r.Context(), Requested, 0) })
		r.fake.control.turn(statecontrol.Resumed)
		held.open()
		if err := <-asleep; !errors.Is(err, errBroken) {
			r.Errorf("got error %v", err)
		}
		if st := r.Status(); st.State != Activated || st.Control != statecontrol.Resumed {
			r.Errorf("got %s, %s; want activated, resumed", st.State, st.Control)
		}
	})
}

func TestPluginDiesOfHibernation(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		held := r.fake.hold(hibernation)
		asleep := background(func() error { return r.Hibernate(r.Context(), Requested, 0) })
		r.fake.die()
		held.open()
		if err := <-asleep; !errors.Is(err, ErrExited) {
			r.Errorf("got error %v, want ErrExited", err)
		}
		r.expect(
			"hibernate: activated > hibernating, requested",
			"exit: hibernating > deactivation, failure",
			fmt.Sprintf("exit: deactivation > deactivated, failure: %v", errKilled),
		)
		r.expectSteps(hibernation, stop)
	})
}

func TestWakeFails(t *testing.T) {
	t.Run("deactivate", func(t *testing.T) {
		run(t, setup{image: true, config: deactivateOnFailedWake}, func(r *rig) {
			r.fake.fail(wakening, errBroken)
			if err := r.Activate(r.Context(), Requested); !errors.Is(err, errBroken) {
				r.Errorf("got error %v", err)
			}
			r.expect(
				"wake: hibernated > waking, requested",
				"wake: waking > deactivated, failure: cannot wake: broken",
			)
			r.expectSteps(wakening, stop)
			if st := r.Status(); !errors.Is(st.Err, errBroken) {
				r.Errorf("got error %v", st.Err)
			}
		})
	})
	t.Run("cold start", func(t *testing.T) {
		run(t, setup{image: true}, func(r *rig) {
			r.fake.fail(wakening, errBroken)
			r.must(r.Activate(r.Context(), Requested))
			r.expect(
				"wake: hibernated > waking, requested",
				"wake: waking > deactivated, failure: cannot wake: broken",
				"activate: deactivated > activation, automatic",
				"suspend: activation is suspended",
				"activate: activation > activated, automatic",
			)
			r.expectSteps(wakening, stop, launch, initialize, asking)
			if st := r.Status(); st.Err != nil {
				r.Errorf("got error %v", st.Err)
			}
		})
	})
	t.Run("cold start fails too", func(t *testing.T) {
		run(t, setup{image: true}, func(r *rig) {
			r.fake.fail(wakening, errBroken)
			r.fake.fail(launch, errBroken)
			if err := r.Activate(r.Context(), Requested); !errors.Is(err, ErrInstantiation) {
				r.Errorf("got error %v, want ErrInstantiation", err)
			}
			if st := r.Status(); st.State != Deactivated || st.Reason != InstantiationFailed {
				r.Errorf("got %s, %s", st.State, st.Reason)
			}
		})
	})
	t.Run("too late", func(t *testing.T) {
		run(t, setup{image: true, config: deactivateOnFailedWake}, func(r *rig) {
			r.fake.hold(wakening)
			begun := time.Now()
			err := r.Activate(r.Context(), Requested)
			if took := time.Since(begun); took != hibernateTimeout || !errors.Is(err, ErrTimedOut) || r.State() != Deactivated {
				r.Errorf("%s after %s: %v", r.State(), took, err)
			}
		})
	})
}

func TestDeactivateHibernated(t *testing.T) {
	t.Run("wakes first", func(t *testing.T) {
		run(t, setup{image: true}, func(r *rig) {
			r.must(r.Deactivate(r.Context(), Requested))
			r.expect(
				"wake: hibernated > waking, requested",
				"wake: waking > activated, requested",
				"deactivate: activated > deactivation, requested",
				"deactivate: deactivation > deactivated, requested",
			)
			r.expectSteps(wakening, deinitialize+" requested", stop)
		})
	})
	t.Run("cannot wake", func(t *testing.T) {
		run(t, setup{image: true}, func(r *rig) {
			r.fake.fail(wakening, errBroken)
			r.must(r.Deactivate(r.Context(), Requested))
			r.expect(
				"wake: hibernated > waking, requested",
				"wake: waking > deactivated, failure: cannot wake: broken",
			)
			r.expectSteps(wakening, stop)
		})
	})
	t.Run("sleeps on when the host ends", func(t *testing.T) {
		run(t, setup{image: true}, func(r *rig) {
			r.must(r.Deactivate(r.Context(), Shutdown))
			r.expect()
			if st := r.Status(); st.State != Hibernated || st.Sleep == nil {
				r.Errorf("got %s with image %v", st.State, st.Sleep)
			}
		})
	})
}

// Who has to make room is gone, and it is said why.
func TestEvict(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		full := errors.New("no room")
		r.must(r.Activate(r.Context(), Startup))
		if err := r.Evict(r.Context(), full); !errors.Is(err, ErrIllegalState) {
			r.Errorf("an activated instance: %v", err)
		}
		r.must(r.Hibernate(r.Context(), Automatic, 0))
		r.forget()
		r.must(r.Evict(r.Context(), full))
		if st := r.Status(); st.State != Deactivated || st.Reason != Automatic || !errors.Is(st.Err, full) || st.Sleep != nil {
			r.Errorf("got %+v", st)
		}
		r.must(r.Activate(r.Context(), Requested))
		if st := r.Status(); st.State != Activated || st.Facts.PID != 2 {
			r.Errorf("got %+v", st)
		}
	})
}
