package shell

import "time"

// maxBetween bounds the work that the host does between the old plugin and the new one, and that
// before a start.
const maxBetween = 10 * time.Minute

// activationTimeLimit returns how long an activation may take at most.
func (s *Shell) activationTimeLimit() time.Duration {
	limit := 3*time.Duration(s.Config().StartTimeout) + s.hibernateTimeLimit + time.Duration(s.Config().CallTimeout)
	if s.Config().WarmStart { // a failed warm start, and the making of a golden image
		limit += 3*time.Duration(s.Config().StartTimeout) + s.hibernateTimeLimit
	}
	if s.OutdatedSleep() != nil { // its plugin ends first
		limit += s.deactivationTimeLimit()
	}
	if s.beforeStart(s.Config()) != nil {
		limit += maxBetween
	}
	return limit
}

// deactivationTimeLimit returns how long a deactivation may take at most, with that of the
// instances that depend on this one.
func (s *Shell) deactivationTimeLimit() time.Duration {
	return s.dependantsTimeLimit() + s.endTimeLimitAlone()
}

// endTimeLimitAlone returns how long the end of this plugin alone may take, without the
// instances that depend on it.
func (s *Shell) endTimeLimitAlone() time.Duration {
	return s.hibernateTimeLimit + 3*time.Duration(s.Config().StopTimeout)
}
