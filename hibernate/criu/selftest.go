package criu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"dormouse/hibernate"
	"dormouse/internal/native"
	"dormouse/internal/ownedtree"
	"dormouse/internal/procfs"
	"dormouse/internal/reap"
)

// testDumpAndRestore dumps and restores the canary, a tree like that of a plugin: a root
// in a session and a PID namespace of its own, and a child with a UDP socket and a TCP
// listener. Some combinations of CRIU and kernel cannot dump such sockets, others cannot
// restore them.
func (e *Engine) testDumpAndRestore(ctx context.Context) error {
	if err := os.MkdirAll(e.HelperDir, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(e.HelperDir, canaryPrefix)
	if err != nil {
		return err
	}
	defer func() { _ = ownedtree.Remove(dir) }() // KillAndRemoveLeftovers removes it if that fails
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
	stop := sync.OnceValue(func() error {
		_ = cmd.Process.Kill()
		return reap.Child(cmd.Process.Pid, killLimit)
	})
	defer func() { _ = stop() }()
	if err := waitForTwoChildSockets(ctx, cmd.Process.Pid); err != nil {
		return err
	}

	images := filepath.Join(dir, "images")
	if err := os.Mkdir(images, 0o700); err != nil {
		return err
	}
	if err := e.Dump(ctx, hibernate.DumpOrder{PID: cmd.Process.Pid, Dir: images}); err != nil {
		return err
	}
	if err := stop(); err != nil {
		return err
	}

	root, err := e.Restore(ctx, hibernate.RestoreOrder{Dir: images})
	if err != nil {
		return err
	}
	n := countChildSockets(root.Pid)
	_ = root.Kill()
	if err := reap.Child(root.Pid, killLimit); err != nil {
		return err
	}
	if n != 2 {
		return fmt.Errorf("it came back with %d sockets instead of 2", n)
	}
	return nil
}

// waitForTwoChildSockets returns when the canary, the child of pid, has opened its two
// sockets, or with an error when pid or ctx has ended. The canary cannot report that itself:
// a connection to the outside could not be dumped.
func waitForTwoChildSockets(ctx context.Context, pid int) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for countChildSockets(pid) < 2 {
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

// countChildSockets returns how many sockets the children of pid have open.
func countChildSockets(pid int) int {
	n := 0
	for _, child := range procfs.Children(pid) {
		for _, d := range procfs.Descriptors(child) {
			if d.SocketInode() != 0 {
				n++
			}
		}
	}
	return n
}
