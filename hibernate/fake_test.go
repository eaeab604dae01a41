package hibernate_test

import (
	"os"
	"strconv"
	"syscall"
	"testing"

	"dormouse/hibernate"
	"dormouse/hibernate/hibernatetest"
	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
)

// fakeSubject makes the fake engine's process a subject of the suite.
type fakeSubject struct {
	engine *hibernatetest.Fake
	root   *os.Process
}

func (s *fakeSubject) PID() int                               { return s.root.Pid }
func (s *fakeSubject) Cgroup() cgroup.Dir                     { return "" }
func (s *fakeSubject) State(*testing.T) string                { return s.engine.Memory(s.root.Pid) }
func (s *fakeSubject) Stopped(*testing.T) bool                { return procfs.IsStopped(s.root.Pid) }
func (s *fakeSubject) Files(*testing.T) []hibernate.Inherited { return nil }
func (s *fakeSubject) SetRoot(_ *testing.T, root *os.Process) { s.root = root }
func (s *fakeSubject) Continue(*testing.T)                    { procfs.ContinueStopped([]int{s.root.Pid}) }

func (s *fakeSubject) Advance(t *testing.T) {
	t.Helper()
	n, err := strconv.Atoi(s.State(t))
	if err != nil {
		t.Fatal(err)
	}
	s.engine.SetMemory(s.root.Pid, strconv.Itoa(n+1))
}

func (s *fakeSubject) End(t *testing.T) {
	t.Helper()
	if err := s.root.Signal(syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	if _, err := s.root.Wait(); err != nil {
		t.Error(err)
	}
}

func TestFake(t *testing.T) {
	engine := hibernatetest.NewFake(t)
	hibernatetest.RunEngineSuite(t, engine, func(t *testing.T) hibernatetest.Subject {
		t.Helper()
		return &fakeSubject{engine, engine.StartProcess(t, "0")}
	})
}
