package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// FreezeAndWait stops every process in the cgroup and below, and waits until all have
// stopped or ctx ends. After an error some processes may be frozen; the caller should
// call Thaw.
func (d Dir) FreezeAndWait(ctx context.Context) error {
	if err := d.Set("cgroup.freeze", "1"); err != nil {
		return fmt.Errorf("cannot freeze: %w", err)
	}
	if err := d.pollForEvent("frozen 1", ctx.Err); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("cannot freeze, a process in the cgroup does not stop: %w", err)
		}
		return fmt.Errorf("cannot freeze: %w", err)
	}
	return nil
}

// Thaw lets the processes of a frozen cgroup run. It does nothing to a cgroup that is
// not frozen.
func (d Dir) Thaw() error {
	if err := d.Set("cgroup.freeze", "0"); err != nil {
		return fmt.Errorf("cannot thaw: %w", err)
	}
	return nil
}

// pollForEvent waits until the file cgroup.events contains the event, such as "frozen 1".
// While waiting it calls giveUp at least every 20 ms, and returns the first error of
// giveUp.
func (d Dir) pollForEvent(event string, giveUp func() error) error {
	events, err := os.Open(d.filePath("cgroup.events"))
	if err != nil {
		return err
	}
	defer events.Close()
	text := make([]byte, 256)
	for {
		n, err := events.ReadAt(text, 0)
		if n == 0 {
			return err
		}
		if strings.Contains(string(text[:n]), event) {
			return nil
		}
		if err := giveUp(); err != nil {
			return err
		}
		// The kernel signals each change of cgroup.events as POLLPRI.
		poll := []unix.PollFd{{Fd: int32(events.Fd()), Events: unix.POLLPRI}}
		if _, err := unix.Poll(poll, 20); err != nil && !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
