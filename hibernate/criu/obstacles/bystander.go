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

	"golang.org/x/sys/unix"

	"dormouse/internal/native"
	"dormouse/internal/procfs"
	"dormouse/internal/spawn"
	"dormouse/internal/tracee"
)

// blind returns those of the tasks to which the process, by its number in their PID
// namespace, is hidden.
func blind(tids []int, process int) ([]int, error) {
	const memory = 1 // KCMP_VM; of one process with itself, it tells nothing but whether it may be asked for
	results, err := tracee.Syscall(tids, unix.SYS_KCMP, uintptr(process), uintptr(process), memory, 0, 0)
	if err != nil {
		return nil, err
	}
	var blind []int
	for _, tid := range tids {
		switch r, alive := results[tid]; {
		case !alive || r.Errno == 0:
		case r.Errno == unix.EPERM:
			blind = append(blind, tid)
		default:
			return nil, fmt.Errorf("task %d cannot compare processes: %w", tid, r.Errno)
		}
	}
	return blind, nil
}

// bystander is a process in a PID namespace that is in no domain of the tasks there.
// It has one user and one group, and nothing else that would hide it from a task of
// the same ones.
type bystander struct {
	number int // in the namespace
	cmd    *exec.Cmd
	stdin  io.Closer
}

// newBystander starts one beside the root, from a program in the directory programs.
func newBystander(programs string, root int, is procfs.Owner) (*bystander, error) {
	b, err := startBystander(programs, root, is)
	if err != nil {
		return nil, fmt.Errorf("cannot start a bystander: %w", err)
	}
	return b, nil
}

func startBystander(programs string, root int, is procfs.Owner) (*bystander, error) {
	program, err := native.InstallBystander(programs)
	if err != nil {
		return nil, err
	}
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/pid", root))
	if err != nil {
		return nil, err
	}
	defer namespace.Close()
	b := &bystander{cmd: exec.Command(program, strconv.Itoa(is.UID), strconv.Itoa(is.GID))}
	b.cmd.Dir, b.cmd.Env = "/", []string{}
	b.cmd.ExtraFiles = []*os.File{namespace} // 3, as the program expects
	stdin, err := b.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	b.stdin = stdin
	stdout, err := b.cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, stdin.Close())
	}
	if err := spawn.Exclusive(b.cmd.Start); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err == nil {
		b.number, err = strconv.Atoi(strings.TrimSpace(line))
	}
	if err != nil {
		b.end()
		return nil, fmt.Errorf("%w: %s", err, b.cmd.ProcessState)
	}
	return b, nil
}

func (b *bystander) end() {
	_ = b.stdin.Close()
	_ = b.cmd.Wait() // how it ends says nothing
}
