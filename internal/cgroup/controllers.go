package cgroup

import (
	"slices"
	"strings"
)

// HasController reports whether the cgroup may use the controller, such as "memory",
// because its parent has enabled it.
func (d Dir) HasController(name string) bool {
	return slices.Contains(strings.Fields(d.readFile("cgroup.controllers")), name)
}

// IsEnabledForChildren reports whether the cgroups in d may use the controller.
func (d Dir) IsEnabledForChildren(controller string) bool {
	return slices.Contains(strings.Fields(d.readFile("cgroup.subtree_control")), controller)
}

// EnableForChildren lets the cgroups in d use the controller. The error wraps
// unix.EBUSY if processes are in d itself.
func (d Dir) EnableForChildren(controller string) error {
	return d.Set("cgroup.subtree_control", "+"+controller)
}

// DisableForChildren keeps the cgroups in d from using the controller.
func (d Dir) DisableForChildren(controller string) error {
	return d.Set("cgroup.subtree_control", "-"+controller)
}
