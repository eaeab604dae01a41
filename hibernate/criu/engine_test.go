package criu_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/hibernate/criu"
	"dormouse/hibernate/hibernatetest"
	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
)

func TestEngine(t *testing.T) {
	e := openEngine(t)
	children := procfs.Children(os.Getpid())
	hibernatetest.RunEngineSuite(t, e, func(t *testing.T) hibernatetest.Subject {
		t.Helper()
		return startSubject(t)
	})
	if left := procfs.Children(os.Getpid()); len(left) != len(children) {
		t.Errorf("children left: %v, before there were %v", left, children)
	}
}

// The error of a dump quotes CRIU's log.
func TestDumpErrorNamesTheCause(t *testing.T) {
	e := openEngine(t)
	s := startSubject(t)
	defer s.End(t)
	conn, err := net.Dial("unix", s.socket)
	must(t, err)
	defer conn.Close()
	err = e.Dump(t.Context(), hibernate.DumpOrder{PID: s.PID(), Dir: t.TempDir(), Cgroup: s.cgroup})
	if err == nil || !strings.Contains(err.Error(), "unix") {
		t.Errorf("error %v, want one about the unix socket that is connected", err)
	}
	if s.Stopped(t) {
		t.Error("the tree is stopped")
	}
}

func TestDumpToAFullDisk(t *testing.T) {
	e := openEngine(t)
	dir := t.TempDir()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"))
	defer func() { must(t, unix.Unmount(dir, 0)) }()
	s := startSubject(t)
	defer s.End(t)
	s.Advance(t)
	if err := e.Dump(t.Context(), hibernate.DumpOrder{PID: s.PID(), Dir: dir, Cgroup: s.cgroup}); err == nil {
		t.Fatal("dumped a Go program into 64 KiB")
	}
	if got := s.State(t); s.Stopped(t) || got != "1" {
		t.Errorf("stopped %v with state %q, want running with 1", s.Stopped(t), got)
	}
}

func TestRestoreGivenUp(t *testing.T) {
	e := openEngine(t)
	s := startSubject(t)
	dir := t.TempDir()
	must(t, e.Dump(t.Context(), hibernate.DumpOrder{PID: s.PID(), Dir: dir, Cgroup: s.cgroup}))
	s.End(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	files := s.Files(t)
	root, err := e.Restore(ctx, hibernate.RestoreOrder{Dir: dir, Cgroup: s.cgroup, Files: files})
	if !errors.Is(err, context.Canceled) || root != nil {
		t.Fatalf("root %v, error %v, want nil, %v", root, err, context.Canceled)
	}
	if len(procfs.Children(os.Getpid())) != 0 {
		t.Errorf("children left: %v", procfs.Children(os.Getpid()))
	}
	root, err = e.Restore(t.Context(), hibernate.RestoreOrder{Dir: dir, Cgroup: s.cgroup, Files: files})
	must(t, err)
	s.SetRoot(t, root)
	s.Continue(t)
	defer s.End(t)
	if got := s.State(t); got != "0" {
		t.Errorf("state %q after a restore that was given up, want 0", got)
	}
}

func TestCheckSaysWhy(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "criu")
	for path, want := range map[string]string{missing: "cannot run " + missing, "/bin/false": "cannot run /bin/false"} {
		err := criu.Open(path, t.TempDir()).Check(t.Context())
		if !errors.Is(err, hibernate.ErrUnsupported) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %v with %q", path, err, hibernate.ErrUnsupported, want)
		}
	}
}

// A CRIU that is missing or fails for a while is tried again, and one that takes the place of
// another is asked for its version.
func TestCheckTriesAgain(t *testing.T) {
	working := openEngine(t).Path()
	path := filepath.Join(t.TempDir(), "criu")
	e := criu.Open(path, t.TempDir())
	put := func(script string) {
		must(t, os.WriteFile(path+".new", []byte("#!/bin/sh\n"+script), 0o700))
		must(t, os.Rename(path+".new", path))
	}
	wait := func(what string, is func(err error) bool) {
		t.Helper()
		tick, late := time.NewTicker(50*time.Millisecond), time.After(time.Minute)
		defer tick.Stop()
		for err := e.Check(t.Context()); !is(err); err = e.Check(t.Context()) {
			select {
			case <-tick.C:
			case <-late:
				t.Fatalf("not in time: %s: %v", what, err)
			}
		}
	}
	wait("it is missing", func(err error) bool { return errors.Is(err, hibernate.ErrUnsupported) })
	put("exec " + working + " \"$@\"")
	wait("it works", func(err error) bool { return err == nil })
	if e.Name() == "criu " {
		t.Error("its version is not known")
	}
	put("exit 1")
	wait("it fails", func(err error) bool { return errors.Is(err, hibernate.ErrUnsupported) })
	put("exec " + working + " \"$@\"")
	wait("it works again", func(err error) bool { return err == nil })
}

// A restore that is given up at any moment ends and leaves no process.
func TestRestoreGivenUpMidway(t *testing.T) {
	e := openEngine(t)
	dir := t.TempDir()
	s := startSubject(t)
	must(t, e.Dump(t.Context(), hibernate.DumpOrder{PID: s.PID(), Dir: dir, Cgroup: s.cgroup}))
	s.End(t)
	for _, group := range []cgroup.Dir{s.cgroup, ""} {
		for after := range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(after)*time.Millisecond)
			root, err := e.Restore(ctx, hibernate.RestoreOrder{Dir: dir, Cgroup: group, Files: s.Files(t)})
			cancel()
			if err == nil { // the restore was quicker
				must(t, root.Kill())
				_, err = root.Wait()
				must(t, err)
			}
			if left := procfs.Children(os.Getpid()); len(left) != 0 {
				t.Fatalf("given up after %d ms in cgroup %q: children left: %v", after, group, left)
			}
		}
	}
}

// After a check that was cut short the next one begins anew.
func TestCheckCutShort(t *testing.T) {
	openEngine(t)
	e := criu.Open("", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Check(ctx); !errors.Is(err, hibernate.ErrUnsupported) {
		t.Errorf("error %v, want %v", err, hibernate.ErrUnsupported)
	}
	must(t, e.Check(t.Context()))
}

// CRIU creates a directory in the working directory of a dumped process, and fails if it
// exists, because of another CRIU, or because a CRIU was killed.
func TestDumpsInOneWorkingDirectory(t *testing.T) {
	e := openEngine(t)
	t.Chdir(t.TempDir())
	must(t, os.Mkdir("proc.crtools", 0o700))
	subjects := []*subject{startSubject(t), startSubject(t), startSubject(t)}
	errs := make(chan error)
	for _, s := range subjects {
		dir := t.TempDir()
		go func() { errs <- e.Dump(t.Context(), hibernate.DumpOrder{PID: s.PID(), Dir: dir, Cgroup: s.cgroup}) }()
	}
	for range subjects {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	for _, s := range subjects {
		s.End(t)
	}
}

// A tree may hold more files than the soft limit that this process was started with,
// and keeps its own limit.
func TestMoreFilesThanTheSoftLimit(t *testing.T) {
	e := openEngine(t)
	var was, limit syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was))
	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 200, Max: was.Max}))
	defer func() { must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was)) }()
	s := startSubjectWith(t, "many files", syscall.SIGKILL)
	limits := func() string {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", procfs.Children(s.PID())[0]))
		must(t, err)
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "Max open files") {
				return line
			}
		}
		return ""
	}
	before := limits()
	s.Advance(t)
	dir := t.TempDir()
	must(t, e.Dump(t.Context(), hibernate.DumpOrder{PID: s.PID(), Dir: dir, Cgroup: s.cgroup}))
	s.End(t)
	files := s.Files(t)
	root, err := repeatAfterTrap(func() (*os.Process, error) {
		return e.Restore(t.Context(), hibernate.RestoreOrder{Dir: dir, Cgroup: s.cgroup, Files: files})
	})
	must(t, err)
	s.SetRoot(t, root)
	s.Continue(t)
	defer s.End(t)
	if got := s.State(t); got != "1" {
		t.Errorf("it is in state %s", got)
	}
	if got := limits(); got != before {
		t.Errorf("it has %swant %s", got, before)
	}
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	if limit.Cur != 200 {
		t.Errorf("this process may open %d files", limit.Cur)
	}
}

// A CRIU that other users could change is not run, however often it is asked for.
func TestCRIUThatMustNotRun(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "ran")
	program := filepath.Join(t.TempDir(), "criu")
	must(t, os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700)) //nolint:gosec // it is a program
	e := criu.Open(program, t.TempDir())
	must(t, os.WriteFile(program, []byte("#!/bin/sh\ntouch "+mark+"\n"), 0o700)) //nolint:gosec // it is a program
	refused := errors.New("other users could change it")
	e.CheckProgram = func(path string) error {
		if path != program {
			t.Errorf("%s was checked", path)
		}
		return refused
	}
	if err := e.Check(t.Context()); !errors.Is(err, refused) || !errors.Is(err, hibernate.ErrUnsupported) {
		t.Errorf("Check returned %v", err)
	}
	if err := e.Dump(t.Context(), hibernate.DumpOrder{PID: os.Getpid(), Dir: t.TempDir()}); !errors.Is(err, refused) {
		t.Errorf("Dump returned %v", err)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("it was run")
	}
}
