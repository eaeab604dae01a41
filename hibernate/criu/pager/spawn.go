package pager

import (
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
func IsLoader(pid int) bool { return procfs.Command(pid) == loaderName }

// collect reaps loaders that ended between two programs of this process.
func collect() {
	for _, child := range procfs.Children(os.Getpid()) {
		if procfs.HasEnded(child) && IsLoader(child) {
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
	// What it is started with.
	dir, images string
	memory      hibernate.MovableMemory
	order       order

	conn  *net.UnixConn // nil before it is started
	path  string
	pidfd int

	loaded, total atomic.Int64
	confirmed     chan struct{}
	done          chan struct{}
	err           error // after done

	leaving atomic.Bool
	closing sync.Once
}

var _ Server = (*loader)(nil)

func newLoader() *loader {
	return &loader{confirmed: make(chan struct{}), done: make(chan struct{})}
}

// start has the process take CRIU's socket over.
func (l *loader) start(criu *net.UnixListener) error {
	defer func() {
		_ = l.memory.Close() // which was only read
		l.memory = nil
	}()
	if err := l.launch(); err != nil {
		l.err = fmt.Errorf("cannot start the process that loads the memory: %w", err)
		close(l.done)
		return l.err
	}
	go l.follow()
	socket, err := criu.File()
	if err != nil {
		return err
	}
	_, _, err = l.conn.WriteMsgUnix([]byte{0}, unix.UnixRights(int(socket.Fd())), nil)
	return errors.Join(err, socket.Close(), l.tell(l.order))
}

// launch starts the process with what it needs of the image, in its directory.
func (l *loader) launch() error {
	text, pages, err := l.memory.Move()
	if err != nil {
		return err
	}
	l.order.Memory, l.order.Pages = text, len(pages)
	images, err := os.Open(l.images)
	if err != nil {
		return err
	}
	defer images.Close()
	fresh := filepath.Join(l.dir, "new")
	socket, err := bind(fresh)
	if err != nil {
		return err
	}
	defer socket.Close()
	near, far, err := connected()
	if err != nil {
		return errors.Join(err, os.Remove(fresh))
	}
	defer far.Close()
	cmd := exec.Command("/proc/self/exe", LoaderVerb, l.dir)
	cmd.Args[0], cmd.Dir = os.Args[0], l.dir
	cmd.ExtraFiles = append([]*os.File{far, socket, images}, pages...) // see Load
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}               // no signal of the terminal's is for it
	if err := spawn.Exclusive(cmd.Start); err != nil {
		return errors.Join(err, near.Close(), os.Remove(fresh))
	}
	path := filepath.Join(l.dir, strconv.Itoa(cmd.Process.Pid))
	err = os.Rename(fresh, path)
	if err == nil {
		err = l.join(near, path, cmd.Process.Pid)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_, _ = cmd.Process.Wait()
		return errors.Join(err, near.Close())
	}
	return cmd.Process.Release()
}

// join makes the process that listens at path, and speaks on conn, the loader.
func (l *loader) join(conn *net.UnixConn, path string, pid int) (err error) {
	if l.pidfd, err = unix.PidfdOpen(pid, 0); err == nil {
		l.conn, l.path = conn, path
	}
	return err
}

// Rejoin finds the loader in dir, see hibernate.Engine.
func Rejoin(dir string) (hibernate.Loading, error) {
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
	l := newLoader()
	pid, err := peer(conn)
	if err == nil {
		err = l.join(conn, path, pid)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	go l.follow()
	return l, nil
}

var errLoaderGone = errors.New("the process that loaded it has ended before all was in")
