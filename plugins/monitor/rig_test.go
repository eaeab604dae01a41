package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"dormouse/configs"
	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/shell/shelltest"
	"dormouse/statecontrol"
	"dormouse/supervisor"
)

// rig is a host with a Monitor and plugins in memory.
type rig struct {
	*supervisor.Supervisor
	*testing.T
	plugins map[string]*plugin
	heard   *ear
}

// run runs test in a bubble in which the plugins Net and Tuner are activated
// and suspended, and the Monitor has the configuration.
func run(t *testing.T, configuration string, change func(*configs.Plugin), test func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{T: t, plugins: make(map[string]*plugin), heard: &ear{}}
		own := configs.DefaultPlugin()
		own.Callsign, own.Builtin = "Monitor", Class
		if err := json.Unmarshal([]byte(configuration), &own.Configuration); err != nil {
			t.Fatal(err)
		}
		o := supervisor.Options{HibernateTimeout: time.Minute, Log: zerolog.Nop()}
		for _, callsign := range []string{"Net", "Tuner"} {
			c := configs.DefaultPlugin()
			no := false
			c.Callsign, c.StartMode, c.Resume, c.OnCall = callsign, configs.StartActivated, &no, configs.OnCallWake
			if change != nil {
				change(&c)
			}
			o.Plugins = append(o.Plugins, c)
		}
		o.Backend = func(config func() configs.Plugin, sink shell.Sink) shell.Backend {
			callsign := config().Callsign
			r.plugins[callsign] = newPlugin(config, sink)
			return r.plugins[callsign]
		}
		o.Builtins = []supervisor.Builtin{builtin(own)}
		r.Supervisor = newSupervisor(t, o)
		defer r.Listen(r.heard)() // before the Monitor does, which is told in turn
		r.Start(t.Context())
		if st := r.shell("Monitor").Status(); st.State != shell.Activated {
			t.Fatalf("the Monitor is %s: %v", st.State, st.Err)
		}
		r.heard.read()
		test(r)
		r.Stop(context.Background())
	})
}

// builtin is a Monitor that starts before everything that it watches.
func builtin(own configs.Plugin) supervisor.Builtin {
	return supervisor.Builtin{Callsign: own.Callsign, Backend: func(s *supervisor.Supervisor, sink shell.Sink) shell.Backend {
		return New(s, func() configs.Plugin { return own }, sink, zerolog.Nop())
	}}
}

func newSupervisor(t *testing.T, o supervisor.Options) *supervisor.Supervisor {
	t.Helper()
	s, err := supervisor.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (r *rig) shell(callsign string) *shell.Shell {
	r.Helper()
	sh, ok := r.Shell(callsign)
	if !ok {
		r.Fatalf("there is no %s", callsign)
	}
	return sh
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// pass lets time pass, and then what it brought come to rest.
func (r *rig) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// crash ends a plugin as a fault would, and returns when all has followed.
func (r *rig) crash(callsign string) {
	r.Helper()
	r.plugins[callsign].Sink.Exited(shell.ErrExited)
	synctest.Wait()
}

// expect compares what was heard since the last time.
func (r *rig) expect(want ...string) {
	r.Helper()
	if diff := cmp.Diff(want, r.heard.read()); diff != "" {
		r.Errorf("heard (-want +got):\n%s", diff)
	}
}

// call returns the result of a method, or what it was refused with.
func (r *rig) call(method, index, params string) string {
	r.Helper()
	c := shell.Call{Method: method, Index: index}
	if params != "" {
		c.Params = json.RawMessage(params)
	}
	result, err := r.shell("Monitor").Invoke(r.Context(), c)
	if refused, ok := errors.AsType[*thunder.Error](err); ok {
		return fmt.Sprintf("%d %s", refused.Number, refused)
	}
	r.must(err)
	return string(result)
}

func (r *rig) statistics(callsign string) (s statistics) {
	r.Helper()
	r.must(json.Unmarshal([]byte(r.call("measurementdata", callsign, "")), &s))
	return s
}

// ear writes down the Monitor's events, and where others have come to.
type ear struct {
	mu    sync.Mutex
	lines []string
}

func (e *ear) add(line string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lines = append(e.lines, line)
}

func (e *ear) read() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	lines := e.lines
	e.lines = nil
	return lines
}

func (e *ear) Transition(t shell.Transition) {
	if t.From != t.To && (t.To == shell.Activated || t.To == shell.Deactivated || t.To == shell.Hibernated) {
		e.add(fmt.Sprintf("%s %s, %s", t.Callsign, t.To, t.Reason))
	}
}

func (e *ear) Notification(callsign string, n shell.Notification) {
	e.add(callsign + "." + n.Event + string(n.Params))
}

func (e *ear) Subsystems([]supervisor.Subsystem) {}

// Roster does nothing: the listener needs no changes of the roster.
func (e *ear) Roster(supervisor.RosterChange) {}

// plugin is a plugin in memory. Its figures are those of the processes that run the
// tests.
type plugin struct {
	shelltest.Plugin
	looks atomic.Int64 // how often its facts were asked for

	mu     sync.Mutex
	fails  error         // what Launch and Wake return
	held   chan struct{} // Launch waits until it is closed; nil for at once
	health healthpb.HealthCheckResponse_ServingStatus
	silent bool // it does not answer for its health
	checks int
}

func newPlugin(config func() configs.Plugin, sink shell.Sink) *plugin {
	p := &plugin{health: healthpb.HealthCheckResponse_SERVING}
	p.Info = shell.Information{Class: "Fake"}
	p.AddControl(statecontrol.Suspended)
	p.Connection = conn{plugin: p}
	p.OnAction = p.step
	p.GetFigures = func() shell.ProcessFigures {
		p.looks.Add(1)
		if !p.HasProcess() {
			return shell.ProcessFigures{}
		}
		return shell.ProcessFigures{PID: os.Getpid(), Root: os.Getppid()}
	}
	p.Attach(config, sink)
	return p
}

func (p *plugin) step(_ context.Context, step, _ string) error {
	if step != shelltest.Launch && step != shelltest.Wake {
		return nil
	}
	p.mu.Lock()
	fails, held := p.fails, p.held
	p.mu.Unlock()
	if held != nil {
		<-held
	}
	return fails
}

// change sets something that others read.
func (p *plugin) change(set func(*plugin)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	set(p)
}

func (p *plugin) checked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.checks
}

// conn is where the plugin answers for its health.
type conn struct {
	grpc.ClientConnInterface
	plugin *plugin
}

func (c conn) Invoke(ctx context.Context, _ string, _, reply any, _ ...grpc.CallOption) error {
	p := c.plugin
	p.mu.Lock()
	p.checks++
	said, silent := p.health, p.silent
	p.mu.Unlock()
	if silent {
		<-ctx.Done()
		return ctx.Err()
	}
	answer, ok := reply.(*healthpb.HealthCheckResponse)
	if !ok {
		return errors.New("it serves nothing but its health")
	}
	answer.Status = said
	return nil
}
