package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dormouse/configs"
	"dormouse/internal/tamper"
)

func TestSocketsFit(t *testing.T) {
	plugins := []configs.Plugin{{Callsign: "A"}, {Callsign: "Counter"}}
	for length, want := range map[int]bool{13: true, 74: true, 75: false, 200: false} {
		if got := socketPathsFit(strings.Repeat("d", length), plugins); got != want {
			t.Errorf("a run directory of %d bytes: %v, want %v", length, got, want)
		}
	}
}

func TestShortRunDir(t *testing.T) {
	t.Setenv("TMPDIR", "/tmp")
	long := "/" + strings.Repeat("long/", 30)
	dir := shortRunDirPath(long)
	if dir != shortRunDirPath(long) || dir == shortRunDirPath(long+"x") {
		t.Errorf("%s must depend on the root and on nothing else", dir)
	}
	if !socketPathsFit(dir, []configs.Plugin{{Callsign: strings.Repeat("c", 40)}}) {
		t.Errorf("%s is too long", dir)
	}
}

func TestPrivateDir(t *testing.T) {
	dir, guard := filepath.Join(t.TempDir(), "run"), tamper.GuardFor("/nowhere")
	if err := makeOrCheckPrivateDir(dir, guard); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("it was made with %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := makeOrCheckPrivateDir(dir, guard); err == nil {
		t.Error("a directory that others may write was accepted")
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if err := makeOrCheckPrivateDir(link, guard); err == nil {
		t.Error("a symbolic link was accepted")
	}
}
