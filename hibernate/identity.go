package hibernate

import (
	"fmt"

	"dormouse/internal/procfs"
)

// Insight is an Engine that can read in its own image what each task is going to
// be. It is asked before the image is committed: a plugin may have influenced
// what was written of it, and what the kernel says is what counts.
type Insight interface {
	// Identities returns the tasks in the image in dir, ordered by ID.
	Identities(dir string) ([]procfs.Task, error)
}

// checkIdentities returns an ErrForged when the image would give a task other
// rights than the kernel says it has.
func (m *manifest) checkIdentities(in Insight, dir string) error {
	claimed, err := in.Identities(dir)
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
	root := procfs.Cgroup(pids[0])
	for _, pid := range pids {
		if at := procfs.Cgroup(pid); at != root && !procfs.Zombie(pid) {
			return fmt.Errorf("%w: task %d came back in cgroup %s, not %s", ErrRefused, procfs.NSPid(pid), at, root)
		}
	}
	return nil
}
