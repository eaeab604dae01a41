package criu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/internal/procfs"
)

// mountPoint is a directory that CRIU creates for a moment in the current directory of
// a process whose PID namespace is not the one that /proc shows. The dump fails if it
// exists already, because of another CRIU, or because a CRIU was killed.
const mountPoint = "proc.crtools"

// lockAndCleanTreeCwds locks the current directories of all processes of the tree below the
// root against other dumps until release is called, and removes a mountPoint that was left
// there. It waits for the locks until ctx ends.
func lockAndCleanTreeCwds(ctx context.Context, rootPID int) (release func(), err error) {
	var dirs []string
	for _, pid := range procfs.Tree(rootPID) {
		if dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err == nil {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs) // all dumps lock in the same order, so that two never wait for each other
	var locked []*os.File
	release = func() {
		for _, dir := range locked {
			_ = dir.Close()
		}
	}
	for _, path := range slices.Compact(dirs) {
		dir, err := os.Open(path)
		if err != nil {
			continue // it is deleted, or in another mount namespace: no other dump uses it
		}
		locked = append(locked, dir)
		if err := awaitDirLock(ctx, dir); err != nil {
			release()
			return nil, fmt.Errorf("cannot lock %s: %w", path, err)
		}
		_ = os.Remove(filepath.Join(path, mountPoint)) // fails if it is not empty: then it is not of CRIU
	}
	return release, nil
}

// awaitDirLock locks the open directory, see flock(2). The lock ends when dir is closed.
// awaitDirLock waits while another process holds the lock, and fails when ctx ends.
func awaitDirLock(ctx context.Context, dir *os.File) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("another process holds its lock: %w", ctx.Err())
		}
	}
}
