package cgroup

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"dormouse/internal/procfs"
)

// Members returns the PIDs of the processes in the cgroup, without those in the cgroups
// below. It returns nil when there is no cgroup.
func (d Dir) Members() (pids []int) {
	for field := range strings.FieldsSeq(d.readFile("cgroup.procs")) {
		if pid, err := strconv.Atoi(field); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// IsPopulated reports whether a process that has not ended is in the cgroup or below.
func (d Dir) IsPopulated() bool { return strings.Contains(d.readFile("cgroup.events"), "populated 1") }

// MembersOutsideTree returns the PIDs of the living members that are neither the process
// rootPID nor its descendants.
func (d Dir) MembersOutsideTree(rootPID int) []int {
	members := d.Members() // read before the tree, so that the tree also has their new children
	tree := procfs.Tree(rootPID)
	return slices.DeleteFunc(members, func(pid int) bool { return slices.Contains(tree, pid) || procfs.HasEnded(pid) })
}

// HasMember reports whether the process, alive or a zombie, is in the cgroup itself and
// not in one below.
func (d Dir) HasMember(pid int) bool {
	path := PathBelowMount(pid)
	return path != "" && path != "/" && strings.HasSuffix(string(d), path)
}

// MoveThisProcessIn moves this process into the cgroup.
func (d Dir) MoveThisProcessIn() error {
	if err := d.Set("cgroup.procs", strconv.Itoa(os.Getpid())); err != nil {
		return fmt.Errorf("cannot move this process to another cgroup: %w", err)
	}
	return nil
}
