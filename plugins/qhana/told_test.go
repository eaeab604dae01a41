package qhana

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/internal/store"
	"dormouse/plugins/qhana/qhanatest"
)

// within returns a context that ends when a test has waited for too long.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// newRegistry returns a registry that ends with the test.
func newRegistry(t *testing.T) *qhanatest.Registry {
	t.Helper()
	registry := qhanatest.NewRegistry()
	t.Cleanup(registry.Close)
	return registry
}

// newTold returns a rig whose registry knows its seed.
func newTold(t *testing.T, instances ...Instance) (*rig, *qhanatest.Registry) {
	t.Helper()
	registry := newRegistry(t)
	r := newRig(t, instances, registry.Root())
	registry.AddSeed(r.server.URL + "/qhana")
	return r, registry
}

// A registry hears of each plugin that comes, changes and goes, by the walk of its API.
func TestRegistryIsTold(t *testing.T) {
	r, registry := newTold(t, optimizer())
	r.run(t)
	ctx := within(t)
	if err := registry.AwaitPlugins(ctx, "optimizer 1.2.0"); err != nil {
		t.Fatal(err)
	}
	signal := "POST /api/plugins/?url=" + strings.NewReplacer(":", "%3A", "/", "%2F", "@", "%40").Replace(r.server.URL+"/qhana/plugins/optimizer@1-2-0/")
	want := []string{"GET /api/", "GET /api/plugins/", signal, "added " + r.server.URL + "/qhana/plugins/optimizer@1-2-0/"}
	if diff := cmp.Diff(want, registry.Log()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	r.instances.set(optimizer(), problem1())
	r.NoteChange()
	if err := registry.AwaitPlugins(ctx, "optimizer 1.2.0", "problem.1 0.0.0"); err != nil {
		t.Fatal(err)
	}
	upgraded := optimizer()
	upgraded.Profile.Version = "1.3.0-snapshot"
	r.instances.set(upgraded, problem1())
	r.NoteChange()
	if err := registry.AwaitPlugins(ctx, "optimizer 1.3.0.dev0+snapshot", "problem.1 0.0.0"); err != nil {
		t.Fatal(err)
	}
	described := problem1()
	described.Profile.Description = "another"
	after := len(registry.Log())
	r.instances.set(upgraded, described)
	r.NoteChange()
	if err := registry.AwaitLog(ctx, after, "seen "+r.server.URL+"/qhana/plugins/problem-1@0-0-0/"); err != nil {
		t.Fatal(err)
	}
	r.instances.set()
	r.NoteChange()
	if err := registry.AwaitPlugins(ctx); err != nil {
		t.Fatal(err)
	}
}

// What a registry was told is kept: the next host tells it only what has changed since.
func TestToldAfterRestart(t *testing.T) {
	r, registry := newTold(t, optimizer(), problem1())
	stop := r.run(t)
	ctx := within(t)
	if err := registry.AwaitPlugins(ctx, "optimizer 1.2.0", "problem.1 0.0.0"); err != nil {
		t.Fatal(err)
	}
	stop()
	after := len(registry.Log())

	// One has gone, one has not said yet what it is, and one is new.
	unknown := Instance{Callsign: "Optimizer"}
	third := problem1()
	third.Callsign, third.Profile.Name = "Problem3", "problem.3"
	r.instances.set(unknown, third)
	stop = r.run(t)
	if err := registry.AwaitPlugins(ctx, "optimizer 1.2.0", "problem.3 0.0.0"); err != nil {
		t.Fatal(err)
	}
	stop()
	for _, line := range registry.Log()[after:] {
		if strings.Contains(line, "optimizer") {
			t.Errorf("it was told of a plugin that has not said yet what it is: %s", line)
		}
	}
}

// A host that ends after a change and before the signal makes up for it.
func TestChangeBeforeSignal(t *testing.T) {
	r, registry := newTold(t, optimizer())
	ctx := within(t)
	told, err := r.readTold(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.tell(ctx, told); err != nil { // on disk, and nothing runs
		t.Fatal(err)
	}
	r.instances.set(optimizer(), problem1())
	r.run(t)
	if err := registry.AwaitPlugins(ctx, "optimizer 1.2.0", "problem.1 0.0.0"); err != nil {
		t.Fatal(err)
	}
}

// A registry that is in trouble is told once it is well again.
func TestRegistryInTrouble(t *testing.T) {
	r, registry := newTold(t, optimizer())
	registry.AnswerNext(http.StatusServiceUnavailable)
	r.run(t)
	if err := registry.AwaitPlugins(within(t), "optimizer 1.2.0"); err != nil {
		t.Fatal(err)
	}
	if log := registry.Log(); len(log) != 5 || log[0] != log[1] {
		t.Errorf("it saw %q", log)
	}
}

// Without registries nothing is attempted, and what waits for one that is configured no more is
// dropped.
func TestNoRegistries(t *testing.T) {
	r, registry := newTold(t, optimizer())
	ctx := within(t)
	if _, err := r.tell(ctx, map[string]signal{}); err != nil {
		t.Fatal(err)
	}
	o := r.Options
	o.Registries = nil
	q, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	q.Run(ctx) // it returns by itself
	var left, waiting int
	err = r.store.View(ctx, func(tx *store.Tx) error {
		if err := tx.QueryRow(`SELECT count(*) FROM qhana_told`).Scan(&left); err != nil {
			return err
		}
		return tx.QueryRow(`SELECT count(*) FROM outbox_deliveries`).Scan(&waiting)
	})
	if err != nil || left != 0 || waiting != 0 {
		t.Errorf("%d rows and %d deliveries are left, %v", left, waiting, err)
	}
	if log := registry.Log(); len(log) != 0 {
		t.Errorf("the registry saw %q", log)
	}
}

// Of many versions none makes a registry skip the plugins after it.
func TestDiscoveryOfManyVersions(t *testing.T) {
	var instances []Instance
	versions := []string{"1.2.3", "1.2.3-rc.1", "1.2.3+build.5", "1.2.3-snapshot", "1.0.0-x.7", "one", "1.0.0-rc.1.2", "2.0.0"}
	for i, version := range versions {
		one := optimizer()
		one.Callsign, one.Profile.Name, one.Profile.Version = fmt.Sprintf("Plugin%d", i), fmt.Sprintf("plugin%d", i), version
		instances = append(instances, one)
	}
	r, registry := newTold(t, instances...)
	if err := registry.Discover(); err != nil {
		t.Fatal(err)
	}
	got := registry.Plugins()
	want := []string{
		"plugin0 1.2.3", "plugin1 1.2.3-rc.1", "plugin2 1.2.3+build.5", "plugin3 1.2.3.dev0+snapshot", "plugin4 1.0.0.dev0+x.7",
		"plugin6 1.0.0.dev0+rc.1.2", "plugin7 2.0.0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !strings.Contains(r.log.String(), "PEP 440") {
		t.Errorf("nothing is told of the version %q: %s", "one", r.log)
	}
}

// The registry that the tests use refuses what the real one does.
func TestStandInRefusesVersions(t *testing.T) {
	for _, version := range []string{"1.2.3-snapshot", "1.0.0-x.7", "one", ""} {
		if qhanatest.PythonVersion.MatchString(version) {
			t.Errorf("%q passes", version)
		}
	}
	if i := slices.IndexFunc([]string{"1.2.3", "1.2.3-rc.1", "1.2.3+build.5"}, func(v string) bool { return !qhanatest.PythonVersion.MatchString(v) }); i >= 0 {
		t.Errorf("version %d does not pass", i)
	}
}
