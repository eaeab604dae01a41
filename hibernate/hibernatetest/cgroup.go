package hibernatetest

import (
	"os"
	"testing"

	"dormouse/internal/cgroup"
)

// Cgroup makes a cgroup, in which nothing may be left when the test ends. It returns
// "" where there is no cgroup v2 to be had.
func Cgroup(t *testing.T) cgroup.Dir {
	t.Helper()
	mount, err := cgroup.MountPoint()
	if err != nil {
		return ""
	}
	dir, err := os.MkdirTemp(mount, "dormouse-test-") //nolint:usetesting // it is a cgroup
	if err != nil {
		Lacks(t, err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Errorf("something is left in the cgroup: %v", err)
		}
	})
	return cgroup.Dir(dir)
}
