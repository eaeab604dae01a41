package unixsock

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A socket that a dead program left is replaced, and nothing else.
func TestListenReplacingStale(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir) // the path of dir may be too long for a socket in it
	const path = "socket"
	first, err := ListenReplacingStale(path)
	must(t, err)
	if _, err := ListenReplacingStale(path); err == nil || !strings.Contains(err.Error(), "another program does") {
		t.Errorf("a socket in use: %v", err)
	}
	must(t, first.Close())
	second, err := ListenReplacingStale(path)
	must(t, err)
	must(t, second.Close())
	must(t, os.Remove(path)) // nothing has removed it before
	must(t, os.WriteFile(path, nil, 0o600))
	if _, err := ListenReplacingStale(path); err == nil || !strings.Contains(err.Error(), "it is not a socket") {
		t.Errorf("a file in the way: %v", err)
	}
	long := filepath.Join(dir, strings.Repeat("x", LongestPath))
	if _, err := ListenReplacingStale(long); err == nil || !strings.Contains(err.Error(), "a socket's may have 107") {
		t.Errorf("a long path: %v", err)
	}
}
