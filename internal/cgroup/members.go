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

// MembersOutsideTree returns the PIDs of the living members that are neither root nor
// descendants of root.
func (d Dir) MembersOutsideTree(root int) []int {
	members := d.Members() // read before the tree, so that the tree also has their new children
	tree := procfs.Tree(root)
	return slices.DeleteFunc(members, func(pid int) bool { return slices.Contains(tree, pid) || procfs.HasEnded(pid) })
}

// Contains reports whether the process, alive or a zombie, is in the cgroup.
func (d Dir) Contains(pid int) bool {
	path := PathOf(pid)
	return path != "" && path != "/" && strings.HasSuffix(string(d), path)
}

// Enter moves this process into the cgroup.
func (d Dir) Enter() error {
	if err := d.Set("cgroup.procs", strconv.Itoa(os.Getpid())); err != nil {
		return fmt.Errorf("cannot move this process to another cgroup: %w", err)
	}
	return nil
}
