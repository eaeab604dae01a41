package criu_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dormouse/hibernate"
	"dormouse/hibernate/criu"
	"dormouse/hibernate/hibernatetest"
)

// A CRIU that was started early waits for its order inside the cgroup, and has ended
// after Close, with an order or without.
func TestPrestart(t *testing.T) {
	programs := t.TempDir()
	e := criu.Open("", programs)
	hibernatetest.RequireEngine(t, e)
	s := startSubject(t)
	defer s.End(t)
	if s.Cgroup() == "" {
		hibernatetest.SkipOrFail(t, errors.New("there is no cgroup v2"))
	}
	gone := func(when string) {
		t.Helper()
		work, err := filepath.Glob(filepath.Join(programs, "criu-*"))
		must(t, err)
		for _, pid := range s.Cgroup().Members() {
			if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && strings.Contains(string(line), "\x00swrk\x00") {
				work = append(work, fmt.Sprintf("process %d", pid))
			}
		}
		if len(work) > 0 {
			t.Errorf("%s there is still %v", when, work)
		}
	}

	e.Prestart(s.Cgroup(), nil).Close()
	gone("unused")

	before := s.State(t)
	started := e.Prestart(s.Cgroup(), nil)
	dir := t.TempDir()
	must(t, e.Dump(t.Context(), hibernate.DumpOrder{PID: s.PID(), Dir: dir, Cgroup: s.Cgroup(), Prestarted: started}))
	started.Close()
	gone("after the dump")
	if !s.Stopped(t) {
		t.Error("the tree runs after its dump")
	}
	s.Continue(t)
	if got := s.State(t); got != before {
		t.Errorf("the tree continued with state %q, want %q", got, before)
	}
}
