package descriptors

import (
	"errors"
	"math"
	"slices"

	"golang.org/x/sys/unix"

	"dormouse/internal/procfs"
)

// HeldLocks are the locks of a sleeping tree: this process holds them, so that no other
// takes them. A nil HeldLocks holds none.
type HeldLocks struct{ files []heldFile }

// heldFile is a duplicate of a descriptor by which the tree held a lock.
type heldFile struct {
	fd   int
	lock fileLock
}

// ShareLocks returns the locks of the stopped tree. What belongs to an open file is held from
// now on, beside the tree; the rest is held after Hold. It returns nil if there are none.
func (n Notes) ShareLocks(pids []int) (*HeldLocks, error) {
	if len(n.Locks) == 0 {
		return nil, nil
	}
	byNumber := pidsByNumber(pids)
	h := &HeldLocks{}
	for _, l := range n.Locks {
		d := procfs.Descriptor{PID: byNumber[l.Process], FD: l.Descriptor}
		err := d.WithDuplicate(func(fd int) error {
			own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			if err == nil {
				h.files = append(h.files, heldFile{own, l.fileLock})
			}
			return err
		})
		if err != nil {
			return nil, errors.Join(err, h.Close())
		}
	}
	return h, nil
}

// Hold takes the locks, except those that another process has taken meanwhile. The tree must
// have ended.
func (h *HeldLocks) Hold() {
	if h == nil {
		return
	}
	for _, f := range h.files {
		// A lease of the same open file would keep other programs waiting.
		_, _ = unix.FcntlInt(uintptr(f.fd), unix.F_SETLEASE, unix.F_UNLCK)
		how, kind := unix.LOCK_SH, int16(unix.F_RDLCK)
		if f.lock.Write {
			how, kind = unix.LOCK_EX, int16(unix.F_WRLCK)
		}
		_ = f.set(how|unix.LOCK_NB, kind) // if it fails, CheckLocksFree names the holder at the wake
	}
}

// Release gives the locks up, so that an engine can restore them. Hold takes them again.
func (h *HeldLocks) Release() error {
	if h == nil {
		return nil
	}
	var errs []error
	for _, f := range h.files {
		errs = append(errs, f.set(unix.LOCK_UN, unix.F_UNLCK))
	}
	return errors.Join(errs...)
}

// Close gives the locks up for good.
func (h *HeldLocks) Close() error {
	if h == nil {
		return nil
	}
	var errs []error
	for _, f := range slices.Backward(h.files) {
		errs = append(errs, unix.Close(f.fd))
	}
	h.files = nil
	return errors.Join(errs...)
}

// set changes the lock: how is for flock(2), kind for fcntl(2).
func (f heldFile) set(how int, kind int16) error {
	if f.lock.Kind == flockKind {
		return unix.Flock(f.fd, how)
	}
	length := f.lock.End - f.lock.Start + 1
	if f.lock.End == math.MaxInt64 {
		length = 0 // to the end of the file, wherever that is
	}
	// A lock of a process can't be held for it; that of a description excludes as much.
	return unix.FcntlFlock(uintptr(f.fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: kind, Start: f.lock.Start, Len: length})
}
