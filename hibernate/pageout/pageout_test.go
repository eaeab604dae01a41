package pageout_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/hibernate/hibernatetest"
	"dormouse/hibernate/pageout"
	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
)

// subjectEnv makes the test binary the program that sleeps; with the value
// "locked" it keeps its memory from being paged out.
const subjectEnv = "DORMOUSE_TEST_SUBJECT"

func TestMain(m *testing.M) {
	if kind := os.Getenv(subjectEnv); kind != "" {
		serveSubject(kind)
		return
	}
	os.Exit(m.Run())
}

// serveSubject answers each line with a digest of its memory, which "next"
// changes.
func serveSubject(kind string) {
	memory := make([]byte, 32<<20)
	for i := range memory {
		memory[i] = byte(i * i >> 8)
	}
	if kind == "locked" {
		if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_ONFAULT); err != nil {
			_, _ = fmt.Fprintln(os.Stdout, err)
			return
		}
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if lines.Text() == "next" {
			memory[len(memory)/2]++
		}
		_, _ = fmt.Fprintf(os.Stdout, "%x\n", sha256.Sum256(memory))
	}
}

// subject is a shell with the program and a reader of its output below it.
type subject struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	cgroup cgroup.Dir
}

func startSubject(t *testing.T, kind string) *subject {
	t.Helper()
	s := &subject{cgroup: newCgroup(t)}
	self, err := os.Executable()
	must(t, err)
	s.cmd = exec.Command("sh", "-c", `"$0" | cat`, self)
	s.cmd.Env = []string{subjectEnv + "=" + kind, "GORACE=atexit_sleep_ms=0", "PATH=" + os.Getenv("PATH")}
	leaf, err := os.Open(string(s.cgroup))
	must(t, err)
	defer leaf.Close()
	s.cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true, Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL, UseCgroupFD: true, CgroupFD: int(leaf.Fd()),
	}
	s.in, err = s.cmd.StdinPipe()
	must(t, err)
	out, err := s.cmd.StdoutPipe()
	must(t, err)
	s.out = bufio.NewReader(out)
	must(t, s.cmd.Start())
	s.State(t) // it runs
	return s
}

// newCgroup skips the test if the machine has no cgroup v2.
func newCgroup(t *testing.T) cgroup.Dir {
	t.Helper()
	dir := hibernatetest.NewCgroup(t)
	if dir == "" {
		hibernatetest.SkipOrFail(t, errors.New("cgroup v2 is not mounted"))
	}
	return dir
}

func (s *subject) tree() pageout.Tree {
	return pageout.Tree{PID: s.cmd.Process.Pid, Cgroup: s.cgroup}
}

func (s *subject) Sleep(ctx context.Context) error {
	_, err := pageout.Engine{}.Sleep(ctx, s.tree())
	return err
}

func (s *subject) Wake() error { return pageout.Engine{}.Wake(s.tree()) }

func (s *subject) sendLine(t *testing.T, line string) string {
	t.Helper()
	_, err := fmt.Fprintln(s.in, line)
	must(t, err)
	answer, err := s.out.ReadString('\n')
	must(t, err)
	return answer
}

func (s *subject) State(t *testing.T) string { t.Helper(); return s.sendLine(t, "get") }
func (s *subject) Advance(t *testing.T)      { t.Helper(); s.sendLine(t, "next") }

func (s *subject) Stopped(t *testing.T) bool {
	t.Helper()
	events, err := os.ReadFile(filepath.Join(string(s.cgroup), "cgroup.events"))
	must(t, err)
	return strings.Contains(string(events), "frozen 1")
}

func (s *subject) End(t *testing.T) {
	t.Helper()
	must(t, s.cgroup.Set("cgroup.kill", "1"))
	_ = s.cmd.Wait() // it was killed
	must(t, s.cgroup.WaitUntilEmpty())
}

func (s *subject) Resident() int64 {
	return procfs.ResidentAnonymousBytes(procfs.Tree(s.cmd.Process.Pid))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestEngine(t *testing.T) {
	hibernatetest.SwitchSwapOn(t)
	hibernatetest.RunInPlaceSuite(t, pageout.Engine{}.Check, func(t *testing.T) hibernatetest.InPlaceSubject {
		t.Helper()
		return startSubject(t, "plain")
	})
}

// MemoryUse agrees with what /proc says.
func TestMemoryUse(t *testing.T) {
	hibernatetest.SwitchSwapOn(t)
	s := startSubject(t, "plain")
	defer s.End(t)
	tree := procfs.Tree(s.tree().PID)
	if len(tree) < 3 {
		t.Fatalf("the tree is %v", tree)
	}
	use, err := pageout.Engine{}.Sleep(t.Context(), s.tree())
	must(t, err)
	if use.Before < 32<<20 || use.Swapped < 32<<20 || use.Resident != procfs.ResidentAnonymousBytes(tree) || use.Swapped != procfs.SwappedBytes(tree) {
		t.Errorf("got %+v; resident are %d, swapped %d", use, procfs.ResidentAnonymousBytes(tree), procfs.SwappedBytes(tree))
	}
}

// A tree whose memory is locked is not put to sleep.
func TestLockedMemoryIsRefused(t *testing.T) {
	hibernatetest.SwitchSwapOn(t)
	s := startSubject(t, "locked")
	defer s.End(t)
	before := s.State(t)
	if err := s.Sleep(t.Context()); !errors.Is(err, pageout.ErrStays) {
		t.Fatalf("got %v, want ErrStays", err)
	}
	if s.State(t) != before || s.Stopped(t) {
		t.Error("it does not run as before")
	}
}

func TestWithoutCgroup(t *testing.T) {
	if _, err := (pageout.Engine{}).Sleep(t.Context(), pageout.Tree{PID: os.Getpid()}); !errors.Is(err, hibernate.ErrUnsupported) {
		t.Errorf("got %v, want ErrUnsupported", err)
	}
}
