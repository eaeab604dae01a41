package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"dormouse/internal/procfs"
)

// limiting are the controllers that plugins' limits need.
var limiting = []string{"memory", "pids", "cpu"}

// asideName is the cgroup, beside those of the plugins, that the host moves to: one
// with processes in it can't hand controllers down.
const asideName = "dormouse-host"

var (
	errNoController = errors.New("the host's cgroup lacks it: run the host as a service with Delegate=yes, on a kernel without cgroup v1 in use")
	errNotAlone     = errors.New("other processes are in the host's cgroup: run the host as a service with Delegate=yes")
	errInherited    = errors.New(`a host whose plugins may outlive it can't move: give its service DelegateSubgroup=` + asideName)
)

// control hands down what controllers the host has to the cgroups of its plugins,
// and notes of each that it can't why not.
func (c *Cgroups) control(stays bool) {
	c.controllers = make(map[string]error)
	for _, controller := range limiting {
		err := c.handDown(c.base, controller)
		if errors.Is(err, unix.EBUSY) {
			if err = c.stepAside(stays); err == nil {
				err = c.handDown(c.base, controller)
			}
		}
		if err == nil {
			err = c.handDown(c.dir, controller)
		}
		if err != nil {
			c.controllers[controller] = err
		}
	}
}

// handDown lets the cgroups in dir have the controller.
func (c *Cgroups) handDown(dir, controller string) error {
	switch {
	case has(dir, "cgroup.subtree_control", controller):
		return nil
	case !has(dir, "cgroup.controllers", controller):
		return errNoController
	}
	if err := write(filepath.Join(dir, "cgroup.subtree_control"), "+"+controller); err != nil {
		return err
	}
	if dir == c.base {
		c.handed = append(c.handed, controller)
	}
	return nil
}

func has(dir, file, controller string) bool {
	text, _ := os.ReadFile(filepath.Join(dir, file))
	return slices.Contains(strings.Fields(string(text)), controller)
}

// stepAside moves the host out of the cgroup that its plugins' are in.
func (c *Cgroups) stepAside(stays bool) error {
	switch {
	case c.aside != "":
		return unix.EBUSY // it has, and still somebody is there
	case stays:
		return errInherited
	case !slices.Equal(procfs.Members(c.base), []int{os.Getpid()}):
		return errNotAlone
	}
	aside := filepath.Join(c.base, asideName)
	if err := os.Mkdir(aside, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := enter(aside); err != nil {
		return errors.Join(err, os.Remove(aside))
	}
	c.aside = aside
	return nil
}

// stepBack undoes what control did.
func (c *Cgroups) stepBack() error {
	var errs []error
	for _, controller := range c.handed {
		errs = append(errs, write(filepath.Join(c.base, "cgroup.subtree_control"), "-"+controller))
	}
	c.handed = nil
	if c.aside != "" {
		errs = append(errs, enter(c.base), os.Remove(c.aside))
		c.aside = ""
	}
	return errors.Join(errs...)
}

// enter moves this process.
func enter(dir string) error {
	if err := write(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(os.Getpid())); err != nil {
		return fmt.Errorf("cannot move the host to another cgroup: %w", err)
	}
	return nil
}
