package tracee

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/internal/procfs"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("to pass over seccomp filters needs root")
	}
}

// inspect makes the threads compare the process with itself, which only needs permission.
func inspect(t *testing.T, tids []int, pid int) map[int]Result {
	t.Helper()
	results, err := SyscallInThreads(tids, unix.SYS_KCMP, uintptr(pid), uintptr(pid), 1, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// TestSyscall interrupts a program at different kinds of work. The program itself says
// that it did not notice.
func TestSyscall(t *testing.T) {
	needRoot(t)
	program := filepath.Join(t.TempDir(), "subject")
	if said, err := exec.Command("gcc", "-O1", "-pthread", "-o", program, "testdata/subject.c").CombinedOutput(); err != nil {
		t.Fatalf("cannot compile the subject: %v\n%s", err, said)
	}
	for _, work := range []string{"spin", "suspend", "nap", "reckon", "section"} {
		for _, stopped := range []bool{false, true} {
			t.Run(work+map[bool]string{true: " stopped"}[stopped], func(t *testing.T) {
				cmd := exec.Command(program, work)
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				lines := bufio.NewScanner(out)
				lines.Scan()
				interrupt(t, cmd.Process.Pid, stopped)
				if work != "nap" { // which ends by itself
					_ = cmd.Process.Signal(unix.SIGUSR1)
				}
				switch lines.Scan(); lines.Text() {
				case "done":
				case "absent":
					t.Skip("this machine has no such thing")
				default:
					t.Errorf("it says %q", lines.Text())
				}
				if err := cmd.Wait(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// interrupt has both threads of the process execute system calls, many times.
func interrupt(t *testing.T, pid int, stopped bool) {
	t.Helper()
	tids := procfs.ThreadIDs(pid)
	if len(tids) != 2 {
		t.Fatalf("it has the threads %v", tids)
	}
	for range 20 {
		if stopped {
			_ = unix.Kill(pid, unix.SIGSTOP)
			until(pid, procfs.IsStopped)
		}
		results := inspect(t, tids, pid)
		if len(results) != 2 || results[tids[0]] != (Result{}) || results[tids[1]] != (Result{}) {
			t.Errorf("got %v", results)
		}
		if results := inspect(t, tids, 1<<30); results[tids[0]].Errno != unix.ESRCH {
			t.Errorf("got %v of a process that does not exist", results)
		}
		if results, err := SyscallInThreads(tids[1:], unix.SYS_GETPID); err != nil || results[tids[1]].Value != int64(pid) {
			t.Errorf("got %v, %v, want its number %d", results, err, pid)
		}
		if stopped {
			until(pid, procfs.IsStopped) // again
		}
		_ = unix.Kill(pid, unix.SIGCONT)
	}
}

// until returns when the process is in the state, which takes no time.
func until(pid int, is func(int) bool) {
	for !is(pid) {
		runtime.Gosched()
	}
}

// The exit status of a thread that ends meanwhile is left for its parent.
func TestEnding(t *testing.T) {
	needRoot(t)
	for range 20 {
		cmd := exec.Command("/bin/sh", "-c", "while :; do :; done")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		tids := []int{cmd.Process.Pid}
		inspect(t, tids, 1)
		go func() { _ = cmd.Process.Kill() }()
		for {
			// An error is that it is about to end and can't be traced any more.
			if results, err := SyscallInThreads(tids, unix.SYS_GETPPID); err != nil || len(results) == 0 {
				break
			}
		}
		if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
			t.Errorf("its end is %v", err)
		}
	}
}

// A thread that ends while it is traced can be reaped by its parent, which is another process:
// else neither it nor its PID namespace would ever end.
func TestEndingChildOfAnother(t *testing.T) {
	needRoot(t)
	for range 50 {
		cmd := exec.Command("/bin/sh", "-c", "sh -c 'while :; do :; done' & echo $!; wait; echo reaped")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		lines.Scan()
		child, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		killed := make(chan error)
		go func() { killed <- unix.Kill(child, unix.SIGKILL) }()
		for {
			if results, err := SyscallInThreads([]int{child}, unix.SYS_GETPPID); err != nil || len(results) == 0 {
				break
			}
		}
		if err := <-killed; err != nil {
			t.Fatal(err)
		}
		if lines.Scan(); lines.Text() != "reaped" {
			t.Errorf("the parent says %q", lines.Text())
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// A tree whose pid 1 is killed while all of it is traced ends: pid 1 does not before the
// others have been reaped.
func TestEndingNamespace(t *testing.T) {
	needRoot(t)
	for range 30 {
		cmd := exec.Command("/bin/sh", "-c", "sh -c 'while :; do :; done' & sh -c 'while :; do :; done' & echo; wait")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		bufio.NewScanner(out).Scan()
		tree := procfs.Tree(cmd.Process.Pid)
		go func() { _ = cmd.Process.Kill() }()
		for {
			begun := time.Now()
			results, err := SyscallInThreads(tree, unix.SYS_GETPPID)
			if took := time.Since(begun); took > limit/2 {
				t.Errorf("it took %s: %v", took, err)
			}
			if err != nil || len(results) < len(tree) {
				break
			}
		}
		if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
			t.Errorf("its end is %v", err)
		}
	}
}

// A thread that has ended has no result, and Syscall does not wait for it.
func TestEnded(t *testing.T) {
	cmd := exec.Command("/bin/sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	until(pid, procfs.HasEnded)
	if results, err := SyscallInThreads([]int{1 << 30}, unix.SYS_GETPID); err != nil || len(results) != 0 {
		t.Errorf("got %v, %v", results, err)
	}
	_ = cmd.Wait()
	if results, err := SyscallInThreads([]int{pid}, unix.SYS_GETPID); err != nil || len(results) != 0 {
		t.Errorf("got %v, %v", results, err)
	}
}
