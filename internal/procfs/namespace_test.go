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
	if at := find(t, int(file.Fd())).MountID(); at == 0 || !MountIDs(os.Getpid())[at] {
		t.Errorf("a file is on mount %d", at)
	}
	memory, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(memory) //nolint:errcheck // nothing was written that could be lost
	if at := find(t, memory).MountID(); at != 0 {
		t.Errorf("memory is on mount %d", at)
	}
}
