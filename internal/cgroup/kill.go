package cgroup

import (
	"fmt"
	"os"
	"time"
)

// Kill kills every process in the cgroup and below, and does not wait for their end.
func (d Dir) Kill() error {
	if err := d.Set("cgroup.kill", "1"); err != nil {
		return fmt.Errorf("cannot kill the cgroup: %w", err)
	}
	return nil
}

// KillAndWait kills every process in the cgroup and below, and waits until none is left. It
// returns an error if processes are left after ten seconds. The cgroup should not be used
// again, because Linux (such as 6.18) may also kill processes that are cloned into the
// cgroup later.
func (d Dir) KillAndWait() error {
	if err := d.Kill(); err != nil {
		return err
	}
	return d.WaitUntilEmpty()
}

// CheckKillSupport returns an error if the kernel lacks cgroup.kill, which came with
// Linux 5.14.
func (d Dir) CheckKillSupport() error {
	_, err := os.Stat(d.filePath("cgroup.kill"))
	return err
}

// emptyLimit is how long WaitUntilEmpty waits for processes to leave a cgroup.
const emptyLimit = 10 * time.Second

// WaitUntilEmpty waits until no process is left in the cgroup and below. It returns an
// error if processes are left after ten seconds.
func (d Dir) WaitUntilEmpty() error {
	late := time.Now().Add(emptyLimit)
	return d.pollForEvent("populated 0", func() error {
		if time.Now().After(late) {
			return fmt.Errorf("processes in %s do not end", d)
		}
		return nil
	})
}
