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

// uffdHolder is a helper process that holds copies of a tree's userfaultfds while the tree
// lives. If this process is killed, the kernel closes its userfaultfds before it kills the
// tree; without the copies the tree would meanwhile read zeros.
type uffdHolder struct {
	// The ends of a socket pair. The copies are sent to ours and never received, so they
	// exist as long as the helper process has theirs.
	ours, theirs *os.File

	mu      sync.Mutex // guards the fields below
	process *os.Process
	stopped bool
}

func newUffdHolder() (*uffdHolder, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return &uffdHolder{ours: os.NewFile(uintptr(pair[0]), "holder's copies"), theirs: os.NewFile(uintptr(pair[1]), "holder")}, nil
}

// addCopy gives the holder a copy of one more userfaultfd.
func (g *uffdHolder) addCopy(fd uffd.FD) error {
	return unix.Sendmsg(int(g.ours.Fd()), []byte{0}, unix.UnixRights(int(fd)), nil, unix.MSG_DONTWAIT)
}

// startProcess starts the helper process, which ends with the tree below root, unless stop
// was called. Its program is installed in the directory programs.
func (g *uffdHolder) startProcess(programs string, root int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return nil
	}
	program, err := native.InstallDescriptorHolder(programs)
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

// stop ends the helper process and closes all copies.
func (g *uffdHolder) stop() {
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
