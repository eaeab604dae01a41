package shell

import (
	"errors"

	"dormouse/shell/shellpb"
)

// Reason tells why an instance is in its state. The texts are what a person
// reads; Thunder's spelling is the wire's business.
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

// reasonAfter is why event, begun for the reason asked, led where it led.
func reasonAfter(event Event, err error, asked Reason) Reason {
	switch event {
	case Deactivate, Lapse, Destroy, Evict, Exit:
		return asked // an end that was not in order is still the end it was
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

// exitReason is why a plugin ended that nobody asked to end.
func exitReason(err error) Reason {
	if errors.Is(err, ErrMemoryExceeded) {
		return MemoryExceeded
	}
	return Failure
}

// Proto is r as plugins are told it.
func (r Reason) Proto() shellpb.Reason { return shellpb.ReasonOf(string(r)) }
