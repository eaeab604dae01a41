package supervisor

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shelltest"
	"dormouse/statecontrol"
)

// journal is what the plugins of a host were asked for, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

// read returns the lines since the last time.
func (j *journal) read() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := j.lines
	j.lines = nil
	return lines
}

// plugin is a plugin in memory that writes a journal.
type plugin struct {
	shelltest.Plugin
	callsign  string
	journal   *journal
	detailed  bool               // it also writes when it is suspended, resumed and hibernated
	about     *shell.Information // what ProbeProgram returns; nil when it can't be probed
	fails     error              // what Launch, ProbeProgram and Adopt return
	unwoken   error              // what Wake returns
	unwokenIf func() error       // returns what Wake returns, if set
	held      chan struct{}      // Launch, ProbeProgram and Deinitialize wait until it is closed; nil for at once

	mu    sync.Mutex
	given configs.Plugin // what it was launched with
}

func newPlugin(callsign string, j *journal, change func(*plugin), config func() configs.Plugin, sink shell.Sink) *plugin {
	p := &plugin{callsign: callsign, journal: j}
	p.Info = shell.Information{Class: "Fake"}
	p.OnAction = p.step
	p.Attach(config, sink)
	if change != nil {
		change(p)
	}
	if p.about != nil {
		p.Info, p.ProbeInfo = *p.about, p.about
	}
	return p
}

func (p *plugin) step(ctx context.Context, step, detail string) error {
	switch step {
	case shelltest.Launch, shelltest.Probe:
		p.journal.add(step + " " + p.callsign)
		if step == shelltest.Launch && p.Config != nil {
			p.mu.Lock()
			p.given = p.Config()
			p.mu.Unlock()
		}
		return errors.Join(p.wait(ctx), p.startFailure())
	case shelltest.Adopt:
		return p.startFailure()
	case shelltest.Deinitialize:
		p.journal.add("end " + p.callsign + ", " + detail)
		return p.wait(ctx)
	case shelltest.Wake:
		p.journal.add("wake " + p.callsign)
		if p.unwokenIf != nil {
			return p.unwokenIf()
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.unwoken
	case shelltest.Hibernate, string(statecontrol.Suspend), string(statecontrol.Resume):
		if p.detailed {
			p.journal.add(step + " " + p.callsign)
		}
	}
	return nil
}

// failStarts makes each start fail with err; nil lets them succeed.
func (p *plugin) failStarts(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fails = err
}

// startFailure returns the error of each start, or nil.
func (p *plugin) startFailure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fails
}

// failWakes makes each wake fail with err; nil lets them succeed.
func (p *plugin) failWakes(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unwoken = err
}

func (p *plugin) launched() configs.Plugin {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.given
}

func (p *plugin) wait(ctx context.Context) error {
	if p.held == nil {
		return nil
	}
	select {
	case <-p.held:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sleeps makes a plugin that can be hibernated from its next launch on.
func (p *plugin) sleeps() { p.AddControl(statecontrol.Suspended) }

// rig is a host of such plugins.
type rig struct {
	*Supervisor
	*testing.T
	journal *journal
	plugins map[string]*plugin
	changes map[string]func(*plugin) // by callsign, made to each plugin of that instance
}

// instance is one line of a host's configuration.
type instance struct {
	callsign string
	mode     configs.StartMode
	order    int
	change   func(*plugin) // nil leaves the plugin as it is
}

// run runs test in a bubble, with the two built-ins First and Second, and stops
// the host after it.
func run(t *testing.T, instances []instance, test func(*rig)) {
	t.Helper()
	runWith(t, instances, func(*Options) {}, test)
}

// runWith is run with other options.
func runWith(t *testing.T, instances []instance, change func(*Options), test func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{T: t, journal: &journal{}, plugins: make(map[string]*plugin), changes: make(map[string]func(*plugin))}
		o := Options{HibernateTimeout: time.Minute, Log: zerolog.Nop()}
		for _, i := range instances {
			config := configs.DefaultPlugin()
			config.Callsign, config.StartMode, config.StartupOrder = i.callsign, i.mode, i.order
			o.Plugins = append(o.Plugins, config)
			r.changes[i.callsign] = i.change
		}
		backend := func(callsign string, config func() configs.Plugin, sink shell.Sink) *plugin {
			p := newPlugin(callsign, r.journal, r.changes[callsign], config, sink)
			r.plugins[callsign] = p
			return p
		}
		o.Backend = func(config func() configs.Plugin, sink shell.Sink) shell.Backend {
			return backend(config().Callsign, config, sink)
		}
		for _, callsign := range []string{"First", "Second"} {
			o.Builtins = append(o.Builtins, Builtin{callsign, func(_ *Supervisor, sink shell.Sink) shell.Backend {
				return struct{ shell.Backend }{backend(callsign, nil, sink)}
			}})
		}
		change(&o)
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		r.Supervisor = s
		test(r)
		r.Stop(context.Background())
	})
}

func (r *rig) states() map[string]shell.State {
	states := make(map[string]shell.State)
	for _, s := range r.Shells() {
		states[s.Callsign()] = s.State()
	}
	return states
}

// background starts work and returns when it has ended or waits for something.
func background(work func()) (done <-chan struct{}) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		work()
	}()
	synctest.Wait()
	return ended
}
