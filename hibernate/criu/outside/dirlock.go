package outside

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// LockDirs locks the directories against the dumps and restores of all hosts, until release
// is called. It waits for the locks until ctx ends. Directories that are deleted, or in another
// mount namespace, it leaves out: no other dump or restore uses them.
func LockDirs(ctx context.Context, paths []string) (release func(), err error) {
	paths = slices.Sorted(slices.Values(paths)) // all lock in the same order, so that two never wait for each other
	var locked []*os.File
	release = func() {
		for _, dir := range locked {
			_ = dir.Close()
		}
	}
	for _, path := range slices.Compact(paths) {
		dir, err := os.Open(path)
		if err != nil {
			continue
		}
		locked = append(locked, dir)
		if err := awaitDirLock(ctx, dir); err != nil {
			release()
			return nil, fmt.Errorf("cannot lock %s: %w", path, err)
		}
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
