package supervisor

import (
	"slices"
	"sync"

	"dormouse/shell"
)

// followers are the background goroutines that start and end instances as their
// conditions change.
type followers struct {
	mu sync.Mutex
	// running has one entry for each goroutine: true if the conditions of its instance
	// have changed since it looked.
	running map[*shell.Shell]bool
}

// followConditions has each instance whose requirements are violated end, and each
// that waits and whose requirements are satisfied start, in the background. An
// instance that is changing its state checks its requirements by itself.
func (s *Supervisor) followConditions() {
	if s.adopting.Load() {
		return
	}
	for _, sh := range slices.Concat(s.violatedInstances(), s.satisfiedInstances()) {
		s.followInBackground(sh)
	}
}

// violatedInstances returns the active or starting instances whose requirements no longer hold.
// It leaves out those that have begun to end.
func (s *Supervisor) violatedInstances() []*shell.Shell {
	return slices.DeleteFunc(s.Shells(), func(sh *shell.Shell) bool {
		state := sh.State()
		if !state.NeedsRequirements() || state == shell.Activated && !s.conditions.isPresent(sh.Callsign()) {
			return true
		}
		return s.conditions.lostRequirements(sh.Config(), sh.EffectiveInformation()) == nil
	})
}

// satisfiedInstances returns the waiting instances whose requirements are all met.
func (s *Supervisor) satisfiedInstances() []*shell.Shell {
	return slices.DeleteFunc(s.Shells(), func(sh *shell.Shell) bool {
		return sh.State() != shell.Precondition || s.conditions.missingRequirements(sh.Config(), sh.EffectiveInformation()) != nil
	})
}

// followInBackground has one instance check its requirements in the background, and once more if
// they change meanwhile.
func (s *Supervisor) followInBackground(sh *shell.Shell) {
	f := &s.followers
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, running := f.running[sh]; running {
		f.running[sh] = true
		return
	}
	started := s.startBackground(func() {
		for s.takeConditionChange(sh) {
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

// takeConditionChange reports whether the instance has to check its requirements again. If
// not, its goroutine is to end.
func (s *Supervisor) takeConditionChange(sh *shell.Shell) bool {
	f := &s.followers
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running[sh] && !s.isStopping() {
		f.running[sh] = false
		return true
	}
	delete(f.running, sh)
	return false
}
