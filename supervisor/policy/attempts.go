package policy

import (
	"errors"
	"time"

	"dormouse/hibernate"
	"dormouse/shell"
)

const (
	// firstPause follows a failed attempt, and doubles with each further failure.
	firstPause, longestPause = 10 * time.Second, time.Hour
	// overtakenPause follows an attempt that a call or another operation overtook.
	overtakenPause = time.Second
)

// Attempts sums up the host's attempts to put an instance to sleep since the
// instance was started.
type Attempts struct {
	failures  int       // since the last success
	failure   error     // the last one
	notBefore time.Time // no attempt before this moment
	hopeless  bool      // no further hibernation until the instance is started anew
	// loggedSuspend and loggedHibernate are the last use at the time when a dry run
	// logged that step, so that it is logged once for each idle time.
	loggedSuspend, loggedHibernate time.Time
}

func (a Attempts) lastLoggedUse(tier Tier) time.Time {
	if tier == Suspend {
		return a.loggedSuspend
	}
	return a.loggedHibernate
}

// Record adds the outcome of a decision: err is why the step failed.
func (a *Attempts) Record(d *Decision, err error, now time.Time) {
	switch {
	case d.DryRun && d.Tier == Suspend:
		a.loggedSuspend = d.Use.LastUse
	case d.DryRun:
		a.loggedHibernate = d.Use.LastUse
	case err == nil:
		*a = Attempts{}
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
