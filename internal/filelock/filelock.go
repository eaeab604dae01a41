// Package filelock locks files between processes, and waits no longer than it is told to.
package filelock

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Moment is long enough for the lock of a process that was just killed to end: a child that
// it had forked holds the lock until the child executes its program.
const Moment = time.Second

// ErrLocked means that another process holds the lock.
var ErrLocked = errors.New("another process holds the lock")

// pollInterval is how often a lock is tried that another process holds.
const pollInterval = 5 * time.Millisecond

// Lock locks the file or directory against other processes until f is closed, see flock(2).
// The error is ErrLocked if another process still holds the lock after so long.
func Lock(f *os.File, within time.Duration) error {
	for late := time.Now().Add(within); ; time.Sleep(pollInterval) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) //nolint:gosec // descriptors are small
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EWOULDBLOCK):
			return fmt.Errorf("cannot lock %s: %w", f.Name(), err)
		case time.Now().After(late):
			return ErrLocked
		}
	}
}
