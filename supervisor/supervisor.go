// Package supervisor is the host: which instances exist, in what order they
// start and stop, and who is told what happens to them. It does not know how a
// plugin runs, nor that there is a network.
package supervisor

import (
	"context"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/shell"
)

// Supervisor holds the instances from New to Stop.
type Supervisor struct {
	log    zerolog.Logger
	roster *roster
	events events
}

// Builtin is an instance that is part of the host: always active, first to
// start and last to stop.
type Builtin struct {
	Callsign string
	Backend  func(*Supervisor, shell.Sink) shell.Backend
}

// Options is what a Supervisor is made of.
type Options struct {
	Plugins          []configs.Plugin
	HibernateTimeout time.Duration
	Log              zerolog.Logger
	Builtins         []Builtin
	// Backend makes what runs a configured plugin.
	Backend func(configs.Plugin, shell.Sink) shell.Backend
}

// New returns a host whose instances exist but don't run yet.
func New(o Options) *Supervisor {
	s := &Supervisor{log: o.Log, roster: newRoster()}
	for _, b := range o.Builtins {
		config := configs.DefaultPlugin()
		config.Callsign = b.Callsign
		config.StartMode = configs.StartActivated
		s.roster.addBuiltin(s.instance(o, config, func(sink shell.Sink) shell.Backend { return b.Backend(s, sink) }))
	}
	for _, config := range o.Plugins {
		s.roster.add(s.instance(o, config, func(sink shell.Sink) shell.Backend { return o.Backend(config, sink) }))
	}
	return s
}

func (s *Supervisor) instance(o Options, config configs.Plugin, backend func(shell.Sink) shell.Backend) *shell.Shell {
	return shell.New(shell.Options{
		Config:           config,
		HibernateTimeout: o.HibernateTimeout,
		Log:              o.Log,
		Observer:         &s.events,
		Backend:          backend,
	})
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

// Start activates the built-ins and then whatever is to start with the host, in
// its order. A plugin that fails to start is logged and left deactivated; one
// that was hibernated when the host ended stays so. Once ctx has ended, no more
// are begun.
func (s *Supervisor) Start(ctx context.Context) {
	for _, b := range s.roster.builtins() {
		if err := b.Activate(ctx, shell.Startup); err != nil {
			s.log.Error().Err(err).Str("callsign", b.Callsign()).Msg("could not start a part of the host")
		}
	}
	for _, rank := range ranks(s.roster.plugins()) {
		if ctx.Err() != nil {
			return
		}
		inParallel(rank, func(sh *shell.Shell) {
			if sh.Config().StartMode == configs.StartActivated && sh.State() == shell.Deactivated {
				_ = sh.Activate(ctx, shell.Startup) // the shell has logged and kept the error
			}
		})
	}
}

// Stop deactivates everything in the reverse order and returns when nothing
// runs any more. Hibernated instances stay on disk for the next start.
func (s *Supervisor) Stop(ctx context.Context) {
	for _, rank := range slices.Backward(ranks(s.roster.plugins())) {
		inParallel(rank, func(sh *shell.Shell) { s.end(ctx, sh) })
	}
	for _, b := range slices.Backward(s.roster.builtins()) {
		s.end(ctx, b)
	}
}

func (s *Supervisor) end(ctx context.Context, sh *shell.Shell) {
	defer sh.Close()
	if err := sh.Deactivate(ctx, shell.Shutdown); err != nil {
		s.log.Error().Err(err).Str("callsign", sh.Callsign()).Msg("did not stop in order")
	}
}
