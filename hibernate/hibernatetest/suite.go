// Package hibernatetest has the test suites that every hibernate.Engine must pass, a fake
// engine for tests of code that uses engines, and helpers that skip a test if the machine
// lacks something.
package hibernatetest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dormouse/hibernate"
	"dormouse/internal/cgroup"
)

// Subject is a process tree that an engine is tested with.
type Subject interface {
	// PID returns the process id of the root. The engine can dump the tree.
	PID() int
	// Cgroup returns the directory of the tree's own cgroup, or "".
	Cgroup() cgroup.Dir
	// State returns a text that only a tree with its memory intact can return.
	State(t *testing.T) string
	// Advance changes what State returns.
	Advance(t *testing.T)
	// Stopped reports whether all threads of the tree are stopped.
	Stopped(t *testing.T) bool
	// Continue lets the stopped tree run.
	Continue(t *testing.T)
	// End kills and reaps the tree, running or stopped, with all its processes.
	End(t *testing.T)
	// Files returns the files that the restored tree must inherit.
	Files(t *testing.T) []hibernate.Inherited
	// SetRoot makes the restored process the root of the tree.
	SetRoot(t *testing.T, root *os.Process)
}

// RunEngineSuite runs the tests that every engine must pass, as subtests of t. start makes a
// new subject for each of them.
func RunEngineSuite(t *testing.T, e hibernate.Engine, start func(t *testing.T) Subject) { //nolint:thelper // its subtests are the tests
	t.Run("check passes and is repeatable", func(t *testing.T) {
		for range 2 {
			if err := e.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("the name has a version", func(t *testing.T) {
		if words := strings.Fields(e.Name()); len(words) != 2 {
			t.Errorf("Name() = %q, want engine and version", e.Name())
		}
	})
	t.Run("a dump leaves the tree stopped and it can go on", func(t *testing.T) {
		s := start(t)
		defer s.End(t)
		before := s.State(t)
		dumpSubject(t, e, s)
		if !s.Stopped(t) {
			t.Error("the tree runs after its dump")
		}
		s.Continue(t)
		if got := s.State(t); got != before {
			t.Errorf("the tree continued with state %q, want %q", got, before)
		}
	})
	t.Run("a restored tree is stopped and has its state", func(t *testing.T) {
		s := start(t)
		s.Advance(t)
		before := s.State(t)
		dir := dumpSubject(t, e, s)
		s.End(t)
		restoreSubject(t, e, s, dir)
		defer s.End(t)
		if !s.Stopped(t) {
			t.Error("the tree runs after its restore")
		}
		s.Continue(t)
		if got := s.State(t); got != before {
			t.Errorf("the tree came back with state %q, want %q", got, before)
		}
	})
	t.Run("a restored tree can be dumped again", func(t *testing.T) {
		s := start(t)
		for range 3 {
			s.Advance(t)
			before := s.State(t)
			dir := dumpSubject(t, e, s)
			s.End(t)
			restoreSubject(t, e, s, dir)
			s.Continue(t)
			if got := s.State(t); got != before {
				t.Fatalf("the tree came back with state %q, want %q", got, before)
			}
		}
		s.End(t)
	})
	t.Run("an image can be restored after an attempt that failed", func(t *testing.T) {
		s := start(t)
		before := s.State(t)
		dir := dumpSubject(t, e, s)
		s.End(t)
		hidden := filepath.Join(t.TempDir(), "hidden")
		victim := filepath.Join(dir, firstFileName(t, dir))
		must(t, os.Rename(victim, hidden))
		if _, err := e.Restore(t.Context(), hibernate.RestoreOrder{Dir: dir, Cgroup: s.Cgroup(), Files: s.Files(t)}); err == nil {
			t.Fatal("restored an image that lacks a file")
		}
		must(t, os.Rename(hidden, victim))
		restoreSubject(t, e, s, dir)
		defer s.End(t)
		s.Continue(t)
		if got := s.State(t); got != before {
			t.Errorf("the tree came back with state %q, want %q", got, before)
		}
	})
	t.Run("a dump that fails leaves the tree running", func(t *testing.T) {
		s := start(t)
		defer s.End(t)
		before := s.State(t)
		gone := filepath.Join(t.TempDir(), "gone")
		if err := e.Dump(t.Context(), hibernate.DumpOrder{PID: s.PID(), Dir: gone, Cgroup: s.Cgroup()}); err == nil {
			t.Fatal("dumped into a directory that does not exist")
		}
		if s.Stopped(t) {
			t.Error("the tree is stopped after a dump that failed")
		}
		if got := s.State(t); got != before {
			t.Errorf("the tree has state %q, want %q", got, before)
		}
	})
	t.Run("a dump hands the memory over", func(t *testing.T) {
		s := start(t)
		s.Advance(t)
		before := s.State(t)
		dir, taken := t.TempDir(), &pageFileWriter{dir: t.TempDir()}
		must(t, e.Dump(t.Context(), hibernate.DumpOrder{PID: s.PID(), Dir: dir, Cgroup: s.Cgroup(), Pages: taken.createPageFile}))
		s.End(t)
		if len(taken.names) == 0 || taken.open != nil {
			t.Errorf("files %q were handed over, %v is open", taken.names, taken.open)
		}
		for _, name := range taken.names {
			if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(name, "pages-") {
				t.Errorf("%s was handed over and is in the directory: %v", name, err)
			}
			must(t, os.Rename(filepath.Join(taken.dir, name), filepath.Join(dir, name)))
		}
		restoreSubject(t, e, s, dir)
		defer s.End(t)
		s.Continue(t)
		if got := s.State(t); got != before {
			t.Errorf("the tree came back with state %q, want %q", got, before)
		}
	})
	for name, fault := range map[string]pageFileWriter{"made": {createError: errFull}, "written": {writeError: errFull}} {
		t.Run("a dump whose memory can't be "+name+" leaves the tree running", func(t *testing.T) {
			s := start(t)
			defer s.End(t)
			before := s.State(t)
			fault.dir = t.TempDir()
			err := e.Dump(t.Context(), hibernate.DumpOrder{PID: s.PID(), Dir: t.TempDir(), Cgroup: s.Cgroup(), Pages: fault.createPageFile})
			if !errors.Is(err, errFull) {
				t.Errorf("error %v, want %v", err, errFull)
			}
			if s.Stopped(t) {
				t.Error("the tree is stopped after a dump that failed")
			}
			if got := s.State(t); got != before {
				t.Errorf("the tree has state %q, want %q", got, before)
			}
		})
	}
	t.Run("what runs meanwhile is not touched", func(t *testing.T) {
		a, b := start(t), start(t)
		defer b.End(t)
		before := b.State(t)
		dir := dumpSubject(t, e, a)
		a.End(t)
		restoreSubject(t, e, a, dir)
		a.End(t)
		if got := b.State(t); got != before {
			t.Errorf("another tree has state %q, want %q", got, before)
		}
	})
}

// errFull is the error with which a test makes a pageFileWriter fail.
var errFull = errors.New("there is no room")

// pageFileWriter writes the page files of a dump into dir, one after the other. createPageFile
// returns createError and Write returns writeError if they are set.
type pageFileWriter struct {
	dir                     string
	createError, writeError error
	names                   []string
	open                    *os.File
}

// createPageFile creates the page file of that name. It fails if the last one is not closed.
func (k *pageFileWriter) createPageFile(name string) (io.WriteCloser, error) {
	if k.open != nil {
		return nil, fmt.Errorf("%s is not closed", k.open.Name())
	}
	if k.createError != nil {
		return nil, k.createError
	}
	var err error
	k.open, err = os.Create(filepath.Join(k.dir, name))
	k.names = append(k.names, name)
	return k, err
}

// Write appends the data to the page file that was created last.
func (k *pageFileWriter) Write(data []byte) (int, error) {
	if k.writeError != nil {
		return 0, k.writeError
	}
	return k.open.Write(data)
}

// Close closes the page file that was created last.
func (k *pageFileWriter) Close() error {
	err := k.open.Close()
	k.open = nil
	return err
}

// dumpSubject dumps the subject into a new directory and returns that.
func dumpSubject(t *testing.T, e hibernate.Engine, s Subject) (dir string) {
	t.Helper()
	dir = t.TempDir()
	must(t, e.Dump(t.Context(), hibernate.DumpOrder{PID: s.PID(), Dir: dir, Cgroup: s.Cgroup()}))
	return dir
}

// restoreSubject restores the image in dir and makes the restored root the subject's.
func restoreSubject(t *testing.T, e hibernate.Engine, s Subject, dir string) {
	t.Helper()
	root, err := e.Restore(t.Context(), hibernate.RestoreOrder{Dir: dir, Cgroup: s.Cgroup(), Files: s.Files(t)})
	must(t, err)
	s.SetRoot(t, root)
}

// firstFileName returns the name of the alphabetically first file of an image.
func firstFileName(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	if len(names) == 0 {
		t.Fatal("the image has no file")
	}
	return slices.Min(names)
}

// must ends the test with the error unless it is nil.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
