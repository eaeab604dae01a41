package supervisor

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/internal/store"
	"dormouse/shell"
)

// configure sets the plugin's own table of an instance.
func (r *rig) configure(callsign, table string) {
	r.Helper()
	r.must(r.Configure(r.Context(), callsign, json.RawMessage(table)))
}

// expectTables compares what the instances will be activated with, as "callsign table".
func (r *rig) expectTables(want ...string) {
	r.Helper()
	var got []string
	for _, line := range want {
		callsign, _, _ := strings.Cut(line, " ")
		got = append(got, callsign+" "+r.table(callsign))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		r.Errorf("tables (-want +got):\n%s", diff)
	}
}

// expectSource compares what is known of the source of a clone.
func (r *rig) expectSource(callsign string, want CloneSource) {
	r.Helper()
	got, ok := r.CloneSource(callsign)
	if diff := cmp.Diff(want, got); !ok || diff != "" {
		r.Errorf("the source of %s (-want +got):\n%s", callsign, diff)
	}
}

// withTable returns the configuration of an instance with that table of its own.
func withTable(callsign string, table map[string]any) configs.Plugin {
	p := named(callsign, configs.StartDeactivated)
	p.Configuration = table
	return p
}

// filesOf makes a host's files of those plugins, in place of the instances of runWith.
func filesOf(path string, plugins ...configs.Plugin) func(*Options) {
	return func(o *Options) {
		keeping(path)(o)
		o.Plugins = plugins
	}
}

// What changes in a source reaches its clones, and theirs, except for what was set on them.
func TestCloneFollowsItsSource(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	a := withTable("A", map[string]any{"url": "a", "mode": int64(1), "deep": map[string]any{"x": int64(1)}})
	runWith(t, nil, filesOf(path, a), func(r *rig) {
		r.closing()
		r.must(r.Clone(r.Context(), "A", "B"))
		r.must(r.Clone(r.Context(), "B", "C"))
		r.expectSource("B", CloneSource{Of: "A"})
		r.configure("B", `{"url":"b","mode":1,"deep":{"x":1}}`)
		r.expectSource("B", CloneSource{Of: "A", Own: []string{"configuration.url"}})
		r.expectSource("C", CloneSource{Of: "B"})
		r.expectTables(`C {"deep":{"x":1},"mode":1,"url":"b"}`)
		r.must(r.PersistConfiguration(r.Context(), "B"))

		r.activate("C")
		r.configure("A", `{"url":"a2","mode":2}`)
		r.expectTables(`A {"mode":2,"url":"a2"}`, `B {"mode":2,"url":"b"}`, `C {"mode":2,"url":"b"}`)
		if got := string(r.plugins["C"].launched().ConfigurationJSON()); got != `{"deep":{"x":1},"mode":1,"url":"b"}` {
			r.Errorf("what runs has %s", got)
		}
		r.deactivate("C")
		r.activate("C")
		if got := string(r.plugins["C"].launched().ConfigurationJSON()); got != `{"mode":2,"url":"b"}` {
			r.Errorf("it was launched with %s", got)
		}
		r.configure("B", `{"url":"b"}`) // without mode, which the source has
		r.expectSource("B", CloneSource{Of: "A", Own: []string{"configuration.url", "configuration.mode"}})
		r.expectTables(`B {"url":"b"}`, `C {"url":"b"}`)
		r.must(r.RestoreConfiguration(r.Context(), "A"))
		r.expectTables(`A {"deep":{"x":1},"mode":1,"url":"a"}`, `B {"deep":{"x":1},"url":"b"}`, `C {"deep":{"x":1},"url":"b"}`)
		r.configure("A", `{"lost":true}`) // is not persisted
	})
	// The next host: the files have changed, and what was persisted holds.
	a.Arguments, a.Configuration = []string{"-v"}, map[string]any{"url": "a3", "mode": int64(3)}
	runWith(t, nil, filesOf(path, a), func(r *rig) {
		r.closing()
		r.expectTables(`B {"mode":3,"url":"b"}`, `C {"mode":3,"url":"b"}`)
		r.expectSource("B", CloneSource{Of: "A", Own: []string{"configuration.url"}})
		if got := r.shell("C").Config().Arguments; !slices.Equal(got, a.Arguments) {
			t.Errorf("the clone of a clone has %q", got)
		}
		r.must(r.RestoreConfiguration(r.Context(), "B"))
		r.expectTables(`B {"mode":3,"url":"a3"}`, `C {"mode":3,"url":"a3"}`)
		r.configure("A", `{"kept":true}`)
		r.must(r.PersistConfiguration(r.Context(), "A"))
	})
	runWith(t, nil, filesOf(path, a), func(r *rig) {
		r.closing()
		r.expectTables(`A {"kept":true}`, `B {"kept":true}`, `C {"kept":true}`)
	})
}

// A reload treats a clone as it treats an instance of a file.
func TestReloadReachesClones(t *testing.T) {
	run(t, []instance{{"A", configs.StartActivated, 50, nil}}, func(r *rig) {
		r.Start(r.Context())
		r.must(r.Clone(r.Context(), "A", "Awake"))
		r.must(r.Clone(r.Context(), "A", "Down"))
		r.must(r.Clone(r.Context(), "Down", "Below"))
		r.must(r.Clone(r.Context(), "A", "Asleep"))
		r.configure("Down", `{"own":1}`)
		r.activate("Awake")
		r.plugins["Asleep"].sleeps()
		r.activate("Asleep")
		r.must(r.shell("Asleep").Suspend(r.Context(), shell.Requested))
		r.must(r.shell("Asleep").Hibernate(r.Context(), shell.Requested, 0))
		plugins := r.files()
		change(plugins, "A", func(p *configs.Plugin) { p.CallTimeout++ })
		r.reload(plugins, "A: adjusted, its call-timeout differs", "Asleep: adjusted, its call-timeout differs",
			"Awake: adjusted, its call-timeout differs", "Below: adjusted, its call-timeout differs", "Down: adjusted, its call-timeout differs")
		change(plugins, "A", func(p *configs.Plugin) {
			p.Environment = map[string]string{"X": "y"}
			p.Configuration = map[string]any{"own": 0, "other": 2}
		})
		const differ = "its environment and configuration differ"
		r.reload(plugins, "A: restarted, "+differ, "Asleep: restarted, "+differ, "Awake: restarted, "+differ,
			"Below: reconfigured, "+differ, "Down: reconfigured, "+differ)
		r.expectTables(`Awake {"other":2,"own":0}`, `Asleep {"other":2,"own":0}`, `Down {"other":2,"own":1}`, `Below {"other":2,"own":1}`)
		if got := r.plugins["Awake"].launched().Environment["X"]; got != "y" {
			t.Errorf("it was launched with %q", got)
		}
		r.reload(plugins, []string(nil)...)

		bad := maps.Clone(plugins)
		change(bad, "A", func(p *configs.Plugin) { p.Requires = []string{"Below"} }) // and so does Below itself
		if _, err := r.Reload(r.Context(), slices.Collect(maps.Values(bad))); err == nil || !strings.Contains(err.Error(), "circle") {
			t.Errorf("got %v", err)
		}
		r.reload(plugins, []string(nil)...)
	})
}

// A clone whose source is gone keeps the source's last configuration, and says so, until the
// source is back.
func TestCloneOfAGoneSource(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	a := withTable("A", map[string]any{"n": int64(1)})
	a.Arguments = []string{"-1"}
	explained := func(r *rig, callsign string) string { r.Helper(); return r.ExplainBriefly(callsign) }
	const gone = ". Its configuration is the last one of A, which is gone"
	runWith(t, nil, filesOf(path, a), func(r *rig) {
		r.closing()
		r.must(r.Clone(r.Context(), "A", "B"))
		r.must(r.Clone(r.Context(), "B", "C"))
		r.reload(nil, "A: removed", "B: keeps the last configuration of A, which is gone")
		r.expectTables(`B {"n":1}`, `C {"n":1}`)
		r.expectSource("B", CloneSource{Of: "A", Gone: true})
		r.expectSource("C", CloneSource{Of: "B"})
		if why := explained(r, "B"); !strings.HasSuffix(why, gone) {
			t.Errorf("explained as %q", why)
		}
		if why := explained(r, "C"); strings.Contains(why, "gone") {
			t.Errorf("explained as %q", why)
		}
		r.configure("B", `{"n":1,"own":true}`)
		r.must(r.PersistConfiguration(r.Context(), ""))
		r.activate("B")
	})
	runWith(t, nil, filesOf(path), func(r *rig) {
		r.closing()
		r.expectTables(`B {"n":1,"own":true}`, `C {"n":1,"own":true}`)
		r.expectSource("B", CloneSource{Of: "A", Gone: true, Own: []string{"configuration.own"}})
		r.activate("B")
		r.reload(map[string]configs.Plugin{"A": a}, "A: added") // as before: nothing differs
		r.expectSource("B", CloneSource{Of: "A", Own: []string{"configuration.own"}})
		a.Arguments, a.Configuration = []string{"-2"}, map[string]any{"n": int64(2)}
		r.reload(map[string]configs.Plugin{"A": a}, "A: reconfigured, its arguments and configuration differ",
			"B: restarted, its arguments and configuration differ", "C: reconfigured, its arguments and configuration differ")
		r.expectTables(`B {"n":2,"own":true}`)
		builtin := named("A", configs.StartDeactivated)
		builtin.Builtin = "Class"
		r.options.Classes = map[string]Class{"Class": func(_ *Supervisor, config func() configs.Plugin, sink shell.Sink) shell.Backend {
			return struct{ shell.Backend }{newPlugin("A", r.journal, nil, config, sink)}
		}}
		r.reload(map[string]configs.Plugin{"A": builtin}, "A: added", "B: keeps the last configuration of A, which is gone")
		r.expectTables(`B {"n":2,"own":true}`)
	})
}

// A clone whose source is missing because its file was left out says that.
func TestCloneOfAMissingSource(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	a := withTable("A", map[string]any{"n": int64(1)})
	runWith(t, nil, filesOf(path, a), func(r *rig) {
		r.closing()
		r.must(r.Clone(r.Context(), "A", "B"))
	})
	leftOut := func(o *Options) {
		filesOf(path)(o)
		o.LeftOut = configs.LeftOutFiles{{Path: "bad.toml", Callsigns: []string{"A"}, IsComplete: true}}
	}
	runWith(t, nil, leftOut, func(r *rig) {
		r.closing()
		r.expectTables(`B {"n":1}`)
		if why := r.ExplainBriefly("B"); !strings.Contains(why, "last one of A, which is gone: the file that defines it could not be used") {
			t.Errorf("explained as %q", why)
		}
		a.Configuration = map[string]any{"n": int64(2)}
		r.reload(map[string]configs.Plugin{"A": a}, "A: added", "B: reconfigured, its configuration differs")
		r.expectSource("B", CloneSource{Of: "A"})
	})
}

// A clone does not follow an instance that got the callsign of its destroyed source, and
// clones never follow each other in a circle.
func TestCloneOfADestroyedSource(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	a := withTable("A", map[string]any{"n": int64(1)})
	other := withTable("Other", map[string]any{"n": int64(7)})
	runWith(t, nil, filesOf(path, a, other), func(r *rig) {
		r.closing()
		r.must(r.Clone(r.Context(), "A", "B"))
		r.configure("B", `{"n":2}`) // is not persisted
		r.must(r.Clone(r.Context(), "B", "C"))
		r.must(r.Destroy(r.Context(), "B"))
		r.expectSource("C", CloneSource{Of: "B", Gone: true})
		r.must(r.Clone(r.Context(), "C", "B"))
		r.expectSource("B", CloneSource{Of: "C"})
		r.configure("C", `{"n":3}`)
		r.expectTables(`B {"n":3}`, `C {"n":3}`)
		r.must(r.RestoreConfiguration(r.Context(), ""))
		r.expectTables(`B {"n":2}`, `C {"n":2}`)

		// Neither does the clone of a file's instance follow a clone of that callsign.
		r.must(r.Clone(r.Context(), "A", "D"))
		r.reload(map[string]configs.Plugin{"Other": other}, "A: removed", "D: keeps the last configuration of A, which is gone")
		r.must(r.Clone(r.Context(), "Other", "A"))
		r.expectSource("D", CloneSource{Of: "A", Gone: true})
		r.expectTables(`A {"n":7}`, `D {"n":1}`)
	})
	runWith(t, nil, filesOf(path, other), func(r *rig) {
		r.closing()
		r.expectTables(`A {"n":7}`, `B {"n":2}`, `C {"n":2}`, `D {"n":1}`)
		r.expectSource("C", CloneSource{Of: "B", Gone: true})
		r.expectSource("D", CloneSource{Of: "A", Gone: true})
	})
}

// A store in which clones follow each other in a circle, which no host should write, is read.
func TestClonesInACircle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := store.Open(path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	clones := store.BucketOf[clone](s, "clones")
	for callsign, of := range map[string]string{"X": "Y", "Y": "X", "Z": "Z"} {
		if err := clones.Put(callsign, clone{Version: cloneVersion, Of: of, Plugin: withTable(callsign, map[string]any{"n": 1})}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	runWith(t, nil, filesOf(path), func(r *rig) {
		r.closing()
		r.configure("X", `{"n":2}`)
		r.must(r.Destroy(r.Context(), "Y"))
		r.expectTables(`X {"n":2}`, `Z {"n":1}`)
	})
}

// The clones of the first version were full copies. What differed from the source when the
// host was exchanged stays as it is, all else follows the source.
func TestClonesOfTheFirstVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	a := withTable("A", map[string]any{"n": int64(1), "big": int64(9007199254740993), "f": 1.5})
	a.Arguments, a.Environment = []string{"-1"}, map[string]string{"X": "1"}
	same, old, below, orphan := a, a, a, a
	same.Callsign, old.Callsign, below.Callsign, orphan.Callsign = "Same", "Old", "Below", "Orphan"
	old.Environment, old.Configuration = map[string]string{"X": "0"}, map[string]any{"n": 0, "big": int64(9007199254740993), "more": true}
	below.Environment, below.Configuration = old.Environment, old.Configuration
	orphan.Configuration = map[string]any{"n": 5}
	storeClone(t, path, "A", same)
	storeClone(t, path, "A", old)
	storeClone(t, path, "Old", below)
	storeClone(t, path, "Later", orphan)
	s, err := store.Open(path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	first := store.BucketOf[json.RawMessage](s, "configurations")
	if err := first.Put("Same", json.RawMessage(`{"version":1,"configuration":{"f":2.50,"n":1}}`)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	expectAsBefore := func(r *rig) {
		r.Helper()
		r.expectTables(`Same {"f":2.50,"n":1}`, `Old {"big":9007199254740993,"more":true,"n":0}`, `Below {"big":9007199254740993,"more":true,"n":0}`, `Orphan {"n":5}`)
		r.expectSource("Same", CloneSource{Of: "A", Own: []string{"configuration.f", "configuration.big"}})
		r.expectSource("Old", CloneSource{Of: "A", Own: []string{"environment", "configuration.more", "configuration.n", "configuration.f"}})
		r.expectSource("Below", CloneSource{Of: "Old"})
	}
	for range 2 { // the second host finds what the first has made of them
		runWith(t, nil, filesOf(path, a), func(r *rig) {
			r.closing()
			expectAsBefore(r)
			r.expectSource("Orphan", CloneSource{Of: "Later", Gone: true})
			r.reload(map[string]configs.Plugin{"A": a}, []string(nil)...)
		})
	}
	later := orphan
	later.Callsign, later.Arguments = "Later", []string{"-7"}
	later.Configuration = map[string]any{"n": int64(6), "m": int64(6)}
	runWith(t, nil, filesOf(path, a, later), func(r *rig) {
		r.closing()
		expectAsBefore(r)
		r.expectSource("Orphan", CloneSource{Of: "Later", Own: []string{"arguments", "configuration.n", "configuration.m"}})
		now := r.files()
		change(now, "A", func(p *configs.Plugin) {
			p.Arguments, p.Environment = []string{"-2"}, map[string]string{"X": "2"}
			p.Configuration = map[string]any{"n": int64(2), "big": int64(3), "f": 0.5, "new": true}
		})
		change(now, "Later", func(p *configs.Plugin) { p.Data, p.Arguments = "/data", []string{"-8"} })
		const all = "its arguments, environment and configuration differ"
		r.reload(now, "A: reconfigured, "+all, "Below: reconfigured, its arguments and configuration differ", "Later: reconfigured, its arguments and data differ",
			"Old: reconfigured, its arguments and configuration differ", "Orphan: reconfigured, its data differs", "Same: reconfigured, "+all)
		r.expectTables(`Same {"f":2.50,"n":2,"new":true}`, `Old {"big":3,"more":true,"n":0,"new":true}`, `Below {"big":3,"more":true,"n":0,"new":true}`, `Orphan {"n":5}`)
		if got := r.shell("Below").Config(); got.Environment["X"] != "0" || !slices.Equal(got.Arguments, []string{"-2"}) {
			t.Errorf("it has %+v", got)
		}
		r.must(r.RestoreConfiguration(r.Context(), ""))
		r.expectTables(`Same {"big":3,"f":0.5,"n":2,"new":true}`, `Below {"big":3,"f":0.5,"n":2,"new":true}`, `Orphan {"m":6,"n":6}`)
	})
}
