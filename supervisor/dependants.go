package supervisor

import (
	"slices"
	"sync"

	"dormouse/shell"
)

// departures records which instances are about to end, and the dependants that each
// of them waits for.
type departures struct {
	mu       sync.Mutex
	waitsFor map[string][]string // by callsign
}

// recordDependants returns the instances that have to end before the given one does, also
// those that have begun to end, and records that it waits for them. An instance that
// itself waits for the given one is left out, so that two instances that depend on
// each other never wait for each other.
func (s *Supervisor) recordDependants(callsign string) []*shell.Shell {
	d := &s.departures
	d.mu.Lock()
	defer d.mu.Unlock()
	dependants := slices.DeleteFunc(s.Shells(), func(sh *shell.Shell) bool {
		if !sh.State().NeedsRequirements() && sh.State() != shell.Deactivation {
			return true
		}
		return sh.Callsign() == callsign || d.isWaitingFor(sh.Callsign(), callsign) || s.conditions.lostRequirements(sh.Config(), sh.EffectiveInformation()) == nil
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

// doneWaiting records that the instance no longer waits for its dependants.
func (d *departures) doneWaiting(callsign string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.waitsFor, callsign)
}
