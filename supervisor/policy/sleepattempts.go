package policy

import (
	"errors"
	"time"

	"dormouse/hibernate"
	"dormouse/shell"
)

const (
	// firstPause follows a failed attempt, and doubles with each further failure up to
	// longestPause.
	firstPause, longestPause = 10 * time.Second, time.Hour
	// overtakenPause follows an attempt that a call or another operation overtook.
	overtakenPause = time.Second
)

// SleepAttempts sums up the host's attempts to put an instance to sleep since the instance
// was started.
type SleepAttempts struct {
	failures  int       // since the last success
	failure   error     // the last one
	notBefore time.Time // no attempt before this moment
	hopeless  bool      // no further hibernation until the instance is started anew
	// loggedSuspend and loggedHibernate are the last use at the time when a dry run
	// logged that step, so that it is logged once for each idle time.
	loggedSuspend, loggedHibernate time.Time
}

// lastUseLoggedInDryRun returns the last use at the time when a dry run logged a step of
// that tier, zero if none did. Hibernate and MoveToDisk count as one tier.
func (a SleepAttempts) lastUseLoggedInDryRun(tier Tier) time.Time {
	if tier == Suspend {
		return a.loggedSuspend
	}
	return a.loggedHibernate
}

// RecordOutcome adds the outcome of a decision that was carried out at now: err is why
// the step failed, nil if it succeeded or was only logged. A success clears earlier
// failures.
func (a *SleepAttempts) RecordOutcome(d *Decision, err error, now time.Time) {
	switch {
	case d.DryRun && d.Tier == Suspend:
		a.loggedSuspend = d.Use.LastUse
	case d.DryRun:
		a.loggedHibernate = d.Use.LastUse
	case err == nil:
		*a = SleepAttempts{}
	case errors.Is(err, shell.ErrInUse), errors.Is(err, shell.ErrIllegalState), errors.Is(err, shell.ErrInProgress):
		a.notBefore = now.Add(overtakenPause)
	case errors.Is(err, hibernate.ErrObstacle) && !errors.Is(err, hibernate.ErrPassing), errors.Is(err, shell.ErrNotSupported):
		a.failure, a.hopeless = err, true
	default:
		pause := firstPause
		for range a.failures {
			pause = min(2*pause, longestPause)
		}
		a.failures++
		a.failure, a.notBefore = err, now.Add(pause)
	}
}
