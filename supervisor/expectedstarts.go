package supervisor

import (
	"context"
	"errors"
	"slices"

	"dormouse/configs"
	"dormouse/shell"
)

// expectStarts makes the calls of each instance that is to start with the host wait for that.
// Only its first call does anything.
func (s *Supervisor) expectStarts() {
	s.expecting.Do(func() {
		for _, sh := range s.roster.allExceptHostBuiltins() {
			if sh.Config().StartMode == configs.StartActivated {
				sh.ExpectStart()
			}
		}
	})
}

// endExpectedStarts refuses the calls that still wait for a start by the host.
func (s *Supervisor) endExpectedStarts() {
	for _, sh := range s.Shells() {
		sh.EndExpectedStart()
	}
}

// startIfExpected starts an instance unless a client has activated or deactivated it
// meanwhile. The start stays expected if the instance waits only for others that the host is
// yet to start. The shell logs and keeps the error.
func (s *Supervisor) startIfExpected(ctx context.Context, sh *shell.Shell) {
	err := sh.StartIfExpected(ctx)
	if err != nil && (!errors.Is(err, shell.ErrPending) || !s.waitsOnlyForExpected(sh)) {
		sh.EndExpectedStart()
	}
}

// waitsOnlyForExpected reports whether the host is yet to start all that an instance still
// waits for.
func (s *Supervisor) waitsOnlyForExpected(sh *shell.Shell) bool {
	if s.conditions.missingRequirementsError(configs.Plugin{}, sh.EffectiveInformation()) != nil {
		return false // a subsystem
	}
	return !slices.ContainsFunc(sh.Config().Requires, func(callsign string) bool {
		required, ok := s.Shell(callsign)
		return !s.conditions.isInstancePresent(callsign) && (!ok || !required.IsStartExpected())
	})
}

// startThoseWithStartedRequirements returns when each instance has started that waited only
// for others which the host has started.
func (s *Supervisor) startThoseWithStartedRequirements(ctx context.Context) {
	for ctx.Err() == nil {
		startable := s.startableExpectedInstances()
		if len(startable) == 0 {
			return
		}
		doInParallelAndWait(startable, func(sh *shell.Shell) {
			_ = sh.ActivateIfWaiting(ctx) // the shell has logged and kept the error
		})
	}
}

// startableExpectedInstances returns the instances whose start is expected and that are
// starting, or wait although their requirements are met.
func (s *Supervisor) startableExpectedInstances() []*shell.Shell {
	return slices.DeleteFunc(s.Shells(), func(sh *shell.Shell) bool {
		switch state := sh.State(); {
		case !sh.IsStartExpected():
			return true
		case state == shell.Precondition:
			return s.conditions.missingRequirementsError(sh.Config(), sh.EffectiveInformation()) != nil
		default:
			return state != shell.Activation
		}
	})
}
