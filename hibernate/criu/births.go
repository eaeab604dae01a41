package criu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	gocriu "github.com/checkpoint-restore/go-criu/v7"

	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
)

// births notes the processes that a restore makes.
type births struct {
	gocriu.NoNotify
	first atomic.Int64 // root, as soon as it exists
	root  int          // root, when it is complete
	ended []int        // those that kill was for
}

// SetupNamespaces is told the root before anything is in it.
func (b *births) SetupNamespaces(pid int32) error {
	b.first.Store(int64(pid))
	return nil
}

// PostRestore is told the root when the tree is complete.
func (b *births) PostRestore(pid int32) error {
	b.first.Store(int64(pid))
	b.root = int(pid)
	return nil
}

// kill ends the root that is being made, and with it its PID namespace: it holds
// CRIU's socket as well. So do helpers of a CRIU that was killed, whoever's
// children they are by now.
func (b *births) kill(group cgroup.Dir) {
	b.ended = b.roots(group)
	signalAll(b.ended, syscall.SIGKILL)
	for range 100 { // they may fork between the look and the kill
		left := group.Members()
		if len(left) == 0 {
			return
		}
		signalAll(left, syscall.SIGKILL)
		time.Sleep(time.Millisecond)
	}
}

// roots are the processes that a restore has made children of this one. CRIU may
// be killed before it tells of the root.
func (b *births) roots(group cgroup.Dir) []int {
	var roots []int
	first := int(b.first.Load())
	for _, child := range procfs.Children(os.Getpid()) {
		if child == first || group.Contains(child) || group == "" && isHalfMade(child) {
			roots = append(roots, child)
		}
	}
	return roots
}

// end kills and reaps what a failed restore left.
func (b *births) end(group cgroup.Dir) error {
	var errs []error
	left := append(b.roots(group), b.ended...)
	slices.Sort(left)
	for _, pid := range slices.Compact(left) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, err)
			continue
		}
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil && !errors.Is(err, syscall.ECHILD) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// isHalfMade tells a process that CRIU has begun to restore: it looks like CRIU
// until it has its own memory.
func isHalfMade(pid int) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.Contains(string(line), "criu: restore --rpc")
}

// waitStopped returns when the stop that CRIU leaves behind has reached every
// task; it lets go of them a moment before.
func waitStopped(ctx context.Context, root int) error {
	for slices.ContainsFunc(procfs.Tree(root), func(pid int) bool { return !procfs.IsStopped(pid) && !procfs.HasEnded(pid) }) {
		if ctx.Err() != nil {
			return fmt.Errorf("the tree does not stop: %w", ctx.Err())
		}
		pause()
	}
	return nil
}
