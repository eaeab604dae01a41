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

// mountPoint is the directory that CRIU makes for a moment in the working
// directory of a task whose PID namespace is not the one that /proc shows. It
// gives up when there is one already: that of another CRIU, or one left behind
// by a CRIU that was killed.
const mountPoint = "proc.crtools"

// claimWorkDirs keeps every other dump out of the working directories of the
// tree below root until release is called, and clears them for this one.
func claimWorkDirs(ctx context.Context, root int) (release func(), err error) {
	var dirs []string
	for _, pid := range procfs.Tree(root) {
		if dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err == nil {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs) // the same order for all, or two could wait for each other
	var held []*os.File
	release = func() {
		for _, dir := range held {
			_ = dir.Close()
		}
	}
	for _, path := range slices.Compact(dirs) {
		dir, err := os.Open(path)
		if err != nil {
			continue // deleted, or not to be seen from here: nobody else's either
		}
		held = append(held, dir)
		if err := lock(ctx, dir); err != nil {
			release()
			return nil, fmt.Errorf("cannot lock %s: %w", path, err)
		}
		_ = os.Remove(filepath.Join(path, mountPoint)) // it is empty unless it is somebody's own
	}
	return release, nil
}

// lock waits for dir until ctx ends.
func lock(ctx context.Context, dir *os.File) error {
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
