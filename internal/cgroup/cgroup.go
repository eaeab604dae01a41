// Package cgroup makes, reads, freezes, empties and removes cgroups of the v2
// hierarchy, see cgroups(7) and Documentation/admin-guide/cgroup-v2.rst of the Linux
// source. It does not know what the processes in a cgroup are for.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Dir is the directory of a cgroup, "" for no cgroup.
type Dir string

// Own returns the cgroup of this process, and an error if this process is in no cgroup v2.
func Own() (Dir, error) {
	mount, err := MountPoint()
	if err != nil {
		return "", err
	}
	own := PathBelowMount(os.Getpid())
	if own == "" {
		return "", errors.New("this process is in no cgroup v2")
	}
	return Dir(filepath.Join(mount, own)), nil
}

// PathBelowMount returns the path of the cgroup of the process, such as "/system.slice",
// below the mount point of the v2 hierarchy. It returns "" when there is no v2 hierarchy
// or the process is gone.
func PathBelowMount(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path
		}
	}
	return ""
}

// MountPoint returns the directory where the v2 hierarchy is mounted. On a host that
// has cgroup v1 as well, it is often /sys/fs/cgroup/unified.
func MountPoint() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		// The fifth field is the mount point, and the type comes after " - ", see proc(5).
		before, after, _ := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 {
			return fields[4], nil
		}
	}
	return "", errors.New("cgroup v2 is not mounted")
}

// Child returns the cgroup of that name in d. The cgroup need not exist.
func (d Dir) Child(name string) Dir { return Dir(filepath.Join(string(d), name)) }

// Parent returns the cgroup that d is in.
func (d Dir) Parent() Dir { return Dir(filepath.Dir(string(d))) }

// Name returns the name of d in its parent.
func (d Dir) Name() string { return filepath.Base(string(d)) }

// Make creates the cgroup. The error wraps os.ErrExist when the cgroup exists.
func (d Dir) Make() error { return os.Mkdir(string(d), 0o755) }

// Exists reports whether the cgroup exists.
func (d Dir) Exists() bool {
	_, err := os.Stat(string(d))
	return err == nil
}

// Set writes value to one of the cgroup's files, such as "memory.max".
func (d Dir) Set(file, value string) error {
	f, err := os.OpenFile(d.filePath(file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// RemoveTreeWhenEmpty waits until no process is left in the cgroup and below, and deletes
// the cgroup and all cgroups below. It returns an error if processes are left after ten
// seconds.
func (d Dir) RemoveTreeWhenEmpty() error {
	if err := d.WaitUntilEmpty(); err != nil {
		return err
	}
	var dirs []string // the processes may have made cgroups below
	err := filepath.WalkDir(string(d), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	for _, dir := range slices.Backward(dirs) {
		err = errors.Join(err, os.Remove(dir))
	}
	if err != nil {
		return fmt.Errorf("cannot remove the cgroup: %w", err)
	}
	return nil
}

// filePath returns the path of one of the cgroup's files.
func (d Dir) filePath(name string) string { return filepath.Join(string(d), name) }

// readFile returns the text of one of the cgroup's files, "" if the file is missing or
// there is no cgroup.
func (d Dir) readFile(file string) string {
	if d == "" {
		return ""
	}
	text, _ := os.ReadFile(d.filePath(file))
	return string(text)
}
