package pager

import (
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"dormouse/internal/native"
	"dormouse/internal/uffd"
)

// guard is a helper process that holds copies of a tree's address spaces while the tree
// lives. Without it, if this process were killed, the kernel would close the address
// spaces before it kills the tree, and in between the tree would read zeros.
type guard struct {
	// A descriptor that was sent to ours and not received is held by the process that
	// has theirs. The guard process never receives.
	ours, theirs *os.File

	mu      sync.Mutex // guards the fields below
	process *os.Process
	stopped bool
}

func newGuard() (*guard, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return &guard{ours: os.NewFile(uintptr(pair[0]), "guard"), theirs: os.NewFile(uintptr(pair[1]), "guarded")}, nil
}

// add gives the guard a copy of one more address space.
func (g *guard) add(fd uffd.FD) error {
	return unix.Sendmsg(int(g.ours.Fd()), []byte{0}, unix.UnixRights(int(fd)), nil, unix.MSG_DONTWAIT)
}

// start starts the process for the tree below root, unless the guard was stopped. The
// program is installed in the directory programs.
func (g *guard) start(programs string, root int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return nil
	}
	program, err := native.InstallHold(programs)
	if err != nil {
		return err
	}
	n, err := unix.PidfdOpen(root, 0)
	if err != nil {
		return err
	}
	pidfd := os.NewFile(uintptr(n), "pidfd")
	defer pidfd.Close()
	cmd := exec.Command(program)
	cmd.Dir, cmd.Env = "/", []string{}
	cmd.ExtraFiles = []*os.File{pidfd, g.theirs} // descriptors 3 and 4, as the program expects
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	g.process = cmd.Process
	return g.theirs.Close()
}

// stop ends the process and closes all copies.
func (g *guard) stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return
	}
	g.stopped = true
	if g.process != nil {
		_ = g.process.Kill()
		_, _ = g.process.Wait()
	}
	_ = g.ours.Close()
	_ = g.theirs.Close() // already closed if the process was started
}
