package criu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/internal/procfs"
	"dormouse/internal/spawn"
)

// LoaderVerb is the first argument of a loader: this program, which brings memory
// in instead of a process that may end before all is in. Its main function must
// call Load when it is given it.
const LoaderVerb = "load"

// loaderName is what a loader calls itself.
const loaderName = "dormouse-load"

// IsLoader tells a loader from other processes. It ends by itself when the tree
// that it loads for has ended, and must not before.
func IsLoader(pid int) bool { return procfs.Name(pid) == loaderName }

// collect reaps loaders that ended between two programs of this process.
func collect() {
	for _, child := range procfs.Children(os.Getpid()) {
		if procfs.Zombie(child) && IsLoader(child) {
			_, _ = syscall.Wait4(child, nil, syscall.WNOHANG, nil) // somebody else may have
		}
	}
}

// What a loader is told. An order comes first, with CRIU's socket.
type (
	order struct {
		Programs        string
		Quiet, Patience time.Duration
		Memory          json.RawMessage
		Pages           int // files of the memory
	}
	command struct {
		// Confirm asks whether all that CRIU reads by itself is right. From then on the
		// loader goes on without whoever asked, for the tree below Root unless that
		// is 0.
		Confirm bool
		Root    int
		Hurry   bool
	}
)

// report is what a loader says, whenever that changes.
type report struct {
	Loaded, Total   int64
	Confirmed, Done bool
	Failure         string
	Refused         bool // the failure is an ErrRefused
}

// loader is a loading by another process, see LoaderVerb. It is found in a
// directory, by a socket that is named by its PID and there until all is loaded.
type loader struct {
	conn  *net.UnixConn
	path  string
	pidfd int
	order order

	loaded, total atomic.Int64
	confirmed     chan struct{}
	done          chan struct{}
	err           error // after done

	leaving atomic.Bool
	closing sync.Once
}

var _ hibernate.Loading = (*loader)(nil)

// startLoader starts a process that can bring the memory of the images in, which
// others find in dir.
func startLoader(dir, images string, m hibernate.MovableMemory, o order) (_ *loader, err error) {
	collect()
	fresh := filepath.Join(dir, "new")
	defer func() {
		if err != nil {
			_ = os.Remove(fresh)
		}
		err = errors.Join(err, m.Close())
	}()
	text, pages, err := m.Move()
	if err != nil {
		return nil, err
	}
	o.Memory, o.Pages = text, len(pages)
	layout, err := os.Open(images)
	if err != nil {
		return nil, err
	}
	defer layout.Close()
	socket, err := bind(fresh)
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	near, far, err := connected()
	if err != nil {
		return nil, err
	}
	defer far.Close()
	cmd := exec.Command("/proc/self/exe", LoaderVerb, dir)
	cmd.Args[0], cmd.Dir = os.Args[0], dir
	cmd.ExtraFiles = append([]*os.File{far, socket, layout}, pages...) // see Load
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}               // no signal of the terminal's is for it
	if err := spawn.Exclusive(cmd.Start); err != nil {
		return nil, errors.Join(err, near.Close())
	}
	pid := cmd.Process.Pid
	path := filepath.Join(dir, strconv.Itoa(pid))
	err = os.Rename(fresh, path)
	var l *loader
	if err == nil {
		l, err = newLoader(near, path, pid)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_, _ = cmd.Process.Wait()
		return nil, errors.Join(err, near.Close())
	}
	l.order = o
	return l, cmd.Process.Release()
}

// newLoader follows what the process says on conn.
func newLoader(conn *net.UnixConn, path string, pid int) (*loader, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, err
	}
	l := &loader{conn: conn, path: path, pidfd: pidfd, confirmed: make(chan struct{}), done: make(chan struct{})}
	go l.follow()
	return l, nil
}

// Rejoin finds the loader in dir, see hibernate.LazyEngine.
func (e *Engine) Rejoin(dir string) (hibernate.Loading, error) {
	defer collect()
	entries, err := os.ReadDir(dir)
	if len(entries) == 0 {
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		return nil, err
	}
	path := filepath.Join(dir, entries[0].Name())
	conn, err := dial(path)
	if errors.Is(err, os.ErrNotExist) { // it was nearly through
		return nil, nil //nolint:nilnil // as promised
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errLoaderGone, err)
	}
	pid, err := peer(conn)
	var l *loader
	if err == nil {
		l, err = newLoader(conn, path, pid)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return l, nil
}

var errLoaderGone = errors.New("the process that loaded it has ended before all was in")

// attend has the loader take over the address spaces that CRIU makes while restore
// runs.
func (l *loader) attend(_ context.Context, workDir int32, restore func() error) error {
	listener, err := listenCRIU(workDir)
	if err != nil {
		return err
	}
	listener.SetUnlinkOnClose(false) // CRIU has yet to find it
	socket, err := listener.File()
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	_, _, err = l.conn.WriteMsgUnix([]byte{0}, unix.UnixRights(int(socket.Fd())), nil)
	err = errors.Join(err, socket.Close(), listener.Close())
	if err == nil {
		err = l.tell(l.order)
	}
	if err == nil {
		err = restore()
	}
	return err
}

// confirm returns when the loader goes on by itself, see command.
func (l *loader) confirm(ctx context.Context, _ string, root int) error {
	if err := l.tell(command{Confirm: true, Root: root}); err != nil {
		return errors.Join(err, l.Err())
	}
	select {
	case <-l.confirmed:
		return nil
	case <-l.done:
		return l.Err()
	case <-ctx.Done():
		return fmt.Errorf("the process that loads the memory does not answer: %w", ctx.Err())
	}
}

func (l *loader) tell(what any) error { return json.NewEncoder(l.conn).Encode(what) }

// follow notes what the loader reports until there is nothing more to say.
func (l *loader) follow() {
	defer close(l.done)
	reports := json.NewDecoder(l.conn)
	for {
		var r report
		err := reports.Decode(&r)
		switch {
		case l.leaving.Load():
			return
		case err != nil:
			if _, err := os.Lstat(l.path); err == nil { // or all is in
				l.err = errLoaderGone
			}
			return
		case r.Failure != "":
			l.err = &remoteError{r.Failure, r.Refused}
			return
		}
		l.loaded.Store(r.Loaded)
		l.total.Store(r.Total)
		if r.Done {
			return
		}
		if r.Confirmed {
			select {
			case <-l.confirmed:
			default:
				close(l.confirmed)
			}
		}
	}
}

// Done, Err, Progress and Hurry are those of hibernate.Loading.

// Done is closed when nothing more is loaded.
func (l *loader) Done() <-chan struct{} { return l.done }

// Err is why the loading failed.
func (l *loader) Err() error {
	select {
	case <-l.done:
		return l.err
	default:
		return nil
	}
}

// Progress counts bytes.
func (l *loader) Progress() (done, total int64) { return l.loaded.Load(), l.total.Load() }

// Hurry ends all patience.
func (l *loader) Hurry() { _ = l.tell(command{Hurry: true}) } // follow finds out if it is gone

// Leave lets the other process go on alone, see hibernate.Loading.
func (l *loader) Leave() {
	l.closing.Do(func() {
		l.leaving.Store(true)
		l.part()
	})
}

// Close ends the other process, see hibernate.Loading.
func (l *loader) Close() {
	l.closing.Do(func() {
		_ = unix.PidfdSendSignal(l.pidfd, unix.SIGKILL, nil, 0) // it may have ended
		poll := []unix.PollFd{{Fd: int32(l.pidfd), Events: unix.POLLIN}}
		for {
			if _, err := unix.Poll(poll, -1); !errors.Is(err, unix.EINTR) {
				break
			}
		}
		_ = unix.Waitid(unix.P_PIDFD, l.pidfd, nil, unix.WEXITED, nil) // if it is a child
		l.part()
		_ = os.Remove(l.path) // it is gone if all is in
	})
}

func (l *loader) part() {
	_ = l.conn.Close()
	<-l.done
	_ = unix.Close(l.pidfd)
}

// remoteError is a failure as the loader tells it.
type remoteError struct {
	text    string
	refused bool
}

func (e *remoteError) Error() string        { return e.text }
func (e *remoteError) Is(target error) bool { return e.refused && target == hibernate.ErrRefused }

// bind makes a socket that nobody can connect to yet.
func bind(path string) (*os.File, error) {
	n, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	socket := os.NewFile(uintptr(n), "socket")
	err = through(path, func(short string) error { return unix.Bind(n, &unix.SockaddrUnix{Name: short}) })
	if err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	return socket, nil
}

func dial(path string) (conn *net.UnixConn, err error) {
	err = through(path, func(short string) error {
		conn, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: short, Net: "unix"})
		return err
	})
	return conn, err
}

// through calls with a path to the same that is short enough for a socket.
func through(path string, call func(short string) error) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return call(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}

// peer is the process that listens where conn was made.
func peer(conn *net.UnixConn) (pid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	cerr := raw.Control(func(fd uintptr) {
		var who *unix.Ucred
		if who, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(who.Pid)
		}
	})
	return pid, errors.Join(err, cerr)
}

// connected returns two ends of a connection, the second for another process.
func connected() (*net.UnixConn, *os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	near, far := os.NewFile(uintptr(pair[0]), "near"), os.NewFile(uintptr(pair[1]), "far")
	defer near.Close()
	conn, err := net.FileConn(near)
	if err != nil {
		return nil, nil, errors.Join(err, far.Close())
	}
	return conn.(*net.UnixConn), far, nil //nolint:forcetypeassert // it is one
}
