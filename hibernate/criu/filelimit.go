package criu

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// startWithRaisedFileLimit starts cmd, which must be CRIU, with its soft limit of open
// files raised to the hard limit: CRIU opens all files of a tree at once, and Go gives a
// child the soft limit with which this process was started. CRIU reads its limit as soon
// as it runs, so the kernel stops it before its first instruction until the limit is set,
// see PTRACE_TRACEME in ptrace(2).
func startWithRaisedFileLimit(cmd *exec.Cmd) error {
	runtime.LockOSThread() // only the thread that started a traced process can continue it
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr.Ptrace = true
	if err := cmd.Start(); err != nil {
		return err
	}
	pid := cmd.Process.Pid
	err := waitTraceStopOrEnd(pid)
	if err == nil {
		var limit unix.Rlimit
		err = unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &limit)
		limit.Cur = limit.Max
		err = errors.Join(err, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil), unix.PtraceDetach(pid))
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return fmt.Errorf("cannot raise its limit of open files: %w", err)
	}
	return nil
}

// waitTraceStopOrEnd returns when the traced child has stopped, or has ended. It does not reap
// the child.
func waitTraceStopOrEnd(pid int) error {
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
