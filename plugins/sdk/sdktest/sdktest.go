// Package sdktest is for tests of plugins. It runs a plugin as a host does: as a
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
// Instance.Host works, too: the host has the plugin's instance and the instances
// that Options.Beside names. The package uses the host's own code, but neither
// configuration files nor the network.
package sdktest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/status"

	"dormouse/configs"
	"dormouse/hibernate/criu"
	"dormouse/internal/ownedtree"
	"dormouse/plugins/host"
	"dormouse/plugins/sdk"
	"dormouse/plugins/tasks"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/statecontrol"
)

// RequireCRIU is an environment variable. If it is 1, a test fails instead of being
// skipped on a machine that can't hibernate processes.
const RequireCRIU = "DORMOUSE_REQUIRE_CRIU"

// patience is how long the harness waits for an event or a hibernation.
const patience = 30 * time.Second

// Main runs the tests of m. If the test binary was started as a plugin, it runs p
// instead. TestMain should call Main and do nothing else, except what tests and
// plugin both need. p may be nil if all tests name an executable.
func Main(m *testing.M, p sdk.Plugin) {
	if os.Getenv(shellpb.CookieKey) == shellpb.CookieValue {
		sdk.Serve(p)
		return
	}
	// go test may leave descriptors open. A plugin that inherits one can't be
	// hibernated.
	_ = unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	programs, err := os.MkdirTemp("", "sdktest")
	if err != nil {
		panic(fmt.Sprintf("cannot make a directory for the tests: %v", err))
	}
	removePrograms, _ := pendingClearings.add(func() error { return ownedtree.Remove(programs) })
	defer func() { _ = removePrograms() }()
	defer clearOnSignals()()
	engine = criu.Open(os.Getenv("DORMOUSE_CRIU"), programs)
	m.Run()
}

// engine serves all tests, because its check takes a moment. It is nil before Main.
var engine *criu.Engine

// Options is how the plugin is started. The zero value is enough for most tests.
type Options struct {
	// Executable is a program to run, with its Arguments, in place of the plugin
	// that Main was called with. It may be written in any language.
	Executable string
	Arguments  []string
	// Callsign is the plugin's callsign, "Test" if empty.
	Callsign      string
	Configuration map[string]any
	// Beside names more instances of the same plugin, which the plugin can watch and
	// call. They are activated before it.
	Beside []string
	// Role is what the plugin may do with the instances beside it, as an operator's row
	// [[access]] says: call, which is what it may without a row, operate or admin. Empty:
	// call.
	Role string
	// Environment is the plugin's environment, in addition to PATH and the like.
	Environment map[string]string
	// State are keys that the plugin keeps with the host before it is started.
	State map[string]any
	// Quotas bound the state of each instance; the zero value bounds nothing.
	Quotas configs.State
	// WarmStart makes an image right after Initialize, for StartWarm.
	WarmStart bool
	// WakeOnCall has calls and requests wake the hibernated plugin, as the operator's key
	// on-call = "wake" does.
	WakeOnCall bool
}

// Harness is a plugin under test and its private host. Its methods fail the test if
// the host refuses the operation. They must be called from the test's goroutine,
// except Call and State.
type Harness struct {
	t        testing.TB
	host     *host.Host
	callsign string
	shell    *shell.Shell
	queues   *eventQueues
	events   *eventQueue // of the plugin
}

// Start activates a plugin, and deactivates it at the end of the test. A plugin
// with state control is suspended after Start.
func Start(tb testing.TB, o Options) *Harness {
	tb.Helper()
	h, err := startHarness(tb, o)
	if err != nil {
		tb.Fatalf("cannot start the plugin: %v", err)
	}
	return h
}

// StartRefused starts a plugin whose start must fail, such as in Initialize, and returns the
// error. It fails the test if the plugin starts.
func StartRefused(tb testing.TB, o Options) error {
	tb.Helper()
	_, err := startHarness(tb, o)
	if err == nil {
		tb.Fatal("the plugin was to fail, and has initialized")
	}
	return err
}

// startHarness opens a private host and activates the plugin and the instances beside it.
// The error is of an activation; any other error fails the test at once. The plugin is
// deactivated and the host closed at the end of the test.
func startHarness(tb testing.TB, o Options) (*Harness, error) {
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
	config.Callsign = cmp.Or(o.Callsign, "Test")
	config.Executable, config.Arguments = program, o.Arguments
	config.Environment = o.Environment
	config.Probe = false // probing would start the program a second time
	config.Sleep = configs.SleepCheckpoint
	config.Configuration = o.Configuration
	config.WarmStart = o.WarmStart
	if o.WakeOnCall {
		config.OnCall = configs.OnCallWake
	}

	plugins := []configs.Plugin{config}
	for _, callsign := range o.Beside {
		another := config
		another.Callsign = callsign
		plugins = append(plugins, another)
	}
	h := &Harness{t: tb, queues: &eventQueues{}}
	h.events = h.queues.of(config.Callsign)
	h.host = openPrivateHost(tb, o, plugins)
	tb.Cleanup(h.host.Supervisor.Listen(h.queues))
	clearAtEnd(tb, h.deactivateAndStopHost)
	h.callsign = config.Callsign
	h.fillState(o.State)
	ctx := context.WithoutCancel(tb.Context())
	for _, callsign := range slices.Concat([]string{tasks.Callsign}, o.Beside, []string{config.Callsign}) {
		h.shell, _ = h.host.Supervisor.Shell(callsign)
		if err := h.shell.Activate(ctx, shell.Requested); err != nil {
			return h, fmt.Errorf("%s: %w", callsign, err)
		}
	}
	return h, nil
}

// openPrivateHost returns a private host of the plugin and the instances beside it, which is closed and its directory removed at
// the end of the test. An error fails the test.
func openPrivateHost(tb testing.TB, asked Options, plugins []configs.Plugin) *host.Host {
	tb.Helper()
	dir, err := os.MkdirTemp("", "sdktest") //nolint:usetesting // the name of tb.TempDir may be too long for a socket in it
	if err != nil {
		tb.Fatalf("cannot make a directory: %v", err)
	}
	clearAtEnd(tb, func() error { return ownedtree.Remove(dir) })
	o := host.PrivateOptions(dir, zerolog.New(zerolog.ConsoleWriter{Out: tb.Output(), NoColor: true}), plugins...)
	o.Version, o.Engine = "sdktest", engine
	o.Config.Hibernate.Timeout = configs.Duration(patience)
	o.Config.State = asked.Quotas
	if asked.Role != "" {
		o.Config.Access = []configs.Access{{Plugin: plugins[0].Callsign, Role: configs.Role(asked.Role)}}
	}
	h, err := host.Open(o)
	if err != nil {
		tb.Fatal(err)
	}
	clearAtEnd(tb, func() error { return h.CleanUpAndClose(false) })
	return h
}

// deactivateAndStopHost deactivates the plugin, unless it is hibernated, and stops the host.
// A hibernated plugin's image is removed with the host's directory.
func (h *Harness) deactivateAndStopHost() (err error) {
	if h.shell.State() != shell.Hibernated {
		if err = h.shell.Deactivate(context.Background(), shell.Shutdown); err != nil {
			err = fmt.Errorf("cannot deactivate the plugin: %w", err)
		}
	}
	if serr := h.host.StopPluginsAndCommunicator(context.Background()); serr != nil {
		err = errors.Join(err, fmt.Errorf("cannot stop the host: %w", serr))
	}
	return err
}

// Call calls a method of the plugin as a JSON-RPC client would. params is encoded
// as JSON, the answer is decoded into result; both may be nil. The error is a
// *shell.PluginError if the plugin answered with an error, and
// shell.ErrUnknownMethod if it has no such method.
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

// Process gives the plugin a message of a flow, as the host's queue would, and returns the
// results. The error is a *shell.PluginError if the plugin answered with an error.
func (h *Harness) Process(flow string, m sdk.Message) ([]sdk.Message, error) {
	answer, err := shellpb.NewFlowClient(h.shell.Conn()).Process(h.t.Context(), &shellpb.ProcessRequest{
		Flow: flow, Attempt: 1, Callsign: h.shell.Callsign(),
		Message: &shellpb.Message{Id: m.ID, Topic: m.Topic, ContentType: m.ContentType, Metadata: m.Metadata, Body: m.Body},
	})
	if detail := shellpb.ErrorDetailOf(err); detail != nil {
		return nil, &shell.PluginError{Code: int(detail.GetCode()), Message: status.Convert(err).Message(), Data: detail.GetData()}
	}
	var results []sdk.Message
	for _, r := range answer.GetMessages() {
		results = append(results, sdk.Message{ID: r.GetId(), Topic: r.GetTopic(), ContentType: r.GetContentType(), Metadata: r.GetMetadata(), Body: r.GetBody()})
	}
	return results, err
}

// Serve gives a plugin that is a sdk.WebServer a request, as the host's front would, and returns
// the answer. The path of the request is what follows /Service/<Callsign>. A plugin that does
// not run or sleeps is answered for by the host, with 503, as is one that breaks off, with 502.
func (h *Harness) Serve(r *http.Request) *http.Response {
	h.t.Helper()
	endpoint, ok := h.shell.Endpoint(r.Method, strings.TrimPrefix(r.URL.Path, "/"))
	if !ok {
		h.t.Fatalf("the plugin does not answer requests for %q", r.URL.Path)
	}
	answer := httptest.NewRecorder()
	if r.Body != nil {
		r.Body = http.MaxBytesReader(answer, r.Body, endpoint.MaxBody)
	}
	endpoint.ServeHTTP(answer, r)
	return answer.Result()
}

// State returns the state of the instance.
func (h *Harness) State() shell.State { return h.shell.State() }

// Suspend suspends the plugin.
func (h *Harness) Suspend() {
	h.t.Helper()
	h.failTestOnError("suspend", h.shell.Suspend(h.t.Context(), shell.Requested))
}

// Resume resumes the plugin.
func (h *Harness) Resume() {
	h.t.Helper()
	h.failTestOnError("resume", h.shell.Resume(h.t.Context(), shell.Requested))
}

// Hibernate hibernates the plugin to disk, and suspends it before that if it is
// resumed. On a machine that can't hibernate processes the test is skipped; see
// RequireCRIU.
func (h *Harness) Hibernate() {
	h.t.Helper()
	h.failTestOnError("hibernate", h.suspendAndHibernate())
}

// HibernateRefused hibernates a plugin that must refuse, or that can't be
// hibernated as it is, and returns the error. The plugin runs on.
func (h *Harness) HibernateRefused() error {
	h.t.Helper()
	err := h.suspendAndHibernate()
	if err == nil {
		h.t.Fatal("the plugin was to stay awake, and was hibernated")
	}
	return err
}

// suspendAndHibernate suspends the plugin if it is resumed, hibernates it, and returns the
// error of the hibernation. It skips or fails the test where skipOrFailWithoutEngine does.
func (h *Harness) suspendAndHibernate() error {
	h.t.Helper()
	h.skipOrFailWithoutEngine()
	if h.shell.Status().Control == statecontrol.Resumed {
		h.Suspend()
	}
	return h.shell.Hibernate(h.t.Context(), shell.Requested, 0)
}

// skipOrFailWithoutEngine skips the test if this machine can't hibernate processes, or fails
// it if RequireCRIU is set.
func (h *Harness) skipOrFailWithoutEngine() {
	h.t.Helper()
	if err := engine.Check(h.t.Context()); err != nil {
		if os.Getenv(RequireCRIU) == "1" {
			h.t.Fatalf("%s=1, but: %v", RequireCRIU, err)
		}
		h.t.Skip(err)
	}
}

// StartWarm deactivates the plugin and starts it from the image that
// Options.WarmStart makes. It fails the test if the plugin was started cold. On a
// machine that can't hibernate processes the test is skipped; see RequireCRIU.
func (h *Harness) StartWarm() {
	h.t.Helper()
	h.skipOrFailWithoutEngine()
	h.Deactivate()
	h.failTestOnError("start", h.shell.Activate(h.t.Context(), shell.Requested))
	if h.shell.Status().StartedFrom == nil {
		_, why := h.shell.GoldenImage()
		h.t.Fatalf("the plugin was started cold: %v", why)
	}
}

// Wake wakes the hibernated plugin. It is suspended after that.
func (h *Harness) Wake() {
	h.t.Helper()
	if state := h.shell.State(); state != shell.Hibernated {
		h.t.Fatalf("cannot wake the plugin: it is %s", state)
	}
	h.failTestOnError("wake", h.shell.Activate(h.t.Context(), shell.Requested))
}

// Restart ends the plugin and starts it anew, as an operator would. What it keeps with the host
// stays.
func (h *Harness) Restart() {
	h.t.Helper()
	h.failTestOnError("restart", h.shell.Restart(h.t.Context(), shell.Requested))
}

// Deactivate ends the plugin before the end of the test.
func (h *Harness) Deactivate() {
	h.t.Helper()
	h.failTestOnError("deactivate", h.shell.Deactivate(h.t.Context(), shell.Requested))
}

// WaitEvent waits for the next event of that name, which must come within 30 seconds,
// and decodes its parameters into v, which may be nil. Each event is returned once.
func (h *Harness) WaitEvent(name string, v any) {
	h.t.Helper()
	n, err := h.events.waitAndTakeEvent(h.t.Context(), name)
	if err == nil && v != nil {
		err = json.Unmarshal(n.Params, v)
	}
	h.failTestOnError("get the event "+name+" from", err)
}

// TakeEvent is WaitEvent for an event that is there already: those that a method, a hook or
// Initialize has emitted are there when it has returned.
func (h *Harness) TakeEvent(name string, v any) {
	h.t.Helper()
	n, _, there := h.events.takeOldestEvent(name)
	var err error
	switch {
	case !there:
		err = errors.New("it has not emitted it yet")
	case v != nil:
		err = json.Unmarshal(n.Params, v)
	}
	h.failTestOnError("get the event "+name+" from", err)
}

// failTestOnError fails the test with "cannot VERB the plugin" if err is not nil.
func (h *Harness) failTestOnError(verb string, err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatalf("cannot %s the plugin: %v", verb, err)
	}
}
