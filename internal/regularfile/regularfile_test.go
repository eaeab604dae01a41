package regularfile

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Each kind of file but the regular one is refused at once, whatever is at its other end.
func TestOtherKindsAreRefusedWithoutWaiting(t *testing.T) {
	dir := t.TempDir()
	pipe, socket := filepath.Join(dir, "pipe"), filepath.Join(dir, "socket")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, path := range []string{pipe, socket, dir, "/dev/zero", "/dev/null"} {
		if _, err := Read(path, 100); !errors.Is(err, ErrNotRegular) {
			t.Errorf("Read of %s returned %v", path, err)
		}
		if _, err := OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600); !errors.Is(err, ErrNotRegular) {
			t.Errorf("OpenFile of %s returned %v", path, err)
		}
	}
}

func TestReadIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if _, err := Read(path, 5); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file returned %v", err)
	}
	if err := os.WriteFile(path, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := Read(path, 5); err != nil || string(text) != "12345" {
		t.Errorf("got %q, %v", text, err)
	}
	if _, err := Read(path, 4); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a larger file returned %v", err)
	}
	// A file in /proc has the size 0 and is longer.
	if text, err := Read("/proc/self/status", 1<<16); err != nil || len(text) == 0 {
		t.Errorf("got %d bytes, %v", len(text), err)
	}
}
