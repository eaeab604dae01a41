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

// version returns the plugin of that callsign in another version, with other keys.
func version(callsign, executable string, change ...func(*configs.Plugin)) configs.Plugin {
	p := named(callsign, configs.StartActivated)
	p.Executable = executable
	for _, c := range change {
		c(&p)
	}
	return p
}

// What requires an instance, and a subsystem that it has activated, stay as they are while the
// instance is replaced. Its clones follow one after another.
func TestReplaceIsSeenAsOneInstance(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.Start(r.Context())
		controlsNetwork := func(p *configs.Plugin) { p.Controls = []string{"Network", "Time"} }
		base, user := version("Base", "v1", controlsNetwork), version("User", "v1")
		user.Requires, user.Terminations = []string{"Base"}, []string{"!Network"}
		r.provide("p", []configs.Plugin{base}, "Base: added and started")
		r.must(r.SetSubsystem("Base", "Network", true))
		r.must(r.SetSubsystem("Base", "Time", true))
		r.provide("q", []configs.Plugin{user}, "User: added and started")
		r.must(r.Clone(r.Context(), "Base", "Copy"))
		r.must(r.Clone(r.Context(), "Copy", "CopyOfCopy"))
		r.must(r.shell("Copy").Activate(r.Context(), shell.Requested))
		r.journal.read()
		seen := &journal{}
		defer r.Listen(ear{seen})()

		next := version("Base", "v2", func(p *configs.Plugin) { p.Controls = []string{"Network"} })
		r.must(r.Replace(r.Context(), "p", next, func(context.Context) error {
			pass(time.Minute)
			r.expectState("User", shell.Activated, shell.Startup)
			return nil
		}))
		pass(time.Minute)
		r.expect("end Base, requested", "launch Base", "end Copy, requested", "launch Copy")
		want := []string{"Base: activated > deactivation", "Base: deactivation > deactivated", "Base: deactivated > activation", "Base: activation > activated",
			"Copy: activated > deactivation", "Copy: deactivation > deactivated", "Copy: deactivated > activation", "Copy: activation > activated",
			"Time: false", "Time: true"} // the host's own now
		if diff := cmp.Diff(want, seen.read()); diff != "" {
			r.Errorf("transitions (-want +got):\n%s", diff)
		}
		for _, callsign := range []string{"Base", "Copy", "CopyOfCopy"} {
			if got := r.shell(callsign).Config().Executable; got != "v2" {
				r.Errorf("%s has %s", callsign, got)
			}
		}
		if r.conditions.activatorOf("Network") != "Base" || r.conditions.activatorOf("Time") == "Base" {
			r.Errorf("Network is active by %q, Time by %q", r.conditions.activatorOf("Network"), r.conditions.activatorOf("Time"))
		}
		r.provide("p", []configs.Plugin{next}, []string(nil)...)
	})
}

// A new plugin that does not start is not started again by the restart policy, its clones stay
// as they are, what requires it ends, and the old one can be put back.
func TestReplaceByWhatDoesNotStart(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.Start(r.Context())
		user := version("User", "v1")
		user.Requires = []string{"Base"}
		r.provide("p", []configs.Plugin{version("Base", "v1", always)}, "Base: added and started")
		r.provide("q", []configs.Plugin{user}, "User: added and started")
		r.must(r.Clone(r.Context(), "Base", "Copy"))
		r.plugins["Base"].fails = errors.New("no library")
		err := r.Replace(r.Context(), "p", version("Base", "v2", always), nil)
		if err == nil || !strings.Contains(err.Error(), "no library") {
			r.Errorf("got %v", err)
		}
		pass(time.Hour)
		r.expectState("Base", shell.Deactivated, shell.InstantiationFailed)
		r.expectState("User", shell.Precondition, shell.Conditions)
		if got := r.shell("Copy").Config().Executable; got != "v1" {
			r.Errorf("the clone has %s", got)
		}
		r.plugins["Base"].fails = nil
		r.must(r.Replace(r.Context(), "p", version("Base", "v1", always), nil))
		r.must(r.shell("Base").Activate(r.Context(), shell.Requested))
		pass(time.Minute)
		r.expectState("User", shell.Activated, shell.Conditions)
		if got := r.shell("Base").Config().Executable; got != "v1" {
			r.Errorf("it has %s", got)
		}
	})
}

func always(p *configs.Plugin) { p.Restart.Policy = configs.RestartAlways }

// While an instance is replaced, other sources go on, and leave it and its clones alone; what
// would change it is refused.
func TestReplaceAmongOtherChanges(t *testing.T) {
	run(t, []instance{{"File", configs.StartActivated, 50, nil}}, func(r *rig) {
		r.Start(r.Context())
		r.provide("p", []configs.Plugin{version("Base", "v1")}, "Base: added and started")
		r.must(r.shell("Base").Deactivate(r.Context(), shell.Requested))
		r.must(r.Configure(r.Context(), "Base", []byte(`{"kept":1}`)))
		r.must(r.shell("Base").Activate(r.Context(), shell.Requested))
		r.must(r.Clone(r.Context(), "Base", "Copy"))
		r.journal.read()
		between := make(chan struct{})
		replaced := background(func() {
			if err := r.Replace(r.Context(), "p", version("Base", "v2"), func(context.Context) error { <-between; return nil }); err != nil {
				r.Error(err)
			}
		})
		r.provide("q", []configs.Plugin{version("Other", "v1")}, "Other: added and started")
		r.reload(nil, "File: removed")
		r.must(r.Clone(r.Context(), "Copy", "Late"))
		_, provided := r.Provide(r.Context(), "p", nil)
		for what, err := range map[string]error{
			"Provide": provided, "Configure": r.Configure(r.Context(), "Base", []byte(`{}`)), "Configure of a clone": r.Configure(r.Context(), "Copy", []byte(`{}`)),
			"RestoreConfiguration": r.RestoreConfiguration(r.Context(), ""), "Destroy": r.Destroy(r.Context(), "Copy"),
			"Replace": r.Replace(r.Context(), "p", version("Base", "v3"), nil),
		} {
			if !errors.Is(err, shell.ErrInProgress) {
				r.Errorf("%s: got %v", what, err)
			}
		}
		close(between)
		<-replaced
		r.expect("end Base, requested", "launch Other", "end File, requested", "launch Base")
		for _, callsign := range []string{"Base", "Copy", "Late"} {
			if got := r.shell(callsign).Config(); got.Executable != "v2" || r.table(callsign) != `{"kept":1}` {
				r.Errorf("%s has %s and %s", callsign, got.Executable, r.table(callsign))
			}
		}
		r.must(r.Destroy(r.Context(), "Late"))
	})
}

// A clone that sleeps and can't be woken is replaced when it can be.
func TestReplaceOfASleepingClone(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.Start(r.Context())
		r.changes["Copy"] = (*plugin).sleeps
		r.provide("p", []configs.Plugin{version("Base", "v1")}, "Base: added and started")
		r.must(r.Clone(r.Context(), "Base", "Copy"))
		r.must(r.shell("Copy").Activate(r.Context(), shell.Requested))
		r.must(r.shell("Copy").Suspend(r.Context(), shell.Requested))
		r.must(r.shell("Copy").Hibernate(r.Context(), shell.Requested, 0))
		r.plugins["Copy"].failWakes(errors.New("no memory"))
		r.must(r.Replace(r.Context(), "p", version("Base", "v2"), nil))
		pass(time.Minute)
		if st := r.shell("Copy").Status(); st.State != shell.Hibernated || st.Config.Executable != "v1" {
			r.Errorf("it is %s with %s", st.State, st.Config.Executable)
		}
		r.plugins["Copy"].failWakes(nil)
		pass(2 * time.Minute)
		if got := r.shell("Copy").Config().Executable; got != "v2" {
			r.Errorf("it has %s", got)
		}
	})
}

// What a source has to be done before a start is done for its instances and clones, also for a clone
// that is replaced later since it could not be woken; it is not done for instances of the files.
func TestWorkBeforeStart(t *testing.T) {
	done := &journal{}
	before := func(source string, plugin configs.Plugin) func(context.Context) error {
		return func(context.Context) error {
			done.add(source + " " + plugin.Callsign + " " + plugin.Executable)
			return nil
		}
	}
	runWith(t, []instance{{"File", configs.StartActivated, 50, nil}}, func(o *Options) { o.BeforeStart = before }, func(r *rig) {
		expect := func(want ...string) {
			r.Helper()
			if diff := cmp.Diff(want, done.read()); diff != "" {
				r.Errorf("work before starts (-want +got):\n%s", diff)
			}
		}
		r.Start(r.Context())
		r.changes["Copy"] = (*plugin).sleeps
		r.provide("p", []configs.Plugin{version("Base", "v1")}, "Base: added and started")
		r.must(r.Clone(r.Context(), "Base", "Copy"))
		r.must(r.shell("Copy").Activate(r.Context(), shell.Requested))
		expect("p Base v1", "p Copy v1")
		r.must(r.shell("Copy").Suspend(r.Context(), shell.Requested))
		r.must(r.shell("Copy").Hibernate(r.Context(), shell.Requested, 0))
		r.plugins["Copy"].failWakes(errors.New("no memory"))
		r.must(r.ReplaceForTrial(r.Context(), "p", version("Base", "v2"), func(_ context.Context, callsign string) error {
			done.add("between, " + callsign)
			return nil
		}))
		expect("between, Base", "p Base v2")
		r.plugins["Copy"].failWakes(nil)
		pass(2 * time.Minute)
		expect("p Copy v2")
	})
}

// Replace refuses what Provide would, and what the source does not provide.
func TestReplaceRefuses(t *testing.T) {
	run(t, []instance{{"File", configs.StartActivated, 50, nil}}, func(r *rig) {
		r.Start(r.Context())
		base, user := version("Base", "v1"), version("User", "v1")
		user.Requires = []string{"Base"}
		if _, err := r.Provide(r.Context(), "p", []configs.Plugin{base, user}); err != nil {
			r.Fatal(err)
		}
		pass(time.Second)
		r.journal.read()
		circle, builtin := version("Base", "v2"), version("Base", "v2")
		circle.Requires, builtin.Builtin = []string{"User"}, "Monitor"
		for want, test := range map[string]struct {
			source string
			plugin configs.Plugin
		}{
			`cannot replace File: there is no such callsign of the package p: "File"`:            {"p", version("File", "v2")},
			`cannot replace Base: there is no such callsign of the package q: "Base"`:            {"q", version("Base", "v2")},
			`cannot replace Gone: there is no such callsign of the configuration: "Gone"`:        {FilesSource, version("Gone", "v2")},
			"cannot replace Base: instances require each other in a circle":                      {"p", circle},
			"cannot replace Base: the key builtin differs: the instance is in a state that does": {"p", builtin},
		} {
			if err := r.Replace(r.Context(), test.source, test.plugin, nil); err == nil || !strings.HasPrefix(err.Error(), want) {
				r.Errorf("got %v, want %s", err, want)
			}
		}
		r.expect()
		r.Stop(context.Background())
		if err := r.Replace(context.Background(), "p", version("Base", "v2"), nil); !errors.Is(err, shell.ErrUnavailable) {
			r.Errorf("got %v", err)
		}
	})
}
