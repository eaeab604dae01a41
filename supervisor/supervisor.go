// Package supervisor is the host: which instances exist, in what order they
// start and stop, and who is told what happens to them. It does not know how a
// plugin runs, nor that there is a network.
package supervisor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/shell"
)

// Supervisor holds the instances from New to Stop.
type Supervisor struct {
	options    Options
	log        zerolog.Logger
	roster     *roster
	events     events
	conditions conditions

	ctx        context.Context // ends when the host stops
	stop       context.CancelFunc
	background sync.WaitGroup // instances that follow their conditions

	mu        sync.Mutex
	following map[*shell.Shell]bool // those that background holds
	changed   map[*shell.Shell]bool // those whose conditions changed since they looked
}

// Builtin is an instance that is part of the host: always active, first to
// start and last to stop.
type Builtin struct {
	Callsign string
	Backend  func(*Supervisor, shell.Sink) shell.Backend
}

// Class makes what runs an instance whose configuration names it as its builtin.
type Class func(*Supervisor, configs.Plugin, shell.Sink) shell.Backend

// Options is what a Supervisor is made of.
type Options struct {
	Plugins          []configs.Plugin
	HibernateTimeout time.Duration
	Log              zerolog.Logger
	Builtins         []Builtin
	// Subsystems are the site's own, beside configs.Subsystems.
	Subsystems []string
	// Classes are the builtins that configured instances may be of.
	Classes map[string]Class
	// Backend makes what runs a configured plugin.
	Backend func(configs.Plugin, shell.Sink) shell.Backend
}

// New returns a host whose instances exist but don't run yet. Nothing is left of
// it after an error.
func New(o Options) (*Supervisor, error) {
	s := &Supervisor{
		options:    o,
		log:        o.Log,
		roster:     newRoster(),
		conditions: newConditions(allSubsystems(o.Subsystems)),
		following:  make(map[*shell.Shell]bool),
		changed:    make(map[*shell.Shell]bool),
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	for _, b := range o.Builtins {
		config := configs.DefaultPlugin()
		config.Callsign = b.Callsign
		config.StartMode = configs.StartActivated
		s.roster.addBuiltin(s.shell(config, func(sink shell.Sink) shell.Backend { return b.Backend(s, sink) }))
	}
	for _, config := range o.Plugins {
		sh, err := s.instance(config)
		if err != nil {
			s.stop()
			return nil, err
		}
		s.roster.add(sh)
	}
	return s, nil
}

// instance makes an instance from its configuration.
func (s *Supervisor) instance(config configs.Plugin) (*shell.Shell, error) {
	if config.Builtin == "" {
		return s.shell(config, func(sink shell.Sink) shell.Backend { return s.options.Backend(config, sink) }), nil
	}
	class, ok := s.options.Classes[config.Builtin]
	if !ok {
		known := strings.Join(slices.Sorted(maps.Keys(s.options.Classes)), ", ")
		return nil, fmt.Errorf("cannot make %s: there is no builtin %q, only: %s", config.Callsign, config.Builtin, known)
	}
	return s.shell(config, func(sink shell.Sink) shell.Backend { return class(s, config, sink) }), nil
}

func (s *Supervisor) shell(config configs.Plugin, backend func(shell.Sink) shell.Backend) *shell.Shell {
	sh := shell.New(shell.Options{
		Config:           config,
		HibernateTimeout: s.options.HibernateTimeout,
		Log:              s.log,
		Observer:         observer{s},
		Surroundings:     surroundings{s, config.Callsign},
		Backend:          backend,
	})
	s.conditions.appear(config.Callsign, sh.State() == shell.Hibernated)
	return sh
}

// Shell returns the instance of that callsign, or false. Case matters, as it
// does to Thunder.
func (s *Supervisor) Shell(callsign string) (*shell.Shell, bool) {
	return s.roster.find(callsign)
}

// Shells returns every instance, sorted by callsign.
func (s *Supervisor) Shells() []*shell.Shell {
	return s.roster.all()
}

// Listen makes l hear of everything that happens from now on, in
// order for each instance, until the returned function is called.
func (s *Supervisor) Listen(l Listener) (stop func()) {
	return s.events.add(l)
}
