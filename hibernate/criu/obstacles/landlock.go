package obstacles

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"dormouse/internal/procfs"
)

// findAndNoteLandlockDomains finds processes of a stopped tree with a thread in a Landlock
// domain, and remembers the threads for later checks of the running tree. The kernel does not
// show which threads are in one. But a thread in a domain may not inspect a process outside
// of its domain, so findAndNoteLandlockDomains makes each thread try to (through ptrace).
func (f *Finder) findAndNoteLandlockDomains(processes []treeProcess, found *findings) error {
	if !isLandlockEnabled() {
		return nil
	}
	pidOf := make(map[int]int)
	var tids []int
	for _, p := range processes {
		for _, tid := range p.tids {
			pidOf[tid] = p.pid
			tids = append(tids, tid)
		}
	}
	// Nearly all threads may inspect the tree's pid 1, which the host has started. Each
	// other thread then tries a bystander: only a domain can prevent that.
	suspects, err := threadsUnableToInspect(1, tids)
	if err == nil {
		suspects, err = f.threadsUnableToInspectBystander(suspects)
	}
	if err != nil {
		return fmt.Errorf("cannot tell which threads are in a Landlock domain: %w", err)
	}
	for _, tid := range suspects {
		if pid := pidOf[tid]; pid != 0 {
			found.lookAtProcess(pid, "landlock", fmt.Sprintf(" of thread %d", tid))
			f.landlocked.addThreadAndDropEnded(tid)
			maps.DeleteFunc(pidOf, func(_, of int) bool { return of == pid }) // one finding per process
		}
	}
	return nil
}

// threadsUnableToInspectBystander returns those of the threads that may not inspect a
// bystander with their own user and group, which it starts in their PID namespace.
func (f *Finder) threadsUnableToInspectBystander(tids []int) (barred []int, err error) {
	byOwner := make(map[procfs.Owner][]int)
	for _, tid := range tids {
		owner := procfs.OwnerOrRoot(tid)
		byOwner[owner] = append(byOwner[owner], tid)
	}
	for owner, tids := range byOwner {
		b, err := startBystander(f.HelperDir, tids[0], owner)
		if err != nil {
			return nil, fmt.Errorf("cannot start a bystander: %w", err)
		}
		some, err := threadsUnableToInspect(b.pid, tids)
		b.endAndReap()
		if err != nil {
			return nil, err
		}
		barred = append(barred, some...)
	}
	slices.Sort(barred)
	return barred, nil
}

// isLandlockEnabled reports whether the kernel has Landlock and it is not disabled.
func isLandlockEnabled() bool {
	const version = 1 // LANDLOCK_CREATE_RULESET_VERSION
	_, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, version)
	return errno == 0
}

// landlockedThreads are the threads that were found in a Landlock domain. A thread never
// leaves its domain, so later checks find these threads without stopping the tree.
type landlockedThreads struct {
	mu      sync.Mutex
	started map[int]uint64 // start time of each thread, guarded by mu
}

// addThreadAndDropEnded adds the thread, and removes the threads that have ended.
func (k *landlockedThreads) addThreadAndDropEnded(tid int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.started == nil {
		k.started = make(map[int]uint64)
	}
	for known, started := range k.started {
		if procfs.StartTicks(known) != started {
			delete(k.started, known)
		}
	}
	k.started[tid] = procfs.StartTicks(tid)
}

// findKnownInTree adds a finding for each process of the tree that has one of the threads.
func (k *landlockedThreads) findKnownInTree(treePIDs []int, found *findings) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.started) == 0 {
		return
	}
	for _, pid := range treePIDs {
		for _, tid := range procfs.ThreadIDs(pid) {
			if started, known := k.started[tid]; known && procfs.StartTicks(tid) == started {
				found.lookAtProcess(pid, "landlock", fmt.Sprintf(" of thread %d", tid))
				break
			}
		}
	}
}
