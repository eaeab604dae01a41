package supervisor

import (
	"context"
	"slices"
	"sync"

	"dormouse/configs"
	"dormouse/shell"
)

// requirements checks the requirements of one instance. It implements shell.Requirements.
type requirements struct {
	s        *Supervisor
	callsign string
}

// MayActivate returns an error that names the missing requirements, nil if all are met.
func (r requirements) MayActivate(about shell.Information) error {
	return r.s.conditions.missingRequirementsError(r.config(), about)
}

// MayStayActive returns an error that names the lost requirements. It returns nil while
// the host stops, since the host then ends all instances in its own order.
func (r requirements) MayStayActive(about shell.Information) error {
	if r.s.isStopping() {
		return nil
	}
	return r.s.conditions.lostRequirementsError(r.config(), about)
}

// config returns the configuration of the instance as it is now, zero if the instance does
// not exist.
func (r requirements) config() configs.Plugin {
	if sh, ok := r.s.Shell(r.callsign); ok {
		return sh.Config()
	}
	return configs.Plugin{}
}

// EndDependants records that an instance that is about to end is no longer present,
// deactivates its subsystems, ends the instances that depend on it, and returns when those
// have ended or ctx has. It logs failures.
func (r requirements) EndDependants(ctx context.Context) {
	s := r.s
	s.conditions.setInstancePresent(r.callsign, false)
	s.dropAndAnnounceSubsystems(r.callsign)
	dependants := s.findAndRecordDependants(r.callsign)
	defer s.departures.stopWaiting(r.callsign)
	ended := make(chan struct{}, len(dependants))
	for _, sh := range dependants {
		if !s.startBackground(func() {
			if err := sh.DeactivateIfRequirementsLost(ctx); err != nil {
				s.log.Warn().Err(err).Str("callsign", sh.Callsign()).Msgf("did not end before %s", r.callsign)
			}
			ended <- struct{}{}
		}) {
			return
		}
	}
	for range dependants {
		select {
		case <-ended:
		case <-ctx.Done():
			return
		}
	}
}

// departures records which instances are about to end, and the dependants that each
// of them waits for.
type departures struct {
	mu       sync.Mutex
	waitsFor map[string][]string // by callsign
}

// findAndRecordDependants returns the instances that have to end before the one of the
// callsign, also those that have begun to end, and records that the instance waits for
// them. It leaves out instances that already wait for that one, so that two instances
// which depend on each other never wait for each other.
func (s *Supervisor) findAndRecordDependants(callsign string) []*shell.Shell {
	d := &s.departures
	d.mu.Lock()
	defer d.mu.Unlock()
	dependants := slices.DeleteFunc(s.Shells(), func(sh *shell.Shell) bool {
		if !sh.State().NeedsRequirements() && sh.State() != shell.Deactivation {
			return true
		}
		return sh.Callsign() == callsign || d.isWaitingFor(sh.Callsign(), callsign) || s.conditions.lostRequirementsError(sh.Config(), sh.EffectiveInformation()) == nil
	})
	for _, sh := range dependants {
		d.waitsFor[callsign] = append(d.waitsFor[callsign], sh.Callsign())
	}
	return dependants
}

// isWaitingFor reports whether an instance waits for another, directly or through others.
// The waits form no circle. The caller holds mu.
func (d *departures) isWaitingFor(callsign, other string) bool {
	return slices.ContainsFunc(d.waitsFor[callsign], func(next string) bool {
		return next == other || d.isWaitingFor(next, other)
	})
}

// stopWaiting records that the instance no longer waits for its dependants.
func (d *departures) stopWaiting(callsign string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.waitsFor, callsign)
}

// rechecks are the background goroutines that recheck the requirements of instances
// when conditions change, and start or end the instances.
type rechecks struct {
	mu sync.Mutex
	// running has one entry for each goroutine: true if conditions have changed since
	// the goroutine last checked its instance.
	running map[*shell.Shell]bool
}

// recheckAllInBackground has each instance whose requirements are lost end, and each that
// waits and whose requirements are met start, in the background. An instance that is
// changing its state checks its requirements by itself. It does nothing while the host
// adopts instances.
func (s *Supervisor) recheckAllInBackground() {
	if s.adopting.Load() {
		return
	}
	for _, sh := range slices.Concat(s.instancesWithLostRequirements(), s.startableWaitingInstances()) {
		s.recheckInBackground(sh)
	}
}

// instancesWithLostRequirements returns the active or starting instances whose requirements
// are lost, except those that have begun to end.
func (s *Supervisor) instancesWithLostRequirements() []*shell.Shell {
	return slices.DeleteFunc(s.Shells(), func(sh *shell.Shell) bool {
		state := sh.State()
		if !state.NeedsRequirements() || state == shell.Activated && !s.conditions.isInstancePresent(sh.Callsign()) {
			return true
		}
		return s.conditions.lostRequirementsError(sh.Config(), sh.EffectiveInformation()) == nil
	})
}

// startableWaitingInstances returns the waiting instances whose requirements are all met.
func (s *Supervisor) startableWaitingInstances() []*shell.Shell {
	return slices.DeleteFunc(s.Shells(), func(sh *shell.Shell) bool {
		return sh.State() != shell.Precondition || s.conditions.missingRequirementsError(sh.Config(), sh.EffectiveInformation()) != nil
	})
}

// recheckInBackground has one instance check its requirements in the background, and once
// more if conditions change meanwhile.
func (s *Supervisor) recheckInBackground(sh *shell.Shell) {
	f := &s.rechecks
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, running := f.running[sh]; running {
		f.running[sh] = true
		return
	}
	started := s.startBackground(func() {
		for s.takeRecheckOrRemoveEntry(sh) {
			// The shell logs and keeps the errors.
			switch sh.State() {
			case shell.Activated:
				_ = sh.DeactivateIfRequirementsLost(s.ctx)
			case shell.Precondition:
				_ = sh.ActivateIfWaiting(s.ctx)
			default:
			}
		}
	})
	if started {
		f.running[sh] = true
	}
}

// takeRecheckOrRemoveEntry reports whether conditions have changed since the goroutine
// last checked the instance, and clears that. If not, or if the host stops, it removes
// the goroutine's entry, and the goroutine must end.
func (s *Supervisor) takeRecheckOrRemoveEntry(sh *shell.Shell) (again bool) {
	f := &s.rechecks
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running[sh] && !s.isStopping() {
		f.running[sh] = false
		return true
	}
	delete(f.running, sh)
	return false
}
