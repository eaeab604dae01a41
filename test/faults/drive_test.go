package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dormouse/hibernate/hibernatetest"
)

// drive is an ext4 file system with a journal, below which the power can be cut or the disk can
// break. Another machine can then go on with what is on the disk.
type drive struct {
	*disk
	dir    string
	device string // empty while it is not plugged in
}

const driveSize = 256 << 20

// newDrive mounts an empty drive at dir until the end of the test.
func newDrive(t *testing.T, dir string) *drive {
	t.Helper()
	fd, err := unix.MemfdCreate("drive", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	d := &drive{disk: &disk{t, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd)}, dir: dir}
	must(t, os.Truncate(d.file, driveSize))
	d.run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,nodiscard", d.file)
	must(t, os.MkdirAll(dir, 0o700))
	d.plugIn()
	t.Cleanup(d.pullOut)
	return d
}

func (d *drive) plugIn() {
	d.t.Helper()
	d.device = strings.TrimSpace(d.run("losetup", "--find", "--show", d.file))
	if err := unix.Mount(d.device, d.dir, "ext4", 0, ""); err != nil {
		hibernatetest.SkipOrFail(d.t, fmt.Errorf("cannot mount a drive: %w", err))
	}
}

// pullOut takes the drive away, although processes may use it still.
func (d *drive) pullOut() {
	d.t.Helper()
	if d.device == "" {
		return
	}
	if err := unix.Unmount(d.dir, unix.MNT_DETACH); err != nil {
		d.t.Error(err)
	}
	d.run("losetup", "--detach", d.device)
	d.device = ""
}

// moveToAnotherMachine mounts what is on the disk now in the place of the drive, as a machine does
// in which it is put after the other one has lost its power.
func (d *drive) moveToAnotherMachine() {
	d.t.Helper()
	d.pullOut()
	copied := filepath.Join(d.t.TempDir(), "drive")
	d.run("cp", "--sparse=always", d.file, copied)
	d.file = copied
	d.plugIn()
}

// sync makes durable what plugins have written: the host syncs only what is its own.
func (d *drive) sync() {
	d.t.Helper()
	f, err := os.Open(d.dir)
	must(d.t, err)
	defer f.Close()
	must(d.t, unix.Syncfs(int(f.Fd())))
}
