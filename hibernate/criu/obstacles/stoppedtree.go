package obstacles

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"dormouse/hibernate/criu/kinds"
	"dormouse/internal/procfs"
	"dormouse/internal/tracee"
)

// treeProcess is a living process of the tree with its threads.
type treeProcess struct {
	pid  int
	tids []int
}

// ObstaclesWhenStopped returns an error for properties of a stopped tree that CRIU
// neither dumps nor restores: Landlock domains, PR_SET_MDWE, rare kinds of memory, held
// semaphores, and robust mutexes in files. See hibernate.Engine.
func (f *Finder) ObstaclesWhenStopped(treePIDs []int) error {
	var processes []treeProcess
	for _, pid := range treePIDs {
		if tids := procfs.ThreadIDs(pid); len(tids) > 0 {
			processes = append(processes, treeProcess{pid, tids})
		}
	}
	found := f.newFindings()
	for _, find := range []func([]treeProcess, *findings) error{
		f.findAndNoteLandlockDomains, findMemoryDenyWriteExecute, findMappingObstaclesByFlags, findHardening, findHeldSemaphores,
	} {
		if err := find(processes, found); err != nil && !lookAtUntraceable(err, processes, found) {
			return err
		}
	}
	findRobustFileMutexes(processes, found)
	return found.asError()
}

// lookAtUntraceable adds a finding if the error is about a thread that can't be made to
// execute a system call, and reports whether it is.
func lookAtUntraceable(err error, processes []treeProcess, found *findings) bool {
	var u *tracee.UntraceableError
	if !errors.As(err, &u) {
		return false
	}
	kind := kinds.Kind("syscall-dispatch")
	if errors.Is(u, tracee.ErrIs32Bit) {
		kind = "32-bit"
	}
	for _, p := range processes {
		if slices.Contains(p.tids, u.TID) {
			found.lookAtProcess(p.pid, kind, fmt.Sprintf(", thread %d", u.TID))
		}
	}
	return true
}

// findMemoryDenyWriteExecute finds processes with PR_SET_MDWE, under which the kernel denies
// memory that is both writable and executable, see prctl(2). A restored process has what the
// host has, so only a process that differs from the host is an obstacle.
func findMemoryDenyWriteExecute(processes []treeProcess, found *findings) error {
	ofHost, err := unix.PrctlRetInt(unix.PR_GET_MDWE, 0, 0, 0, 0)
	if err != nil {
		return nil //nolint:nilerr // this kernel has no PR_SET_MDWE
	}
	var tids []int // one thread of each process
	for _, p := range processes {
		tids = append(tids, p.tids[0])
	}
	results, err := tracee.SyscallInThreads(tids, unix.SYS_PRCTL, unix.PR_GET_MDWE, 0, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("cannot tell which processes have PR_SET_MDWE: %w", err)
	}
	for _, p := range processes {
		if r, alive := results[p.tids[0]]; alive && r != (tracee.Result{Value: int64(ofHost)}) {
			found.lookAtProcess(p.pid, "mdwe", "")
		}
	}
	return nil
}

// findRobustFileMutexes finds processes that hold a robust mutex in a mapped file, and calls
// that passing. When the dumped tree ends, the kernel marks the mutex in the file as left by
// a dead process.
func findRobustFileMutexes(processes []treeProcess, found *findings) {
	for _, p := range processes {
		if path := fileOfHeldRobustMutex(p); path != "" {
			found.lookAtProcess(p.pid, "robust-mutex-file", " "+path)
		}
	}
}

// fileOfHeldRobustMutex returns the path of the first file in which a thread of the process
// holds a robust mutex, "" if there is none.
func fileOfHeldRobustMutex(p treeProcess) string {
	for _, tid := range p.tids {
		for _, futex := range procfs.HeldRobustFutexes(tid) {
			if path := procfs.SharedFileMappedAt(tid, futex); path != "" {
				return path
			}
		}
	}
	return ""
}
