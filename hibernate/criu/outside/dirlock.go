package outside

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/internal/timelimit"
)

// LockDirs locks the directories against the dumps and restores of all hosts, until release
// is called. It waits for the locks until ctx ends. Directories that are deleted, or in another
// mount namespace, it leaves out: no other dump or restore uses them.
func LockDirs(ctx context.Context, paths []string) (release func(), err error) {
	paths = slices.Sorted(slices.Values(paths)) // all lock in the same order, so that two never wait for each other
	var locks []int
	release = func() {
		for _, lock := range locks {
			_ = unix.Close(lock)
		}
	}
	for _, path := range slices.Compact(paths) {
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil {
			continue
		}
		lock, err := awaitDirLock(ctx, file{st.Dev, st.Ino})
		if err != nil {
			release()
			return nil, fmt.Errorf("cannot lock %s: %w", path, err)
		}
		locks = append(locks, lock)
	}
	return release, nil
}

// awaitDirLock locks the directory and returns the lock, a descriptor to be closed. It waits
// while another process holds the lock, and fails when ctx ends. The lock is an abstract
// address, since a file lock would be in the way of those that the tree itself has.
func awaitDirLock(ctx context.Context, dir file) (lock int, err error) {
	lock, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	address := &unix.SockaddrUnix{Name: fmt.Sprintf("@dormouse/directory/%d/%d", dir.Device, dir.Inode)}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Bind(lock, address)
		if err == nil {
			return lock, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return -1, errors.Join(err, unix.Close(lock))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return -1, errors.Join(fmt.Errorf("another process holds its lock: %w", timelimit.EndError(ctx)), unix.Close(lock))
		}
	}
}
