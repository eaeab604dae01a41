package memory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const pressureFile = "/proc/pressure/memory"

// CheckPressureSupport returns an error if the kernel cannot report memory pressure with
// these values, see WatchPressure.
func CheckPressureSupport(stall, window time.Duration) error {
	if !kernelReportsAtOnce() {
		_, err := StalledTime()
		return err
	}
	fd, err := openPressureTrigger(stall, window)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// WatchPressure calls onPressure each time that processes of the machine have waited for
// memory for as long as stall within window; the same waiting counts once. It returns nil
// when ctx ends, or an error if the kernel cannot report pressure. See
// Documentation/accounting/psi.rst of the kernel.
func WatchPressure(ctx context.Context, stall, window time.Duration, onPressure func()) error {
	if !kernelReportsAtOnce() {
		return pollPressure(ctx, stall, window, StalledTime, onPressure)
	}
	fd, err := openPressureTrigger(stall, window)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	ended, end, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ended.Close()
	defer end.Close()
	defer context.AfterFunc(ctx, func() { _ = end.Close() })()
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}, {Fd: int32(ended.Fd()), Events: unix.POLLIN}} //nolint:gosec // descriptors are small
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("cannot wait for pressure: %w", err)
		case fds[1].Revents != 0:
			return nil
		case fds[0].Revents&unix.POLLERR != 0:
			return fmt.Errorf("cannot wait for pressure: %s has gone", pressureFile)
		case fds[0].Revents&unix.POLLPRI != 0:
			onPressure()
		}
	}
}

// kernelReportsAtOnce reports whether the kernel tells this process of pressure within a
// part of the window. Without CAP_SYS_RESOURCE it does so every two seconds.
func kernelReportsAtOnce() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	return unix.Capget(&header, &sets[0]) == nil && sets[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

// StalledTime returns how long some thread of the machine has waited for memory since the
// machine started ("total" of the line "some").
func StalledTime() (time.Duration, error) {
	text, err := os.ReadFile(pressureFile)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if _, total, found := strings.Cut(line, "total="); found && strings.HasPrefix(line, "some ") {
			micros, err := strconv.ParseInt(strings.TrimSpace(total), 10, 64)
			return time.Duration(micros) * time.Microsecond, err
		}
	}
	return 0, fmt.Errorf("%s does not say how long threads waited", pressureFile)
}

// openPressureTrigger returns a descriptor on which poll(2) reports POLLPRI after memory
// pressure, see WatchPressure. The caller closes the descriptor.
func openPressureTrigger(stall, window time.Duration) (fd int, err error) {
	fd, err = unix.Open(pressureFile, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return 0, fmt.Errorf("the kernel does not account for pressure, boot it with psi=1: %s: %w", pressureFile, err)
	}
	if err != nil {
		return 0, fmt.Errorf("cannot open %s: %w", pressureFile, err)
	}
	if _, err = unix.Write(fd, fmt.Appendf(nil, "some %d %d\x00", stall.Microseconds(), window.Microseconds())); err != nil {
		_ = unix.Close(fd)
		return 0, fmt.Errorf("cannot ask %s for %s within %s: %w", pressureFile, stall, window, err)
	}
	return fd, nil
}
