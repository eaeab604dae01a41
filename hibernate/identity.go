package hibernate

import (
	"errors"
	"fmt"

	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
)

// checkIdentities returns an ErrForged when the image would give a task other
// rights than the kernel says it has.
func (m *manifest) checkIdentities(e Engine, dir string) error {
	claimed, err := e.Identities(dir)
	if errors.Is(err, ErrUnsupported) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read who is in the image: %w", err)
	}
	if len(claimed) != len(m.Tasks) {
		return fmt.Errorf("%w: it holds %d tasks, the tree has %d", ErrForged, len(claimed), len(m.Tasks))
	}
	for k, is := range m.Tasks {
		if difference := is.Difference(claimed[k]); difference != "" {
			return fmt.Errorf("%w: task %d: %s", ErrForged, is.ID, difference)
		}
	}
	return nil
}

// sameCgroup returns an ErrRefused when a task woke up in another cgroup than the
// root. Apart from the instance's cgroup it would escape limits and kills.
func sameCgroup(pids []int) error {
	root := cgroup.PathOf(pids[0])
	for _, pid := range pids {
		if at := cgroup.PathOf(pid); at != root && !procfs.HasEnded(pid) {
			return fmt.Errorf("%w: task %d came back in cgroup %s, not %s", ErrRefused, procfs.NSPid(pid), at, root)
		}
	}
	return nil
}
