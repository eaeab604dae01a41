package procfs

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWatches(t *testing.T) {
	path := filepath.Join(t.TempDir(), "watched")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written that could be lost
	for _, watched := range []string{path, "/proc/sys"} {
		if _, err := unix.InotifyAddWatch(fd, watched, unix.IN_OPEN); err != nil {
			t.Fatal(err)
		}
	}
	mounts, f := ReadMounts(os.Getpid()), find(t, int(file.Fd()))
	of, err := f.File()
	if err != nil {
		t.Fatal(err)
	}
	onDisk, onProc := 0, 0
	look := func(wantDeleted bool) {
		onDisk, onProc = 0, 0
		for _, w := range find(t, fd).Watches() {
			on, known := mounts.OfDevice(w.Device)
			switch {
			case known && on.FileSystem == "proc":
				onProc++
			case w.Device == of.On:
				onDisk++
				if at, _ := mounts.WithID(of.MountID); w.IsDeleted(at) != wantDeleted {
					t.Errorf("whether the watched file is deleted: %t", !wantDeleted)
				}
			}
		}
	}
	look(false)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	look(true)
	if onDisk != 1 || onProc != 1 {
		t.Errorf("it has %d watches on the disk and %d below /proc", onDisk, onProc)
	}
	if other := f.Watches(); other != nil {
		t.Errorf("a file has the watches %v", other)
	}
}
