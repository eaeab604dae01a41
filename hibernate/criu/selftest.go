package criu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"dormouse/hibernate"
	"dormouse/internal/native"
	"dormouse/internal/procfs"
)

// testDumpAndRestore dumps and restores the canary, a tree like that of a plugin: a root
// in a session and a PID namespace of its own, and a child with a UDP socket and a TCP
// listener. Some combinations of CRIU and kernel cannot dump such sockets, others cannot
// restore them.
func (e *Engine) testDumpAndRestore(ctx context.Context) error {
	if err := os.MkdirAll(e.programs, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(e.programs, canaryPrefix)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program, err := native.InstallPidone(dir)
	if err != nil {
		return err
	}
	cmd := exec.Command(program, native.Canary)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start a process in a PID namespace: %w", err)
	}
	alive := true
	defer func() {
		if alive {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}()
	if err := waitForSockets(ctx, cmd.Process.Pid); err != nil {
		return err
	}

	images := filepath.Join(dir, "images")
	if err := os.Mkdir(images, 0o700); err != nil {
		return err
	}
	if err := e.Dump(ctx, hibernate.DumpOrder{PID: cmd.Process.Pid, Dir: images}); err != nil {
		return err
	}
	alive = false
	_ = cmd.Process.Kill()
	_ = cmd.Wait()

	root, err := e.Restore(ctx, hibernate.RestoreOrder{Dir: images})
	if err != nil {
		return err
	}
	n := countSockets(root.Pid)
	_ = root.Kill()
	if _, err := root.Wait(); err != nil {
		return err
	}
	if n != 2 {
		return fmt.Errorf("it came back with %d sockets instead of 2", n)
	}
	return nil
}

// waitForSockets returns when the canary below pid has opened its sockets. The canary
// cannot report that itself: a connection to the outside could not be dumped.
func waitForSockets(ctx context.Context, pid int) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for countSockets(pid) < 2 {
		if procfs.HasEnded(pid) {
			return errors.New("the canary ended before it was ready")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("the canary did not start in time")
		}
	}
	return nil
}

// countSockets returns how many sockets the canary below pid has.
func countSockets(pid int) int {
	n := 0
	for _, child := range procfs.Children(pid) {
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", child))
		for _, fd := range fds {
			if target, err := os.Readlink(fd); err == nil && strings.HasPrefix(target, "socket:") {
				n++
			}
		}
	}
	return n
}
