package obstacles

import (
	"fmt"

	"golang.org/x/sys/unix"

	"dormouse/internal/procfs"
	"dormouse/internal/tracee"
)

// member is a process of a tree, and its threads. One that has ended has none.
type member struct {
	pid  int
	tids []int
}

// ObstaclesWhenStopped finds what no image tells of. See hibernate.Engine.
func (f *Finder) ObstaclesWhenStopped(tree []int) error {
	members := make([]member, len(tree))
	for i, pid := range tree {
		members[i] = member{pid, procfs.Threads(pid)}
	}
	var found findings
	for _, look := range []func([]member, *findings) error{f.domains, protections, seals, mutexes} {
		if err := look(members, &found); err != nil {
			return err
		}
	}
	return found.err()
}

// protections finds processes to which the kernel denies memory that is executable
// and was writable. One that the host has, CRIU's processes inherit.
func protections(tree []member, found *findings) error {
	own, err := unix.PrctlRetInt(unix.PR_GET_MDWE, 0, 0, 0, 0)
	if err != nil {
		return nil //nolint:nilerr // this kernel has none
	}
	var asked []int // one of each process
	process := make(map[int]int)
	for _, m := range tree {
		if len(m.tids) > 0 {
			asked = append(asked, m.tids[0])
			process[m.tids[0]] = m.pid
		}
	}
	results, err := tracee.Syscall(asked, unix.SYS_PRCTL, unix.PR_GET_MDWE, 0, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("cannot tell which processes have PR_SET_MDWE: %w", err)
	}
	for _, tid := range asked {
		if r, alive := results[tid]; alive && r != (tracee.Result{Value: int64(own)}) {
			found.note(process[tid], "has PR_SET_MDWE", "it would wake up without: the program must do without, "+orPaged)
		}
	}
	return nil
}

// seals finds processes with sealed memory.
func seals(tree []member, found *findings) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_MSEAL, 0, 0, 0); errno != 0 {
		return nil //nolint:nilerr // this kernel has none
	}
	for _, m := range tree {
		if len(m.tids) == 0 {
			continue
		}
		sealed, err := procfs.Sealed(m.tids[0])
		if err != nil {
			return fmt.Errorf("cannot tell which memory is sealed: %w", err)
		}
		if sealed {
			found.note(m.pid, "has sealed memory (mseal)", "it would wake up unsealed: the program must do without, "+orPaged)
		}
	}
	return nil
}

// mutexes finds robust mutexes in files that processes hold: when the tree has been
// dumped and ends, they are marked as a dead process's, and a file stays so.
func mutexes(tree []member, found *findings) error {
	for _, m := range tree {
		if path := holdsIn(m); path != "" {
			found.note(m.pid, "holds a robust mutex in the file "+path,
				"it would wake up as one that died: unlock it in BeforeCheckpoint, or keep it in memory of no file").passes = true
		}
	}
	return nil
}

// holdsIn returns the first file in which a thread holds one.
func holdsIn(m member) string {
	for _, tid := range m.tids {
		for _, futex := range procfs.Robust(tid) {
			if path := procfs.SharedFile(tid, futex); path != "" {
				return path
			}
		}
	}
	return ""
}
