package shell

import (
	"context"
	"errors"
	"fmt"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/internal/timelimit"
)

// wakeToRun wakes a hibernated plugin that is to run. A plugin whose sleep is outdated has
// ended when wakeToRun returns, and is to be started. After an *AsleepError the plugin sleeps
// on, and the host tries again by itself; after any other error the instance is deactivated.
// The caller has the turn.
func (s *Shell) wakeToRun(ctx context.Context, why Reason) error {
	s.noteWakeWanted(true)
	err := s.wakeUnlessJustFailed(ctx, why)
	if isAsleepError(err) {
		s.retryWakeInBackground()
	}
	return err
}

// wakeToEnd wakes a hibernated plugin so that it can end in order; a plugin whose sleep is
// outdated has ended already when wakeToEnd returns. The error is an
// *AsleepError: the plugin sleeps on. If the image had to be given up, which is logged, there
// is nothing left to end and wakeToEnd returns nil. The caller has the turn.
func (s *Shell) wakeToEnd(ctx context.Context, why Reason) error {
	s.noteWakeWanted(false)
	return s.wakeToReplace(ctx, why)
}

// wakeToReplace is wakeToEnd for a plugin that another one replaces: if the host repeats a
// failed wake of the instance, it goes on to do so.
func (s *Shell) wakeToReplace(ctx context.Context, why Reason) error {
	err := s.wakeUnlessJustFailed(ctx, why)
	if isAsleepError(err) {
		return err
	}
	if err != nil {
		s.log.Warn().Err(err).Msg("could not wake the plugin to end it")
	}
	return nil
}

// wakeUnlessJustFailed takes the step of a wake, or Retire if the sleep is outdated. If the last
// wake failed a moment ago it returns the error of that one instead.
func (s *Shell) wakeUnlessJustFailed(ctx context.Context, why Reason) error {
	if err := s.recentWakeFailure(); err != nil {
		return err
	}
	if outdated := s.OutdatedSleep(); outdated != nil {
		return s.retireHoldingTurn(ctx, why, outdated)
	}
	return s.takeStep(ctx, Wake, why, s.wakeOrGiveUpImage)
}

// wakeOrGiveUpImage is the work of a wake: it brings the plugin back and lets calls in again.
// After an *AsleepError the plugin sleeps on. After any other error it neither runs nor
// sleeps, and the loss is reported.
func (s *Shell) wakeOrGiveUpImage(ctx context.Context) error {
	limited, cancel := timelimit.With(ctx, s.hibernateTimeLimit)
	defer cancel()
	asleep := s.process.Sleep()
	info, err := s.process.Wake(limited)
	if err == nil {
		s.setInformation(info)
		s.inFlight.renewContexts()
		return nil
	}
	err = fmt.Errorf("cannot wake: %w", err)
	class := classifyFailedWake(err)
	if class == hibernate.Passing || class == hibernate.Lasting && s.Config().OnFailedWake == configs.FailedWakeKeep {
		return s.noteFailedWake(err, class)
	}
	kept, kerr := s.process.PutImageAside(class)
	s.reportLoss(asleep, Loss{Cause: err, Class: class, Kept: kept})
	return errors.Join(err, kerr, s.backend.Stop(ctx))
}

// classifyFailedWake returns the class of the error of a wake. An image that is kept in spite
// of a lasting cause counts as Passing; an image whose plugin has ended is used.
func classifyFailedWake(err error) hibernate.FailureClass {
	switch {
	case isAsleepError(err):
		return hibernate.Passing
	case errors.Is(err, ErrExited):
		return hibernate.Untrusted
	}
	return hibernate.ClassifyFailure(err)
}
