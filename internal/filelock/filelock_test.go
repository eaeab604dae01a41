package filelock

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, second := open(t, path), open(t, path)
	if err := Lock(first, 0); err != nil {
		t.Fatal(err)
	}
	if err := Lock(second, 3*pollInterval); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
	closed := make(chan error, 1)
	time.AfterFunc(2*pollInterval, func() { closed <- first.Close() })
	if err := Lock(second, time.Minute); err != nil {
		t.Errorf("the lock was given free, and still: %v", err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if err := Lock(first, 0); err == nil || errors.Is(err, ErrLocked) {
		t.Errorf("a closed file: got %v", err)
	}
}
