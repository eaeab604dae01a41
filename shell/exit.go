package shell

import (
	"fmt"
	"syscall"
)

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
