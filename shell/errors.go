package shell

import (
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
)

// What an operation or a call on an instance can be refused with.
var (
	// ErrIllegalState means that the lifecycle has no row for the event in the
	// present state.
	ErrIllegalState = errors.New("the instance is in a state that does not allow this")
	// ErrPending means that the instance waits for its preconditions; the text
	// names them.
	ErrPending = errors.New("waiting")
	// ErrUnavailable means that there is no activated plugin to take a call.
	ErrUnavailable = errors.New("the instance is not active")
	// ErrHibernated means that the plugin sleeps and calls don't wake it.
	ErrHibernated = errors.New("the instance is hibernated")
	// ErrInProgress means that another operation kept its turn for longer than
	// the caller would wait.
	ErrInProgress = errors.New("another operation of the instance is still running")
	// ErrTimedOut means that the operation did not end within its deadline.
	ErrTimedOut = errors.New("timed out")
	// ErrNoStateControl means that the plugin can't be suspended or resumed,
	// or is not active and so can't be asked.
	ErrNoStateControl = errors.New("the instance has no state control now")
	// ErrInProcess means that the instance runs inside the host, which can't be
	// hibernated.
	ErrBuiltIn = errors.New("the instance runs inside the host")
	// ErrNotSupported means that this host can't do it; the text says why.
	ErrNotSupported = errors.New("not supported on this host")
	// ErrUnknownMethod means that the plugin does not know the method.
	ErrUnknownMethod = errors.New("unknown method")
	// ErrInvalidParams means that the method does not take such parameters.
	ErrInvalidParams = errors.New("invalid parameters")
	// ErrInstantiation means that the program could not be brought to its
	// handshake.
	ErrInstantiation = errors.New("instantiation failed")
	// ErrInitialization means that the plugin answered Initialize with an error
	// text, or not at all.
	ErrInitialization = errors.New("initialization failed")
	// ErrUnhealthy means that the plugin runs but says that it does not serve.
	ErrUnhealthy = errors.New("the plugin does not serve")
	// ErrExited means that the plugin's process has ended.
	ErrExited = errors.New("the process has exited")
	// ErrMemoryExceeded means that the kernel ended the plugin's process, or one
	// below it, for want of memory. It comes with ErrExited.
	ErrMemoryExceeded = errors.New("the memory was exceeded")
	// ErrCold means that there is no golden image that a plugin could begin from; the
	// text says why.
	ErrCold = errors.New("the plugin starts cold")
	// ErrAwake means that a plugin that slept could not be put back to sleep.
	ErrAwake = errors.New("the plugin is awake now")
	// ErrInUse means that what was to be done with an idle instance was not, since it
	// is used.
	ErrInUse = errors.New("the instance is in use")
	// ErrBusy means that too many calls wait for the instance to wake.
	ErrBusy = errors.New("too many calls wait for the instance")
)

// errClosing is what operations are refused with once the host shuts down.
var errClosing = fmt.Errorf("%w: the host is shutting down", ErrUnavailable)

// errDestroyed is why nothing begins from a golden image any more.
var errDestroyed = errors.New("the instance was destroyed")

// PluginError is what a plugin answered instead of a result.
type PluginError struct {
	// Code is Thunder's error number, or a JSON-RPC code when negative; 0 when the
	// plugin gave none.
	Code    int
	Message string
	// Data is JSON for the caller, or nil.
	Data json.RawMessage
}

func (e *PluginError) Error() string {
	if e.Code == 0 {
		return e.Message
	}
	return fmt.Sprintf("%s (code %d)", e.Message, e.Code)
}

// ExitError is the end of a plugin's process that nobody asked for. It wraps
// ErrExited.
type ExitError struct {
	// Status is what the process exited with, unless Signal is more than 0: then
	// that ended it.
	Status int
	Signal syscall.Signal
	// Words quotes the last lines that it wrote, nil when there are none.
	Words error
}

// Clean tells whether the process said that nothing was wrong.
func (e *ExitError) Clean() bool { return e.Status == 0 && e.Signal == 0 }

// How is the end in words, as "with status 1".
func (e *ExitError) How() string {
	if e.Signal > 0 {
		return fmt.Sprintf("on signal %d (%s)", e.Signal, e.Signal)
	}
	return fmt.Sprintf("with status %d", e.Status)
}

func (e *ExitError) Error() string {
	text := ErrExited.Error() + " " + e.How()
	if e.Words != nil {
		text += "; " + e.Words.Error()
	}
	return text
}

func (e *ExitError) Unwrap() error { return ErrExited }
