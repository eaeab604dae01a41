package process

import (
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"dormouse/internal/cgroup"
)

// limitControllers are the controllers that plugins' limits need.
var limitControllers = []string{"memory", "pids", "cpu"}

// hostCgroupName is the name of the cgroup in base that the host moves to: the kernel
// enables controllers only for the children of a cgroup without processes.
const hostCgroupName = "dormouse-host"

var (
	errNoController = errors.New("the host's cgroup lacks it: run the host as a service with Delegate=yes, on a kernel without cgroup v1 in use")
	errNotAlone     = errors.New("other processes are in the host's cgroup: run the host as a service with Delegate=yes")
	errMayNotMove   = errors.New(`a host whose plugins may outlive it can't move: give its service DelegateSubgroup=` + hostCgroupName)
)

// enableControllers lets the cgroups of plugins use the controllers that the host has,
// and records for every other controller why they cannot. A host that adopts plugins
// must not move.
func (c *Cgroups) enableControllers(adopt bool) {
	c.unavailable = make(map[string]error)
	for _, controller := range limitControllers {
		err := c.enableForChildren(c.base, controller)
		if errors.Is(err, unix.EBUSY) {
			if err = c.moveHost(adopt); err == nil {
				err = c.enableForChildren(c.base, controller)
			}
		}
		if err == nil {
			err = c.enableForChildren(c.dir, controller)
		}
		if err != nil {
			c.unavailable[controller] = err
		}
	}
}

// enableForChildren lets the cgroups in dir use the controller.
func (c *Cgroups) enableForChildren(dir cgroup.Dir, controller string) error {
	switch {
	case dir.EnablesForChildren(controller):
		return nil
	case !dir.HasController(controller):
		return errNoController
	}
	if err := dir.EnableForChildren(controller); err != nil {
		return err
	}
	if dir == c.base {
		c.enabled = append(c.enabled, controller)
	}
	return nil
}

// moveHost moves the host out of base, into a cgroup of its own.
func (c *Cgroups) moveHost(adopt bool) error {
	switch {
	case c.hostDir != "":
		return unix.EBUSY // the host has moved, and still a process is there
	case adopt:
		return errMayNotMove
	case !slices.Equal(c.base.Members(), []int{os.Getpid()}):
		return errNotAlone
	}
	dir := c.base.Child(hostCgroupName)
	if err := dir.Make(); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := dir.Enter(); err != nil {
		return errors.Join(err, os.Remove(string(dir)))
	}
	c.hostDir = dir
	return nil
}

// restoreHost disables the controllers that enableControllers enabled, and moves the
// host back to base.
func (c *Cgroups) restoreHost() error {
	var errs []error
	for _, controller := range c.enabled {
		errs = append(errs, c.base.DisableForChildren(controller))
	}
	c.enabled = nil
	if c.hostDir != "" {
		errs = append(errs, c.base.Enter(), os.Remove(string(c.hostDir)))
		c.hostDir = ""
	}
	return errors.Join(errs...)
}
