package supervisor

import (
	"context"
	"errors"
	"fmt"
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
	shelltest.Stub
	callsign string
	sink     shell.Sink
	journal  *journal
	about    *shell.Information   // what Probe returns; nil when it can't be probed
	fails    error                // what Launch and Probe return
	control  statecontrol.Control // nil without state control
	left     bool                 // an earlier host has left it running
	held     chan struct{}        // Launch and Deinitialize wait until it is closed; nil for at once

	config func() configs.Plugin

	mu    sync.Mutex
	image *shell.Sleep
	given configs.Plugin // what it was launched with
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

func (p *plugin) Launch(ctx context.Context) (shell.Information, error) {
	p.journal.add("launch " + p.callsign)
	if p.config != nil {
		p.mu.Lock()
		p.given = p.config()
		p.mu.Unlock()
	}
	if err := p.wait(ctx); err != nil {
		return shell.Information{}, err
	}
	if p.fails != nil {
		return shell.Information{}, fmt.Errorf("%w: %w", shell.ErrInstantiation, p.fails)
	}
	if p.about != nil {
		return *p.about, nil
	}
	return shell.Information{Class: "Fake", StateControl: p.control}, nil
}

func (p *plugin) Probe(ctx context.Context) (shell.Information, error) {
	if p.about == nil {
		return shell.Information{}, nil
	}
	p.journal.add("probe " + p.callsign)
	return *p.about, errors.Join(p.fails, p.wait(ctx))
}

func (p *plugin) KnownInformation() (shell.Information, bool) {
	if p.about == nil {
		return shell.Information{}, false
	}
	return *p.about, true
}

func (p *plugin) Deinitialize(ctx context.Context, why shell.Reason) error {
	p.journal.add("end " + p.callsign + ", " + string(why))
	return p.wait(ctx)
}

// sleeps makes a plugin that can be hibernated from its next launch on.
func (p *plugin) sleeps() { p.control = suspended{} }

// suspended is the state control of a plugin that never is anything else.
type suspended struct{ statecontrol.Control }

func (suspended) State(context.Context) (statecontrol.State, error) {
	return statecontrol.Suspended, nil
}

func (suspended) Request(context.Context, statecontrol.Command) error { return nil }

func (p *plugin) Hibernate(context.Context) error {
	if p.control == nil {
		return shell.ErrNotSupported
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.image = &shell.Sleep{}
	return nil
}

func (p *plugin) Wake(context.Context) (shell.Information, error) {
	p.journal.add("wake " + p.callsign)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.image = nil
	return shell.Information{Class: "Fake"}, nil
}

func (p *plugin) Sleep() *shell.Sleep {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.image
}

// rig is a host of such plugins.
type rig struct {
	*Supervisor
	*testing.T
	journal *journal
	plugins map[string]*plugin
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
		r := &rig{T: t, journal: &journal{}, plugins: make(map[string]*plugin)}
		changes := make(map[string]func(*plugin))
		o := Options{HibernateTimeout: time.Minute, Log: zerolog.Nop()}
		for _, i := range instances {
			config := configs.DefaultPlugin()
			config.Callsign, config.StartMode, config.StartupOrder = i.callsign, i.mode, i.order
			o.Plugins = append(o.Plugins, config)
			changes[i.callsign] = i.change
		}
		backend := func(callsign string, sink shell.Sink) *plugin {
			p := &plugin{callsign: callsign, sink: sink, journal: r.journal}
			if change := changes[callsign]; change != nil {
				change(p)
			}
			r.plugins[callsign] = p
			return p
		}
		o.Backend = func(config func() configs.Plugin, sink shell.Sink) shell.Backend {
			p := backend(config().Callsign, sink)
			p.config = config
			return p
		}
		for _, callsign := range []string{"First", "Second"} {
			o.Builtins = append(o.Builtins, Builtin{callsign, func(_ *Supervisor, sink shell.Sink) shell.Backend {
				return struct{ shell.Backend }{backend(callsign, sink)}
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
