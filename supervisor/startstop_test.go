package supervisor

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/shell"
)

func TestProbedAtStart(t *testing.T) {
	probed := func(about shell.Information) func(*plugin) { return func(p *plugin) { p.about = &about } }
	run(t, []instance{
		{"Asleep", configs.StartActivated, 1, func(p *plugin) { p.about, p.Asleep = &shell.Information{}, &shell.Sleep{} }},
		{"Pre", configs.StartActivated, 1, probed(shell.Information{Preconditions: []string{"Network"}, Terminations: []string{"!Network"}})},
		{"Broken", configs.StartDeactivated, 2, func(p *plugin) { p.about, p.fails = &shell.Information{}, errors.New("broken") }},
		{"Net", configs.StartActivated, 3, probed(shell.Information{Controls: []string{"Network"}})},
	}, func(r *rig) {
		r.Start(r.Context())
		lines := r.journal.read()
		want := []string{"probe Broken", "probe Net", "probe Pre"}
		if diff := cmp.Diff(want, sorted(slices.Clone(lines[2:5]))); diff != "" {
			r.Errorf("before the first rank (-want +got):\n%s", diff)
		}
		// Each activation probes again: the backend knows whether it must.
		if diff := cmp.Diff([]string{"probe Pre", "probe Net", "launch Net"}, lines[5:]); diff != "" {
			r.Errorf("the ranks (-want +got):\n%s", diff)
		}
		r.expectState("Pre", shell.Precondition, shell.Startup)
		r.expectState("Broken", shell.Deactivated, shell.Startup)
		r.set("Net", "Network", true)
		r.expectState("Pre", shell.Activated, shell.Startup)
	})
}

// An instance that was hibernated before the host began still controls its subsystems.
func TestHibernatedControlsAtStart(t *testing.T) {
	run(t, []instance{{"Net", configs.StartDeactivated, 50, func(p *plugin) {
		p.about, p.Asleep = &shell.Information{Class: "Fake", Controls: []string{"Network"}}, &shell.Sleep{}
	}}}, func(r *rig) {
		r.Start(r.Context())
		if slices.Contains(r.Subsystems(), Subsystem{"Network", true}) {
			r.Error("the network is up, though no instance set it")
		}
		if st := r.shell("Net").Status(); st.State != shell.Hibernated || st.Information.Class != "Fake" {
			r.Errorf("Net is %s, of the class %q", st.State, st.Information.Class)
		}
	})
}

func TestClasses(t *testing.T) {
	made := make(map[string]string)
	class := func(name string) Class {
		return func(_ *Supervisor, config func() configs.Plugin, sink shell.Sink) shell.Backend {
			callsign := config().Callsign
			made[callsign] = name
			return struct{ shell.Backend }{newPlugin(callsign, &journal{}, nil, config, sink)}
		}
	}
	classes := map[string]Class{"Monitor": class("Monitor"), "Remote": class("Remote")}
	instances := []instance{{"Watch", configs.StartActivated, 50, nil}, {"Plain", configs.StartActivated, 50, nil}}
	runWith(t, instances, func(o *Options) {
		o.Classes = classes
		o.Plugins[0].Builtin = "Monitor"
	}, func(r *rig) {
		r.Start(r.Context())
		r.expectState("Watch", shell.Activated, shell.Startup)
		if diff := cmp.Diff(map[string]string{"Watch": "Monitor"}, maps.Clone(made)); diff != "" {
			r.Errorf("made (-want +got):\n%s", diff)
		}
		if err := r.shell("Watch").Hibernate(r.Context(), shell.Requested, 0); !errors.Is(err, shell.ErrBuiltIn) {
			r.Errorf("got error %v, want ErrInProcess", err)
		}
		r.deactivate("Watch")
		r.expectState("Watch", shell.Deactivated, shell.Requested)
	})

	config := configs.DefaultPlugin()
	config.Callsign, config.Builtin = "Watch", "Monitro"
	_, err := New(Options{Plugins: []configs.Plugin{config}, Classes: classes})
	if want := `cannot make Watch: there is no builtin "Monitro", only: Monitor, Remote`; err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}
