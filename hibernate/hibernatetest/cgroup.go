package hibernatetest

import (
	"os"
	"testing"

	"dormouse/internal/cgroup"
)

// NewCgroup makes a cgroup, which must be empty when the test ends. It returns "" if the
// machine has no cgroup v2.
func NewCgroup(t *testing.T) cgroup.Dir {
	t.Helper()
	mount, err := cgroup.MountPoint()
	if err != nil {
		return ""
	}
	dir, err := os.MkdirTemp(mount, "dormouse-test-") //nolint:usetesting // it is a cgroup
	if err != nil {
		SkipOrFail(t, err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Errorf("something is left in the cgroup: %v", err)
		}
	})
	return cgroup.Dir(dir)
}
