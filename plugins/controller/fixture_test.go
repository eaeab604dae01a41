package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/plugins/controller/lenient"
	"dormouse/shell"
	"dormouse/shell/shelltest"
	"dormouse/statecontrol"
	"dormouse/supervisor"
)

// host is a front before a real supervisor whose plugins live in the test.
type host struct {
	*Front
	supervisor *supervisor.Supervisor
	server     *httptest.Server
	plugins    map[string]*fakePlugin
	log        *logBuffer
}

type setup struct {
	limits  func(*limits)
	host    configs.Host
	options Options // Host, Log and Version are set anyway
	// plugins changes the configuration of each.
	plugins func(*configs.Plugin)
	// fakes changes each plugin itself.
	fakes   func(*fakePlugin)
	leftOut configs.LeftOutFiles
}

// newHost starts the plugins of the conformance cases. What the test does not
// end is ended and waited for.
func newHost(tb testing.TB, s setup) *host {
	tb.Helper()
	h := &host{plugins: make(map[string]*fakePlugin), log: &logBuffer{}}
	s.host.Listen = "127.0.0.1:9998"
	log := zerolog.New(h.log)
	s.options.Host, s.options.Log, s.options.Version = s.host, log, "v1.2.3-4-gabc"
	h.Front = New(s.options)
	if s.limits != nil {
		s.limits(&h.limits)
	}
	var configured []configs.Plugin
	for _, p := range fakePlugins() {
		if s.plugins != nil {
			s.plugins(&p.config)
		}
		if s.fakes != nil {
			s.fakes(p)
		}
		configured = append(configured, p.config)
		h.plugins[p.config.Callsign] = p
	}
	var err error
	h.supervisor, err = supervisor.New(supervisor.Options{
		Plugins:          configured,
		LeftOut:          s.leftOut,
		HibernateTimeout: 5 * time.Second,
		Log:              log,
		Builtins: []supervisor.Builtin{h.Builtin(), {
			Callsign: "Inside",
			Backend: func(*supervisor.Supervisor, shell.Sink) shell.Backend {
				return inside{newFakePlugin(configs.Plugin{}, true)}
			},
		}},
		Backend: func(config func() configs.Plugin, sink shell.Sink) shell.Backend {
			p, ok := h.plugins[config().Callsign]
			if !ok { // a clone
				p = newFakePlugin(config(), true)
			}
			p.Attach(config, sink)
			return p
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	h.supervisor.Start(tb.Context())
	h.server = httptest.NewUnstartedServer(nil)
	h.server.Config = h.NewServer(configs.Listener{Dialect: s.host.Dialect})
	h.server.Listener = lenient.Listener{Listener: h.server.Listener}
	h.server.Start()
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			tb.Error(err)
		}
		h.server.Close()
		h.supervisor.Stop(ctx)
	})
	return h
}

// inside is the backend of a part of the host. It answers POST with the length of the body, of
// which it has at most 4 KiB in memory.
type inside struct{ shell.Backend }

func (inside) Endpoint(httpMethod, path string) (shell.Endpoint, bool) {
	count := func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		w.WriteHeader(http.StatusAccepted)
		_, _ = fmt.Fprint(w, n)
	}
	return shell.Endpoint{Handler: http.HandlerFunc(count), Needs: "echo", MaxBody: 4 << 20, Memory: 4 << 10},
		httpMethod == http.MethodPost && path == "length/of"
}

// alsoServe opens another listener that speaks the dialect.
func (h *host) alsoServe(tb testing.TB, d configs.Dialect) (url string) {
	tb.Helper()
	other := httptest.NewUnstartedServer(nil)
	other.Config = h.NewServer(configs.Listener{Dialect: d})
	other.Listener = lenient.Listener{Listener: other.Listener}
	other.Start()
	tb.Cleanup(other.Close)
	return other.URL
}

func fakePlugins() []*fakePlugin {
	plugin := func(callsign string, mode configs.StartMode, control bool) *fakePlugin {
		p := newFakePlugin(configs.DefaultPlugin(), control)
		p.config.Callsign = callsign
		p.config.Executable = "/usr/lib/plugins/" + callsign + "d"
		p.config.StartMode = mode
		return p
	}
	bad := plugin("Bad", configs.StartDeactivated, false)
	bad.Fail(shelltest.Initialize, errors.New("no such tuner"))
	missing := plugin("NoLib", configs.StartDeactivated, false)
	missing.Fail(shelltest.Launch, errors.New("no such file"))
	stuck := plugin("Stuck", configs.StartActivated, false)
	stuck.Fail(shelltest.Stop, errors.New("a process is left over"))
	awake := plugin("NoEngine", configs.StartActivated, true)
	no := false
	awake.config.Resume = &no
	awake.HasMethod = func(method string) bool { return method == "echo" || method == stateProperty }
	awake.Fail(shelltest.Hibernate, fmt.Errorf("%w: install criu", shell.ErrNotSupported))
	dotted := plugin("org.test.Dotted", configs.StartActivated, false)
	dotted.config.Configuration = map[string]any{"tuner": 1}
	dotted.config.Preconditions = []string{"Network"}
	dotted.Info.Preconditions, dotted.Info.Terminations = []string{"Network", "Time"}, []string{"!Network"}
	dotted.config.Controls = []string{"Graphics"}
	return []*fakePlugin{
		plugin("Auto", configs.StartActivated, true),
		plugin("P", configs.StartDeactivated, true),
		plugin("Plain", configs.StartActivated, false),
		plugin("Unav", configs.StartUnavailable, true),
		dotted, bad, missing, stuck, awake,
	}
}

// fakePlugin is a plugin in memory with some methods.
type fakePlugin struct {
	shelltest.Plugin
	config configs.Plugin

	entered chan struct{} // told of each "wait" that has begun
	release chan struct{} // closed to end "wait" and a hibernation that waits

	holds   bool // a hibernation waits for release
	mu      sync.Mutex
	loading shell.Progress
}

// newFakePlugin returns a plugin with state control, or without.
func newFakePlugin(config configs.Plugin, control bool) *fakePlugin {
	p := &fakePlugin{config: config, release: make(chan struct{}), entered: make(chan struct{}, 1000)}
	p.Info = shell.Information{Class: "Fake", Version: shell.Version{Major: 1, Minor: 5, Patch: 2}}
	p.AnswerCall, p.GetFigures = p.call, p.figures
	p.HasMethod = func(method string) bool { return method == "echo" }
	if control {
		p.AddControl(statecontrol.Uninitialized)
	}
	p.OnAction = func(ctx context.Context, step, _ string) error {
		if step == shelltest.Hibernate && p.holds {
			return p.wait(ctx)
		}
		return nil
	}
	return p
}

// wait returns when the test closes release, or with ctx.
func (p *fakePlugin) wait(ctx context.Context) error {
	p.entered <- struct{}{}
	select {
	case <-p.release:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *fakePlugin) figures() shell.ProcessFigures {
	p.mu.Lock()
	defer p.mu.Unlock()
	return shell.ProcessFigures{PID: 42, Memory: 4096, Loading: p.loading}
}

func (p *fakePlugin) call(ctx context.Context, c shell.Call) (json.RawMessage, error) {
	switch c.Method {
	case "echo", "org::echo":
		return c.Params, nil
	case stateProperty:
		if p.HasMethod(stateProperty) {
			return c.Params, nil
		}
	case "index":
		return json.Marshal(c.Index)
	case "fail":
		return nil, &shell.PluginError{Code: 22, Message: "no such channel", Data: json.RawMessage(`{"channel":7}`)}
	case "fail30":
		return nil, &shell.PluginError{Code: 30}
	case "failnegative":
		return nil, &shell.PluginError{Code: -32099, Message: "mine", Data: json.RawMessage(`{`)}
	case "invalid":
		return nil, fmt.Errorf("%w: volume is missing", shell.ErrInvalidParams)
	case "busy":
		return nil, shell.ErrBusy
	case "broken":
		return json.RawMessage(`1},{`), nil
	case "latin":
		return json.RawMessage("\"\xfc\""), nil
	case "panic":
		panic("the backend has a bug")
	case "event":
		p.Sink.Notify(shell.Notification{Event: "changed", Params: c.Params})
		return nil, nil
	case "indexedevent":
		p.Sink.Notify(shell.Notification{Event: "changed", Index: c.Index, Params: c.Params})
		return nil, nil
	case "wait":
		return json.RawMessage(`"waited"`), p.wait(ctx)
	}
	return nil, shell.ErrUnknownMethod
}

// logBuffer keeps the log, and signals when something was added.
type logBuffer struct {
	mu     sync.Mutex
	lines  string
	change chan struct{}
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines += string(p)
	if b.change != nil {
		close(b.change)
		b.change = nil
	}
	return len(p), nil
}

func (b *logBuffer) read() (lines string, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.change == nil {
		b.change = make(chan struct{})
	}
	return b.lines, b.change
}
