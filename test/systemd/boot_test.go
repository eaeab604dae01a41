package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dormouse/hibernate/hibernatetest"
	"dormouse/internal/cgroup"
)

// boots bounds all that happens in the container.
const boots = 5 * time.Minute

// container is a systemd with a file system in memory, of which only lab is the
// machine's own.
type container struct {
	t      *testing.T
	dir    string // lab, as it is seen here
	name   string
	cgroup string
}

// boot runs the test inside, in as many boots as that wants.
func boot(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), boots)
	defer cancel()
	c := newContainer(ctx, t)
	for again := true; again; {
		again = c.run(ctx)
	}
	output, err := os.ReadFile(c.path(outputName))
	t.Logf("inside:\n%s", output)
	if verdict, verr := os.ReadFile(c.path(verdictName)); err != nil || string(verdict) != "0\n" {
		t.Errorf("the test inside ended with %q (%v, %v)", verdict, verr, err)
	}
}

func newContainer(ctx context.Context, t *testing.T) *container {
	t.Helper()
	dir, err := os.MkdirTemp("", "ds") // its name is the container's
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	c := &container{t: t, dir: dir, name: filepath.Base(dir)}
	t.Cleanup(c.clear)
	err = c.possible()
	if err == nil {
		err = c.tries(ctx)
	}
	if err != nil {
		hibernatetest.SkipOrFail(t, fmt.Errorf("cannot boot systemd here: %w", err))
	}
	if err := c.furnish(); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *container) path(name string) string { return filepath.Join(c.dir, name) }

// possible makes the container's cgroup, or says what is missing.
func (c *container) possible() error {
	if os.Geteuid() != 0 {
		return errors.New("only root can")
	}
	for _, program := range []string{"systemd-nspawn", "/lib/systemd/systemd"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w; make setup installs it", err)
		}
	}
	if link, err := os.Readlink("/lib"); err != nil || link != "usr/lib" {
		return errors.New("it needs nothing but /usr only where that holds /lib too")
	}
	mount, err := cgroup.MountPoint()
	if err != nil {
		return err
	}
	c.cgroup = filepath.Join(mount, "dormouse-test-"+c.name)
	return os.Mkdir(c.cgroup, 0o755)
}

// tries runs a program in such a container: namespaces or mounts may be forbidden.
func (c *container) tries(ctx context.Context) error {
	if out, err := c.nspawn(ctx, "/bin/true"); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// furnish puts into the lab what the test inside needs.
func (c *container) furnish() error {
	itself, err := os.Executable()
	if err != nil {
		return err
	}
	script := fmt.Sprintf("#!/bin/sh\nexport %s=1\n%s/test -test.v -test.run '^%s$' >>%s/%s 2>&1\necho $? >%s/%s\n",
		insideName, lab, c.t.Name(), lab, outputName, lab, verdictName)
	return errors.Join(
		os.CopyFS(c.path("bin"), os.DirFS(programs)),
		os.CopyFS(c.path("units"), os.DirFS(unitsOfOurs)),
		os.CopyFS(c.path("apt"), os.DirFS(hooksOfOurs)),
		copyFile(itself, c.path("test")),
		os.WriteFile(c.path(runName), []byte(script), 0o700),
		os.Mkdir(c.path("state"), 0o700),
	)
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to+".new", text, 0o700)
	}
	if err == nil {
		err = os.Rename(to+".new", to) // also in the place of a program that runs
	}
	return err
}

// run boots the container once, and reports whether it asks to be booted again.
func (c *container) run(ctx context.Context) (again bool) {
	c.t.Helper()
	out, err := c.nspawn(ctx, "--bind="+c.dir+":"+lab, "--bind="+c.path("state")+":/var/lib/dormouse", "--boot",
		"systemd.firstboot=no", "systemd.mask=systemd-firstboot.service",
		"systemd.run="+filepath.Join(lab, runName), "systemd.run_success_action=exit", "systemd.run_failure_action=exit")
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == rebootCode {
		return true
	}
	if err != nil {
		c.t.Errorf("the container ended with %v (%v):\n%s", err, ctx.Err(), out)
	}
	return false
}

// nspawn runs something in the container, of which the machine's own is /usr only. The
// filter of system calls that it would have keeps CRIU from working.
func (c *container) nspawn(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "systemd-nspawn", append([]string{"--quiet", "--register=no", "--keep-unit", "--machine=" + c.name,
		"--capability=all", "--private-network", "--volatile=yes", "--directory=/"}, args...)...)
	cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1", "SYSTEMD_NSPAWN_API_VFS_WRITABLE=1", "SYSTEMD_SECCOMP=0")
	cgroup, err := os.Open(c.cgroup)
	if err != nil {
		return nil, err
	}
	defer cgroup.Close()
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cgroup.Fd())}
	cmd.Cancel = c.kill
	return cmd.CombinedOutput()
}

func (c *container) kill() error {
	return os.WriteFile(filepath.Join(c.cgroup, "cgroup.kill"), []byte("1"), 0)
}

// clear removes what nspawn has left of the container's cgroups, in every hierarchy,
// and of its directory of mounts.
func (c *container) clear() {
	if c.cgroup == "" {
		return
	}
	_ = c.kill()
	hierarchies, _ := filepath.Glob("/sys/fs/cgroup/*/" + filepath.Base(c.cgroup))
	for _, root := range append(hierarchies, c.cgroup) {
		var dirs []string
		_ = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append([]string{path}, dirs...)
			}
			return nil
		})
		for _, dir := range dirs {
			_ = os.Remove(dir)
		}
	}
	if _, err := os.Stat(c.cgroup); !errors.Is(err, os.ErrNotExist) {
		c.t.Errorf("the container's cgroup is left: %v", err)
	}
	_ = os.Remove("/run/systemd/nspawn/propagate/" + c.name)
	if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(mounts), c.name) {
		c.t.Errorf("mounts of the container are left (%v)", err)
	}
}
