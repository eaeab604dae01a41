package procfs

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMounts(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	f, err := find(t, int(file.Fd())).File()
	mounts := ReadMounts(os.Getpid())
	at, seen := mounts.WithID(f.MountID)
	if again, seenAgain := mounts.OfDevice(at.Device); err != nil || !seen || !seenAgain || again.FileSystem != at.FileSystem || at.FileSystem == "" {
		t.Errorf("a file is %+v, error %v, on the mounts %+v and %+v", f, err, at, again)
	}
	memory, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(memory) //nolint:errcheck // nothing was written that could be lost
	f, err = find(t, memory).File()
	if at, seen := mounts.WithID(f.MountID); err != nil || seen {
		t.Errorf("memory is %+v, error %v, on the mount %+v", f, err, at)
	}
}
