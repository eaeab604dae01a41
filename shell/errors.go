package shell

import (
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
)

// Errors of operations and calls.
var (
	// ErrIllegalState means that the lifecycle table has no row for the event in the
	// present state.
	ErrIllegalState = errors.New("the instance is in a state that does not allow this")
	// ErrPending means that the instance waits for its requirements, which the text names.
	ErrPending = errors.New("waiting")
	// ErrUnavailable means that the instance is not active and so takes no call.
	ErrUnavailable = errors.New("the instance is not active")
	// ErrNotDelivered means that the plugin has not got the call. It comes with another error,
	// which says why.
	ErrNotDelivered = errors.New("the call was not delivered")
	// ErrNotAnswered means that the plugin has got the call, or may have, and that no answer
	// will come. What the call asked for may be done.
	ErrNotAnswered = errors.New("the call was delivered, and no answer came")
	// ErrHibernated means that the plugin is hibernated and a call does not wake it.
	ErrHibernated = errors.New("the instance is hibernated")
	// ErrInProgress means that another operation ran for longer than the caller waited for
	// its turn.
	ErrInProgress = errors.New("another operation of the instance is still running")
	// ErrTimedOut means that the operation or call did not end within its time limit.
	ErrTimedOut = errors.New("timed out")
	// ErrNoStateControl means that the plugin can't be suspended or resumed, or is not
	// active.
	ErrNoStateControl = errors.New("the instance has no state control now")
	// ErrBuiltIn means that the instance is part of the host and can't be hibernated.
	ErrBuiltIn = errors.New("the instance runs inside the host")
	// ErrNotSupported means that this host can't do the operation; the text says why.
	ErrNotSupported = errors.New("not supported on this host")
	// ErrUnknownMethod means that the plugin does not have the method.
	ErrUnknownMethod = errors.New("unknown method")
	// ErrInvalidParams means that the method does not take these parameters.
	ErrInvalidParams = errors.New("invalid parameters")
	// ErrInstantiation means that the program could not be started up to its handshake and
	// its description of itself.
	ErrInstantiation = errors.New("instantiation failed")
	// ErrInitialization means that Initialize returned an error text, or no answer.
	ErrInitialization = errors.New("initialization failed")
	// ErrUnhealthy means that the plugin runs and reports that it does not serve.
	ErrUnhealthy = errors.New("the plugin does not serve")
	// ErrExited means that the plugin's process has ended.
	ErrExited = errors.New("the process has exited")
	// ErrUnended means that processes of the plugin were killed and have not ended. None is started
	// beside them.
	ErrUnended = errors.New("processes of the plugin were killed and do not end")
	// ErrMemoryExceeded means that the kernel killed a process of the plugin because memory
	// was short. It comes with ErrExited.
	ErrMemoryExceeded = errors.New("the memory was exceeded")
	// ErrCold means that no golden image fits, so that the plugin must be started cold; the
	// text says why.
	ErrCold = errors.New("the plugin starts cold")
	// ErrAwake means that a plugin that slept in place was woken to be moved to disk, and
	// could not be put back to sleep.
	ErrAwake = errors.New("the plugin is awake now")
	// ErrInUse means that an operation on an idle instance was not done because the
	// instance is used.
	ErrInUse = errors.New("the instance is in use")
	// ErrBusy means that too many calls wait for the instance to wake or start.
	ErrBusy = errors.New("too many calls wait for the instance")
)

// errClosing refuses operations while the host shuts down.
var errClosing = fmt.Errorf("%w: the host is shutting down", ErrUnavailable)

// errDestroyed is why the golden image of a destroyed instance is removed.
var errDestroyed = errors.New("the instance was destroyed")

// CallTimeoutError is the error of a call that got no answer in time. It wraps ErrTimedOut.
type CallTimeoutError struct {
	// Delivered reports whether the plugin has got the call, or may have.
	Delivered bool

	why string
}

// Error says what the call waited for when its time was over.
func (e *CallTimeoutError) Error() string { return ErrTimedOut.Error() + ": " + e.why }

func (e *CallTimeoutError) Unwrap() error { return ErrTimedOut }

// PluginError is an error that a plugin answered a call with.
type PluginError struct {
	// Code is Thunder's error number, or a JSON-RPC code when negative; 0 when the
	// plugin gave none.
	Code    int
	Message string
	// Data is JSON for the caller, or nil.
	Data json.RawMessage
}

// Error returns the plugin's message, with the code if there is one.
func (e *PluginError) Error() string {
	if e.Code == 0 {
		return e.Message
	}
	return fmt.Sprintf("%s (code %d)", e.Message, e.Code)
}

// ExitError says how a plugin's process ended unasked. It wraps ErrExited.
type ExitError struct {
	// Status is the exit status of the process, if Signal is 0; otherwise Signal killed
	// the process.
	Status int
	Signal syscall.Signal
	// LastWords quotes the last lines that the process wrote, nil when there are none.
	LastWords error
}

// IsClean reports whether the process exited with status 0.
func (e *ExitError) IsClean() bool { return e.Status == 0 && e.Signal == 0 }

// Describe returns the end in words, such as "with status 1".
func (e *ExitError) Describe() string {
	if e.Signal > 0 {
		return fmt.Sprintf("on signal %d (%s)", e.Signal, e.Signal)
	}
	return fmt.Sprintf("with status %d", e.Status)
}

// Error returns the end in words, with the last words if there are any.
func (e *ExitError) Error() string {
	text := ErrExited.Error() + " " + e.Describe()
	if e.LastWords != nil {
		text += "; " + e.LastWords.Error()
	}
	return text
}

func (e *ExitError) Unwrap() error { return ErrExited }
