package obstacles

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/internal/native"
	"dormouse/internal/procfs"
	"dormouse/internal/tracee"
)

// threadsUnableToInspect has each of the threads, which are stopped, try to inspect the
// process with the number nsPID in their PID namespace, and returns those that may not. It
// leaves out threads that have ended.
func threadsUnableToInspect(nsPID int, tids []int) ([]int, error) {
	const memory = 1 // KCMP_VM, which compares the process with itself: only the permission counts
	results, err := tracee.SyscallInThreads(tids, unix.SYS_KCMP, uintptr(nsPID), uintptr(nsPID), memory, 0, 0)
	if err != nil {
		return nil, err
	}
	var barred []int
	for _, tid := range tids {
		switch r, alive := results[tid]; {
		case !alive || r.Errno == 0:
		case r.Errno == unix.EPERM:
			barred = append(barred, tid)
		default:
			return nil, fmt.Errorf("thread %d cannot compare processes: %w", tid, r.Errno)
		}
	}
	return barred, nil
}

// bystander is a helper process in the PID namespace of a tree, outside of any Landlock
// domain that a thread of the tree has made. It has one user and one group and no
// privileges, so every thread with the same user and group may inspect it, unless the
// thread is in a Landlock domain.
type bystander struct {
	pid   int // in the PID namespace of the tree
	cmd   *exec.Cmd
	stdin io.Closer // the bystander ends when this is closed
}

// startBystander starts a bystander in the PID namespace of the thread, with the user and
// group of owner, and waits until it runs. Its executable is installed in helperDir.
func startBystander(helperDir string, tid int, owner procfs.Owner) (*bystander, error) {
	program, err := native.InstallLandlockBystander(helperDir)
	if err != nil {
		return nil, err
	}
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/pid", tid))
	if err != nil {
		return nil, err
	}
	defer namespace.Close()
	b := &bystander{cmd: exec.Command(program, strconv.Itoa(owner.UID), strconv.Itoa(owner.GID))}
	b.cmd.Dir, b.cmd.Env = "/", []string{}
	b.cmd.ExtraFiles = []*os.File{namespace} // descriptor 3, as the program expects
	stdin, err := b.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	b.stdin = stdin
	stdout, err := b.cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, stdin.Close())
	}
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	if f, is := stdout.(*os.File); is { // the tree might stop the bystander, or never end its namespace
		_ = f.SetReadDeadline(time.Now().Add(bystanderLimit))
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err == nil {
		b.pid, err = strconv.Atoi(strings.TrimSpace(line))
	}
	if err != nil {
		b.endAndReap()
		return nil, fmt.Errorf("%w: %s", err, b.cmd.ProcessState)
	}
	return b, nil
}

// bystanderLimit is how long a bystander may take to start, and to end by itself.
const bystanderLimit = 5 * time.Second

// endAndReap ends and reaps the bystander. One that does not end in time is killed, and its
// parent with it, which is not in the namespace of the tree.
func (b *bystander) endAndReap() {
	_ = b.stdin.Close()
	late := time.AfterFunc(bystanderLimit, func() {
		for _, pid := range procfs.Tree(b.cmd.Process.Pid) {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
		}
	})
	defer late.Stop()
	_ = b.cmd.Wait() // its exit status means nothing
}
