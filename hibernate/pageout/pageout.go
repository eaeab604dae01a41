// Package pageout puts a process tree to sleep in place: it freezes the tree's cgroup and
// gives its memory to the swap of the machine. The package writes no image and switches no
// swap on, and a tree that sleeps in place does not outlive the host. The package does not
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
	"dormouse/internal/timelimit"
)

// ErrStays means that a sleep would free too little memory; the text says why.
var ErrStays = errors.New("its memory can't be paged out")

// Engine puts trees to sleep in place.
type Engine struct{}

// Name returns the engine's name for display. It has no version, because no image depends on
// the engine.
func (Engine) Name() string { return "pageout" }

// Check returns an error that wraps hibernate.ErrUnsupported if memory can't be paged out
// here. Each call reads the state of the machine, since swap may come and go.
func (Engine) Check(context.Context) error {
	if swap, err := procfs.MachineHasSwap(); !swap {
		return errors.Join(fmt.Errorf("%w: memory can't be paged out, since there is no swap; zram will do", hibernate.ErrUnsupported), err)
	}
	return nil
}

// Tree is a process tree that can sleep in place.
type Tree struct {
	// PID is the process id of the root.
	PID int
	// Cgroup is the directory of the tree's own cgroup. A tree without one, "", can't be
	// frozen.
	Cgroup cgroup.Dir
}

// MemoryUse is how much memory a tree takes before a sleep and in the sleep, in bytes.
type MemoryUse struct {
	// Before and Resident are the tree's anonymous memory that was resident before the
	// sleep, and that still is. Swapped is the tree's memory in the swap.
	Before, Resident, Swapped int64
}

// Sleep freezes the tree and pages its memory out. After an error the tree runs on; the
// error wraps hibernate.ErrUnsupported, hibernate.ErrSpace or ErrStays if one of them is
// the cause.
func (e Engine) Sleep(ctx context.Context, t Tree) (MemoryUse, error) {
	if t.Cgroup == "" {
		return MemoryUse{}, fmt.Errorf("%w: only a tree in a cgroup of its own can be frozen", hibernate.ErrUnsupported)
	}
	if err := e.Check(ctx); err != nil {
		return MemoryUse{}, err
	}
	use, err := freezeAndPageOut(ctx, t)
	if err != nil {
		return MemoryUse{}, errors.Join(err, e.Wake(t))
	}
	return use, nil
}

// freezeAndPageOut freezes the tree and pages its memory out. The error wraps
// hibernate.ErrSpace if the swap is too small, and ErrStays if more than half of the memory
// stays resident. After an error the tree may be frozen.
func freezeAndPageOut(ctx context.Context, t Tree) (use MemoryUse, err error) {
	if err := t.Cgroup.FreezeAndWait(ctx); err != nil {
		return use, err
	}
	tree := procfs.Tree(t.PID)
	use.Before = procfs.ResidentAnonymousBytes(tree)
	if free := freeSwapBytes(); free < use.Before {
		return use, fmt.Errorf("%w: there are %s to page out, the swap has %s free", hibernate.ErrSpace, bytesize.Format(use.Before), bytesize.Format(free))
	}
	for _, pid := range tree {
		if err := pageOutProcess(ctx, pid); err != nil {
			return use, err
		}
	}
	use.Resident, use.Swapped = procfs.ResidentAnonymousBytes(tree), procfs.SwappedBytes(tree)
	if use.Resident > use.Before/2 {
		return use, fmt.Errorf("%w: %d of %d KiB stay resident, being locked, shared by processes of the tree, or kept from the swap by a limit",
			ErrStays, use.Resident>>10, use.Before>>10)
	}
	return use, nil
}

// Wake lets the tree run. The kernel brings each page of its memory back when the tree touches
// the page. A tree that runs already runs on.
func (Engine) Wake(t Tree) error {
	return t.Cgroup.Thaw()
}

// pageOutProcess gives the memory of one process to the swap. Memory that can't be paged
// out, such as locked memory, stays resident without an error, and an ended process is not
// an error either.
func pageOutProcess(ctx context.Context, pid int) error {
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
		area, advice := adviceForMapsLine(lines.Text())
		if advice == 0 {
			continue
		}
		err := processMadvise(fd, area, advice)
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
			return fmt.Errorf("%w: process_madvise, which needs Linux 5.10 and CAP_SYS_NICE: %w", hibernate.ErrUnsupported, err)
		}
	}
	if ctx.Err() != nil {
		return timelimit.EndError(ctx)
	}
	return lines.Err()
}

// processMadvise calls process_madvise(2) for one mapping.
func processMadvise(pidfd int, area mapping, advice int) error {
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

// freeSwapBytes returns how many bytes the swap can still take, 0 if that is not known.
func freeSwapBytes() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return int64(info.Freeswap) * int64(info.Unit) //nolint:unconvert,nolintlint // their types differ by architecture
}
