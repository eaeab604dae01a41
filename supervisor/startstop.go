package supervisor

import (
	"context"
	"runtime"
	"slices"

	"dormouse/shell"
)

// Adopt takes over plugins that an earlier host left running, or ends them. It is called
// before clients are served. The subsystems that adopted and hibernated instances had
// activated are active again; requirements are checked when all instances are back. The
// shells log the errors. From then on, calls of an instance that Start is yet to start wait
// for that.
func (s *Supervisor) Adopt(ctx context.Context) {
	s.adopting.Store(true)
	doInParallelAndWait(s.roster.allExceptHostBuiltins(), func(sh *shell.Shell) {
		_ = sh.Adopt(ctx) // the shell has logged and kept the error
	})
	s.restoreAndAnnounceSubsystems()
	s.adopting.Store(false)
	s.expectStarts()
}

// Start activates the built-ins, probes the plugins, begins automatic sleep, and activates
// the instances that are to start with the host, in their order. A plugin that fails to
// start is logged and left deactivated. A plugin with a missing requirement waits for that,
// and delays no other plugin. An instance that was hibernated when the last host ended
// stays hibernated, unless its configuration is another one now, and one that a client has
// activated or deactivated meanwhile is left alone. Once ctx has ended, Start begins no further activation.
func (s *Supervisor) Start(ctx context.Context) {
	s.expectStarts()
	defer s.endExpectedStarts()
	defer context.AfterFunc(ctx, s.endExpectedStarts)()
	for _, b := range s.roster.builtins {
		if err := b.Activate(ctx, shell.Startup); err != nil && s.ctx.Err() == nil && ctx.Err() == nil {
			s.log.Error().Err(err).Str("callsign", b.Callsign()).Msg("could not start a part of the host")
		}
	}
	s.probeAllAndLogFailures(ctx, s.roster.allExceptHostBuiltins())
	if ctx.Err() != nil {
		return
	}
	s.updateUncontrolledSubsystems()
	s.recheckAllInBackground() // an adopted instance may require one that was not adopted
	s.autoSleep.startInBackground()
	for _, rank := range sortAndGroupByPosition(s.roster.allExceptHostBuiltins(), startPosition) {
		if ctx.Err() != nil {
			return
		}
		doInParallelAndWait(rank, func(sh *shell.Shell) {
			s.replaceIfOutdated(ctx, sh, shell.Startup)
			s.startIfExpected(ctx, sh)
		})
	}
	s.startThoseWithStartedRequirements(ctx)
}

// probeAllAndLogFailures asks each plugin which subsystems it requires and controls, as
// many plugins at a time as there are processors. It logs failures.
func (s *Supervisor) probeAllAndLogFailures(ctx context.Context, plugins []*shell.Shell) {
	slots := make(chan struct{}, runtime.NumCPU())
	doInParallelAndWait(plugins, func(sh *shell.Shell) {
		slots <- struct{}{}
		defer func() { <-slots }()
		if ctx.Err() != nil {
			return
		}
		if err := sh.ProbeProgram(ctx); err != nil {
			s.log.Warn().Err(err).Str("callsign", sh.Callsign()).Msg("could not ask the plugin what it needs")
		}
	})
}

// Stop deactivates every instance in the reverse order, each before those that it requires,
// and returns when nothing runs any more. It cuts short a Start under way, whose context
// must have ended. Conditions no longer start or end instances. The images of hibernated
// instances stay for the next host.
func (s *Supervisor) Stop(ctx context.Context) {
	s.endAllInstancesAndWait(func(sh *shell.Shell) error { return sh.Deactivate(ctx, shell.Shutdown) })
}

// Leave is Stop, but a plugin that can run without the host does so, for the next host
// to adopt.
func (s *Supervisor) Leave(ctx context.Context) {
	s.endAllInstancesAndWait(func(sh *shell.Shell) error { return sh.LeaveOrDeactivate(ctx) })
}

// endAllInstancesAndWait ends every instance by the function end, in the reverse order of
// the start, and then the built-ins, and waits for the background goroutines. No change
// of the roster begins any more.
func (s *Supervisor) endAllInstancesAndWait(end func(*shell.Shell) error) {
	s.mu.Lock() // so that every background goroutine has been counted
	s.stop()
	s.mu.Unlock()
	s.definitions.changing.Lock()   // a change of the roster that has begun ends first
	s.definitions.changing.Unlock() //nolint:staticcheck // no other change begins any more
	s.virtuals.changing.Lock()
	s.virtuals.changing.Unlock() //nolint:staticcheck // nor does one of virtual plugins
	plugins := s.roster.allExceptHostBuiltins()
	for _, rank := range slices.Backward(sortAndGroupByPosition(plugins, positionsAfterRequired(plugins))) {
		doInParallelAndWait(rank, func(sh *shell.Shell) { s.endAndCloseShell(sh, end) })
	}
	for _, b := range slices.Backward(s.roster.builtins) {
		s.endAndCloseShell(b, end)
	}
	s.background.Wait()
}

// endAndCloseShell ends an instance by the function end, logs a failure, and closes the
// shell.
func (s *Supervisor) endAndCloseShell(sh *shell.Shell, end func(*shell.Shell) error) {
	defer sh.Close()
	if err := end(sh); err != nil {
		s.log.Error().Err(err).Str("callsign", sh.Callsign()).Msg("did not stop in order")
	}
}
