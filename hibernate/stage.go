package hibernate

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// stage is a directory for the files of an image as the engine has them.
type stage struct {
	dir   string
	close func() error
}

// ghosts is room for deleted files that an engine has to keep, too.
const ghosts = 256 << 20

// stage is where the engine puts what it does not hand over while it dumps. What will
// be encrypted is nowhere else.
func (s *Slot) stage(m *manifest) (*stage, error) {
	s.store.mu.Lock()
	size := s.store.pending[s]
	s.store.mu.Unlock()
	stage, err := newStage(size + ghosts)
	if err != nil && m.Packing.Key == nil {
		return stageOnDisk(s)
	}
	return stage, err
}

// newStage returns a stage in memory. No other process finds it, it is never
// swapped out, and all in it is gone when it is closed or the host ends.
func newStage(size int64) (*stage, error) {
	fd, err := mountTmpfs(size)
	if err != nil {
		return nil, fmt.Errorf("cannot make a private tmpfs: %w", err)
	}
	return &stage{fmt.Sprintf("/proc/self/fd/%d", fd), func() error { return unix.Close(fd) }}, nil
}

// stageOnDisk is for what need not be hidden.
func stageOnDisk(s *Slot) (*stage, error) {
	dir, err := s.draft()
	return &stage{dir, func() error { return os.RemoveAll(dir) }}, err
}

// mountTmpfs mounts a file system nowhere and returns its root.
func mountTmpfs(size int64) (int, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(fs) }()
	if err := unix.FsconfigSetString(fs, "mode", "0700"); err != nil {
		return -1, err
	}
	if err := unix.FsconfigSetString(fs, "size", strconv.FormatInt(size, 10)); err != nil {
		return -1, err
	}
	if err := unix.FsconfigSetFlag(fs, "noswap"); err != nil && swaps() {
		return -1, fmt.Errorf("its contents could be swapped out: %w", err)
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
}

// swaps tells whether there is a place to swap memory out to.
func swaps() bool {
	text, err := os.ReadFile("/proc/swaps")
	return err != nil || strings.Count(string(text), "\n") > 1
}
