package criu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	gocriu "github.com/checkpoint-restore/go-criu/v7"
	"github.com/checkpoint-restore/go-criu/v7/rpc"

	"dormouse/hibernate"
	"dormouse/internal/procfs"
	"dormouse/internal/spawn"
)

// prepare starts the CRIU process of c and returns its PID. The files are
// inherited by number: go-criu passes none on, so they are duplicated without
// close-on-exec for just the moment of the start.
func prepare(c *gocriu.Criu, opts *rpc.CriuOpts, files []hibernate.Inherited) (pid int, err error) {
	err = spawn.Exclusive(func() error {
		for _, f := range files {
			// Each key needs a descriptor of its own, even for the same file.
			fd, err := syscall.Dup(int(f.File.Fd()))
			if err != nil {
				return err
			}
			defer func() { _ = syscall.Close(fd) }()
			opts.InheritFd = append(opts.InheritFd, &rpc.InheritFd{Key: new(f.Key), Fd: new(int32(fd))})
		}
		before := procfs.Children(os.Getpid())
		if err := c.Prepare(); err != nil {
			return err
		}
		// go-criu does not tell the PID.
		for _, child := range procfs.Children(os.Getpid()) {
			if !slices.Contains(before, child) && isCRIU(child) {
				pid = child
			}
		}
		if pid == 0 {
			return errors.Join(errors.New("it is gone already"), c.Cleanup())
		}
		return nil
	})
	return pid, err
}

// isCRIU tells a CRIU that serves go-criu from other children. A process has no
// command line while it executes another program, as a wrapper script does.
func isCRIU(pid int) bool {
	for {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil || len(line) > 0 || procfs.Zombie(pid) {
			return err == nil && strings.Contains(string(line), "\x00swrk\x00")
		}
	}
}

func joinCgroup(dir string, pid int) error {
	err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
	if err != nil {
		return fmt.Errorf("cannot put CRIU into the cgroup: %w", err)
	}
	return nil
}

// births notes the processes that a restore makes.
type births struct {
	gocriu.NoNotify
	first int // root, as soon as it exists
	root  int // root, when it is complete
}

// SetupNamespaces is told the root before anything is in it.
func (b *births) SetupNamespaces(pid int32) error {
	b.first = int(pid)
	return nil
}

// PostRestore is told the root when the tree is complete.
func (b *births) PostRestore(pid int32) error {
	b.first, b.root = int(pid), int(pid)
	return nil
}

// end kills and reaps what a failed restore left of the root. CRIU may have been
// killed before it told the PID; the cgroup has it then.
func (b *births) end(cgroup string) error {
	left := make(map[int]bool)
	if b.first != 0 {
		left[b.first] = true
	}
	if cgroup != "" {
		for _, child := range procfs.Children(os.Getpid()) {
			if inCgroup(child, cgroup) {
				left[child] = true
			}
		}
	}
	var errs []error
	for pid := range left {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, err)
			continue
		}
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil && !errors.Is(err, syscall.ECHILD) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// inCgroup tells whether the process, alive or a zombie, belongs to the cgroup
// that is mounted at dir.
func inCgroup(pid int, dir string) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path != "/" && strings.HasSuffix(dir, path)
		}
	}
	return false
}
