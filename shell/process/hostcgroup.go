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

// hostCgroupName is the cgroup, beside the plugins', that the host moves to: a cgroup
// with processes in it can't hand controllers down.
const hostCgroupName = "dormouse-host"

var (
	errNoController = errors.New("the host's cgroup lacks it: run the host as a service with Delegate=yes, on a kernel without cgroup v1 in use")
	errNotAlone     = errors.New("other processes are in the host's cgroup: run the host as a service with Delegate=yes")
	errMayNotMove   = errors.New(`a host whose plugins may outlive it can't move: give its service DelegateSubgroup=` + hostCgroupName)
)

// handDownControllers gives the cgroups of plugins the controllers that the host has,
// and records for every other controller why not. A host that adopts must not move.
func (c *Cgroups) handDownControllers(adopt bool) {
	c.unavailable = make(map[string]error)
	for _, controller := range limitControllers {
		err := c.handDown(c.base, controller)
		if errors.Is(err, unix.EBUSY) {
			if err = c.moveHost(adopt); err == nil {
				err = c.handDown(c.base, controller)
			}
		}
		if err == nil {
			err = c.handDown(c.dir, controller)
		}
		if err != nil {
			c.unavailable[controller] = err
		}
	}
}

// handDown gives the cgroups in dir the controller.
func (c *Cgroups) handDown(dir cgroup.Dir, controller string) error {
	switch {
	case dir.HandsDown(controller):
		return nil
	case !dir.HasController(controller):
		return errNoController
	}
	if err := dir.HandDown(controller); err != nil {
		return err
	}
	if dir == c.base {
		c.handedDown = append(c.handedDown, controller)
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

// undoHandDown takes the controllers back, and moves the host back to base.
func (c *Cgroups) undoHandDown() error {
	var errs []error
	for _, controller := range c.handedDown {
		errs = append(errs, c.base.TakeBack(controller))
	}
	c.handedDown = nil
	if c.hostDir != "" {
		errs = append(errs, c.base.Enter(), os.Remove(string(c.hostDir)))
		c.hostDir = ""
	}
	return errors.Join(errs...)
}
