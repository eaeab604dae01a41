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

// uffdHolder is a helper process that holds copies of a tree's userfaultfds while the
// tree lives. If this process is killed, the kernel closes its userfaultfds before it
// kills the tree; without the copies the tree would meanwhile read zeros.
type uffdHolder struct {
	helperDir string // the directory in which the helper's executable is installed
	// The ends of a socket pair. The copies are sent to ours and never received, so they
	// exist as long as the helper process has theirs.
	ours, theirs *os.File

	mu      sync.Mutex // guards the fields below
	process *os.Process
	stopped bool
}

// newUffdHolder returns a holder that can take copies, without its process so far.
func newUffdHolder(helperDir string) (*uffdHolder, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return &uffdHolder{helperDir: helperDir, ours: os.NewFile(uintptr(pair[0]), "holder's copies"), theirs: os.NewFile(uintptr(pair[1]), "holder")}, nil
}

// addCopy gives the holder a copy of one more userfaultfd, before or after the start of its
// process. It fails if the holder has no room for more.
func (h *uffdHolder) addCopy(fd uffd.FD) error {
	return unix.Sendmsg(int(h.ours.Fd()), []byte{0}, unix.UnixRights(int(fd)), nil, unix.MSG_DONTWAIT)
}

// startProcessUnlessStopped starts the helper process, which ends with the tree below the
// root. It does nothing after endProcessAndCloseCopies.
func (h *uffdHolder) startProcessUnlessStopped(rootPID int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return nil
	}
	program, err := native.InstallDescriptorHolder(h.helperDir)
	if err != nil {
		return err
	}
	n, err := unix.PidfdOpen(rootPID, 0)
	if err != nil {
		return err
	}
	pidfd := os.NewFile(uintptr(n), "pidfd")
	defer pidfd.Close()
	cmd := exec.Command(program)
	cmd.Dir, cmd.Env = "/", []string{}
	cmd.ExtraFiles = []*os.File{pidfd, h.theirs} // descriptors 3 and 4, as the program expects
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	h.process = cmd.Process
	return h.theirs.Close()
}

// endProcessAndCloseCopies ends the helper process, if it was started, and closes all copies.
// Later calls do nothing.
func (h *uffdHolder) endProcessAndCloseCopies() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return
	}
	h.stopped = true
	if h.process != nil {
		_ = h.process.Kill()
		_, _ = h.process.Wait()
	}
	_ = h.ours.Close()
	_ = h.theirs.Close() // already closed if the process was started
}
