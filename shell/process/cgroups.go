package process

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"

	"dormouse/internal/cgroup"
)

// Cgroups is the part of the cgroup v2 hierarchy that belongs to one host.
type Cgroups struct {
	dir  cgroup.Dir // the cgroups of the instances are in it
	base cgroup.Dir // dir is in it

	unavailable map[string]error // by controller, why no limit of it can be enforced
	enabled     []string         // the controllers that this host has enabled for the children of base
	hostDir     cgroup.Dir       // the cgroup in base that the host itself is in, "" if it is in base
}

// OpenCgroups makes a cgroup for the host that has runDir, below the cgroup of this
// process, and ends the plugins that an earlier host left in it. It returns an error
// where cgroup v2 is missing or may not be written; plugins do without then.
func OpenCgroups(runDir string) (*Cgroups, error) { return openCgroups(runDir, false) }

// InheritCgroups is OpenCgroups, but leaves the plugins that this host can adopt from
// an earlier host as they are.
func InheritCgroups(runDir string) (*Cgroups, error) { return openCgroups(runDir, true) }

func openCgroups(runDir string, adopt bool) (*Cgroups, error) {
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
	if err := c.endLeftPlugins(runDir, adopt); err != nil {
		return nil, fmt.Errorf("cannot end what an earlier host left: %w", err)
	}
	c.enableControllers(adopt)
	return c, nil
}

// endLeftPlugins kills the plugins that an earlier host left in its cgroups. With adopt
// it spares plugins that have a journal.
func (c *Cgroups) endLeftPlugins(runDir string, adopt bool) error {
	left, err := filepath.Glob(filepath.Join(string(c.dir), "*", "cgroup.kill"))
	for _, kill := range left {
		dir := cgroup.Dir(filepath.Dir(kill))
		if j, _ := readJournal(filepath.Join(runDir, dir.Name())); adopt && j != nil && j.Cgroup == dir {
			continue // its backend decides
		}
		err = errors.Join(err, dir.Kill(), dir.Remove())
	}
	return err
}

// Close removes the host's cgroup, which must have no plugin in it.
func (c *Cgroups) Close() error {
	if err := os.Remove(string(c.dir)); err != nil {
		return err
	}
	return c.restoreHost()
}

// leaf is the cgroup of one plugin's tree.
type leaf struct {
	cgroup.Dir
	fd       *os.File // the directory, for clone(2) into the cgroup
	settings []setting
}

// leaf makes the cgroup of an instance. It kills the processes that an earlier host
// may have left in it.
func (c *Cgroups) leaf(callsign string, limits []setting) (*leaf, error) {
	l := &leaf{Dir: c.dir.Child(callsign), settings: limits}
	err := l.make()
	if errors.Is(err, os.ErrExist) {
		err = l.renew()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make the plugin's cgroup: %w", err)
	}
	return l, nil
}

// members returns the PIDs of the processes in the instance's cgroup.
func (c *Cgroups) members(callsign string) []int {
	if c == nil {
		return nil
	}
	return c.dir.Child(callsign).Members()
}

func (l *leaf) make() (err error) {
	if err = l.Make(); err != nil {
		return err
	}
	if l.fd, err = os.Open(string(l.Dir)); err != nil {
		return err
	}
	if err := l.setLimits(); err != nil {
		return errors.Join(err, l.remove())
	}
	return nil
}

// renew kills every process in the cgroup and puts a new cgroup in its place: see
// cgroup.Dir.Kill for why.
func (l *leaf) renew() error {
	if err := l.Kill(); err != nil {
		return err
	}
	if err := l.remove(); err != nil {
		return err
	}
	return l.make()
}

// remove deletes the cgroup, which proves that no process is in it.
func (l *leaf) remove() error {
	_ = l.fd.Close()
	return l.Remove()
}
