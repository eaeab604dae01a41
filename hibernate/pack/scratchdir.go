package pack

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"dormouse/internal/ownedtree"
	"dormouse/internal/procfs"
)

// Scratch is a private directory for the files of an image in the form in which the
// engine writes and reads them.
type Scratch struct {
	Dir   string
	close func() error
}

// NewScratch returns a scratch in memory of at most maxBytes. If that is not possible
// and the format has no encryption, makeDirOnDisk makes a directory on disk for it: files that
// will be encrypted must never be on disk as they are.
func NewScratch(maxBytes int64, format *Format, makeDirOnDisk func() (string, error)) (*Scratch, error) {
	s, err := newScratchInMemory(maxBytes)
	if err == nil || format.IsEncrypted() {
		return s, err
	}
	dir, err := makeDirOnDisk()
	return &Scratch{dir, func() error { return ownedtree.Remove(dir) }}, err
}

// Close removes the directory and its files. In memory it removes them once no other process
// has one open.
func (s *Scratch) Close() error { return s.close() }

// newScratchInMemory returns a scratch that no other process can find, that is never swapped
// out, and that ends with this process at the latest.
func newScratchInMemory(maxBytes int64) (*Scratch, error) {
	fd, err := mountPrivateTmpfs(maxBytes)
	if err != nil {
		return nil, fmt.Errorf("cannot make a private tmpfs: %w", err)
	}
	return &Scratch{fmt.Sprintf("/proc/self/fd/%d", fd), func() error { return unix.Close(fd) }}, nil
}

// mountPrivateTmpfs makes a file system in memory, outside of the file tree, and returns its
// root; see fsopen(2) and tmpfs(5).
func mountPrivateTmpfs(maxBytes int64) (dirFD int, err error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(fs) }()
	if err := unix.FsconfigSetString(fs, "mode", "0700"); err != nil {
		return -1, err
	}
	if err := unix.FsconfigSetString(fs, "size", strconv.FormatInt(maxBytes, 10)); err != nil {
		return -1, err
	}
	if err := unix.FsconfigSetFlag(fs, "noswap"); err != nil {
		if swap, serr := procfs.MachineHasSwap(); swap || serr != nil {
			return -1, fmt.Errorf("its contents could be swapped out: %w", err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
}
