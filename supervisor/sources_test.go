package supervisor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/shell"
)

// provide has a package provide the plugins, and expects these lines.
func (r *rig) provide(source string, plugins []configs.Plugin, want ...string) {
	r.Helper()
	lines, err := r.Provide(r.Context(), source, plugins)
	if err != nil {
		r.Fatal(err)
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		r.Errorf("lines of %s (-want +got):\n%s", source, diff)
	}
}

func (r *rig) expectSourceOf(callsign, want string, found bool) {
	r.Helper()
	if got, ok := r.SourceOf(callsign); got != want || ok != found {
		r.Errorf("%s is of %q, %t", callsign, got, ok)
	}
}

// Each source changes, and ends, what it provides itself and nothing else.
func TestSourcesAreApart(t *testing.T) {
	run(t, []instance{{"File", configs.StartActivated, 50, nil}}, func(r *rig) {
		r.Start(r.Context())
		one, two := named("One", configs.StartActivated), named("Two", configs.StartActivated)
		r.provide("numbers", []configs.Plugin{one, two}, "One: added and started", "Two: added and started")
		r.provide("letters", []configs.Plugin{named("A", configs.StartDeactivated)}, "A: added")
		r.must(r.Clone(r.Context(), "One", "Copy"))
		r.must(r.Clone(r.Context(), "Copy", "CopyOfCopy"))
		for callsign, want := range map[string]string{"File": FilesSource, "One": "numbers", "A": "letters", "Copy": "numbers", "CopyOfCopy": "numbers"} {
			r.expectSourceOf(callsign, want, true)
		}
		r.expectSourceOf("First", "", false)

		r.reload(r.files(), []string(nil)...)
		one.Arguments = []string{"-v"}
		r.provide("numbers", []configs.Plugin{one},
			"Copy: reconfigured, its arguments differ", "CopyOfCopy: reconfigured, its arguments differ",
			"One: restarted, its arguments differ", "Two: removed")
		r.provide("numbers", nil, "Copy: keeps the last configuration of One, which is gone", "One: removed")
		r.expectSourceOf("One", "", false)
		r.expectSourceOf("Copy", "", false)
		r.expectSourceOf("CopyOfCopy", "", false)
		r.provide("numbers", []configs.Plugin{one}, "One: added and started")
		r.expectSourceOf("CopyOfCopy", "numbers", true)
		r.reload(nil, "File: removed")
		if diff := cmp.Diff(map[string]shell.State{"First": "activated", "Second": "activated", "One": "activated",
			"A": "deactivated", "Copy": "deactivated", "CopyOfCopy": "deactivated"}, r.states()); diff != "" {
			r.Errorf("states (-want +got):\n%s", diff)
		}
	})
}

// A callsign is of one source, in upper or lower case, and the error names both.
func TestSourcesMustNotClash(t *testing.T) {
	run(t, []instance{{"File", configs.StartActivated, 50, nil}}, func(r *rig) {
		r.Start(r.Context())
		r.provide("first", []configs.Plugin{named("Mine", configs.StartActivated)}, "Mine: added and started")
		r.must(r.Clone(r.Context(), "Mine", "Copy"))
		r.journal.read()
		for _, test := range []struct{ source, callsign, want string }{
			{"second", "mine", "the package first and the package second both name mine"},
			{"second", "FILE", "the configuration and the package second both name FILE"},
			{FilesSource, "MINE", "the package first and the configuration both name MINE"},
			{"second", "copy", `"Copy" is that of a clone`},
			{"second", "first", `"First" is that of a part of the host`},
			{"second", "new", "the package second names new twice"},
		} {
			_, err := r.Provide(r.Context(), test.source, []configs.Plugin{named("New", configs.StartActivated), named(test.callsign, configs.StartActivated)})
			if !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), test.want) {
				r.Errorf("%s from %q: got %v", test.callsign, test.source, err)
			}
		}
		r.expect()
		if _, there := r.Shell("New"); there {
			r.Error("a refused source has changed something")
		}
		r.provide("first", nil, "Copy: keeps the last configuration of Mine, which is gone", "Mine: removed")
		r.provide("second", []configs.Plugin{named("mine", configs.StartDeactivated)}, "mine: added")
	})
}

// Sources that clash keep a host from being made, and CheckClashes names them all before.
func TestClashesBeforeTheStart(t *testing.T) {
	bySource := map[string][]configs.Plugin{
		FilesSource: {named("A", configs.StartActivated)},
		"p":         {named("B", configs.StartActivated), named("a", configs.StartActivated)},
		"q":         {named("b", configs.StartActivated), named("Left", configs.StartActivated)},
	}
	leftOut := configs.LeftOutFiles{{Path: "bad.toml", Callsigns: []string{"Left"}, IsComplete: true}}
	var clash *ClashError
	err := CheckClashes(bySource, leftOut)
	if !errors.As(err, &clash) || *clash != (ClashError{"a", [2]string{FilesSource, "p"}}) {
		t.Errorf("got %+v", clash)
	}
	for _, want := range []string{"the package p both name a;", "the package p and the package q both name b;", "the configuration and the package q both name Left;"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	_, err = New(Options{Plugins: bySource[FilesSource], Provided: map[string][]configs.Plugin{"p": bySource["p"]}})
	if !errors.As(err, &clash) {
		t.Errorf("a host was made of it: %v", err)
	}
}

// What an earlier host left running or asleep of a package's instances goes on, since the
// package is known before the start. A package that is unknown then finds it later.
func TestProvidedBeforeTheStart(t *testing.T) {
	left := func(r *rig) {
		r.changes["Runs"] = func(p *plugin) { p.LeftRunning = true }
		r.changes["Sleeps"] = func(p *plugin) { p.Asleep = &shell.Sleep{} }
	}
	instances := []configs.Plugin{named("Runs", configs.StartActivated), named("Sleeps", configs.StartActivated), named("New", configs.StartActivated)}
	want := map[string]shell.State{"First": "activated", "Second": "activated", "Runs": "activated", "Sleeps": "hibernated", "New": "activated"}
	runWith(t, []instance{
		{"Runs", configs.StartActivated, 50, func(p *plugin) { p.LeftRunning = true }},
		{"Sleeps", configs.StartActivated, 50, func(p *plugin) { p.Asleep = &shell.Sleep{} }},
	}, func(o *Options) {
		o.Plugins, o.Provided = nil, map[string][]configs.Plugin{"p": instances}
	}, func(r *rig) {
		r.Adopt(r.Context())
		r.Start(r.Context())
		r.expect("launch First", "launch Second", "launch New")
		r.expectSourceOf("Sleeps", "p", true)
		if diff := cmp.Diff(want, r.states()); diff != "" {
			r.Errorf("states (-want +got):\n%s", diff)
		}
		r.provide("p", instances, []string(nil)...)
	})
	run(t, nil, func(r *rig) {
		r.Start(r.Context())
		left(r)
		r.provide("p", instances, "New: added and started", "Runs: added, running as before", "Sleeps: added, hibernated as before")
		if diff := cmp.Diff(want, r.states()); diff != "" {
			r.Errorf("states (-want +got):\n%s", diff)
		}
	})
}

// What requires an instance of a package waits while the package provides none, and the files
// must not take away what a package requires.
func TestRequirementsAcrossSources(t *testing.T) {
	run(t, []instance{{"Base", configs.StartActivated, 50, nil}}, func(r *rig) {
		r.Start(r.Context())
		app, db := named("App", configs.StartActivated), named("Db", configs.StartActivated)
		app.Requires = []string{"Db", "Base"}
		r.provide("app", []configs.Plugin{app}, "App: added, but could not be started: cannot activate: waiting for Db")
		r.provide("db", []configs.Plugin{db}, "Db: added and started")
		pass(time.Second)
		r.expectState("App", shell.Activated, shell.Startup)
		r.provide("db", nil, "Db: removed")
		pass(time.Second)
		r.expectState("App", shell.Precondition, shell.Conditions)

		if _, err := r.Reload(r.Context(), nil); err == nil || !strings.Contains(err.Error(), `App requires "Base"`) {
			r.Errorf("got %v", err)
		}
		r.reload(r.files(), []string(nil)...) // what the package lacks is not the files' fault
		needs := named("Needs", configs.StartActivated)
		needs.Requires = []string{"Db"}
		files := r.files()
		files["Needs"] = needs
		r.reload(files, "Needs: added, but could not be started: cannot activate: waiting for Db")
		r.expectState("Needs", shell.Precondition, shell.Startup)
		delete(files, "Needs")
		r.reload(files, "Needs: removed")
		db.Requires = []string{"App"}
		if _, err := r.Provide(r.Context(), "db", []configs.Plugin{db}); err == nil || !strings.Contains(err.Error(), "circle") {
			r.Errorf("got %v", err)
		}
	})
}

// A source is tried again for what sleeps on, also when another source changes meanwhile.
func TestRetryIsOfOneSource(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.Start(r.Context())
		r.changes["Sleeper"] = (*plugin).sleeps
		r.provide("p", []configs.Plugin{named("Sleeper", configs.StartActivated)}, "Sleeper: added and started")
		r.must(r.shell("Sleeper").Suspend(r.Context(), shell.Requested))
		r.must(r.shell("Sleeper").Hibernate(r.Context(), shell.Requested, 0))
		r.plugins["Sleeper"].failWakes(errors.New("no memory"))
		r.provide("p", nil, "Sleeper: could not be removed: cannot destroy: cannot wake: no memory; it sleeps on as it was, and the host tries again")
		r.expectSourceOf("Sleeper", "p", true)
		r.reload(nil, []string(nil)...)
		r.provide("q", []configs.Plugin{named("Other", configs.StartActivated)}, "Other: added and started")
		r.plugins["Sleeper"].failWakes(nil)
		pass(time.Minute)
		if _, there := r.Shell("Sleeper"); there {
			r.Error("it was not ended")
		}
		r.expectSourceOf("Other", "q", true)
	})
}

// A probe asks Options.Probe within the start timeout, and ends with the host.
func TestProbeOfWhatIsNoInstance(t *testing.T) {
	p := named("New", configs.StartActivated)
	runWith(t, nil, func(o *Options) {
		o.Probe = func(ctx context.Context, plugin configs.Plugin) (shell.Information, error) {
			if plugin.Executable == "hangs" {
				<-ctx.Done()
				return shell.Information{}, ctx.Err()
			}
			return shell.Information{Class: plugin.Callsign}, nil
		}
	}, func(r *rig) {
		if about, err := r.Probe(r.Context(), p); err != nil || about.Class != "New" || len(r.Shells()) != 2 {
			r.Errorf("got %+v, %v, %v", about, err, r.states())
		}
		p.Executable = "hangs"
		began := time.Now()
		if _, err := r.Probe(r.Context(), p); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Duration(p.StartTimeout) {
			r.Errorf("after %s: %v", time.Since(began), err)
		}
		ended := background(func() { _, _ = r.Probe(r.Context(), p) })
		r.Stop(context.Background())
		<-ended
		if _, err := r.Provide(r.Context(), "p", nil); !errors.Is(err, shell.ErrUnavailable) || !strings.Contains(err.Error(), "the package p") {
			r.Errorf("got %v", err)
		}
	})
}

// A plugin that is slow to start holds up no other source.
func TestSlowStartOfASource(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.Start(r.Context())
		held := make(chan struct{})
		r.changes["Slow"] = func(p *plugin) { p.held = held }
		slow := named("Slow", configs.StartActivated)
		slow.Probe = false
		var lines []string
		added := background(func() { lines, _ = r.Provide(r.Context(), "slow", []configs.Plugin{slow}) })
		r.provide("quick", []configs.Plugin{named("Quick", configs.StartActivated)}, "Quick: added and started")
		r.must(r.Clone(r.Context(), "Slow", "Copy"))
		if state := r.shell("Slow").State(); state != shell.Activation {
			r.Errorf("it is %s", state)
		}
		close(held)
		<-added
		if diff := cmp.Diff([]string{"Slow: added and started"}, lines); diff != "" {
			r.Errorf("lines (-want +got):\n%s", diff)
		}
		held = make(chan struct{})
		r.changes["Slower"] = func(p *plugin) { p.held = held }
		slow.Callsign = "Slower"
		added = background(func() { lines, _ = r.Provide(r.Context(), "slower", []configs.Plugin{slow}) })
		r.Stop(context.Background())
		<-added
		if state := r.shell("Slower").State(); state != shell.Deactivated || len(lines) != 1 || !strings.Contains(lines[0], "shutting down") {
			r.Errorf("after the end of the host it is %s: %q", state, lines)
		}
	})
}
