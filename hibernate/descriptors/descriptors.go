// Package descriptors notes what engines lose about a tree's open sockets and timers, and
// brings it back into the restored tree, through duplicates of the descriptors. It also holds
// the locks of a sleeping tree. It does not know which engine there is, or where the notes
// are kept.
package descriptors

import (
	"fmt"
	"strings"

	"dormouse/internal/procfs"
)

// Notes are the sockets and timers of a tree that differ from what an engine restores, and
// its locks.
type Notes struct {
	Sockets []Socket `json:"sockets,omitempty"`
	Timers  []Timer  `json:"timers,omitempty"`
	// Locks are the locks of files; an engine restores them.
	Locks []Lock `json:"locks,omitempty"`
}

// Place is where a tree has something open: the number of a process in its own PID
// namespace, and its descriptor.
type Place struct {
	Process    int `json:"process"`
	Descriptor int `json:"descriptor"`
}

// Take returns the notes of a stopped tree; pids are its processes, the root first. A tree
// that has only files and pipes open costs as little as listing its descriptors.
func Take(pids []int) (notes Notes, err error) {
	t := taker{seen: make(map[uint32]bool), defaults: make(map[kind]defaults)}
	defer t.close()
	locks, err := locksOfMachine()
	if err != nil {
		return notes, err
	}
	for _, pid := range pids {
		inNamespace := 0
		for _, d := range procfs.Descriptors(pid) {
			isTimer, inode := d.Target == timerTarget, d.SocketInode()
			isFile := len(locks) > 0 && strings.HasPrefix(d.Target, "/")
			if !isTimer && !isFile && (inode == 0 || t.seen[inode]) {
				continue
			}
			if inNamespace == 0 {
				inNamespace = procfs.NSPid(pid)
			}
			place := Place{inNamespace, d.FD}
			switch {
			case isFile:
				notes.addLocks(d, place)
			case isTimer:
				err = notes.addTimer(d, place)
			default:
				t.seen[inode] = true
				err = t.addSocket(&notes, d, place)
			}
			if err != nil {
				return notes, fmt.Errorf("cannot note the state of descriptor %d of process %d (%s): %w", d.FD, pid, procfs.ProcessName(pid), err)
			}
		}
	}
	return notes, nil
}

// Apply makes the sockets and timers of a stopped tree be as they were noted. The error names
// the first that can't be, and what it lacks, such as an interface that is not up yet.
func (n Notes) Apply(pids []int) error {
	if len(n.Sockets) == 0 && len(n.Timers) == 0 {
		return nil
	}
	byNumber := pidsByNumber(pids)
	apply := func(place Place, what string, to func(procfs.Descriptor) error) error {
		d := procfs.Descriptor{PID: byNumber[place.Process], FD: place.Descriptor}
		if err := to(d); err != nil {
			return fmt.Errorf("cannot bring back %s that process %d (%s) has open as descriptor %d: %w", what, d.PID, procfs.ProcessName(d.PID), d.FD, err)
		}
		return nil
	}
	for _, s := range n.Sockets {
		if err := apply(s.Place, "the socket", s.applyTo); err != nil {
			return err
		}
	}
	for _, t := range n.Timers {
		if err := apply(t.Place, "the timer", t.applyTo); err != nil {
			return err
		}
	}
	return nil
}

// pidsByNumber returns the PIDs of the processes by their numbers in their own PID namespace.
func pidsByNumber(pids []int) map[int]int {
	byNumber := make(map[int]int, len(pids))
	for _, pid := range pids {
		byNumber[procfs.NSPid(pid)] = pid
	}
	return byNumber
}

// lineValue returns the text after the key in the lines, "" if no line begins with the key.
func lineValue(lines, key string) string {
	for line := range strings.Lines(lines) {
		if value, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
