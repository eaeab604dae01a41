package process

import (
	"bufio"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Cgroups is the part of the cgroup v2 hierarchy that belongs to one host.
type Cgroups struct {
	dir string
}

// OpenCgroups makes a cgroup for the host that has runDir, below the one that
// this process is in. It returns an error where there is no cgroup v2 or it may
// not be written; plugins do without then.
func OpenCgroups(runDir string) (*Cgroups, error) { return openCgroups(runDir, false) }

// InheritCgroups is OpenCgroups, but what an earlier host has left to be adopted
// stays as it is.
func InheritCgroups(runDir string) (*Cgroups, error) { return openCgroups(runDir, true) }

func openCgroups(runDir string, adopt bool) (*Cgroups, error) {
	mount, err := cgroupMount()
	if err != nil {
		return nil, err
	}
	own, err := ownCgroup()
	if err != nil {
		return nil, err
	}
	name := fnv.New32a()
	_, _ = name.Write([]byte(runDir))
	c := &Cgroups{dir: filepath.Join(mount, own, fmt.Sprintf("dormouse-%08x", name.Sum32()))}
	if err := os.Mkdir(c.dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("cannot make a cgroup: %w", err)
	}
	if _, err := os.Stat(filepath.Join(c.dir, "cgroup.kill")); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot use cgroups: %w; it came with Linux 5.14", err), c.Close())
	}
	if err := c.clear(runDir, adopt); err != nil {
		return nil, fmt.Errorf("cannot end what an earlier host left: %w", err)
	}
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
func (c *Cgroups) Close() error { return os.Remove(c.dir) }

func cgroupMount() (string, error) {
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer mounts.Close()
	lines := bufio.NewScanner(mounts)
	for lines.Scan() {
		// ... mount point (5th) ... " - " type source options, see proc(5)
		before, after, _ := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		if strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 {
			return fields[4], nil
		}
	}
	return "", errors.New("cgroup v2 is not mounted")
}

func ownCgroup() (string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSpace(path), nil
		}
	}
	return "", errors.New("this process is in no cgroup v2")
}

// leaf is the cgroup of one plugin's tree.
type leaf struct {
	dir string
	fd  *os.File // the directory
}

// leaf makes the cgroup of an instance. What an earlier host may have left in
// it is killed.
func (c *Cgroups) leaf(callsign string) (*leaf, error) {
	l := &leaf{dir: filepath.Join(c.dir, callsign)}
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
	return members(filepath.Join(c.dir, callsign))
}

func members(dir string) []int {
	text, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	var pids []int
	for field := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (l *leaf) make() (err error) {
	if err = os.Mkdir(l.dir, 0o755); err == nil {
		l.fd, err = os.Open(l.dir)
	}
	return err
}

// renew ends every process in the cgroup and puts a new one in its place. In a
// cgroup that has been killed once, Linux (6.18 does) may kill what is cloned
// into it ever after.
func (l *leaf) renew() error {
	if err := l.kill(); err != nil {
		return err
	}
	if err := l.remove(); err != nil {
		return err
	}
	return l.make()
}

// kill ends every process in the cgroup and returns when it is empty.
func (l *leaf) kill() error {
	if err := os.WriteFile(filepath.Join(l.dir, "cgroup.kill"), []byte("1"), 0); err != nil {
		return fmt.Errorf("cannot kill the plugin's cgroup: %w", err)
	}
	return l.waitEmpty()
}

// waitEmpty returns when the last process has left the cgroup: the kernel
// signals each change of cgroup.events as POLLPRI.
func (l *leaf) waitEmpty() error {
	events, err := os.Open(filepath.Join(l.dir, "cgroup.events"))
	if err != nil {
		return err
	}
	defer events.Close()
	text := make([]byte, 256)
	for range 100 {
		n, err := events.ReadAt(text, 0)
		if n == 0 {
			return err
		}
		if strings.Contains(string(text[:n]), "populated 0") {
			return nil
		}
		poll := []unix.PollFd{{Fd: int32(events.Fd()), Events: unix.POLLPRI}}
		if _, err := unix.Poll(poll, 100); err != nil && !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
	return fmt.Errorf("processes in %s do not end", l.dir)
}

// remove deletes the cgroup, which proves that nothing is in it.
func (l *leaf) remove() error {
	_ = l.fd.Close()
	if err := l.waitEmpty(); err != nil {
		return err
	}
	var dirs []string // the plugin may have made more below
	err := filepath.WalkDir(l.dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	for _, dir := range slices.Backward(dirs) {
		err = errors.Join(err, os.Remove(dir))
	}
	if err != nil {
		return fmt.Errorf("cannot remove the plugin's cgroup: %w", err)
	}
	return nil
}
