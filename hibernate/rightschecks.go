package hibernate

import (
	"errors"
	"fmt"

	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
)

// checkRightsInImage returns an ErrForged if the image in dir would give a thread other
// rights than the manifest has from the kernel. A plugin may have influenced its own image.
// If the engine can't read its images checkRightsInImage returns nil.
func (m *manifest) checkRightsInImage(e Engine, dir string) error {
	inImage, err := e.ThreadIdentities(dir)
	if errors.Is(err, ErrUnsupported) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read the identities in the image: %w", err)
	}
	if len(inImage) != len(m.Threads) {
		return fmt.Errorf("%w: it holds %d threads, the tree has %d", ErrForged, len(inImage), len(m.Threads))
	}
	for k, is := range m.Threads {
		if difference := is.Difference(inImage[k]); difference != "" {
			return fmt.Errorf("%w: thread %d: %s", ErrForged, is.ID, difference)
		}
	}
	return nil
}

// checkRestoredRights returns an ErrRefused if a restored thread has other rights than the
// dumped one, or if there are too many threads. If threads are missing, which the kernel may
// have killed meanwhile, it returns another error. Both lists have the same order.
func checkRestoredRights(dumped, restored []procfs.ThreadIdentity) error {
	if len(restored) < len(dumped) {
		return fmt.Errorf("only %d threads were restored, %d were dumped", len(restored), len(dumped))
	}
	if len(dumped) != len(restored) {
		return fmt.Errorf("%w: %d threads were restored, %d were dumped", ErrRefused, len(restored), len(dumped))
	}
	for k := range dumped {
		if difference := dumped[k].Difference(restored[k]); difference != "" {
			return fmt.Errorf("%w: thread %d was restored with other rights: %s", ErrRefused, dumped[k].ID, difference)
		}
	}
	return nil
}

// checkAllInRootCgroup returns an ErrRefused if a restored process is in another cgroup than
// the root, the first of pids. Such a process would escape the limits of the instance's
// cgroup, and its kill.
func checkAllInRootCgroup(pids []int) error {
	root := cgroup.PathBelowMount(pids[0])
	for _, pid := range pids {
		if at := cgroup.PathBelowMount(pid); at != root && !procfs.HasEnded(pid) {
			return fmt.Errorf("%w: process %d was restored into cgroup %s, not %s", ErrRefused, procfs.NSPid(pid), at, root)
		}
	}
	return nil
}
