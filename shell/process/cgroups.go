package process

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"

	"dormouse/internal/procfs"
)

// Cgroups is the part of the cgroup v2 hierarchy that belongs to one host.
type Cgroups struct {
	dir  string
	base string // the cgroup that dir is in

	controllers map[string]error // why limits can't be had of one
	handed      []string         // the controllers that base did not hand down before
	aside       string           // the cgroup in base that the host itself is in, if it is not base
}

// OpenCgroups makes a cgroup for the host that has runDir, below the one that
// this process is in. It returns an error where there is no cgroup v2 or it may
// not be written; plugins do without then.
func OpenCgroups(runDir string) (*Cgroups, error) { return openCgroups(runDir, false) }

// InheritCgroups is OpenCgroups, but what an earlier host has left to be adopted
// stays as it is.
func InheritCgroups(runDir string) (*Cgroups, error) { return openCgroups(runDir, true) }

func openCgroups(runDir string, adopt bool) (*Cgroups, error) {
	base, err := procfs.OwnCgroup()
	if err != nil {
		return nil, err
	}
	name := fnv.New32a()
	_, _ = name.Write([]byte(runDir))
	c := &Cgroups{base: base}
	if filepath.Base(base) == asideName { // an earlier host moved here, or its service was begun here
		c.base, c.aside = filepath.Dir(base), base
	}
	c.dir = filepath.Join(c.base, fmt.Sprintf("dormouse-%08x", name.Sum32()))
	if err := os.Mkdir(c.dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("cannot make a cgroup: %w", err)
	}
	if _, err := os.Stat(filepath.Join(c.dir, "cgroup.kill")); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot use cgroups: %w; it came with Linux 5.14", err), c.Close())
	}
	if err := c.clear(runDir, adopt); err != nil {
		return nil, fmt.Errorf("cannot end what an earlier host left: %w", err)
	}
	c.control(adopt)
	return c, nil
}

// clear ends the plugins of a host that could not do it itself.
func (c *Cgroups) clear(runDir string, adopt bool) error {
	left, err := filepath.Glob(filepath.Join(c.dir, "*", "cgroup.kill"))
	for _, kill := range left {
		l := &leaf{dir: filepath.Dir(kill)}
		if i, _ := readInstance(filepath.Join(runDir, filepath.Base(l.dir))); adopt && i != nil && i.Cgroup == l.dir {
			continue // its backend decides
		}
		err = errors.Join(err, l.kill(), l.remove())
	}
	return err
}

// Close removes the host's cgroup, which must have no plugin in it.
func (c *Cgroups) Close() error {
	if err := os.Remove(c.dir); err != nil {
		return err
	}
	return c.stepBack()
}

// leaf makes the cgroup of an instance. What an earlier host may have left in
// it is killed.
func (c *Cgroups) leaf(callsign string, limits []setting) (*leaf, error) {
	l := &leaf{dir: filepath.Join(c.dir, callsign), settings: limits}
	err := l.make()
	if errors.Is(err, os.ErrExist) {
		err = l.renew()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make the plugin's cgroup: %w", err)
	}
	return l, nil
}

// members are the processes in the instance's cgroup now.
func (c *Cgroups) members(callsign string) []int {
	if c == nil {
		return nil
	}
	return procfs.Members(filepath.Join(c.dir, callsign))
}
