package procfs

import (
	"errors"
	"os"
	"path/filepath"
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
