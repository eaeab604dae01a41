package shell

import (
	"errors"
	"fmt"

	"dormouse/shell/shellpb"
)

// Reason is why an instance is in its state. The texts are for logs and errors; each
// wire format has its own spelling.
type Reason string

// Thunder's reasons.
const (
	Requested            Reason = "requested"
	Automatic            Reason = "automatic"
	Failure              Reason = "failure"
	MemoryExceeded       Reason = "memory exceeded"
	Startup              Reason = "startup"
	Shutdown             Reason = "shutdown"
	Conditions           Reason = "conditions"
	WatchdogExpired      Reason = "watchdog expired"
	InitializationFailed Reason = "initialization failed"
	InstantiationFailed  Reason = "instantiation failed"
)

// reasonForOutcome returns the reason that the status keeps after a step for event, which
// was asked for with the reason asked and ended with err, which may be nil. For an event
// that ends the plugin this is always asked.
func reasonForOutcome(event Event, err error, asked Reason) Reason {
	switch event {
	case Deactivate, Lapse, Destroy, Evict, GiveUp, Exit:
		return asked // the plugin has ended for this reason, even if not in order
	default:
	}
	switch {
	case errors.Is(err, errClosing):
		return Shutdown
	case errors.Is(err, ErrInstantiation):
		return InstantiationFailed
	case errors.Is(err, ErrInitialization):
		return InitializationFailed
	case err != nil:
		return Failure
	}
	return asked
}

// reasonForExit returns the reason of a step after the plugin's process ended unasked with
// err.
func reasonForExit(err error) Reason {
	if errors.Is(err, ErrMemoryExceeded) {
		return MemoryExceeded
	}
	return Failure
}

// errorIfFailure returns an error if why means that the plugin failed, and nil otherwise,
// for a deactivation that has no error of its own.
func errorIfFailure(why Reason) error {
	switch why {
	case Failure, MemoryExceeded, WatchdogExpired:
		return fmt.Errorf("it was ended: %s", why)
	default:
		return nil
	}
}

// Proto returns the reason as plugins get it over gRPC.
func (r Reason) Proto() shellpb.Reason { return shellpb.ReasonOf(string(r)) }
