package cgroup

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"dormouse/internal/procfs"
)

// Members returns the PIDs of the processes in the cgroup, nil for no cgroup. It does
// not look into the cgroups below.
func (d Dir) Members() (pids []int) {
	for field := range strings.FieldsSeq(d.readFile("cgroup.procs")) {
		if pid, err := strconv.Atoi(field); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// MembersOutsideTree returns the living members that do not belong to the tree below root.
func (d Dir) MembersOutsideTree(root int) []int {
	members := d.Members() // first: a process forked after this look belongs to the tree
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
