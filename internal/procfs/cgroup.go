package procfs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// OwnCgroup is the directory of the cgroup v2 that this process is in.
func OwnCgroup() (string, error) {
	mount, err := cgroupMount()
	if err != nil {
		return "", err
	}
	own := Cgroup(os.Getpid())
	if own == "" {
		return "", errors.New("this process is in no cgroup v2")
	}
	return filepath.Join(mount, own), nil
}

// Members are the processes in the cgroup whose directory that is, none for "".
func Members(dir string) (pids []int) {
	if dir == "" {
		return nil
	}
	text, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	for field := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Strangers are the processes in the cgroup that are not of the tree below root.
func Strangers(dir string, root int) []int {
	there := Members(dir) // first: what the tree forks meanwhile is of the tree
	tree := Tree(root)
	return slices.DeleteFunc(there, func(pid int) bool { return slices.Contains(tree, pid) || Zombie(pid) })
}

func cgroupMount() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		// ... mount point (5th) ... " - " type source options, see proc(5)
		before, after, _ := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 {
			return fields[4], nil
		}
	}
	return "", errors.New("cgroup v2 is not mounted")
}
