package shell_test

import (
	"errors"
	"testing"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shelltest"
)

// hibernateInPlace returns the instance hibernated in place.
func (r *rig) hibernateInPlace() {
	r.Helper()
	r.fake.InPlace = true
	r.activate()
	r.must(r.Hibernate(r.Context(), shell.Requested, 0))
	r.forgetSoFar()
}

func TestWakeFromSleepInPlace(t *testing.T) {
	run(t, setup{config: func(c *configs.Plugin) { c.OnCall = configs.OnCallWake }}, func(r *rig) {
		r.hibernateInPlace()
		if st := r.Status(); st.Sleep == nil || st.Sleep.Kind != shell.InPlace || st.Figures.PID != 1 {
			r.Errorf("got %+v", st)
		}
		r.must(r.invoke(r.Context(), ""))
		r.expect(
			"wake: hibernated > waking, automatic",
			"wake: waking > activated, automatic",
		)
		if st := r.Status(); st.Figures.PID != 1 {
			r.Errorf("got %+v", st)
		}
	})
}

// What sleeps in place can end there, and that is told.
func TestExitInPlace(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.hibernateInPlace()
		r.fake.Kill()
		background(func() error { return nil })
		r.expect(
			"exit: hibernated > deactivation, failure",
			"exit: deactivation > deactivated, failure: the process has exited on signal 9",
		)
		r.expectActions(shelltest.Stop)
	})
}

// An image waits for the next host; a process can't.
func TestShutdownInPlace(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.hibernateInPlace()
		r.must(r.Deactivate(r.Context(), shell.Shutdown))
		r.expect(
			"wake: hibernated > waking, shutdown",
			"wake: waking > activated, shutdown",
			"deactivate: activated > deactivation, shutdown",
			"deactivate: deactivation > deactivated, shutdown",
		)
		r.expectActions(shelltest.Wake, shelltest.Deinitialize+" shutdown", shelltest.Stop)
	})
}

func TestMoveToDisk(t *testing.T) {
	t.Run("to an image", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.hibernateInPlace()
			for range 2 { // the second time there is nothing to do
				r.must(r.MoveToDisk(r.Context(), shell.Automatic, 0))
			}
			r.expect()
			r.expectActions(shelltest.MoveToDisk)
			if st := r.Status(); st.State != shell.Hibernated || st.Sleep == nil || st.Sleep.Kind == shell.InPlace || st.Figures.PID != 0 {
				r.Errorf("got %+v", st)
			}
			r.must(r.activateRequested())
			r.must(r.invoke(r.Context(), ""))
		})
	})
	t.Run("a call waits for it", func(t *testing.T) {
		run(t, setup{config: func(c *configs.Plugin) { c.OnCall = configs.OnCallWake }}, func(r *rig) {
			r.hibernateInPlace()
			held := r.fake.Hold(shelltest.MoveToDisk)
			moved := background(func() error { return r.MoveToDisk(r.Context(), shell.Automatic, 0) })
			<-held.Reached
			called := background(func() error { return r.invoke(r.Context(), "") })
			held.Open()
			r.must(<-moved)
			r.must(<-called)
			r.expectActions(shelltest.MoveToDisk, shelltest.Wake, shelltest.Invoke)
		})
	})
	t.Run("not while active", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			if err := r.MoveToDisk(r.Context(), shell.Requested, 0); !errors.Is(err, shell.ErrIllegalState) {
				r.Errorf("got %v", err)
			}
		})
	})
	t.Run("fails", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.hibernateInPlace()
			r.fake.Fail(shelltest.MoveToDisk, errBroken)
			if err := r.MoveToDisk(r.Context(), shell.Requested, 0); !errors.Is(err, errBroken) {
				r.Errorf("got %v", err)
			}
			r.expect()
			if st := r.Status(); st.State != shell.Hibernated || st.Sleep.Kind != shell.InPlace {
				r.Errorf("got %+v", st)
			}
		})
	})
	t.Run("wakes it", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.hibernateInPlace()
			r.fake.Fail(shelltest.MoveToDisk, shell.ErrAwake)
			if err := r.MoveToDisk(r.Context(), shell.Requested, 0); !errors.Is(err, shell.ErrAwake) {
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
			r.hibernateInPlace()
			held := r.fake.Hold(shelltest.MoveToDisk)
			done := background(func() error { return r.MoveToDisk(r.Context(), shell.Requested, 0) })
			<-held.Reached
			background(func() error { r.fake.Kill(); return nil })
			held.Open()
			if err := <-done; !errors.Is(err, shell.ErrExited) {
				r.Errorf("got %v", err)
			}
			background(func() error { return nil }) // the exit has its turn
			if st := r.Status(); st.State != shell.Deactivated || st.Reason != shell.Failure || st.Err == nil {
				r.Errorf("got %+v", st)
			}
		})
	})
}
