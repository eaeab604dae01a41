package process

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// pidfd is a process of which this one need not be the parent.
type pidfd struct{ file *os.File }

func openPidfd(pid int) (*pidfd, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot open process %d: %w", pid, err)
	}
	return &pidfd{os.NewFile(uintptr(fd), "pidfd")}, nil
}

// wait tells whether the process has ended, which it waits for unless it is
// closed. It closes the descriptor. It must wait like this and not in the kernel: as
// many waits there as the host has processors delay whatever comes from a socket by
// up to ten milliseconds, which the first answer after a wake would feel.
func (p *pidfd) wait() bool {
	defer p.file.Close()
	raw, err := p.file.SyscallConn()
	if err != nil {
		return false
	}
	return nil == raw.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
	})
}

func (p *pidfd) close() { _ = p.file.Close() }
