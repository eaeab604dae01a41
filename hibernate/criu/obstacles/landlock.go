package obstacles

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"dormouse/internal/procfs"
)

// domains finds tasks in a Landlock domain. The kernel shows it to nobody; but whoever
// is in one can't look at a process outside of it, so each task is made to try.
func (f *Finder) domains(tree []member, found *findings) error {
	if !landlocked() {
		return nil
	}
	process := make(map[int]int) // by task
	var tids []int
	for _, m := range tree {
		for _, tid := range m.tids {
			process[tid] = m.pid
			tids = append(tids, tid)
		}
	}
	// Most may look at pid 1, a program of the host's.
	hindered, err := blind(tids, 1)
	if err == nil {
		hindered, err = f.restricted(hindered, tree[0].pid)
	}
	if err != nil {
		return fmt.Errorf("cannot tell which tasks are in a Landlock domain: %w", err)
	}
	for _, tid := range hindered {
		if pid := process[tid]; pid != 0 { // one of each process is enough
			found.note(pid, inDomain(tid), mendDomain)
			f.confined.note(tid)
			maps.DeleteFunc(process, func(_, of int) bool { return of == pid })
		}
	}
	return nil
}

// restricted returns those of the tasks whose user, group and capabilities are not
// what keeps them from looking at others.
func (f *Finder) restricted(tids []int, root int) (restricted []int, err error) {
	owned := make(map[procfs.Owner][]int)
	for _, tid := range tids {
		owner := procfs.OwnerOf(tid)
		owned[owner] = append(owned[owner], tid)
	}
	for owner, tids := range owned {
		b, err := newBystander(f.Programs, root, owner)
		if err != nil {
			return nil, err
		}
		blind, err := blind(tids, b.number)
		b.end()
		if err != nil {
			return nil, err
		}
		restricted = append(restricted, blind...)
	}
	slices.Sort(restricted)
	return restricted, nil
}

const mendDomain = "it would wake up without: restrict it otherwise (seccomp, capabilities, another user), " + orPaged

// orPaged ends what to do about a tree that can't be had without it.
const orPaged = "or let it be paged out"

func inDomain(tid int) string { return fmt.Sprintf("has the Landlock domain of task %d", tid) }

// landlocked tells whether the kernel has Landlock and it is not disabled.
func landlocked() bool {
	const version = 1 // LANDLOCK_CREATE_RULESET_VERSION
	_, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, version)
	return errno == 0
}

// confined are tasks that were found in a domain, by when they started. They never
// leave it.
type confined struct {
	mu    sync.Mutex // guards tasks
	tasks map[int]uint64
}

func (c *confined) note(tid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tasks == nil {
		c.tasks = make(map[int]uint64)
	}
	for known, started := range c.tasks {
		if procfs.Started(known) != started {
			delete(c.tasks, known)
		}
	}
	c.tasks[tid] = procfs.Started(tid)
}

// find notes those of the tree.
func (c *confined) find(tree []int, found *findings) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tasks) == 0 {
		return
	}
	for _, pid := range tree {
		for _, tid := range procfs.Threads(pid) {
			if started, known := c.tasks[tid]; known && procfs.Started(tid) == started {
				found.note(pid, inDomain(tid), mendDomain)
				break
			}
		}
	}
}
