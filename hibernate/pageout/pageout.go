// Package pageout lets a process tree sleep where it is: frozen in its cgroup,
// its memory given to the swap that the platform has. It writes no image and
// switches no swap on, and what sleeps so does not outlive the host. It does not
// know what the tree is for.
package pageout

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/internal/bytesize"
	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
)

// ErrStays means that a sleep would free too little; the text says why.
var ErrStays = errors.New("its memory can't be paged out")

// Engine puts trees to sleep in place.
type Engine struct{}

// Name is how the engine is shown. It has no version: no image needs it again.
func (Engine) Name() string { return "pageout" }

// Check tells whether memory can be paged out here. It looks anew each time,
// since swap comes and goes. The error wraps hibernate.ErrUnsupported.
func (Engine) Check(context.Context) error {
	if swap, err := procfs.HasSwap(); !swap {
		return errors.Join(fmt.Errorf("%w: memory can't be paged out, since there is no swap; zram will do", hibernate.ErrUnsupported), err)
	}
	return nil
}

// Tree is the tree that is to sleep.
type Tree struct {
	// PID of the root.
	PID int
	// Cgroup is the directory of the tree's own cgroup, "" for none: then it can't
	// be frozen.
	Cgroup cgroup.Dir
}

// Account is what a sleep has gained, in bytes.
type Account struct {
	// Before and Resident are the tree's anonymous memory that was and is
	// resident; Swapped is what is in the swap.
	Before, Resident, Swapped int64
}

// Sleep freezes the tree and pages its memory out. After an error it runs on;
// the error wraps hibernate.ErrUnsupported, hibernate.ErrSpace or ErrStays when one
// of those is why.
func (e Engine) Sleep(ctx context.Context, t Tree) (Account, error) {
	if t.Cgroup == "" {
		return Account{}, fmt.Errorf("%w: only a tree in a cgroup of its own can be frozen", hibernate.ErrUnsupported)
	}
	if err := e.Check(ctx); err != nil {
		return Account{}, err
	}
	a, err := sleep(ctx, t)
	if err != nil {
		return Account{}, errors.Join(err, e.Wake(t))
	}
	return a, nil
}

func sleep(ctx context.Context, t Tree) (a Account, err error) {
	if err := t.Cgroup.Freeze(ctx); err != nil {
		return a, err
	}
	tree := procfs.Tree(t.PID)
	a.Before = procfs.AnonymousBytes(tree)
	if free := swapFree(); free < a.Before {
		return a, fmt.Errorf("%w: there are %s to page out, the swap has %s free", hibernate.ErrSpace, bytesize.Format(a.Before), bytesize.Format(free))
	}
	for _, pid := range tree {
		if err := pageOut(ctx, pid); err != nil {
			return a, err
		}
	}
	a.Resident, a.Swapped = procfs.AnonymousBytes(tree), procfs.SwappedBytes(tree)
	if a.Resident > a.Before/2 {
		return a, fmt.Errorf("%w: %d of %d KiB stay resident, being locked, shared by processes of the tree, or kept from the swap by a limit",
			ErrStays, a.Resident>>10, a.Before>>10)
	}
	return a, nil
}

// Wake lets the tree run, or go on running. Its memory comes back as it is
// touched.
func (Engine) Wake(t Tree) error {
	return t.Cgroup.Thaw()
}

// pageOut gives the memory of one process to the swap. What can't be paged out,
// such as locked memory, stays; the account tells.
func pageOut(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot page out process %d: %w", pid, err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written that could be lost
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return fmt.Errorf("cannot page out process %d: %w", pid, err)
	}
	defer maps.Close()
	lines := bufio.NewScanner(maps)
	for lines.Scan() && ctx.Err() == nil {
		area, advice := judge(lines.Text())
		if advice == 0 {
			continue
		}
		err := advise(fd, area, advice)
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
			return fmt.Errorf("%w: process_madvise, which needs Linux 5.10 and CAP_SYS_NICE: %w", hibernate.ErrUnsupported, err)
		}
	}
	return errors.Join(lines.Err(), ctx.Err())
}

// advise is process_madvise(2) for one mapping.
func advise(pidfd int, area mapping, advice int) error {
	for area.length > 0 {
		vector := unix.RemoteIovec{Base: area.start, Len: int(area.length)}
		n, _, errno := unix.Syscall6(unix.SYS_PROCESS_MADVISE, uintptr(pidfd), uintptr(unsafe.Pointer(&vector)), 1, uintptr(advice), 0, 0)
		switch {
		case errno == unix.EINTR || errno == unix.EAGAIN:
			continue
		case errno != 0:
			return errno
		}
		area.start += n
		area.length -= n
	}
	return nil
}

// swapFree is how much the swap can still take, in bytes.
func swapFree() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return int64(info.Freeswap) * int64(info.Unit) //nolint:unconvert,nolintlint // their types differ by architecture
}
