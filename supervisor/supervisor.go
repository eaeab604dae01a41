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
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/internal/store"
	"dormouse/shell"
)

// Supervisor holds the instances from New to Stop.
type Supervisor struct {
	options     Options
	log         zerolog.Logger
	roster      *roster
	events      events
	conditions  conditions
	ledger      *ledger
	restarts    *restarts
	tiers       *tiers
	postMortems postMortems

	ctx        context.Context // ends when the host stops
	stop       context.CancelFunc
	adopting   atomic.Bool    // not all instances are back that an earlier host left
	background sync.WaitGroup // instances that follow their conditions or are to be restarted

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
	// Store is where what changes at run time is kept. With nil it is lost when
	// the host ends.
	Store *store.Store
	// Fits says what keeps a plugin of that callsign from having its place on this
	// host; nil when any does.
	Fits func(callsign string) error
	// Forget removes what the backend of a clone that is destroyed has kept; nil
	// when it keeps nothing.
	Forget func(callsign string) error
	// PostMortem says which ends of plugins are documented; none when it is zero.
	PostMortem PostMortem
	// Tiers is what puts plugins to sleep by itself; when zero only their own idle
	// times do.
	Tiers Tiers
}

// New returns a host whose instances exist but don't run yet. Nothing is left of
// it after an error.
func New(o Options) (*Supervisor, error) {
	s := &Supervisor{
		options:    o,
		log:        o.Log,
		roster:     newRoster(),
		conditions: newConditions(o),
		following:  make(map[*shell.Shell]bool),
		changed:    make(map[*shell.Shell]bool),

		postMortems: postMortems{PostMortem: o.PostMortem},
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	if err := s.build(); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// build makes the instances: the host's own, then the configured ones, then
// clones.
func (s *Supervisor) build() (err error) {
	o := s.options
	if s.ledger, err = openLedger(o.Store, o.Plugins); err == nil {
		s.restarts, err = newRestarts(s)
	}
	s.tiers = newTiers(s)
	if err != nil {
		return fmt.Errorf("cannot read what was changed at run time: %w", err)
	}
	for _, b := range o.Builtins {
		config := configs.DefaultPlugin()
		config.Callsign = b.Callsign
		config.StartMode = configs.StartActivated
		s.roster.addBuiltin(s.shell(config, func(sink shell.Sink) shell.Backend { return b.Backend(s, sink) }))
	}
	for _, config := range append(slices.Clone(o.Plugins), s.ledger.cloned(s.log)...) {
		if config, err = s.ledger.effective(config); err != nil {
			return err
		}
		sh, err := s.instance(config)
		if err != nil {
			return err
		}
		s.roster.add(sh)
	}
	if err := s.tiers.remind(); err != nil {
		return fmt.Errorf("cannot read what was suspended: %w", err)
	}
	return nil
}

// instance makes an instance from its configuration.
func (s *Supervisor) instance(config configs.Plugin) (*shell.Shell, error) {
	if config.Builtin == "" {
		return s.shell(config, func(sink shell.Sink) shell.Backend { return s.options.Backend(config, sink) }), nil
	}
	if err := s.checkBuiltin(config); err != nil {
		return nil, err
	}
	class := s.options.Classes[config.Builtin]
	return s.shell(config, func(sink shell.Sink) shell.Backend { return class(s, config, sink) }), nil
}

func (s *Supervisor) checkBuiltin(config configs.Plugin) error {
	if _, ok := s.options.Classes[config.Builtin]; ok || config.Builtin == "" {
		return nil
	}
	known := strings.Join(slices.Sorted(maps.Keys(s.options.Classes)), ", ")
	return fmt.Errorf("cannot make %s: there is no builtin %q, only: %s", config.Callsign, config.Builtin, known)
}

func (s *Supervisor) shell(config configs.Plugin, backend func(shell.Sink) shell.Backend) *shell.Shell {
	sh := shell.New(shell.Options{
		Config:           config,
		HibernateTimeout: s.options.HibernateTimeout,
		Log:              s.log,
		Observer:         observer{s},
		Surroundings:     surroundings{s, config.Callsign},
		Dismissed:        func() { s.restarts.drop(config.Callsign) },
		PostMortem: func(why shell.Reason, err error, evidence func() shell.Evidence) {
			s.document(config.Callsign, why, err, evidence)
		},
		Backend: backend,
	})
	s.conditions.appear(config.Callsign, sh.State() == shell.Hibernated || sh.Inherited())
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

// later runs work in the background unless the host stops.
func (s *Supervisor) later(work func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() == nil {
		s.background.Go(work)
	}
}

// Listen makes l hear of everything that happens from now on, in
// order for each instance, until the returned function is called.
func (s *Supervisor) Listen(l Listener) (stop func()) {
	return s.events.add(l)
}
