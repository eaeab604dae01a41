package supervisor

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dormouse/configs"
	"dormouse/shell"
)

// An instance whose file was left out is missing until a reload, which takes over what an
// earlier host has left of it: the plugin, and the subsystems that it has made active.
func TestMissingUntilReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	instances, controls := network(configs.StartActivated, "!Network")
	runWith(t, instances, func(o *Options) {
		controls(o)
		keeping(path)(o)
	}, func(r *rig) {
		r.closing()
		r.Adopt(r.Context())
		r.must(r.Configure(r.Context(), "Pre", []byte(`{"a":1}`)))
		r.must(r.Configure(r.Context(), "Net", []byte(`{"a":1}`)))
		r.must(r.PersistConfiguration(r.Context(), ""))
		r.Start(r.Context())
		r.activate("Net")
		r.set("Net", "Network", true)
		r.Leave(r.Context())
	})

	var files []configs.Plugin
	runWith(t, instances, func(o *Options) {
		controls(o)
		keeping(path)(o)
		files = slices.Clone(o.Plugins)
		o.Plugins = slices.DeleteFunc(o.Plugins, func(p configs.Plugin) bool { return p.Callsign == "Net" })
		o.LeftOut = configs.LeftOutFiles{{
			Path: "bad.toml", Problems: configs.LoadErrors{{Source: "bad.toml", Line: 3, Err: errors.New("secret")}}, Callsigns: []string{"Net"}, IsComplete: true,
		}}
	}, func(r *rig) {
		r.closing()
		r.Adopt(r.Context())
		r.Start(r.Context())
		_, err := r.Explain("Net")
		cloned := r.Clone(r.Context(), "Pre", "net")
		for _, err := range []error{err, cloned, r.Destroy(r.Context(), "Net")} {
			if err == nil || !strings.Contains(err.Error(), "the file that defines it could not be used when the host started: see bad.toml:3") || strings.Contains(err.Error(), "secret") {
				r.Errorf("got %v", err)
			}
		}
		if !errors.Is(err, ErrUnknown) || !errors.Is(cloned, ErrExists) || !r.IsMissing("Net") || r.IsMissing("Pre") || r.IsMissing("Other") {
			r.Errorf("got %v and %v", err, cloned)
		}

		r.must(r.RestoreConfiguration(r.Context(), ""))
		r.changes["Net"] = func(p *plugin) { p.LeftRunning = true }
		lines, err := r.Reload(r.Context(), files)
		if err != nil || !slices.Contains(lines, "Net: added, running as before") || r.LeftOut() != nil || r.IsMissing("Net") {
			r.Errorf("got %v, %q", err, lines)
		}
		if table, restored := r.table("Net"), r.table("Pre"); table != `{"a":1}` || restored == table {
			r.Errorf("after a restore of all the table of Net is %s, that of Pre %s", table, restored)
		}
		if r.shell("Net").State() != shell.Activated || r.conditions.activatorOf("Network") != "Net" {
			r.Errorf("Net is %s, Network was made active by %q", r.shell("Net").State(), r.conditions.activatorOf("Network"))
		}
	})
}

// A reload leaves asleep what slept before the host started.
func TestReloadLeavesTheMissingAsleep(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.Start(r.Context())
		r.changes["Asleep"] = func(p *plugin) { p.Asleep = &shell.Sleep{} }
		r.reload(map[string]configs.Plugin{"Asleep": named("Asleep", configs.StartActivated)}, "Asleep: added, hibernated as before")
		r.expectState("Asleep", shell.Hibernated, shell.Startup)
	})
}
