package filenames

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A directory whose name is a pattern is listed as any other.
func TestPathsIn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `a[b]*?\`)
	for _, name := range []string{"core-2.img", "core-1.img", "core-", ".img", "core-3.txt", "other"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	got, err := PathsIn(dir, "core-", ".img")
	want := []string{filepath.Join(dir, "core-1.img"), filepath.Join(dir, "core-2.img")}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if got, err := PathsIn(filepath.Join(dir, "missing"), "", ""); len(got) > 0 || err != nil {
		t.Errorf("a missing directory has %q, %v", got, err)
	}
	if _, err := PathsIn(filepath.Join(dir, "other", "..", "core-\x00"), "", ""); err == nil {
		t.Error("no error for a path that can't be opened")
	}
}

func TestNumbersIn(t *testing.T) {
	if pids := NumbersIn("/proc"); !slices.Contains(pids, os.Getpid()) || slices.Contains(pids, 0) {
		t.Errorf("this process is not among %v", pids)
	}
	if got := NumbersIn(filepath.Join(t.TempDir(), "missing")); len(got) > 0 {
		t.Errorf("a missing directory has %v", got)
	}
}
