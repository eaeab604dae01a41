package shell

import (
	"errors"
	"testing"

	"dormouse/configs"
)

// nap returns the instance hibernated in place.
func (r *rig) nap() {
	r.Helper()
	r.fake.inPlace = true
	r.activate()
	r.must(r.Hibernate(r.Context(), Requested, 0))
	r.forget()
}

func TestWakeFromSleepInPlace(t *testing.T) {
	run(t, setup{config: func(c *configs.Plugin) { c.OnCall = configs.OnCallWake }}, func(r *rig) {
		r.nap()
		if st := r.Status(); st.Sleep == nil || st.Sleep.Kind != InPlace || st.Facts.PID != 1 {
			r.Errorf("got %+v", st)
		}
		r.must(r.invoke(r.Context(), ""))
		r.expect(
			"wake: hibernated > waking, automatic",
			"wake: waking > activated, automatic",
		)
		if st := r.Status(); st.Facts.PID != 1 {
			r.Errorf("got %+v", st)
		}
	})
}

// What sleeps in place can end there, and that is told.
func TestExitInPlace(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.nap()
		r.fake.die()
		background(func() error { return nil })
		r.expect(
			"exit: hibernated > deactivation, failure",
			"exit: deactivation > deactivated, failure: the process has exited on signal 9",
		)
		r.expectSteps(stop)
	})
}

// An image waits for the next host; a process can't.
func TestShutdownInPlace(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.nap()
		r.must(r.Deactivate(r.Context(), Shutdown))
		r.expect(
			"wake: hibernated > waking, shutdown",
			"wake: waking > activated, shutdown",
			"deactivate: activated > deactivation, shutdown",
			"deactivate: deactivation > deactivated, shutdown",
		)
		r.expectSteps(wakening, deinitialize+" shutdown", stop)
	})
}

func TestDeepen(t *testing.T) {
	t.Run("to an image", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.nap()
			for range 2 { // the second time there is nothing to do
				r.must(r.MoveToDisk(r.Context(), Automatic, 0))
			}
			r.expect()
			r.expectSteps(moving)
			if st := r.Status(); st.State != Hibernated || st.Sleep == nil || st.Sleep.Kind == InPlace || st.Facts.PID != 0 {
				r.Errorf("got %+v", st)
			}
			r.must(r.up())
			r.must(r.invoke(r.Context(), ""))
		})
	})
	t.Run("a call waits for it", func(t *testing.T) {
		run(t, setup{config: func(c *configs.Plugin) { c.OnCall = configs.OnCallWake }}, func(r *rig) {
			r.nap()
			held := r.fake.hold(moving)
			deepened := background(func() error { return r.MoveToDisk(r.Context(), Automatic, 0) })
			<-held.reached
			called := background(func() error { return r.invoke(r.Context(), "") })
			held.open()
			r.must(<-deepened)
			r.must(<-called)
			r.expectSteps(moving, wakening, invocation)
		})
	})
	t.Run("not while active", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			if err := r.MoveToDisk(r.Context(), Requested, 0); !errors.Is(err, ErrIllegalState) {
				r.Errorf("got %v", err)
			}
		})
	})
	t.Run("fails", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.nap()
			r.fake.fail(moving, errBroken)
			if err := r.MoveToDisk(r.Context(), Requested, 0); !errors.Is(err, errBroken) {
				r.Errorf("got %v", err)
			}
			r.expect()
			if st := r.Status(); st.State != Hibernated || st.Sleep.Kind != InPlace {
				r.Errorf("got %+v", st)
			}
		})
	})
	t.Run("wakes it", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.nap()
			r.fake.fail(moving, ErrAwake)
			if err := r.MoveToDisk(r.Context(), Requested, 0); !errors.Is(err, ErrAwake) {
				r.Errorf("got %v", err)
			}
			r.expect(
				"wake: hibernated > waking, failure",
				"wake: waking > activated, failure",
			)
		})
	})
	t.Run("ends it", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.nap()
			held := r.fake.hold(moving)
			done := background(func() error { return r.MoveToDisk(r.Context(), Requested, 0) })
			<-held.reached
			background(func() error { r.fake.die(); return nil })
			held.open()
			if err := <-done; !errors.Is(err, ErrExited) {
				r.Errorf("got %v", err)
			}
			background(func() error { return nil }) // the exit has its turn
			if st := r.Status(); st.State != Deactivated || st.Reason != Failure || st.Err == nil {
				r.Errorf("got %+v", st)
			}
		})
	})
}
