package hibernatetest

import (
	"os"
	"testing"

	"dormouse/internal/cgroup"
)

// NewCgroup makes a cgroup, which must be empty when the test ends, or the test fails. It
// returns "" if the machine has no cgroup v2, and skips the test if it can't make a cgroup.
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
