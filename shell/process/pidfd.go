package process

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// pidfd refers to a process, which need not be a child of the host, see pidfd_open(2).
type pidfd struct{ file *os.File }

// openPidfd opens the process. It returns an error if there is no process with that PID.
func openPidfd(pid int) (*pidfd, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot open process %d: %w", pid, err)
	}
	return &pidfd{os.NewFile(uintptr(fd), "pidfd")}, nil
}

// waitExitAndClose waits for the end of the process, closes the descriptor, and reports
// whether the process has ended; false means that the descriptor was closed before.
//
// It waits through Go's poller. A goroutine that blocks in the kernel takes one of the
// host's processors, and as many of them as there are processors delay the first answer
// after a wake by up to ten milliseconds.
func (p *pidfd) waitExitAndClose() (exited bool) {
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

// close closes the descriptor and makes waitExitAndClose return false.
func (p *pidfd) close() { _ = p.file.Close() }
