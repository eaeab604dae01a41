// Package reap waits for children of this process to end, and no longer than it is told to.
// It does not know what the children do.
package reap

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/internal/procfs"
)

// ErrUnended means that a child has not ended in time.
var ErrUnended = errors.New("it does not end")

// The pauses between two looks at a child.
const (
	minPause = 50 * time.Microsecond
	maxPause = 5 * time.Millisecond
)

// Child reaps the child with that PID when it ends. The error wraps ErrUnended if the child
// runs on after limit. A child that was reaped before, or a process that is no child, is not
// waited for.
func Child(pid int, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		reaped, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil, reaped == pid: // ECHILD: it is no child, or not any more
			return nil //nolint:nilerr // there is nothing to wait for
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d: %w: it is in the state %s", pid, ErrUnended, procfs.StateLetter(pid))
		}
		time.Sleep(pause)
	}
}
