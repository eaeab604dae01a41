package supervisor

import (
	"cmp"
	"context"
	"runtime"
	"slices"
	"sync"

	"dormouse/configs"
	"dormouse/shell"
)

// Adopt takes over what an earlier host left running, or ends it, before anybody
// is served. Who goes on or sleeps on has made active what it had; what an instance
// depends on is looked at when all are back.
func (s *Supervisor) Adopt(ctx context.Context) {
	s.adopting.Store(true)
	inParallel(s.roster.plugins(), func(sh *shell.Shell) {
		_ = sh.Adopt(ctx) // the shell has logged and kept the error
	})
	s.restore()
	s.adopting.Store(false)
}

// Start activates the built-ins, asks the plugins what they need, and activates
// whatever is to start with the host, in its order. A plugin that fails to start
// is logged and left deactivated, one that lacks something waits for it and holds
// nobody up, and one that was hibernated when the host ended stays so. Once ctx
// has ended, no more are begun.
func (s *Supervisor) Start(ctx context.Context) {
	for _, b := range s.roster.builtins() {
		if err := b.Activate(ctx, shell.Startup); err != nil {
			s.log.Error().Err(err).Str("callsign", b.Callsign()).Msg("could not start a part of the host")
		}
	}
	s.probe(ctx, s.roster.plugins())
	if ctx.Err() != nil {
		return
	}
	s.establish()
	s.evaluate() // what was adopted may lack what was not
	s.tiers.begin()
	for _, rank := range ranks(s.roster.plugins(), startup) {
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

// probe asks each plugin once what it needs and controls, as many at a time as
// there are processors.
func (s *Supervisor) probe(ctx context.Context, plugins []*shell.Shell) {
	slots := make(chan struct{}, runtime.NumCPU())
	inParallel(plugins, func(sh *shell.Shell) {
		slots <- struct{}{}
		defer func() { <-slots }()
		if ctx.Err() != nil {
			return
		}
		if err := sh.Probe(ctx); err != nil {
			s.log.Warn().Err(err).Str("callsign", sh.Callsign()).Msg("could not ask the plugin what it needs")
		}
	})
}

// Stop deactivates everything in the reverse order, what requires others before
// them, and returns when nothing runs any more. Nobody follows conditions from
// here on. Hibernated instances stay on disk for the next start.
func (s *Supervisor) Stop(ctx context.Context) {
	s.finish(func(sh *shell.Shell) error { return sh.Deactivate(ctx, shell.Shutdown) })
}

// Leave is Stop, but plugins that can run on without the host do so, for the next
// to adopt.
func (s *Supervisor) Leave(ctx context.Context) {
	s.finish(func(sh *shell.Shell) error { return sh.Leave(ctx) })
}

func (s *Supervisor) finish(end func(*shell.Shell) error) {
	s.mu.Lock() // whoever follows has been counted by now
	s.stop()
	s.mu.Unlock()
	s.ledger.changing.Lock()   // a change of the roster that has begun ends first
	s.ledger.changing.Unlock() //nolint:staticcheck // no other begins any more
	plugins := s.roster.plugins()
	for _, rank := range slices.Backward(ranks(plugins, afterRequired(plugins))) {
		inParallel(rank, func(sh *shell.Shell) { s.end(sh, end) })
	}
	for _, b := range slices.Backward(s.roster.builtins()) {
		s.end(b, end)
	}
	s.background.Wait()
}

func (s *Supervisor) stopping() bool { return s.ctx.Err() != nil }

func (s *Supervisor) end(sh *shell.Shell, end func(*shell.Shell) error) {
	defer sh.Close()
	if err := end(sh); err != nil {
		s.log.Error().Err(err).Str("callsign", sh.Callsign()).Msg("did not stop in order")
	}
}

// place is where an instance stands in an order: those of a lower one come
// first, and within it those that others require.
type place struct{ order, depth int }

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.order, q.order), cmp.Compare(p.depth, q.depth))
}

// startup is the order in which instances start: who requires what is not there
// yet waits for it.
func startup(sh *shell.Shell) place { return place{order: sh.Config().StartupOrder} }

// afterRequired is startup, but with each instance behind all that it requires.
func afterRequired(shells []*shell.Shell) func(*shell.Shell) place {
	byCallsign := make(map[string]*shell.Shell, len(shells))
	for _, sh := range shells {
		byCallsign[sh.Callsign()] = sh
	}
	known := make(map[*shell.Shell]place, len(shells))
	var find func(sh *shell.Shell) place
	find = func(sh *shell.Shell) place {
		if p, ok := known[sh]; ok {
			return p
		}
		p := startup(sh)
		known[sh] = p // were there a circle, it would end here
		for _, callsign := range sh.Config().Requires {
			if required, ok := byCallsign[callsign]; ok {
				behind := find(required)
				behind.depth++
				if behind.compare(p) > 0 {
					p = behind
				}
			}
		}
		known[sh] = p
		return p
	}
	return find
}

// ranks groups instances by their place, lowest first.
func ranks(shells []*shell.Shell, where func(*shell.Shell) place) [][]*shell.Shell {
	slices.SortStableFunc(shells, func(a, b *shell.Shell) int { return where(a).compare(where(b)) })
	var ranks [][]*shell.Shell
	for i, s := range shells {
		if i == 0 || where(s) != where(shells[i-1]) {
			ranks = append(ranks, nil)
		}
		ranks[len(ranks)-1] = append(ranks[len(ranks)-1], s)
	}
	return ranks
}

// inParallel runs work for each instance and returns when all are done.
func inParallel(shells []*shell.Shell, work func(*shell.Shell)) {
	var all sync.WaitGroup
	for _, s := range shells {
		all.Go(func() { work(s) })
	}
	all.Wait()
}
