package criu_test

import (
	"errors"
	"os"
	"strconv"
	"testing"

	"dormouse/hibernate"
	"dormouse/hibernate/hibernatetest"
)

// A Go program keeps files of its cgroup open. The program must wake even if the cgroup
// was removed and made anew, any number of times.
func TestGoWakesInANewCgroup(t *testing.T) {
	e := openEngine(t)
	s := startSubject(t)
	defer func() { s.End(t) }()
	if s.cgroup == "" {
		hibernatetest.SkipOrFail(t, errors.New("there is no cgroup v2"))
	}
	for n := range 20 {
		dir := t.TempDir()
		s.Advance(t)
		must(t, e.Dump(t.Context(), hibernate.DumpOrder{PID: s.PID(), Dir: dir, Cgroup: s.cgroup}))
		s.End(t)
		must(t, s.cgroup.RemoveTreeWhenEmpty())
		must(t, s.cgroup.Make())
		files := s.Files(t)
		root, err := repeatAfterTrap(func() (*os.Process, error) {
			return e.Restore(t.Context(), hibernate.RestoreOrder{Dir: dir, Cgroup: s.cgroup, Files: files})
		})
		must(t, err)
		s.SetRoot(t, root)
		s.Continue(t)
		if got := s.State(t); got != strconv.Itoa(n+1) {
			t.Fatalf("state %s after wake %d", got, n+1)
		}
	}
}
