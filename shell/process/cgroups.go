package process

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"dormouse/internal/cgroup"
)

// Cgroups is the part of the cgroup v2 hierarchy that belongs to one host.
type Cgroups struct {
	dir  cgroup.Dir // the cgroups of the instances are in it
	base cgroup.Dir // dir is in it

	unended     error            // why processes of an earlier host are left
	unavailable map[string]error // by controller, why no limit of it can be enforced
	enabled     []string         // the controllers that this host has enabled for the children of base
	hostDir     cgroup.Dir       // the cgroup in base that the host itself is in, "" if it is in base
}

// OpenAndClearCgroups makes a cgroup for the host that has runDir, below the cgroup of this
// process, and kills the plugins that an earlier host left in it; with adopt it spares the
// plugins that this host can adopt. Without adopt it may move this process to a cgroup below,
// so that limits can be enforced. It returns an error where cgroup v2 is missing or may not
// be written; plugins then run without cgroups.
func OpenAndClearCgroups(runDir string, adopt bool) (*Cgroups, error) {
	base, err := cgroup.Own()
	if err != nil {
		return nil, err
	}
	name := fnv.New32a()
	_, _ = name.Write([]byte(runDir))
	c := &Cgroups{base: base}
	if base.Name() == hostCgroupName { // an earlier host moved here, or its service was begun here
		c.base, c.hostDir = base.Parent(), base
	}
	c.dir = c.base.Child(fmt.Sprintf("dormouse-%08x", name.Sum32()))
	if err := c.dir.Make(); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("cannot make a cgroup: %w", err)
	}
	if err := c.dir.CheckKillSupport(); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot use cgroups: %w; it came with Linux 5.14", err), c.Close())
	}
	if err := c.killLeftPlugins(runDir, adopt); err != nil {
		c.unended = fmt.Errorf("cannot end what an earlier host left: %w", err)
	}
	c.enableControllersOrNoteWhy(adopt)
	return c, nil
}

// UnendedError returns why processes that an earlier host left in its cgroups have not ended,
// nil if they have. Their instances can't start before.
func (c *Cgroups) UnendedError() error { return c.unended }

// killLeftPlugins kills the plugins that an earlier host left in its cgroups, and removes
// the cgroups. With spareAdoptable it spares plugins that have a journal.
func (c *Cgroups) killLeftPlugins(runDir string, spareAdoptable bool) error {
	entries, err := os.ReadDir(string(c.dir))
	errs := []error{err}
	var mu sync.Mutex // guards errs
	var killing sync.WaitGroup
	for _, entry := range entries {
		if !entry.IsDir() {
			continue // one of the kernel's own files
		}
		dir := c.dir.Child(entry.Name())
		if j, _ := readJournal(filepath.Join(runDir, dir.Name())); spareAdoptable && j != nil && j.Cgroup == dir {
			continue // the plugin's backend decides
		}
		killing.Go(func() { // side by side: each may take until its limit
			err := dir.Kill()
			if err == nil {
				err = remains{group: dir}.awaitEnd()
			}
			if err == nil {
				err = dir.RemoveTreeWhenEmpty()
			}
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	killing.Wait()
	return errors.Join(errs...)
}

// KillAll kills the processes of all plugins that are in a cgroup of the host, and does not
// wait for their end. It does nothing to a nil Cgroups.
func (c *Cgroups) KillAll() {
	if c != nil {
		_ = c.dir.Kill() // without the cgroup there is nothing to kill
	}
}

// Close removes the host's cgroup, and fails if a plugin is in it. It disables the
// controllers that OpenAndClearCgroups enabled, and moves the host back to the cgroup
// that it was started in.
func (c *Cgroups) Close() error {
	if err := os.Remove(string(c.dir)); err != nil {
		return err
	}
	var errs []error
	for _, controller := range c.enabled {
		errs = append(errs, c.base.DisableForChildren(controller))
	}
	c.enabled = nil
	if c.hostDir != "" {
		errs = append(errs, c.base.MoveThisProcessIn(), os.Remove(string(c.hostDir)))
		c.hostDir = ""
	}
	return errors.Join(errs...)
}

// pluginCgroup is the cgroup of one plugin's tree.
type pluginCgroup struct {
	cgroup.Dir
	fd       *os.File // the directory, for clone(2) into the cgroup
	settings []cgroupSetting
}

// makeCgroupKillingOld makes the cgroup of an instance and sets its limits. If the cgroup is
// there already, it kills the processes in it and makes it anew.
func (c *Cgroups) makeCgroupKillingOld(callsign string, limits []cgroupSetting) (*pluginCgroup, error) {
	g := &pluginCgroup{Dir: c.dir.Child(callsign), settings: limits}
	err := g.createWithLimits()
	if errors.Is(err, os.ErrExist) {
		err = g.killAndRecreate()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make the plugin's cgroup: %w", err)
	}
	return g, nil
}

// pidsOf returns the PIDs of the processes in the instance's cgroup. c may be nil.
func (c *Cgroups) pidsOf(callsign string) []int {
	if c == nil {
		return nil
	}
	return c.dir.Child(callsign).Members()
}

// createWithLimits makes the cgroup, opens its directory and sets its limits. The error
// wraps os.ErrExist if the cgroup is there already.
func (g *pluginCgroup) createWithLimits() (err error) {
	if err = g.Make(); err != nil {
		return err
	}
	if g.fd, err = os.Open(string(g.Dir)); err != nil {
		return err
	}
	if err := g.setLimits(); err != nil {
		return errors.Join(err, g.closeAndRemove())
	}
	return nil
}

// killAndRecreate kills every process in the cgroup and puts a new cgroup in its place: see
// cgroup.Dir.KillAndWait for why. It does nothing to a nil cgroup.
func (g *pluginCgroup) killAndRecreate() error {
	if g == nil {
		return nil
	}
	if err := g.KillAndWait(); err != nil {
		return err
	}
	if err := g.closeAndRemove(); err != nil {
		return err
	}
	return g.createWithLimits()
}

// closeAndRemove closes the open directory, waits until no process is in the cgroup, and
// deletes it. It returns an error if processes are left after ten seconds, and does nothing
// to a nil cgroup.
func (g *pluginCgroup) closeAndRemove() error {
	if g == nil {
		return nil
	}
	_ = g.fd.Close()
	return g.RemoveTreeWhenEmpty()
}

// limitControllers are the controllers that plugins' limits need.
var limitControllers = []string{"memory", "pids", "cpu"}

// hostCgroupName is the name of the cgroup, below the one that the host was started in,
// that the host moves to: the kernel enables controllers only for the children of a cgroup
// without processes.
const hostCgroupName = "dormouse-host"

var (
	errNoController = errors.New("the host's cgroup lacks it: run the host as a service with Delegate=yes, on a kernel without cgroup v1 in use")
	errNotAlone     = errors.New("other processes are in the host's cgroup: run the host as a service with Delegate=yes")
	errMayNotMove   = errors.New(`a host whose plugins may outlive it can't move: give its service DelegateSubgroup=` + hostCgroupName)
)

// enableControllersOrNoteWhy lets the cgroups of plugins use the controllers that the
// host has, and records for every other controller why they cannot. If the kernel
// demands that, it moves the host to another cgroup first; a host that adopts plugins
// must not move.
func (c *Cgroups) enableControllersOrNoteWhy(adopt bool) {
	c.unavailable = make(map[string]error)
	for _, controller := range limitControllers {
		err := c.enableForChildren(c.base, controller)
		if errors.Is(err, unix.EBUSY) {
			if err = c.moveHostToChildCgroup(adopt); err == nil {
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

// enableForChildren lets the cgroups in dir use the controller. It returns errNoController
// if dir lacks the controller itself.
func (c *Cgroups) enableForChildren(dir cgroup.Dir, controller string) error {
	switch {
	case dir.IsEnabledForChildren(controller):
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

// moveHostToChildCgroup moves the host out of the cgroup that it was started in, into
// one of its own below. It returns an error if hostAdopts, and if other processes are in
// the cgroup.
func (c *Cgroups) moveHostToChildCgroup(hostAdopts bool) error {
	switch {
	case c.hostDir != "":
		return unix.EBUSY // the host has moved, and still a process is there
	case hostAdopts:
		return errMayNotMove
	case !slices.Equal(c.base.Members(), []int{os.Getpid()}):
		return errNotAlone
	}
	dir := c.base.Child(hostCgroupName)
	if err := dir.Make(); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := dir.MoveThisProcessIn(); err != nil {
		return errors.Join(err, os.Remove(string(dir)))
	}
	c.hostDir = dir
	return nil
}
