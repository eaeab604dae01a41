package cgroup

import (
	"slices"
	"strconv"
	"strings"
)

// HasController reports whether the cgroup was given the controller, such as "memory",
// by its parent.
func (d Dir) HasController(name string) bool {
	return slices.Contains(strings.Fields(d.read("cgroup.controllers")), name)
}

// HandsDown reports whether the cgroups below have the controller.
func (d Dir) HandsDown(controller string) bool {
	return slices.Contains(strings.Fields(d.read("cgroup.subtree_control")), controller)
}

// HandDown gives the controller to the cgroups below. The error wraps unix.EBUSY when
// processes are in d itself.
func (d Dir) HandDown(controller string) error {
	return d.Set("cgroup.subtree_control", "+"+controller)
}

// TakeBack takes the controller from the cgroups below.
func (d Dir) TakeBack(controller string) error {
	return d.Set("cgroup.subtree_control", "-"+controller)
}

// MemoryBytes returns the memory that the kernel charges to the cgroup, 0 where the
// kernel does not count it.
func (d Dir) MemoryBytes() int64 {
	bytes, _ := strconv.ParseInt(strings.TrimSpace(d.read("memory.current")), 10, 64)
	return bytes
}

// OOMKills returns how often the kernel has killed a process of the cgroup for lack of
// memory, 0 where the kernel does not count it.
func (d Dir) OOMKills() int {
	for line := range strings.Lines(d.read("memory.events")) {
		if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(count))
			return n
		}
	}
	return 0
}
