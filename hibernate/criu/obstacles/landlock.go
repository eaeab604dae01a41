package obstacles

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"dormouse/internal/procfs"
)

// findDomains finds threads in a Landlock domain. The kernel shows a thread's domain
// nowhere. But a thread in a domain may not inspect a process outside of it, so each
// thread is made to try that (through ptrace).
func (f *Finder) findDomains(processes []treeProcess, found *findings) error {
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
	// Nearly all threads may inspect pid 1, which is a program of the host. The other
	// threads then try a process that differs from them in nothing but a domain.
	suspects, err := threadsBarredFrom(1, tids)
	if err == nil {
		suspects, err = f.threadsBarredFromBystander(suspects, processes[0].pid)
	}
	if err != nil {
		return fmt.Errorf("cannot tell which threads are in a Landlock domain: %w", err)
	}
	for _, tid := range suspects {
		if pid := pidOf[tid]; pid != 0 {
			found.addProcess(pid, domainText(tid), domainAdvice)
			f.domains.remember(tid)
			maps.DeleteFunc(pidOf, func(_, of int) bool { return of == pid }) // one finding per process
		}
	}
	return nil
}

// threadsBarredFromBystander returns those of the threads that may not inspect a
// bystander with their own user and group, started in the PID namespace of the root.
func (f *Finder) threadsBarredFromBystander(tids []int, root int) (barred []int, err error) {
	byOwner := make(map[procfs.Owner][]int)
	for _, tid := range tids {
		owner := procfs.OwnerOf(tid)
		byOwner[owner] = append(byOwner[owner], tid)
	}
	for owner, tids := range byOwner {
		b, err := startBystander(f.Programs, root, owner)
		if err != nil {
			return nil, fmt.Errorf("cannot start a bystander: %w", err)
		}
		some, err := threadsBarredFrom(b.pid, tids)
		b.stop()
		if err != nil {
			return nil, err
		}
		barred = append(barred, some...)
	}
	slices.Sort(barred)
	return barred, nil
}

// domainAdvice says what to do about a Landlock domain.
const domainAdvice = "it would wake up without: restrict it otherwise (seccomp, capabilities, another user), " + orPageOut

// orPageOut ends the advice about an obstacle that does not prevent a page-out.
const orPageOut = "or let it be paged out"

// domainText returns the words for an obstacle that is the domain of the thread.
func domainText(tid int) string { return fmt.Sprintf("has the Landlock domain of thread %d", tid) }

// isLandlockEnabled reports whether the kernel has Landlock and it is not disabled.
func isLandlockEnabled() bool {
	const version = 1 // LANDLOCK_CREATE_RULESET_VERSION
	_, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, version)
	return errno == 0
}

// knownDomains remembers the threads that were found in a Landlock domain, which a
// thread never leaves. Later checks find them without stopping the tree.
type knownDomains struct {
	mu      sync.Mutex
	started map[int]uint64 // start time of each thread, guarded by mu
}

// remember adds the thread, and drops threads that have ended.
func (k *knownDomains) remember(tid int) {
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

// findKnown finds the processes of the tree that have a remembered thread.
func (k *knownDomains) findKnown(tree []int, found *findings) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.started) == 0 {
		return
	}
	for _, pid := range tree {
		for _, tid := range procfs.ThreadIDs(pid) {
			if started, known := k.started[tid]; known && procfs.StartTicks(tid) == started {
				found.addProcess(pid, domainText(tid), domainAdvice)
				break
			}
		}
	}
}
