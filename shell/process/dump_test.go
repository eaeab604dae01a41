package process

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

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/hibernate/criu"
	"dormouse/hibernate/hibernatetest"
	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
	"dormouse/shell"
)

// faultyEngine is an engine that something happens to while it works.
type faultyEngine struct {
	hibernate.Engine
	duringDump func(d hibernate.DumpOrder)
	restore    func(o hibernate.RestoreOrder) error // nil to go on
}

func (m *faultyEngine) Dump(ctx context.Context, d hibernate.DumpOrder) error {
	if m.duringDump != nil {
		m.duringDump(d)
	}
	return m.Engine.Dump(ctx, d)
}

func (m *faultyEngine) Restore(ctx context.Context, o hibernate.RestoreOrder) (*os.Process, error) {
	if m.restore != nil {
		if err := m.restore(o); err != nil {
			return nil, err
		}
	}
	return m.Engine.Restore(ctx, o)
}

// newFaultyRig returns a rig whose counter, at 42, is dumped by m.
func newFaultyRig(t *testing.T, m *faultyEngine) *rig {
	t.Helper()
	needCRIU(t)
	r := newRig(t, counter())
	m.Engine = engine
	h := r.host
	h.Engine = m
	r.useHost(h)
	r.activate()
	call[any](r, "increment", "")
	return r
}

// checkUnharmed fails the test unless the plugin is as it was before a hibernation
// that came to nothing, and can be hibernated yet.
func (r *rig) checkUnharmed(digest string) {
	r.t.Helper()
	if got := r.count(); got != 42 {
		r.t.Errorf("it counts from %d", got)
	}
	if got := call[struct{ SHA256 string }](r, "digest", "").SHA256; got != digest {
		r.t.Errorf("its memory is %s, was %s", got, digest)
	}
	if r.Sleep() != nil {
		r.t.Error("there is an image")
	}
	if left := r.imageFiles(); len(left) > 0 {
		r.t.Errorf("%v are left in the image store", left)
	}
	for _, pid := range r.pids() {
		if procfs.IsStopped(pid) {
			r.t.Errorf("process %d is stopped", pid)
		}
	}
	r.checkNoExitReported()
}

// mountSmallDisk puts the rig's image store on a disk of its own.
func (r *rig) mountSmallDisk(options string) string {
	r.t.Helper()
	dir := filepath.Join(r.dir, "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		hibernatetest.SkipOrFail(r.t, fmt.Errorf("cannot mount a small disk: %w", err))
	}
	r.t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			r.t.Error(err)
		}
	})
	images, err := hibernate.OpenStore(dir)
	if err != nil {
		r.t.Fatal(err)
	}
	h := r.host
	h.Images = images
	r.useHost(h)
	return dir
}

func TestNoSpaceIsSeenBefore(t *testing.T) {
	needCRIU(t)
	r := newRig(t, counter())
	disk := r.mountSmallDisk("size=4m")
	r.activate()
	call[any](r, "increment", "")
	digest := call[struct{ SHA256 string }](r, "fill", `{"mib":8}`).SHA256
	err := r.Hibernate(r.contextFor(patience))
	if !errors.Is(err, hibernate.ErrSpace) || !strings.Contains(err.Error(), " free") {
		t.Errorf("got %v", err)
	}
	r.checkUnharmed(digest)
	if left, _ := filepath.Glob(disk + "/[^.]*/*"); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

func TestDiskFullDuringDump(t *testing.T) {
	m := &faultyEngine{}
	needCRIU(t)
	r := newRig(t, counter())
	disk := r.mountSmallDisk("size=80m")
	m.Engine = engine
	h := r.host
	h.Engine = m
	r.useHost(h)
	m.duringDump = func(hibernate.DumpOrder) {
		if err := os.WriteFile(filepath.Join(disk, "other"), make([]byte, 76<<20), 0o600); err != nil {
			t.Error(err)
		}
	}
	r.activate()
	call[any](r, "increment", "")
	digest := call[struct{ SHA256 string }](r, "fill", `{"mib":20}`).SHA256
	err := r.Hibernate(r.contextFor(patience))
	if err == nil || !strings.Contains(err.Error(), "No space left on device") {
		t.Errorf("got %v", err)
	}
	r.checkUnharmed(digest)
	if left, _ := filepath.Glob(disk + "/[^.]*/*"); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
	m.duringDump = nil
	if err := os.Remove(filepath.Join(disk, "other")); err != nil {
		t.Error(err)
	}
	r.hibernate()
	r.wake()
	r.host.Images.Close()
	r.checkUnharmed(digest)
}

// duringDump calls do in the middle of a dump, when there are files in its directory that
// fit the pattern.
func duringDump(t *testing.T, d hibernate.DumpOrder, pattern string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		eventually(t, "CRIU works", func() bool { found, _ := filepath.Glob(filepath.Join(d.Dir, pattern)); return len(found) > 0 })
		do()
	}()
	t.Cleanup(func() { <-done })
}

// killCRIU kills the CRIU in the cgroup.
func killCRIU(group cgroup.Dir) {
	for _, pid := range group.Members() {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.Contains(string(line), "\x00swrk\x00") || strings.Contains(string(line), "--rpc") {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// hasSurvived reports whether the plugin lives after a dump that ended with err. CRIU runs
// code inside the plugin, and now and then dies in the middle of it: then at least
// that is known.
func (r *rig) hasSurvived(err error) bool {
	r.t.Helper()
	if !errors.Is(err, shell.ErrExited) {
		return true
	}
	if exit := receive(r.t, r.sink.exits); !errors.Is(exit, shell.ErrExited) || r.Sleep() != nil || len(r.imageFiles()) > 0 {
		r.t.Errorf("got %v, image %v, in the store %v", exit, r.Sleep(), r.imageFiles())
	}
	return false
}

func TestCRIUKilledDuringDump(t *testing.T) {
	m := &faultyEngine{}
	r := newFaultyRig(t, m)
	needCgroups(r)
	m.duringDump = func(d hibernate.DumpOrder) { duringDump(t, d, "pages-*.img", func() { killCRIU(d.Cgroup) }) }
	digest := call[struct{ SHA256 string }](r, "fill", `{"mib":50}`).SHA256
	err := r.Hibernate(r.contextFor(patience))
	if err == nil {
		t.Fatal("it hibernated")
	}
	if !r.hasSurvived(err) {
		return
	}
	r.checkUnharmed(digest)
	m.duringDump = nil
	r.hibernate()
	r.wake()
	r.host.Images.Close()
	r.checkUnharmed(digest)
}

// The caller's deadline ends a dump that takes too long.
func TestDumpTakesTooLong(t *testing.T) {
	m := &faultyEngine{}
	r := newFaultyRig(t, m)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	m.duringDump = func(d hibernate.DumpOrder) { duringDump(t, d, "pages-*.img", cancel) }
	digest := call[struct{ SHA256 string }](r, "fill", `{"mib":50}`).SHA256
	err := r.Hibernate(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if r.hasSurvived(err) {
		r.checkUnharmed(digest)
	}
}

// A wake that fails is tried once more, after all that the first attempt left in
// the cgroup is gone.
func TestWakeIsTriedAgain(t *testing.T) {
	m := &faultyEngine{}
	r := newFaultyRig(t, m)
	needCgroups(r)
	digest := call[struct{ SHA256 string }](r, "fill", `{"mib":5}`).SHA256
	r.hibernate()
	half := exec.Command(filepath.Join(bin, "rogue"), "idle")
	tries := 0
	m.restore = func(o hibernate.RestoreOrder) error {
		if tries++; tries > 1 {
			return nil
		}
		cgroup, err := os.Open(string(o.Cgroup))
		if err != nil {
			return err
		}
		defer cgroup.Close()
		half.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cgroup.Fd())}
		return errors.Join(half.Start(), errors.New("half of it is there"))
	}
	r.wake()
	if tries != 2 {
		t.Errorf("it took %d attempts", tries)
	}
	if err := half.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("what the first left: %v", err)
	}
	r.host.Images.Close()
	r.checkUnharmed(digest)
}

// A wake that can't be now leaves the plugin asleep, with nothing of the attempts beside the
// image; a later one brings it back with its state.
func TestSleepsOnAfterAFailedWake(t *testing.T) {
	m := &faultyEngine{}
	r := newFaultyRig(t, m)
	call[any](r, "increment", "")
	want := r.count()
	r.hibernate()
	before := r.imageFiles()
	m.restore = func(hibernate.RestoreOrder) error { return errors.New("no such luck") }
	_, err := r.Wake(r.contextFor(patience))
	if err == nil || !strings.Contains(err.Error(), "no such luck") || hibernate.ClassifyFailure(err) != hibernate.Passing {
		t.Errorf("got %v", err)
	}
	if r.Sleep() == nil || len(r.pids()) > 0 || !cmp.Equal(r.imageFiles(), before) {
		t.Errorf("it has the image %v, the processes %v and the files %v", r.Sleep(), r.pids(), r.imageFiles())
	}
	if _, err := os.Stat(filepath.Join(r.runDir(), journalName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the journal is left: %v", err)
	}
	m.restore = nil
	r.wake()
	if got := r.count(); got != want {
		t.Errorf("it counts from %d, not %d", got, want)
	}
}

// A process that dies while it is put to sleep is an end, not an image.
func TestExitDuringHibernate(t *testing.T) {
	m := &faultyEngine{}
	r := newFaultyRig(t, m)
	pids := r.pids()
	m.duringDump = func(hibernate.DumpOrder) {
		_ = syscall.Kill(pids[len(pids)-1], syscall.SIGKILL)
		eventually(t, "the tree has ended", r.life.tree.hasEnded)
	}
	if err := r.Hibernate(r.contextFor(patience)); !errors.Is(err, shell.ErrExited) {
		t.Errorf("got %v", err)
	}
	if r.Sleep() != nil || len(r.imageFiles()) > 0 {
		t.Errorf("there is an image: %v", r.imageFiles())
	}
	if err := receive(t, r.sink.exits); !errors.Is(err, shell.ErrExited) {
		t.Errorf("got %v", err)
	}
}

func TestBrokenCRIU(t *testing.T) {
	for name, test := range map[string]struct{ path, want string }{
		"broken":  {"/bin/false", "/bin/false"},
		"missing": {"/no/such/criu", "/no/such/criu"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, counter())
			h := r.host
			h.Engine = criu.Open(test.path, bin)
			r.useHost(h)
			r.activate()
			call[any](r, "increment", "")
			digest := call[struct{ SHA256 string }](r, "digest", "").SHA256
			err := r.Hibernate(r.contextFor(patience))
			if !errors.Is(err, shell.ErrNotSupported) || !errors.Is(err, hibernate.ErrUnsupported) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			} else if begin := "cannot hibernate: not supported on this host: hibernation is not available: "; !strings.HasPrefix(err.Error(), begin) {
				t.Errorf("got %q, want it to begin with %q", err, begin)
			}
			r.checkUnharmed(digest)
		})
	}
}
