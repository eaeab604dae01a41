package criu

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
