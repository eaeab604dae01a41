package packager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/internal/leaktest"
	"dormouse/internal/store"
	"dormouse/plugins/packager/records"
	"dormouse/shell"
	"dormouse/shell/shelltest"
	"dormouse/statecontrol"
	"dormouse/supervisor"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Run(m)) }

// rig is a host with packages whose plugins are in memory. A plugin appends the value of "writes"
// in its configuration to its data when it starts, and fails as "fails" says: at "probe", "start",
// in its "trial", or there if it is a "clone".
type rig struct {
	*testing.T
	*Packager

	root       string
	options    Options
	supervisor *supervisor.Supervisor
	store      *store.Store
	flows      *fakeFlows

	mu      sync.Mutex
	plugins map[string]*shelltest.Plugin
	events  []string // statuses, by package, as they are told
	probes  chan struct{}
	asleep  string // the instance that sleeps since the host before, with another configuration
}

// run runs test in a bubble, with a host that is stopped after it.
func run(t *testing.T, test func(*rig)) {
	t.Helper()
	runWith(t, nil, test)
}

// runWith is run with other options.
func runWith(t *testing.T, change func(*Options), test func(*rig)) {
	t.Helper()
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{T: t, root: root, flows: &fakeFlows{}}
		r.options = Options{
			Root: filepath.Join(root, DirName), Config: configs.Default().Packages, Version: "v1.0.0", Log: zerolog.Nop(),
			PersistentDir:       r.dataDir,
			RemoveInstanceFiles: func(callsign string) error { return os.RemoveAll(r.dataDir(callsign)) },
			Flows:               r.flows.functions(),
			State:               State{Keep: r.keepState, PutBack: r.putStateBack},
		}
		r.options.Config.Bundled = filepath.Join(root, "bundled")
		if change != nil {
			change(&r.options)
		}
		r.start()
		test(r)
		r.stop()
	})
}

// start starts a host. It follows the one before, if there was one.
func (r *rig) start() {
	r.Helper()
	var err error
	if r.store, err = store.Open(filepath.Join(r.root, "store.db"), store.Options{}); err != nil {
		r.Fatal(err)
	}
	r.options.Store = r.store
	if r.Packager, err = Open(r.options); err != nil {
		r.Fatal(err)
	}
	r.plugins = make(map[string]*shelltest.Plugin)
	r.supervisor, err = supervisor.New(supervisor.Options{
		Store: r.store, HibernateTimeout: time.Minute, Log: zerolog.Nop(),
		Builtins: []supervisor.Builtin{r.Builtin()}, Provided: r.Provided(), Refusal: r.Refusal, Profile: r.Profile, BeforeStart: r.BeforeStart,
		Backend: r.newPlugin, Probe: r.probe,
	})
	if err != nil {
		r.Fatal(err)
	}
	stop := r.supervisor.Listen(eventLog{r})
	r.Cleanup(stop)
	r.supervisor.Start(r.Context())
	r.Start()
}

// stop stops the host.
func (r *rig) stop() {
	r.Helper()
	r.Close()
	r.supervisor.Stop(context.Background())
	r.must(r.store.Close())
}

// restart stops the host, and starts another one once change is done.
func (r *rig) restart(change func()) {
	r.Helper()
	r.stop()
	if change != nil {
		change()
	}
	r.start()
}

func (r *rig) dataDir(callsign string) string { return filepath.Join(r.root, "persistent", callsign) }

// stateFile is what an instance keeps with the host.
func (r *rig) stateFile(callsign string) string { return filepath.Join(r.root, "state-of-"+callsign) }

// keepState and putStateBack are the State of the packages.
func (r *rig) keepState(_ context.Context, callsign, dir string) error {
	text, err := os.ReadFile(r.stateFile(callsign))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, callsign), text, 0o600)
}

func (r *rig) putStateBack(_ context.Context, _, dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		text, rerr := os.ReadFile(filepath.Join(dir, e.Name()))
		err = errors.Join(err, rerr, os.WriteFile(r.stateFile(e.Name()), text, 0o600))
	}
	return err
}

// behavior is what the configuration of a plugin says of it.
type behavior struct {
	Writes string `json:"writes"`
	Fails  string `json:"fails"`
}

func behaviorOf(p configs.Plugin) (b behavior) {
	_ = json.Unmarshal(p.ConfigurationJSON(), &b)
	return b
}

var (
	errBroken       = errors.New("it is broken")
	errOtherProgram = errors.New("its program has changed")
)

func (r *rig) probe(ctx context.Context, p configs.Plugin) (shell.Information, error) {
	if r.probes != nil {
		select {
		case <-r.probes:
		case <-ctx.Done():
			return shell.Information{}, ctx.Err()
		}
	}
	if behaviorOf(p).Fails == "probe" {
		return shell.Information{}, errBroken
	}
	_, err := os.Stat(p.Executable)
	return shell.Information{Class: "Fake"}, err
}

func (r *rig) newPlugin(config func() configs.Plugin, sink shell.Sink) shell.Backend {
	p := &shelltest.Plugin{Info: shell.Information{Class: "Fake"}, Complain: r.Errorf}
	p.AddControl(statecontrol.Suspended)
	p.Attach(config, sink)
	if config().Callsign == r.asleep {
		p.Asleep, p.Outdated = &shell.Sleep{Kind: shell.Stored, Bytes: 4096}, errOtherProgram
	}
	p.OnAction = func(_ context.Context, action, _ string) error {
		switch action {
		case shelltest.Initialize:
		case shelltest.Deinitialize:
			// Before now, since the clock of a bubble stands still until all wait.
			p.Write(time.Now().Add(-time.Millisecond), "version "+behaviorOf(config()).Writes+" ends")
			return nil
		default:
			return nil
		}
		b, dir := behaviorOf(config()), r.dataDir(config().Callsign)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := errors.Join(appendTo(filepath.Join(dir, "data"), b.Writes), appendTo(r.stateFile(config().Callsign), b.Writes)); err != nil {
			return err
		}
		p.Write(time.Now(), "version "+b.Writes+" begins")
		switch b.Fails {
		case "start":
			return errBroken
		case "trial":
			time.AfterFunc(5*time.Second, p.Kill)
		case "clone":
			if config().Callsign == "Copy" {
				time.AfterFunc(5*time.Second, p.Kill)
			}
		}
		return nil
	}
	r.mu.Lock()
	r.plugins[config().Callsign] = p
	r.mu.Unlock()
	return p
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// eventLog notes the events of the Packager.
type eventLog struct{ r *rig }

func (eventLog) Transition(shell.Transition)       {}
func (eventLog) Subsystems([]supervisor.Subsystem) {}

// Roster does nothing: the listener needs no changes of the roster.
func (eventLog) Roster(supervisor.RosterChange) {}

func (l eventLog) Notification(callsign string, n shell.Notification) {
	var change stateChange
	if callsign != Callsign || n.Event != stateEvent || json.Unmarshal(n.Params, &change) != nil {
		return
	}
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	l.r.events = append(l.r.events, change.Name+" "+change.Status)
}

// takeEvents returns the statuses that were told since the last time.
func (r *rig) takeEvents() []string {
	r.supervisorEvents()
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.events
	r.events = nil
	return all
}

func (r *rig) supervisorEvents() { synctest.Wait() }

// manifestText is the manifest of a package with one instance, whose callsign is its name in
// upper case, and more lines.
func manifestText(name, version string, lines string) string {
	return fmt.Sprintf(`name = %q
version = %q
provides = ["type-%s %s"]
%s
[program]
linux-amd64 = "bin/plugin"
linux-arm64 = "bin/plugin"
`, name, version, name, version, lines)
}

func instanceText(callsign, writes, fails string) string {
	return fmt.Sprintf("[[instance]]\ncallsign = %q\nstart-mode = \"activated\"\nconfiguration = { writes = %q, fails = %q }\n", callsign, writes, fails)
}

// write writes a package into a directory of its own and returns its path.
func (r *rig) write(manifest string) string {
	r.Helper()
	dir, err := os.MkdirTemp(r.root, "source-")
	r.must(err)
	r.writeInto(dir, manifest)
	return dir
}

func (r *rig) writeInto(dir, manifest string) {
	r.Helper()
	r.must(os.MkdirAll(filepath.Join(dir, "bin"), 0o755))
	r.must(os.WriteFile(filepath.Join(dir, "plugin.toml"), []byte(manifest), 0o644))
	r.must(os.WriteFile(filepath.Join(dir, "bin", "plugin"), []byte("#!/bin/sh\n"), 0o755))
}

// simple writes a version of the package "p" with one instance P, which writes the first
// character of the version.
func (r *rig) simple(version, fails string) string {
	r.Helper()
	return r.write(manifestText("p", version, "") + instanceText("P", version[:1], fails))
}

// install installs a package and waits for the end.
func (r *rig) install(dir string, change ...func(*records.Request)) {
	r.Helper()
	request := records.Request{Verb: records.Install, Source: dir}
	for _, c := range change {
		c(&request)
	}
	r.must(r.Install(request))
	r.wait()
}

// lastEnded returns how the last operation on p has ended.
func (r *rig) lastEnded() records.Ended {
	r.Helper()
	history, err := r.records.History("p")
	r.must(err)
	return history[len(history)-1]
}

// wait waits until no operation is under way.
func (r *rig) wait() {
	r.Helper()
	for {
		r.Packager.mu.Lock()
		var done chan struct{}
		for _, o := range r.running {
			done = o.done
		}
		r.Packager.mu.Unlock()
		if done == nil {
			return
		}
		<-done
		synctest.Wait() // a rollback by itself may follow
	}
}

// waitUntil waits until is returns true, which some work in the bubble leads to.
func (r *rig) waitUntil(is func() bool) {
	r.Helper()
	for range 10_000 {
		if is() {
			return
		}
		synctest.Wait()
		<-time.After(time.Millisecond)
	}
	r.Fatal("not in time")
}

// waitForTrial waits until the version that the operation on p brings is in its trial.
func (r *rig) waitForTrial() {
	r.Helper()
	r.waitUntil(func() bool {
		record, _ := r.records.Get("p")
		return record.Operation.Phase == records.Trial
	})
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// expect expects the status of a package, the version that serves, and the data of its instance P.
func (r *rig) expect(status, version, data string) {
	r.Helper()
	record, _ := r.records.Get("p")
	serving := ""
	if record.Serving != nil {
		serving = record.Serving.Version
	}
	if got := record.Status(); got != status || serving != version {
		r.Errorf("it is %s with version %q, want %s with %q; failure: %+v", got, serving, status, version, record.Failure)
	}
	if got := r.data("P"); got != data {
		r.Errorf("the data is %q, want %q", got, data)
	}
	if _, err := os.Stat(r.dataDir("P")); err == nil { // else it was purged
		if state, err := os.ReadFile(r.stateFile("P")); string(state) != data {
			r.Errorf("the state is %q (%v), want %q", state, err, data)
		}
	}
}

func (r *rig) data(callsign string) string {
	text, _ := os.ReadFile(filepath.Join(r.dataDir(callsign), "data"))
	return string(text)
}

func (r *rig) expectState(callsign string, want shell.State) {
	r.Helper()
	sh, ok := r.supervisor.Shell(callsign)
	if !ok && want == "" {
		return
	}
	if !ok {
		r.Errorf("there is no %s", callsign)
		return
	}
	if got := sh.State(); got != want {
		r.Errorf("%s is %s, want %s", callsign, got, want)
	}
}

// hibernate suspends and hibernates an instance.
func (r *rig) hibernate(sh *shell.Shell) {
	r.Helper()
	r.must(sh.Suspend(r.Context(), shell.Requested))
	r.must(sh.Hibernate(r.Context(), shell.Requested, time.Minute))
}

func (r *rig) expectError(err error, target error) {
	r.Helper()
	if !errors.Is(err, target) {
		r.Errorf("the error is %v, want one that wraps %q", err, target)
	}
}

// call calls a method of the Packager.
func (r *rig) call(method string, params any) (json.RawMessage, error) {
	raw, err := json.Marshal(params)
	r.must(err)
	sh, _ := r.supervisor.Shell(Callsign)
	return sh.Invoke(r.Context(), shell.Call{Method: method, Params: raw})
}
