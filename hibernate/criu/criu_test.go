package criu_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/hibernate/criu"
	"dormouse/hibernate/criu/pager"
	"dormouse/hibernate/hibernatetest"
	"dormouse/internal/cgroup"
	"dormouse/internal/native"
	"dormouse/internal/procfs"
)

// subjectEnv makes the test binary the program that is dumped: its value is the
// socket that it answers on.
const subjectEnv = "DORMOUSE_TEST_SUBJECT"

// holdEnv names what the subject opens beside its socket, see holdings.
const holdEnv = "DORMOUSE_TEST_HOLD"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == pager.LoaderVerb {
		_ = pager.RunLoader(receiveFolder)
		return
	}
	if socket := os.Getenv(subjectEnv); socket != "" {
		serveSubject(socket)
	}
	if dir := os.Getenv(checkEnv); dir != "" {
		check(dir)
	}
	// What this process inherited must not become part of what is dumped.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// serveSubject answers "get" with a counter that "next" advances, and everything
// else as canvas does.
func serveSubject(socket string) {
	var c canvas
	err := hold(os.Getenv(holdEnv))
	var listener net.Listener
	if err == nil {
		listener, err = net.Listen("unix", socket)
	}
	for n := 0; err == nil; {
		var conn net.Conn
		if conn, err = listener.Accept(); err != nil {
			break
		}
		line, _ := bufio.NewReader(conn).ReadString('\n')
		switch words := strings.Fields(line + " get"); words[0] {
		case "next":
			n++
			fallthrough
		case "get":
			_, _ = fmt.Fprintf(conn, "%d\n", n)
		default:
			_, _ = fmt.Fprintln(conn, c.do(words))
		}
		_ = conn.Close()
	}
	_, _ = fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// subject is a Go program behind pid 1 of its namespace, with pipes to the
// outside.
type subject struct {
	socket string
	cgroup cgroup.Dir
	root   *os.Process
	read   *os.File // of the pipe that is its stdout
	write  *os.File // after the start only while a restore needs it
	key    string
}

func start(t *testing.T) *subject {
	t.Helper()
	return startWith(t, "", syscall.SIGKILL)
}

// startWith has the subject hold something, see hold, and get a signal when this
// process ends.
func startWith(t *testing.T, holding string, atEnd syscall.Signal) *subject {
	t.Helper()
	dir, err := os.MkdirTemp("", "dm") //nolint:usetesting // the path of a test's own directory is too long for sockets
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	pidone, err := native.InstallPidone(dir)
	must(t, err)
	self, err := os.Executable()
	must(t, err)
	s := &subject{socket: filepath.Join(dir, "s"), cgroup: hibernatetest.NewCgroup(t)}
	s.pipe(t)
	cmd := exec.Command(pidone, self)
	cmd.Env = []string{subjectEnv + "=" + s.socket, holdEnv + "=" + holding, "GORACE=atexit_sleep_ms=0"}
	cmd.Stdout = s.write
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: atEnd}
	if s.cgroup != "" {
		leaf, err := os.Open(string(s.cgroup))
		must(t, err)
		defer leaf.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(leaf.Fd())
	}
	must(t, cmd.Start())
	must(t, s.write.Close())
	s.root = cmd.Process
	wait(t, "the subject to listen", func() bool {
		conn, err := net.Dial("unix", s.socket)
		if err == nil {
			err = conn.Close()
		}
		return err == nil
	})
	s.State(t) // and is quiet again after that
	return s
}

// pipe gives the subject a fresh one.
func (s *subject) pipe(t *testing.T) {
	t.Helper()
	if s.read != nil {
		must(t, s.read.Close())
		_ = s.write.Close() // unless it was before
	}
	var err error
	s.read, s.write, err = os.Pipe()
	must(t, err)
}

func (s *subject) ask(t *testing.T, word string) string {
	t.Helper()
	conn, err := net.Dial("unix", s.socket)
	must(t, err)
	defer conn.Close()
	_, err = fmt.Fprintln(conn, word)
	must(t, err)
	answer, err := bufio.NewReader(conn).ReadString('\n')
	must(t, err)
	must(t, conn.Close())
	wait(t, "the subject to close its end", func() bool {
		peers, err := procfs.CountUnixPeers(s.socket)
		return err == nil && peers == 0
	})
	return strings.TrimSpace(answer)
}

func (s *subject) PID() int           { return s.root.Pid }
func (s *subject) Cgroup() cgroup.Dir { return s.cgroup }
func (s *subject) State(t *testing.T) string {
	t.Helper()
	return s.ask(t, "get")
}
func (s *subject) Advance(t *testing.T) {
	t.Helper()
	s.ask(t, "next")
}

func (s *subject) Stopped(*testing.T) bool {
	for _, pid := range procfs.Tree(s.root.Pid) {
		if !procfs.IsStopped(pid) {
			return false
		}
	}
	return true
}

func (s *subject) Continue(*testing.T) { procfs.Continue(procfs.Tree(s.root.Pid)) }

func (s *subject) End(t *testing.T) {
	t.Helper()
	must(t, s.root.Kill())
	_, err := s.root.Wait()
	must(t, err)
}

// Files hands over a new pipe under the old one's name.
func (s *subject) Files(t *testing.T) []hibernate.Inherited {
	t.Helper()
	s.key = inode(t, s.read)
	s.pipe(t)
	t.Cleanup(func() { _ = s.write.Close() })
	return []hibernate.Inherited{{Key: s.key, File: s.write}}
}

func (s *subject) SetRoot(_ *testing.T, root *os.Process) { s.root = root }

func inode(t *testing.T, f *os.File) string {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Fstat(int(f.Fd()), &st))
	return fmt.Sprintf("pipe:[%d]", st.Ino)
}

func open(t *testing.T) *criu.Engine {
	t.Helper()
	e := criu.Open("", t.TempDir())
	hibernatetest.RequireEngine(t, e)
	return e
}

func TestEngine(t *testing.T) {
	e := open(t)
	children := procfs.Children(os.Getpid())
	hibernatetest.RunSuite(t, e, func(t *testing.T) hibernatetest.Subject {
		t.Helper()
		return start(t)
	})
	if left := procfs.Children(os.Getpid()); len(left) != len(children) {
		t.Errorf("children left: %v, before there were %v", left, children)
	}
}

// What CRIU says in its log is the error.
func TestDumpErrorNamesTheCause(t *testing.T) {
	e := open(t)
	s := start(t)
	defer s.End(t)
	conn, err := net.Dial("unix", s.socket)
	must(t, err)
	defer conn.Close()
	err = e.Dump(t.Context(), hibernate.Dump{PID: s.PID(), Dir: t.TempDir(), Cgroup: s.cgroup})
	if err == nil || !strings.Contains(err.Error(), "unix") {
		t.Errorf("error %v, want one about the unix socket that is connected", err)
	}
	if s.Stopped(t) {
		t.Error("the tree is stopped")
	}
}

func TestDumpToAFullDisk(t *testing.T) {
	e := open(t)
	dir := t.TempDir()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"))
	defer func() { must(t, unix.Unmount(dir, 0)) }()
	s := start(t)
	defer s.End(t)
	s.Advance(t)
	if err := e.Dump(t.Context(), hibernate.Dump{PID: s.PID(), Dir: dir, Cgroup: s.cgroup}); err == nil {
		t.Fatal("dumped a Go program into 64 KiB")
	}
	if got := s.State(t); s.Stopped(t) || got != "1" {
		t.Errorf("stopped %v with state %q, want running with 1", s.Stopped(t), got)
	}
}

func TestGivingUp(t *testing.T) {
	e := open(t)
	s := start(t)
	dir := t.TempDir()
	must(t, e.Dump(t.Context(), hibernate.Dump{PID: s.PID(), Dir: dir, Cgroup: s.cgroup}))
	s.End(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	files := s.Files(t)
	root, err := e.Restore(ctx, hibernate.Restore{Dir: dir, Cgroup: s.cgroup, Files: files})
	if !errors.Is(err, context.Canceled) || root != nil {
		t.Fatalf("root %v, error %v, want nil, %v", root, err, context.Canceled)
	}
	if len(procfs.Children(os.Getpid())) != 0 {
		t.Errorf("children left: %v", procfs.Children(os.Getpid()))
	}
	root, err = e.Restore(t.Context(), hibernate.Restore{Dir: dir, Cgroup: s.cgroup, Files: files})
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

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wait polls for what nobody announces.
func wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// However late it is given up, an operation ends and leaves nothing.
func TestGivingUpMidway(t *testing.T) {
	e := open(t)
	dir := t.TempDir()
	s := start(t)
	must(t, e.Dump(t.Context(), hibernate.Dump{PID: s.PID(), Dir: dir, Cgroup: s.cgroup}))
	s.End(t)
	for _, group := range []cgroup.Dir{s.cgroup, ""} {
		for after := range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(after)*time.Millisecond)
			root, err := e.Restore(ctx, hibernate.Restore{Dir: dir, Cgroup: group, Files: s.Files(t)})
			cancel()
			if err == nil { // it was quicker
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

// A check that was cut short has not decided anything.
func TestCheckCutShort(t *testing.T) {
	open(t)
	e := criu.Open("", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Check(ctx); !errors.Is(err, hibernate.ErrUnsupported) {
		t.Errorf("error %v, want %v", err, hibernate.ErrUnsupported)
	}
	must(t, e.Check(t.Context()))
}

// CRIU makes a directory in the working directory of what it dumps, and fails
// when there is one: another's, or one left by a CRIU that was killed.
func TestDumpsInOneWorkingDirectory(t *testing.T) {
	e := open(t)
	t.Chdir(t.TempDir())
	must(t, os.Mkdir("proc.crtools", 0o700))
	subjects := []*subject{start(t), start(t), start(t)}
	errs := make(chan error)
	for _, s := range subjects {
		dir := t.TempDir()
		go func() { errs <- e.Dump(t.Context(), hibernate.Dump{PID: s.PID(), Dir: dir, Cgroup: s.cgroup}) }()
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
	e := open(t)
	var was, limit syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was))
	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 200, Max: was.Max}))
	defer func() { must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was)) }()
	s := startWith(t, "many files", syscall.SIGKILL)
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
	must(t, e.Dump(t.Context(), hibernate.Dump{PID: s.PID(), Dir: dir, Cgroup: s.cgroup}))
	s.End(t)
	root, err := e.Restore(t.Context(), hibernate.Restore{Dir: dir, Cgroup: s.cgroup, Files: s.Files(t)})
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
