// Package sdktest runs a plugin in its author's tests as a host runs it: as a
// process of its own, with the real lifecycle, and hibernated by the real CRIU.
//
//	func TestMain(m *testing.M) { sdktest.Main(m, &counter{}) }
//
//	func TestKeepsCounting(t *testing.T) {
//		h := sdktest.Start(t, sdktest.Options{Configuration: map[string]any{"start": 41}})
//		h.Hibernate()
//		h.Wake()
//		var result struct{ Value int }
//		if err := h.Call("increment", nil, &result); err != nil || result.Value != 42 {
//			t.Errorf("got %d, %v", result.Value, err)
//		}
//	}
//
// The plugin finds a host behind Instance.Host, too: in it are the instance and
// those that Options.Beside names. What the package promises of a host it takes
// from the host's own code; it knows nothing of configuration files or the
// network.
package sdktest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"dormouse/configs"
	"dormouse/hibernate/criu"
	"dormouse/plugins/host"
	"dormouse/plugins/sdk"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/statecontrol"
)

// RequireCRIU is the environment variable that, set to 1, makes a test fail
// that would be skipped because the machine can't hibernate processes.
const RequireCRIU = "DORMOUSE_REQUIRE_CRIU"

// patience is how long the harness waits for anything.
const patience = 30 * time.Second

// Main runs the tests of m, or p if the test binary was started as a plugin. It
// must be all that TestMain does, save for what must precede both. p may be nil
// where all tests name an executable.
func Main(m *testing.M, p sdk.Plugin) {
	if os.Getenv(shellpb.CookieKey) == shellpb.CookieValue {
		sdk.Serve(p)
		return
	}
	// A descriptor that go test let slip through to the plugin can't be
	// checkpointed.
	_ = unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	programs, err := os.MkdirTemp("", "sdktest")
	if err != nil {
		panic(fmt.Sprintf("cannot make a directory for the tests: %v", err))
	}
	defer func() { _ = os.RemoveAll(programs) }()
	engine = criu.Open(os.Getenv("DORMOUSE_CRIU"), programs)
	m.Run()
}

// engine is one for all tests, as its check takes a moment; nil before Main.
var engine *criu.Engine

// Options is how the plugin is started; the zero value will do for most.
type Options struct {
	// Executable is a program, with its Arguments, to be run in the place of the
	// plugin that was handed to Main: one in another language.
	Executable string
	Arguments  []string
	// Callsign is "Test" if empty.
	Callsign      string
	Configuration map[string]any
	// Beside are the callsigns of more instances of the same plugin, which it can
	// watch, operate and call. They are activated before it.
	Beside []string
	// Environment is what the plugin gets besides PATH and the like.
	Environment map[string]string
	// WarmStart has an image made right after Initialize, for StartWarm.
	WarmStart bool
}

// Harness is one plugin, activated until it is told otherwise. Its methods fail
// the test when the host refuses what they ask for, and must be called from
// the test's goroutine, save for Call and State.
type Harness struct {
	t     testing.TB
	host  *host.Host
	shell *shell.Shell
	seen  *observer
}

// Start activates the plugin, and ends it when the test ends. One with state
// control is suspended then.
func Start(tb testing.TB, o Options) *Harness {
	tb.Helper()
	h, err := start(tb, o)
	if err != nil {
		tb.Fatalf("cannot start the plugin: %v", err)
	}
	return h
}

// Refused starts a plugin that must fail to initialize, and returns its error.
func Refused(tb testing.TB, o Options) error {
	tb.Helper()
	_, err := start(tb, o)
	if err == nil {
		tb.Fatal("the plugin was to fail, and has initialized")
	}
	return err
}

func start(tb testing.TB, o Options) (*Harness, error) {
	tb.Helper()
	if engine == nil {
		tb.Fatal("TestMain must call sdktest.Main")
	}
	program := o.Executable
	if program == "" {
		var err error
		if program, err = os.Executable(); err != nil {
			tb.Fatalf("cannot find the test binary: %v", err)
		}
	}
	config := configs.DefaultPlugin()
	config.Callsign = o.Callsign
	if config.Callsign == "" {
		config.Callsign = "Test"
	}
	config.Executable, config.Arguments = program, o.Arguments
	config.Environment = o.Environment
	config.Probe = false // one start is enough to see
	config.Sleep = configs.SleepCheckpoint
	config.Configuration = o.Configuration
	config.WarmStart = o.WarmStart

	plugins := []configs.Plugin{config}
	for _, callsign := range o.Beside {
		another := config
		another.Callsign = callsign
		plugins = append(plugins, another)
	}
	h := &Harness{t: tb, seen: &observer{callsign: config.Callsign, more: make(chan struct{})}}
	h.host = newHost(tb, plugins)
	tb.Cleanup(h.host.Supervisor.Listen(h.seen))
	tb.Cleanup(h.end)
	ctx := context.WithoutCancel(tb.Context())
	for _, callsign := range append(o.Beside, config.Callsign) {
		h.shell, _ = h.host.Supervisor.Shell(callsign)
		if err := h.shell.Activate(ctx, shell.Requested); err != nil {
			return h, fmt.Errorf("%s: %w", callsign, err)
		}
	}
	return h, nil
}

// newHost returns a private host for one test.
func newHost(tb testing.TB, plugins []configs.Plugin) *host.Host {
	tb.Helper()
	dir, err := os.MkdirTemp("", "sdktest") //nolint:usetesting // the name of tb.TempDir may be too long for a socket in it
	if err != nil {
		tb.Fatalf("cannot make a directory: %v", err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Errorf("cannot remove the host's directory: %v", err)
		}
	})
	o := host.Private(dir, zerolog.New(zerolog.ConsoleWriter{Out: tb.Output(), NoColor: true}), plugins...)
	o.Version, o.Engine = "sdktest", engine
	o.Config.Hibernate.Timeout = configs.Duration(patience)
	h, err := host.Open(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := h.Close(false); err != nil {
			tb.Error(err)
		}
	})
	return h
}

// end leaves nothing running. An image goes with the host's directory.
func (h *Harness) end() {
	h.t.Helper()
	if h.shell.State() != shell.Hibernated {
		if err := h.shell.Deactivate(context.Background(), shell.Shutdown); err != nil {
			h.t.Errorf("cannot deactivate the plugin: %v", err)
		}
	}
	if err := h.host.Stop(context.Background()); err != nil {
		h.t.Errorf("cannot stop the host: %v", err)
	}
}

// Call runs one of the plugin's methods as a JSON-RPC client would. Params may
// be nil, and so may result if nobody wants it. What the plugin answered
// instead of a result is a *shell.PluginError, an unknown method
// shell.ErrUnknownMethod.
func (h *Harness) Call(method string, params, result any) error {
	call := shell.Call{Method: method}
	if params != nil {
		raw, err := json.Marshal(params)
		if err != nil {
			return err
		}
		call.Params = raw
	}
	answer, err := h.shell.Invoke(h.t.Context(), call)
	if err != nil || result == nil {
		return err
	}
	return json.Unmarshal(answer, result)
}

// State is where the instance stands.
func (h *Harness) State() shell.State { return h.shell.State() }

// Suspend asks the plugin to suspend.
func (h *Harness) Suspend() {
	h.t.Helper()
	h.must("suspend", h.shell.Suspend(h.t.Context(), shell.Requested))
}

// Resume asks the plugin to resume.
func (h *Harness) Resume() {
	h.t.Helper()
	h.must("resume", h.shell.Resume(h.t.Context(), shell.Requested))
}

// Hibernate turns the plugin into an image on disk, and suspends it before if
// it must. Where this can't be done the test is skipped.
func (h *Harness) Hibernate() {
	h.t.Helper()
	h.must("hibernate", h.hibernate())
}

// HibernateRefused is Hibernate for a plugin that must refuse, or that can't be hibernated
// as it is; it returns why. The plugin runs on.
func (h *Harness) HibernateRefused() error {
	h.t.Helper()
	err := h.hibernate()
	if err == nil {
		h.t.Fatal("the plugin was to stay awake, and was hibernated")
	}
	return err
}

func (h *Harness) hibernate() error {
	h.t.Helper()
	h.needEngine()
	if h.shell.Status().Control == statecontrol.Resumed {
		h.Suspend()
	}
	return h.shell.Hibernate(h.t.Context(), shell.Requested, 0)
}

func (h *Harness) needEngine() {
	h.t.Helper()
	if err := engine.Check(h.t.Context()); err != nil {
		if os.Getenv(RequireCRIU) == "1" {
			h.t.Fatalf("%s=1, but: %v", RequireCRIU, err)
		}
		h.t.Skip(err)
	}
}

// StartWarm ends the plugin and starts it from the image that Options.WarmStart asks
// for. It fails the test if the plugin had to be started cold; where nothing can be
// hibernated the test is skipped.
func (h *Harness) StartWarm() {
	h.t.Helper()
	h.needEngine()
	h.Deactivate()
	h.must("start", h.shell.Activate(h.t.Context(), shell.Requested))
	if h.shell.Status().StartedFrom == nil {
		_, why := h.shell.Golden()
		h.t.Fatalf("the plugin was started cold: %v", why)
	}
}

// Wake brings the plugin back from its image. It is suspended then.
func (h *Harness) Wake() {
	h.t.Helper()
	if state := h.shell.State(); state != shell.Hibernated {
		h.t.Fatalf("cannot wake the plugin: it is %s", state)
	}
	h.must("wake", h.shell.Activate(h.t.Context(), shell.Requested))
}

// Deactivate ends the plugin, as the end of the test would.
func (h *Harness) Deactivate() {
	h.t.Helper()
	h.must("deactivate", h.shell.Deactivate(h.t.Context(), shell.Requested))
}

// Event waits for the next event of that name which no earlier call has
// returned, and decodes its params into v unless that is nil.
func (h *Harness) Event(name string, v any) {
	h.t.Helper()
	n, err := h.seen.next(h.t.Context(), name)
	if err == nil && v != nil {
		err = json.Unmarshal(n.Params, v)
	}
	h.must("get the event "+name+" from", err)
}

func (h *Harness) must(verb string, err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatalf("cannot %s the plugin: %v", verb, err)
	}
}
