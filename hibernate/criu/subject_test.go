package criu_test

import (
	"bufio"
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

// subjectEnv makes the test binary the subject, the program that is dumped. Its value is
// the path of the socket on which the subject answers.
const subjectEnv = "DORMOUSE_TEST_SUBJECT"

// openEnv names an object that the subject opens, see openable.
const openEnv = "DORMOUSE_TEST_HOLD"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == pager.LoaderVerb {
		_ = pager.RunLoader(receiveFolderMemory)
		return
	}
	if socket := os.Getenv(subjectEnv); socket != "" {
		serveSubject(socket)
	}
	if text := os.Getenv(wakingHostEnv); text != "" {
		runWakingHost(text)
	}
	if dir := os.Getenv(checkingHostEnv); dir != "" {
		runChecker(dir)
	}
	// An inherited descriptor must not become part of a dumped tree.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// serveSubject answers "get" with a counter, "next" with the advanced counter, and all
// other orders as paintedMemory does.
func serveSubject(socket string) {
	var c paintedMemory
	err := openObject(os.Getenv(openEnv))
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

// subject is the process of a Go program behind pid 1 of its namespace, with a pipe to
// the outside.
type subject struct {
	socket string
	cgroup cgroup.Dir
	root   *os.Process
	read   *os.File // of the pipe that is its stdout
	write  *os.File // after the start only while a restore needs it
	key    string
}

func startSubject(t *testing.T) *subject {
	t.Helper()
	return startSubjectWith(t, "", syscall.SIGKILL)
}

// startSubjectWith starts a subject that opens an object, see openObject, and gets a
// signal when this process ends.
func startSubjectWith(t *testing.T, holding string, atEnd syscall.Signal) *subject {
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
	cmd.Env = []string{subjectEnv + "=" + s.socket, openEnv + "=" + holding, "GORACE=atexit_sleep_ms=0"}
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
	s.State(t) // the subject is quiet after its answer
	return s
}

// pipe creates a new pipe for the subject.
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
		peers, err := procfs.CountUnixConnections(s.socket)
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

func (s *subject) Continue(*testing.T) { procfs.ContinueStopped(procfs.Tree(s.root.Pid)) }

func (s *subject) End(t *testing.T) {
	t.Helper()
	must(t, s.root.Kill())
	_, err := s.root.Wait()
	must(t, err)
}

// Files creates a new pipe, which a restore puts in the place of the old one.
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

func openEngine(t *testing.T) *criu.Engine {
	t.Helper()
	e := criu.Open("", t.TempDir())
	hibernatetest.RequireEngine(t, e)
	return e
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wait polls until done returns true.
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
