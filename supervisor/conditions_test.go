package supervisor

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/shell"
)

// network is a host where Net controls the network, and Pre can't start without
// it and, with terminations, can't be without it.
func network(preMode configs.StartMode, terminations ...string) ([]instance, func(*Options)) {
	instances := []instance{
		{"Net", configs.StartDeactivated, 50, nil},
		{"Pre", preMode, 10, nil},
	}
	return instances, func(o *Options) {
		o.Plugins[0].Controls = []string{"Network"}
		o.Plugins[1].Preconditions, o.Plugins[1].Terminations = []string{"Network"}, terminations
	}
}

func (r *rig) shell(callsign string) *shell.Shell {
	r.Helper()
	s, ok := r.Shell(callsign)
	if !ok {
		r.Fatalf("there is no %s", callsign)
	}
	return s
}

func (r *rig) activate(callsign string) {
	r.Helper()
	if err := r.shell(callsign).Activate(r.Context(), shell.Requested); err != nil {
		r.Fatal(err)
	}
	synctest.Wait()
}

func (r *rig) deactivate(callsign string) {
	r.Helper()
	if err := r.shell(callsign).Deactivate(r.Context(), shell.Requested); err != nil {
		r.Fatal(err)
	}
	synctest.Wait()
}

func (r *rig) set(callsign, name string, active bool) {
	r.Helper()
	if err := r.SetSubsystem(callsign, name, active); err != nil {
		r.Fatal(err)
	}
	synctest.Wait()
}

func (r *rig) expectState(callsign string, state shell.State, why shell.Reason) {
	r.Helper()
	if st := r.shell(callsign).Status(); st.State != state || st.Reason != why {
		r.Errorf("%s is %s, %s; want %s, %s", callsign, st.State, st.Reason, state, why)
	}
}

// listen returns what compares the news since the last time with what is wanted.
func (r *rig) listen() (expect func(want ...string)) {
	e := ear{&journal{}}
	r.Cleanup(r.Listen(e))
	return func(want ...string) {
		r.Helper()
		if diff := cmp.Diff(want, e[0].read()); diff != "" {
			r.Errorf("heard (-want +got):\n%s", diff)
		}
	}
}

func TestSubsystemsAtStart(t *testing.T) {
	instances, change := network(configs.StartDeactivated)
	instances = append(instances, instance{"Clock", configs.StartUnavailable, 50, func(p *plugin) {
		p.about = &shell.Information{Controls: []string{"Time", "Platform"}}
	}})
	runWith(t, instances, func(o *Options) {
		change(o)
		o.Subsystems = []string{"Garden"}
	}, func(r *rig) {
		want := make([]Subsystem, 0, 16)
		for _, name := range append(slices.Clone(configs.Subsystems), "Garden") {
			want = append(want, Subsystem{name, false})
		}
		if diff := cmp.Diff(want, r.Subsystems()); diff != "" {
			r.Errorf("before the start (-want +got):\n%s", diff)
		}
		r.Start(r.Context())
		for i, s := range want {
			want[i].Active = s.Name != "Network" && s.Name != "Time"
		}
		if diff := cmp.Diff(want, r.Subsystems()); diff != "" {
			r.Errorf("after it (-want +got):\n%s", diff)
		}
	})
}

// TestWaitsForSubsystem is case 40 of the wire.
func TestWaitsForSubsystem(t *testing.T) {
	for _, why := range []shell.Reason{shell.Requested, shell.Startup} {
		mode := configs.StartDeactivated
		if why == shell.Startup {
			mode = configs.StartActivated
		}
		instances, change := network(mode)
		runWith(t, instances, change, func(r *rig) {
			r.Start(r.Context())
			if why == shell.Requested {
				err := r.shell("Pre").Activate(r.Context(), shell.Requested)
				if !errors.Is(err, shell.ErrPending) || err.Error() != "cannot activate: waiting for subsystem Network" {
					r.Errorf("got error %v", err)
				}
			}
			r.expectState("Pre", shell.Precondition, why)
			r.activate("Net")
			r.expectState("Pre", shell.Precondition, why)

			heard := r.listen()
			r.set("Net", "Network", true)
			heard("Network: true", "Pre: precondition > activation", "Pre: activation > activated")
			r.expectState("Pre", shell.Activated, why)

			r.set("Net", "Network", true) // changes nothing
			r.set("Net", "Network", false)
			heard("Network: false") // a precondition is for the start
		})
	}
}

// TestTermination is case 41 of the wire.
func TestTermination(t *testing.T) {
	instances, change := network(configs.StartActivated, "!Network")
	runWith(t, instances, change, func(r *rig) {
		r.Start(r.Context())
		r.activate("Net")
		r.set("Net", "Network", true)
		heard := r.listen()
		r.deactivate("Net")
		heard(
			"Network: false",
			"Pre: activated > deactivation", "Pre: deactivation > precondition",
			"Net: activated > deactivation", "Net: deactivation > deactivated",
		)
		r.expectState("Pre", shell.Precondition, shell.Conditions)

		r.activate("Net")
		r.set("Net", "Network", true)
		r.expectState("Pre", shell.Activated, shell.Conditions)
		r.set("Net", "Network", false)
		r.expectState("Pre", shell.Precondition, shell.Conditions)
	})
}

func TestControllerDies(t *testing.T) {
	instances, change := network(configs.StartActivated, "!Network")
	runWith(t, instances, change, func(r *rig) {
		r.Start(r.Context())
		r.activate("Net")
		r.set("Net", "Network", true)
		r.plugins["Net"].Sink.Exited(errors.New("killed"))
		synctest.Wait()
		r.expectState("Net", shell.Deactivated, shell.Failure)
		r.expectState("Pre", shell.Precondition, shell.Conditions)
		if i := slices.Index(configs.Subsystems, "Network"); r.Subsystems()[i].Active {
			r.Error("the network is up without anybody who could tell")
		}
	})
}

// TestControllerSleeps: what a hibernated instance has set stays, and so do the instances
// that need it.
func TestControllerSleeps(t *testing.T) {
	instances, change := network(configs.StartActivated, "!Network")
	runWith(t, instances, change, func(r *rig) {
		r.plugins["Net"].sleeps()
		r.Start(r.Context())
		r.activate("Net")
		r.set("Net", "Network", true)
		if err := r.shell("Net").Hibernate(r.Context(), shell.Requested, 0); err != nil {
			r.Fatal(err)
		}
		synctest.Wait()
		r.expectState("Pre", shell.Activated, shell.Startup)
		if err := r.SetSubsystem("Net", "Network", false); !errors.Is(err, shell.ErrUnavailable) {
			r.Errorf("a sleeping plugin set a subsystem: %v", err)
		}
		r.deactivate("Net")
		r.expectState("Pre", shell.Precondition, shell.Conditions)
	})
}

func TestSetSubsystemRefused(t *testing.T) {
	instances, change := network(configs.StartDeactivated)
	runWith(t, instances, func(o *Options) {
		change(o)
		o.Plugins[1].Controls = []string{"Aether"} // as a plugin may say
	}, func(r *rig) {
		r.Start(r.Context())
		for _, test := range []struct {
			callsign, name string
			want           error
		}{
			{"Net", "Network", shell.ErrUnavailable},
			{"Net", "Time", ErrNotControlled},
			{"Pre", "Network", ErrNotControlled},
			{"Pre", "Aether", ErrNotControlled},
			{"Other", "Network", ErrUnknown},
		} {
			if err := r.SetSubsystem(test.callsign, test.name, true); !errors.Is(err, test.want) {
				r.Errorf("%s sets %s: got %v, want %v", test.callsign, test.name, err, test.want)
			}
		}
	})
}

// TestTerminationWithoutPrecondition must not start and end the instance in turns.
func TestTerminationWithoutPrecondition(t *testing.T) {
	instances, _ := network(configs.StartActivated)
	runWith(t, instances, func(o *Options) {
		o.Plugins[0].Controls = []string{"Network", "Streaming"}
		o.Plugins[1].Terminations = []string{"!Network", "Streaming"}
	}, func(r *rig) {
		r.Start(r.Context())
		synctest.Wait()
		r.expectState("Pre", shell.Precondition, shell.Startup)
		r.activate("Net")
		r.set("Net", "Network", true)
		r.expectState("Pre", shell.Activated, shell.Startup)
		r.set("Net", "Streaming", true)
		r.expectState("Pre", shell.Precondition, shell.Conditions)
		if err := r.shell("Pre").Status().Err; err == nil || err.Error() != "waiting for subsystem Streaming to end" {
			r.Errorf("it waits, it says, because of: %v", err)
		}
		r.set("Net", "Streaming", false)
		r.expectState("Pre", shell.Activated, shell.Conditions)
	})
}

// TestDependOnEachOther has two instances that end each other: neither waits for
// the other's end.
func TestDependOnEachOther(t *testing.T) {
	instances := []instance{
		{"Setter", configs.StartActivated, 1, nil},
		{"A", configs.StartActivated, 2, nil},
		{"B", configs.StartActivated, 2, nil},
	}
	for _, ends := range [][]string{{"A"}, {"B"}, {"A", "B"}, {"Setter"}} {
		runWith(t, instances, func(o *Options) {
			o.Plugins[0].Controls = []string{"Network", "Time"}
			o.Plugins[1].Controls, o.Plugins[1].Terminations = []string{"Network"}, []string{"!Time"}
			o.Plugins[2].Controls, o.Plugins[2].Terminations = []string{"Time"}, []string{"!Network"}
		}, func(r *rig) {
			r.Start(r.Context())
			r.set("Setter", "Network", true)
			r.set("Setter", "Time", true)
			r.set("A", "Network", true)
			r.set("B", "Time", true)
			begun := time.Now()
			var shells []*shell.Shell
			for _, callsign := range ends {
				shells = append(shells, r.shell(callsign))
			}
			doInParallelAndWait(shells, func(sh *shell.Shell) { _ = sh.Deactivate(r.Context(), shell.Requested) })
			synctest.Wait()
			if took := time.Since(begun); took != 0 {
				r.Errorf("%v took %s", ends, took)
			}
			for _, callsign := range []string{"A", "B"} {
				state := r.shell(callsign).State()
				if stays := slices.Contains(ends, "Setter"); (state == shell.Activated) != stays {
					r.Errorf("%v: %s is %s", ends, callsign, state)
				}
			}
		})
	}
}

// TestNobodyFollowsAfterStop ends the host while an instance starts because its
// conditions came true, which is cut short.
func TestNobodyFollowsAfterStop(t *testing.T) {
	instances, change := network(configs.StartActivated, "!Network")
	instances = append(instances, instance{"Late", configs.StartActivated, 90, nil})
	runWith(t, instances, func(o *Options) {
		change(o)
		o.Plugins[2].Preconditions = []string{"Time", "Network"}
		o.Plugins[0].Controls = []string{"Network", "Time"}
	}, func(r *rig) {
		r.Start(r.Context())
		r.activate("Net")
		r.plugins["Pre"].held = make(chan struct{})
		r.set("Net", "Network", true)
		r.journal.read()
		r.Stop(context.Background())
		r.expect("end Net, shutdown", "end Second, shutdown", "end First, shutdown")
		r.expectState("Pre", shell.Deactivated, shell.Shutdown)
		r.expectState("Late", shell.Precondition, shell.Startup)
	})
}
