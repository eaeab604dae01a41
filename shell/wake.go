package shell

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dormouse/configs"
	"dormouse/hibernate"
)

// AsleepError says why a hibernated plugin could not be woken now. The plugin sleeps on, and
// its image is as good as before. It wraps ErrHibernated and Cause.
type AsleepError struct {
	Cause error
	// RetryAt is when the host tries again by itself, zero if it does not.
	RetryAt time.Time
}

// Error returns the cause.
func (e *AsleepError) Error() string { return e.Cause.Error() }

func (e *AsleepError) Unwrap() []error { return []error{ErrHibernated, e.Cause} }

// RetryAfter returns how long a caller should wait before it asks again, 0 if that is not
// known.
func (e *AsleepError) RetryAfter() time.Duration {
	if e.RetryAt.IsZero() {
		return 0
	}
	return max(time.Millisecond, time.Until(e.RetryAt))
}

// isAsleepError reports whether err says that the plugin sleeps on.
func isAsleepError(err error) bool {
	_, asleep := errors.AsType[*AsleepError](err)
	return asleep
}

// wakeHoldingTurn wakes a hibernated plugin. After an *AsleepError the plugin sleeps on;
// after any other error the instance is deactivated. The caller has the turn.
func (s *Shell) wakeHoldingTurn(ctx context.Context, why Reason) error {
	return s.takeStep(ctx, Wake, why, s.wakeOrGiveUpImage)
}

// wakeToEnd wakes a hibernated plugin so that it can end in order. The error is an
// *AsleepError: the plugin sleeps on. If the image had to be given up, which is logged, there
// is nothing left to end and wakeToEnd returns nil. The caller has the turn.
func (s *Shell) wakeToEnd(ctx context.Context, why Reason) error {
	err := s.wakeHoldingTurn(ctx, why)
	if isAsleepError(err) {
		return err
	}
	if err != nil {
		s.log.Warn().Err(err).Msg("could not wake the plugin to end it")
	}
	return nil
}

// wakeOrGiveUpImage is the work of a wake: it brings the plugin back and lets calls in again.
// After an *AsleepError the plugin sleeps on. After any other error it neither runs nor
// sleeps, and the loss is reported.
func (s *Shell) wakeOrGiveUpImage(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, s.hibernateTimeLimit)
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
		return &AsleepError{Cause: err}
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
