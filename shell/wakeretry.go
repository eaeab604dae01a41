package shell

import (
	"context"
	"errors"
	"time"

	"dormouse/hibernate"
)

// retryWakeEvent is the event under which a repeated wake waits for its turn. It changes no
// state itself.
const retryWakeEvent Event = "retry wake"

// How soon a failed wake is repeated: by a request after minWakeInterval, by the host itself
// after firstWakeRetry, then after twice as long each time, up to maxWakeRetry.
const (
	minWakeInterval = time.Second
	firstWakeRetry  = time.Second
	maxWakeRetry    = time.Minute
)

// AsleepError says why a hibernated plugin could not be woken now. The plugin sleeps on, and
// its image is as good as before. It wraps ErrHibernated and Cause.
type AsleepError struct {
	Cause error
	// RetryAt is when the host tries again by itself, zero if it does not.
	RetryAt time.Time
	// At is when the wake failed. Until minWakeInterval later no wake is tried.
	At time.Time
}

// Error returns the cause.
func (e *AsleepError) Error() string { return e.Cause.Error() }

func (e *AsleepError) Unwrap() []error { return []error{ErrHibernated, e.Cause} }

// RetryAfter returns how long a caller should wait before it asks again: until the host tries
// by itself or, if the host does not, until it would try for a request.
func (e *AsleepError) RetryAfter() time.Duration {
	at := e.RetryAt
	if at.IsZero() {
		at = e.At.Add(minWakeInterval)
	}
	return max(time.Millisecond, time.Until(at))
}

// isAsleepError reports whether err says that the plugin sleeps on.
func isAsleepError(err error) bool {
	_, asleep := errors.AsType[*AsleepError](err)
	return asleep
}

// failedWakes records the wakes of one sleep that have failed. Shell.mu guards it.
type failedWakes struct {
	last     *AsleepError // nil if none has failed
	count    int
	wanted   bool // the instance is to be active: the host repeats the wake
	retrying bool // retryWakes runs
}

// LastFailedWake returns why the last wake of the present sleep failed, nil if none has.
func (s *Shell) LastFailedWake() *AsleepError {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failedWakes.last
}

// noteFailedWake records that a wake has failed for a cause of that class, and returns the
// error that says so.
func (s *Shell) noteFailedWake(cause error, class hibernate.FailureClass) *AsleepError {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &s.failedWakes
	f.last = &AsleepError{Cause: cause, At: time.Now()}
	if f.wanted && class == hibernate.Passing && !s.closing {
		f.last.RetryAt = f.last.At.Add(min(firstWakeRetry<<min(f.count, 10), maxWakeRetry))
	}
	f.count++
	return f.last
}

// noteWakeWanted records whether the wake that is about to be tried is to make the instance
// active, so that the host repeats it if it fails.
func (s *Shell) noteWakeWanted(wanted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failedWakes.wanted = wanted
}

// forgetFailedWakes forgets the failed wakes of a sleep that is over. The caller holds mu.
func (s *Shell) forgetFailedWakes() { s.failedWakes = failedWakes{retrying: s.failedWakes.retrying} }

// recentWakeFailure returns why the last wake failed, nil if it is time for another one.
func (s *Shell) recentWakeFailure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := s.failedWakes.last; last != nil && time.Since(last.At) < minWakeInterval {
		return last
	}
	return nil
}

// whyCallDoesNotWake returns why a call to a hibernated instance is refused at once: calls do
// not wake it, or the last wake has just failed. It returns nil for a call that may wait. The
// caller holds mu.
func (s *Shell) whyCallDoesNotWake(callsWake bool) error {
	last := s.failedWakes.last
	switch {
	case !callsWake && last == nil:
		return ErrHibernated
	case last != nil && (!callsWake || time.Since(last.At) < minWakeInterval):
		return last
	}
	return nil
}

// retryWakeInBackground has the host repeat the wake that has just failed, if it is to.
func (s *Shell) retryWakeInBackground() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := &s.failedWakes; !f.retrying && s.wakeRetryTime() != (time.Time{}) {
		f.retrying = true
		s.background.Go(s.retryWakes)
	}
}

// wakeRetryTime returns when the host repeats the last wake, zero if it does not. The caller
// holds mu.
func (s *Shell) wakeRetryTime() time.Time {
	f := s.failedWakes
	if s.closing || s.state != Hibernated || f.last == nil || !f.wanted {
		return time.Time{}
	}
	return f.last.RetryAt
}

// retryWakes repeats a failed wake, each time later, until the plugin is awake, or no wake is
// wanted any more, or the host shuts down.
func (s *Shell) retryWakes() {
	for {
		s.mu.Lock()
		at := s.wakeRetryTime()
		if at.IsZero() && s.state != Waking {
			s.failedWakes.retrying = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		late := time.NewTimer(time.Until(at))
		select {
		case <-late.C:
		case <-s.shutdown.Done():
		}
		late.Stop()
		_ = s.runInLane(context.Background(), retryWakeEvent, s.activationTimeLimit(), func(ctx context.Context) error {
			s.mu.Lock()
			at := s.wakeRetryTime()
			s.mu.Unlock()
			if at.IsZero() || time.Now().Before(at) {
				return nil
			}
			return s.activateHoldingTurn(ctx, Automatic)
		})
	}
}
