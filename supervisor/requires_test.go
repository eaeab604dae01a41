package supervisor

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"dormouse/configs"
	"dormouse/shell"
)

// chain is a host where each instance requires the one before, and the first to
// start is the last of the chain.
func chain(mode configs.StartMode, callsigns ...string) ([]instance, func(*Options)) {
	var instances []instance
	for i, callsign := range callsigns {
		instances = append(instances, instance{callsign, mode, 100 - i, nil})
	}
	return instances, func(o *Options) {
		for i := 1; i < len(callsigns); i++ {
			o.Plugins[i].Requires = []string{callsigns[i-1]}
		}
	}
}

func TestRequires(t *testing.T) {
	instances, change := chain(configs.StartActivated, "A", "B", "C")
	runWith(t, instances, change, func(r *rig) {
		r.Start(r.Context())
		synctest.Wait()
		r.expect("launch First", "launch Second", "launch A", "launch B", "launch C")
		for _, callsign := range []string{"A", "B", "C"} {
			r.expectState(callsign, shell.Activated, shell.Startup)
		}

		heard := r.listen()
		r.deactivate("A")
		r.expect("end C, conditions", "end B, conditions", "end A, requested")
		heard(
			"C: activated > deactivation", "C: deactivation > precondition",
			"B: activated > deactivation", "B: deactivation > precondition",
			"A: activated > deactivation", "A: deactivation > deactivated",
		)

		r.activate("A")
		r.expect("launch A", "launch B", "launch C")
		r.plugins["A"].Sink.Exited(errors.New("killed"))
		synctest.Wait()
		r.expectState("A", shell.Deactivated, shell.Failure)
		r.expectState("B", shell.Precondition, shell.Conditions)
		r.expectState("C", shell.Precondition, shell.Conditions)
		r.journal.read()

		r.activate("A")
		r.journal.read()
		r.Stop(context.Background())
		r.expect("end C, shutdown", "end B, shutdown", "end A, shutdown", "end Second, shutdown", "end First, shutdown")
	})
}

func TestRequiresAsleep(t *testing.T) {
	instances, change := chain(configs.StartActivated, "A", "B")
	instances[0].change = func(p *plugin) { p.Asleep = &shell.Sleep{} }
	runWith(t, instances, func(o *Options) {
		change(o)
		o.Plugins[1].Resume = new(bool)
	}, func(r *rig) {
		r.plugins["B"].sleeps()
		r.Start(r.Context())
		r.expect("launch First", "launch Second", "launch B")
		if err := r.shell("B").Hibernate(r.Context(), shell.Requested, 0); err != nil {
			r.Fatal(err)
		}
		r.deactivate("A")
		r.expect("wake A", "end A, requested")
		r.expectState("B", shell.Hibernated, shell.Requested) // it is not woken for that
		if err := r.shell("B").Activate(r.Context(), shell.Requested); !errors.Is(err, shell.ErrPending) {
			r.Errorf("got error %v", err)
		}
		r.expectState("B", shell.Precondition, shell.Conditions)
		r.expect("wake B", "end B, conditions")
	})
}

func TestRequiresUnknown(t *testing.T) {
	instances, change := chain(configs.StartDeactivated, "A", "B")
	runWith(t, instances, func(o *Options) {
		change(o)
		o.Plugins[1].Requires = []string{"A", "Nobody"}
		o.Plugins[1].Preconditions = []string{"Network"}
	}, func(r *rig) {
		if err := r.shell("B").Activate(r.Context(), shell.Requested); err == nil || err.Error() != "cannot activate: waiting for A, Nobody, subsystem Network" {
			r.Errorf("got error %v", err)
		}
	})
}

// TestLeavingWhileADependantStarts waits for it, and for its end.
func TestLeavingWhileADependantStarts(t *testing.T) {
	instances, change := chain(configs.StartDeactivated, "A", "B")
	runWith(t, instances, change, func(r *rig) {
		r.activate("A")
		held := make(chan struct{})
		r.plugins["B"].held = held
		up := background(func() { _ = r.shell("B").Activate(r.Context(), shell.Requested) })
		down := background(func() { r.deactivate("A") })
		r.expect("launch A", "launch B")
		close(held)
		<-up
		<-down
		r.expect("end B, conditions", "end A, requested")
	})
}

// TestLeavingDoesNotWaitForEver has a dependant that takes longer than the one
// that it requires would wait.
func TestLeavingDoesNotWaitForEver(t *testing.T) {
	instances, change := chain(configs.StartDeactivated, "A", "B")
	runWith(t, instances, func(o *Options) {
		change(o)
		o.Plugins[1].StopTimeout = configs.Duration(time.Hour)
	}, func(r *rig) {
		r.activate("A")
		r.activate("B")
		r.plugins["B"].held = make(chan struct{})
		begun := time.Now()
		r.deactivate("A")
		stop := time.Duration(r.shell("A").Config().StopTimeout)
		if took, most := time.Since(begun), time.Minute+3*stop; took != most {
			r.Errorf("it took %s, want %s", took, most)
		}
		r.expect("launch A", "launch B", "end B, conditions", "end A, requested")
		close(r.plugins["B"].held)
	})
}
