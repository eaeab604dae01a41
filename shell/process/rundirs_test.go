package process

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"dormouse/hibernate"
	"dormouse/internal/ownedtree"
)

// mustMakeFile makes a file and its directories.
func mustMakeFile(t *testing.T, elements ...string) string {
	t.Helper()
	path := filepath.Join(elements...)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Run directories of earlier versions have no mark, and are known by what is in them.
func TestRunDirsOfEarlierVersions(t *testing.T) {
	all := t.TempDir()
	if HoldsInstances(all) {
		t.Error("an empty directory holds instances")
	}
	mustMakeFile(t, all, "Project", "volatile", "file")
	mustMakeFile(t, all, "Mixed", journalName)
	mustMakeFile(t, all, "Mixed", "README")
	if HoldsInstances(all) {
		t.Error("a project's directories are taken for instances")
	}
	for _, dir := range []string{"own", "own/Counter", "own/volatile"} { // a directory of other run directories
		if err := ownedtree.Make(filepath.Join(all, dir)); err != nil {
			t.Fatal(err)
		}
	}
	if HoldsInstances(all) || HoldsInstances(filepath.Join(all, "own")) {
		t.Error("directories without instances are taken for some")
	}
	mustMakeFile(t, all, "own", "Counter", "volatile", "file")
	if HoldsInstances(all) || !HoldsInstances(filepath.Join(all, "own")) {
		t.Error("the instance is not seen where it is")
	}
	mustMakeFile(t, all, "Running", journalName)
	mustMakeFile(t, all, "Running", "volatile", "file")
	if err := os.MkdirAll(filepath.Join(all, "Asleep", "volatile"), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(all, "Asleep", "plugin123"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if !HoldsInstances(all) {
		t.Error("instances of an earlier version are not seen")
	}
	for name, want := range map[string]bool{"Running": true, "Asleep": true, "Mixed": false, "Project": false, "Missing": false} {
		dir := filepath.Join(all, name)
		if err := markRunDirOfEarlierVersion(dir); err != nil || ownedtree.IsMarked(dir) != want {
			t.Errorf("%s: marked %v, %v", name, !want, err)
		}
	}
}

// The files of an instance that is gone are removed where the host has made them.
func TestRemoveInstanceFiles(t *testing.T) {
	root := t.TempDir()
	images, err := hibernate.OpenStore(filepath.Join(root, "images"))
	if err != nil {
		t.Fatal(err)
	}
	defer images.Close()
	h := Host{StateDir: root, RunDir: filepath.Join(root, "run"), Images: images}
	persistent, run := mustMakeFile(t, root, PersistentName, "X", "file"), mustMakeFile(t, h.RunDir, "X", "file")
	if err := h.RemoveInstanceFiles("X"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{persistent, run} {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("it was not the host's: %v", err)
		}
	}
	for _, dir := range []string{filepath.Join(root, PersistentName), filepath.Join(h.RunDir, "X")} {
		if err := ownedtree.Mark(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.RemoveInstanceFiles("X"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{persistent, run} {
		if _, err := os.Stat(filepath.Dir(path)); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", filepath.Dir(path), err)
		}
	}
}
