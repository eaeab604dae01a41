package criu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/checkpoint-restore/go-criu/v7/rpc"
	"golang.org/x/sys/unix"

	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
)

// restored is the tree that CRIU makes in a restore, as far as it exists.
type restored struct {
	group    cgroup.Dir // "" when the tree gets none of its own
	root     int        // PID of the root, 0 before CRIU has made it
	complete bool       // CRIU has made the whole tree
}

// notify takes over what CRIU says while it restores.
func (r *restored) notify(n *rpc.CriuNotify) {
	switch n.GetScript() {
	case "setup-namespaces": // the root is all that there is
		r.root = int(n.GetPid())
	case "post-restore":
		r.root, r.complete = int(n.GetPid()), true
	}
}

// end kills and reaps all that a restore has made. CRIU itself must have ended.
func (r *restored) end() error {
	roots := r.roots()
	signalAll(roots, syscall.SIGKILL) // and with a root its PID namespace
	for range 100 {                   // CRIU's helpers may fork between the look and the kill
		left := r.group.Members()
		if len(left) == 0 {
			break
		}
		signalAll(left, syscall.SIGKILL)
		time.Sleep(time.Millisecond)
	}
	var errs []error
	for _, pid := range roots {
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil && !errors.Is(err, syscall.ECHILD) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// roots returns the children of this process that a restore has made. CRIU may have
// been killed before it could name the root.
func (r *restored) roots() []int {
	var roots []int
	for _, child := range procfs.Children(os.Getpid()) {
		if child == r.root || r.group.Contains(child) || r.group == "" && isHalfMade(child) {
			roots = append(roots, child)
		}
	}
	return roots
}

// isHalfMade reports whether CRIU has begun to restore the process and not got far:
// such a process still looks like CRIU.
func isHalfMade(pid int) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.Contains(string(line), "criu: restore --rpc")
}

// waitStopped returns when all processes of the tree below root are stopped. CRIU
// lets go of a tree a moment before the stop has reached all of it.
func waitStopped(ctx context.Context, root int) error {
	for slices.ContainsFunc(procfs.Tree(root), func(pid int) bool { return !procfs.IsStopped(pid) && !procfs.HasEnded(pid) }) {
		if ctx.Err() != nil {
			return fmt.Errorf("the tree does not stop: %w", ctx.Err())
		}
		// The runtime's timers take a millisecond when nothing else is to be done.
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 50_000}, nil)
	}
	return nil
}
