package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// The tour shows what it promises, and nothing is left wherever it is broken
// off.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("fills 200 MiB")
	}
	build(t)
	// The host is bound to the life of the thread that starts it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := demo(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, after := range []time.Duration{0, 50, 150, 300, 500, 800, 1200} {
		ctx, cancel := context.WithTimeout(t.Context(), after*time.Millisecond)
		err := demo(ctx)
		cancel()
		if err != nil && err.Error() != "interrupted" {
			t.Errorf("broken off after %d ms: %v", after, err)
		}
		if left := leftovers(t); len(left) != 0 {
			t.Fatalf("broken off after %d ms, these are left: %v", after, left)
		}
	}
}

// build makes the programs where the demo looks for them.
func build(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for target, source := range map[string]string{
		"bin/dormouse": "dormouse/cmd/dormouse", "bin/plugins/counter": "dormouse/plugins/examples/counter",
	} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, target), source).CombinedOutput(); err != nil {
			t.Fatalf("cannot build %s: %v\n%s", target, err, out)
		}
	}
	temp := filepath.Join(dir, "t")
	if err := os.Mkdir(temp, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	t.Setenv("TMPDIR", temp)
}

// leftovers are files of the demo, and processes that know of them.
func leftovers(t *testing.T) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "*"))
	if err != nil {
		t.Fatal(err)
	}
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		if line, err := os.ReadFile(path); err == nil && strings.Contains(string(line), os.TempDir()) {
			left = append(left, path)
		}
	}
	return left
}
