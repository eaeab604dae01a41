package pager_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"dormouse/hibernate/criu/pager"
)

// A loader that is through when a host asks for it, but has not ended yet, is reaped.
func TestRejoinEndingLoader(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	cat, err := exec.LookPath("cat")
	must(t, err)
	program := filepath.Join(t.TempDir(), "dormouse-load") // what /proc calls a loader
	text, err := os.ReadFile(cat)
	must(t, err)
	must(t, os.WriteFile(program, text, 0o700))
	loader := exec.Command(program)
	loader.Dir = dir
	end, err := loader.StdinPipe()
	must(t, err)
	must(t, loader.Start())
	for !pager.IsLoader(loader.Process.Pid) { // it is about to execute
		runtime.Gosched()
	}
	rejoined := make(chan error, 1)
	go func() {
		loading, err := pager.RejoinLoader(dir)
		if loading != nil {
			t.Error("there is a loading")
		}
		rejoined <- err
	}()
	must(t, end.Close())
	must(t, <-rejoined)
	if _, err := os.Stat(filepath.Join("/proc", strconv.Itoa(loader.Process.Pid))); err == nil {
		t.Error("the loader is not reaped")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
