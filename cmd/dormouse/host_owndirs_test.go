package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// makeFile makes a file, with its directories, that is not the host's.
func makeFile(t *testing.T, elements ...string) string {
	t.Helper()
	path := filepath.Join(elements...)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("not the host's"), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// expectThere fails the test unless all paths exist, or none if not wanted.
func expectThere(t *testing.T, wanted bool, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if _, err := os.Lstat(path); (err == nil) != wanted {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// With its socket among the files of a project, the host keeps its instances in a directory
// of its own, and folders with the names of instances stay.
func TestCommunicatorInProject(t *testing.T) {
	project, root := t.TempDir(), t.TempDir()
	theirs := []string{makeFile(t, project, "Counter", "main.go"), makeFile(t, project, "Echo", "volatile", "main.go")}
	before, err := os.Stat(project)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a second host finds what the first has made
		cmd := hostCommand(t, root, bothExamples, "--communicator", "./host.sock")
		cmd.Dir = project
		h := startCommand(t, root, cmd)
		h.wait(t, "ready")
		h.dormouse(t, "call", "Counter.get").expect(t, exitDone, `{"value":41}`)
		expectThere(t, true, filepath.Join(project, instancesDirName, "Counter", "volatile"), filepath.Join(project, "host.sock"))
		if code := h.end(t); code != exitDone {
			t.Errorf("the host ended with code %d:\n%s", code, h.log)
		}
	}
	expectThere(t, true, theirs...)
	expectThere(t, false, filepath.Join(project, instancesDirName, "Counter"), filepath.Join(project, "Counter", ".dormouse"))
	if after, err := os.Stat(project); err != nil || after.Mode() != before.Mode() {
		t.Errorf("the mode of the project became %v, %v", after.Mode(), err)
	}
}

// In a project's directory the host refuses to share a directory of the project, and leaves
// all else alone.
func TestRootInProject(t *testing.T) {
	for _, name := range []string{"images", "bin", "post-mortem"} {
		root := t.TempDir()
		theirs := makeFile(t, root, name, "Counter", "draft-1", "file")
		if err := os.Chmod(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
		said, err := hostCommand(t, root, bothExamples).CombinedOutput()
		if err == nil || !strings.Contains(string(said), filepath.Join(root, name)+" holds what Dormouse did not put there (Counter)") {
			t.Errorf("with %s it ended with %v:\n%s", name, err, said)
		}
		expectThere(t, true, theirs)
		if info, err := os.Stat(filepath.Join(root, name)); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s was changed: %v, %v", name, info.Mode(), err)
		}
	}
	root := t.TempDir()
	theirs := []string{makeFile(t, root, "persistent", "Copy", "file"), makeFile(t, root, "src", "main.go"), makeFile(t, root, "run", "Echo", "main.go")}
	h := startHost(t, root, bothExamples)
	h.wait(t, "the root directory is not the host's alone, and the host leaves the rest alone: src")
	h.wait(t, "the run directory is not the host's alone, and the host leaves the rest alone: Echo")
	h.wait(t, "ready")
	h.dormouse(t, "plugin", "show", "Echo").expect(t, exitDone, filepath.Join(root, "run", "Echo")+" holds what Dormouse did not put there (main.go)")
	h.dormouse(t, "plugin", "clone", "Counter", "Copy").expect(t, exitFailed, "!"+filepath.Join(root, "persistent", "Copy"))
	h.dormouse(t, "plugin", "clone", "Counter", "Other").expect(t, exitDone)
	h.dormouse(t, "plugin", "activate", "Other").expect(t, exitDone)
	h.dormouse(t, "plugin", "destroy", "Other").expect(t, exitDone)
	if code := h.end(t); code != exitDone {
		t.Errorf("the host ended with code %d:\n%s", code, h.log)
	}
	expectThere(t, true, theirs...)
}

// What a plugin has mounted below its directory is unmounted when the directory goes.
func TestMountsOfPlugins(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	root := t.TempDir()
	theirs := makeFile(t, t.TempDir(), "data", "file")
	h := startHost(t, root, bothExamples)
	h.wait(t, "ready")
	at := filepath.Join(root, "run", "Counter", "volatile", "data")
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(filepath.Dir(theirs), at, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	h.dormouse(t, "plugin", "deactivate", "Counter").expect(t, exitDone)
	expectThere(t, false, filepath.Join(root, "run", "Counter"))
	expectThere(t, true, theirs)
	h.dormouse(t, "plugin", "activate", "Counter").expect(t, exitDone)
	h.end(t)
}
