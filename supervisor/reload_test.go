package supervisor

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/shell"
)

// files are the host's configured plugins, to be changed and loaded again.
func (r *rig) files() map[string]configs.Plugin { return r.definitions.providedBy(FilesSource) }

func (r *rig) reload(plugins map[string]configs.Plugin, want ...string) {
	r.Helper()
	lines, err := r.Reload(r.Context(), slices.Collect(maps.Values(plugins)))
	if err != nil {
		r.Fatal(err)
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		r.Errorf("reload (-want +got):\n%s", diff)
	}
}

func change(plugins map[string]configs.Plugin, callsign string, change func(*configs.Plugin)) {
	p := plugins[callsign]
	change(&p)
	plugins[callsign] = p
}

func named(callsign string, mode configs.StartMode) configs.Plugin {
	p := configs.DefaultPlugin()
	p.Callsign, p.StartMode = callsign, mode
	return p
}

func TestReload(t *testing.T) {
	run(t, []instance{
		{"Same", configs.StartActivated, 50, nil},
		{"Gone", configs.StartActivated, 50, nil},
		{"Asleep", configs.StartActivated, 50, (*plugin).sleeps},
		{"Changed", configs.StartActivated, 50, nil},
		{"Dozing", configs.StartActivated, 50, (*plugin).sleeps},
		{"Off", configs.StartDeactivated, 50, nil},
		{"Tuned", configs.StartActivated, 50, nil},
	}, func(r *rig) {
		r.Start(r.Context())
		r.must(r.shell("Asleep").Suspend(r.Context(), shell.Requested))
		r.must(r.shell("Asleep").Hibernate(r.Context(), shell.Requested, 0))
		r.must(r.shell("Dozing").Suspend(r.Context(), shell.Requested))
		r.must(r.shell("Dozing").Hibernate(r.Context(), shell.Requested, 0))
		r.must(r.Clone(r.Context(), "Same", "Copy"))
		r.journal.read()
		r.reload(r.files(), []string(nil)...)
		r.expect()

		plugins := r.files()
		delete(plugins, "Gone")
		delete(plugins, "Asleep")
		change(plugins, "Changed", func(p *configs.Plugin) { p.Arguments = []string{"-v"}; p.CallTimeout++ })
		change(plugins, "Dozing", func(p *configs.Plugin) { p.Executable = "other" })
		change(plugins, "Off", func(p *configs.Plugin) { p.Configuration = map[string]any{"a": 1} })
		change(plugins, "Tuned", func(p *configs.Plugin) { p.CallTimeout, p.Restart.Limit, p.StartMode = 7, 9, configs.StartDeactivated })
		plugins["New"] = named("New", configs.StartActivated)
		plugins["Idle"] = named("Idle", configs.StartDeactivated)
		r.reload(plugins,
			"Asleep: removed",
			"Changed: restarted, its arguments and call-timeout differ",
			"Dozing: restarted, its executable differs",
			"Gone: removed",
			"Idle: added",
			"New: added and started",
			"Off: reconfigured, its configuration differs",
			"Tuned: adjusted, its start-mode, restart and call-timeout differ",
		)
		want := []string{"end Asleep, requested", "end Changed, requested", "end Dozing, requested", "end Gone, requested",
			"launch Changed", "launch Dozing", "launch New", "wake Asleep", "wake Dozing"}
		if diff := cmp.Diff(want, sorted(r.journal.read())); diff != "" {
			r.Errorf("journal (-want +got):\n%s", diff)
		}
		states := r.states()
		delete(states, "First")
		delete(states, "Second")
		if diff := cmp.Diff(map[string]shell.State{"Same": "activated", "Changed": "activated", "Dozing": "activated", "Off": "deactivated",
			"Tuned": "activated", "New": "activated", "Idle": "deactivated", "Copy": "deactivated"}, states); diff != "" {
			r.Errorf("states (-want +got):\n%s", diff)
		}
		if got := r.plugins["Changed"].Config().Arguments; !slices.Equal(got, []string{"-v"}) {
			r.Errorf("it was launched with %q", got)
		}
		if got := r.shell("Tuned").Config(); got.CallTimeout != 7 || got.Restart.Limit != 9 {
			r.Errorf("it has %+v", got)
		}
		r.reload(plugins, []string(nil)...)
	})
}

// What can't be is refused before anything is changed.
func TestReloadRefuses(t *testing.T) {
	run(t, []instance{{"A", configs.StartActivated, 50, nil}, {"B", configs.StartActivated, 50, nil}}, func(r *rig) {
		r.options.CheckCallsign = func(callsign string) error {
			if callsign == "Long" {
				return errors.New("Long is too long")
			}
			return nil
		}
		plugins := r.files()
		change(plugins, "B", func(p *configs.Plugin) { p.Requires = []string{"A"} })
		r.Start(r.Context())
		r.reload(plugins, "B: restarted, its requires differ")
		r.must(r.Clone(r.Context(), "B", "Copy"))
		r.journal.read()

		bad := maps.Clone(plugins)
		delete(bad, "A")
		delete(bad, "B")
		bad["copy"] = named("copy", configs.StartActivated)
		bad["Long"] = named("Long", configs.StartActivated)
		builtin := named("Odd", configs.StartActivated)
		builtin.Builtin = "Nonsense"
		bad["Odd"] = builtin
		_, err := r.Reload(r.Context(), slices.Collect(maps.Values(bad)))
		for _, want := range []string{`Copy requires "A"`, `"Copy" is that of a clone`, "Long is too long", `no builtin "Nonsense"`} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v does not say %q", err, want)
			}
		}
		r.expect()
		r.reload(plugins, []string(nil)...)
		if len(r.Shells()) != 5 {
			t.Errorf("there are %v", r.states())
		}
	})
}

// What was configured at run time outlives a reload, and hides what the file
// says.
func TestReloadKeepsTables(t *testing.T) {
	run(t, []instance{{"A", configs.StartDeactivated, 50, nil}}, func(r *rig) {
		r.must(r.Configure(r.Context(), "A", json.RawMessage(`{"n":1}`)))
		plugins := r.files()
		change(plugins, "A", func(p *configs.Plugin) { p.Configuration = map[string]any{"n": 2} })
		r.reload(plugins, []string(nil)...)
		change(plugins, "A", func(p *configs.Plugin) { p.Arguments = []string{"x"} })
		r.reload(plugins, "A: reconfigured, its arguments differ")
		if got := r.table("A"); got != `{"n":1}` {
			t.Errorf("it has %s", got)
		}
		r.must(r.RestoreConfiguration(r.Context(), "A"))
		if got := r.table("A"); got != `{"n":2}` {
			t.Errorf("restored it has %s", got)
		}
	})
}

func TestReloadWithFailures(t *testing.T) {
	run(t, []instance{
		{"A", configs.StartActivated, 50, nil},
		{"Bad", configs.StartDeactivated, 50, func(p *plugin) { p.fails = errors.New("no license") }},
	}, func(r *rig) {
		r.Start(r.Context())
		r.plugins["A"].fails = errors.New("out of memory")
		plugins := r.files()
		change(plugins, "A", func(p *configs.Plugin) { p.Arguments = []string{"x"} })
		delete(plugins, "Bad")
		r.reload(plugins, "A: could not be restarted although its arguments differ: instantiation failed: out of memory", "Bad: removed")
		plugins["Bad"] = named("Bad", configs.StartActivated)
		r.reload(plugins, "Bad: added, but could not be started: instantiation failed: no license")
	})
}

// What can't be changed now is tried again by the next reload.
func TestReloadOfTheBusy(t *testing.T) {
	run(t, []instance{{"A", configs.StartDeactivated, 50, nil}, {"B", configs.StartDeactivated, 50, nil}}, func(r *rig) {
		plugins := r.files()
		for callsign := range plugins {
			change(plugins, callsign, func(p *configs.Plugin) { p.StartTimeout = configs.Duration(time.Hour) })
		}
		r.reload(plugins, "A: adjusted, its start-timeout differs", "B: adjusted, its start-timeout differs")
		held := make(chan struct{})
		r.plugins["A"].held, r.plugins["B"].held = held, held
		started := background(func() {
			doInParallelAndWait(r.roster.allExceptHostBuiltins(), func(sh *shell.Shell) { _ = sh.Activate(r.Context(), shell.Requested) })
		})
		now := maps.Clone(plugins)
		change(now, "A", func(p *configs.Plugin) { p.Arguments = []string{"x"} })
		delete(now, "B")
		r.reload(now,
			"A: could not be restarted although its arguments differ: another operation of the instance is still running",
			"B: could not be removed: another operation of the instance is still running",
		)
		close(held)
		<-started
		r.reload(now, "A: restarted, its arguments differ", "B: removed")
	})
}

// A subsystem is up by itself only as long as no instance controls it.
func TestReloadOfControls(t *testing.T) {
	run(t, []instance{{"A", configs.StartActivated, 50, nil}}, func(r *rig) {
		r.Start(r.Context())
		up := func() bool {
			return slices.Contains(r.Subsystems(), Subsystem{"Network", true})
		}
		if !up() {
			t.Error("it is down at first")
		}
		plugins := r.files()
		net := named("Net", configs.StartActivated)
		net.Controls = []string{"Network"}
		plugins["Net"] = net
		r.reload(plugins, "Net: added and started")
		if up() {
			t.Error("it is up before Net has said so")
		}
		r.set("Net", "Network", true)
		delete(plugins, "Net")
		r.reload(plugins, "Net: removed")
		if !up() {
			t.Error("it is down although no instance controls it")
		}
	})
}
