package hibernatetest

import (
	"os"
	"path/filepath"
	"testing"
)

// Cgroup makes a cgroup, in which nothing may be left when the test ends. It returns
// "" where there is no cgroup v2 to be had.
func Cgroup(t *testing.T) string {
	t.Helper()
	for _, mount := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if _, err := os.Stat(filepath.Join(mount, "cgroup.procs")); err != nil {
			continue
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
		return dir
	}
	return ""
}
