package pager

import (
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"dormouse/internal/native"
	"dormouse/internal/spawn"
	"dormouse/internal/uffd"
)

// guard is a process that holds the address spaces of a tree, too, for as long as
// the tree lives. Were this process killed, its descriptors would be closed before
// the tree is killed with it, and in between the tree would read zeros.
type guard struct {
	// What was sent to near and not received is held by whoever has far.
	near, far *os.File

	mu      sync.Mutex // guards what follows
	process *os.Process
	ended   bool
}

func newGuard() (*guard, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return &guard{near: os.NewFile(uintptr(pair[0]), "near"), far: os.NewFile(uintptr(pair[1]), "far")}, nil
}

// hold gives the guard one more address space.
func (g *guard) hold(fd uffd.FD) error {
	return unix.Sendmsg(int(g.near.Fd()), []byte{0}, unix.UnixRights(int(fd)), nil, unix.MSG_DONTWAIT)
}

// start runs the guard of the tree below root unless it is needed no more.
// programs is where it is installed.
func (g *guard) start(programs string, root int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
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
	cmd.ExtraFiles = []*os.File{pidfd, g.far} // 3, as the program expects, and 4
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := spawn.Exclusive(cmd.Start); err != nil {
		return err
	}
	g.process = cmd.Process
	return g.far.Close()
}

// end returns when the guard holds nothing any more.
func (g *guard) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return
	}
	g.ended = true
	if g.process != nil {
		_ = g.process.Kill()
		_, _ = g.process.Wait()
	}
	_ = g.near.Close()
	_ = g.far.Close() // unless the process has it
}
