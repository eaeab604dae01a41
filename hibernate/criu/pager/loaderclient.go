package pager

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/internal/timelimit"
	"dormouse/internal/unixsock"
)

// loaderClient is the host's end of a loader: a Pager that lets the loader do the work.
// Each loader has a directory of its own. A socket there, named after the loader's PID,
// exists until all memory is loaded.
type loaderClient struct {
	loadState
	// The loader is started with these; unset after RejoinLoader.
	dir, imageDir string // the loader's directory, and that of the image
	memory        hibernate.Memory
	order         loadOrder

	conn  *net.UnixConn // nil before the loader is started
	path  string        // of the loader's socket
	pidfd int

	confirmed chan struct{}
	read      atomic.Int64 // bytes, as the loader has reported

	leaving atomic.Bool
	closing sync.Once
}

var _ Pager = (*loaderClient)(nil)

var errLoaderEnded = errors.New("the process that loaded it has ended before all was in")

// newUnstartedLoaderClient returns a client without a loader, see openPidfdAndSetLoader.
func newUnstartedLoaderClient() *loaderClient {
	return &loaderClient{confirmed: make(chan struct{}), loadState: loadState{done: make(chan struct{})}}
}

// RejoinLoader connects to the loader that an earlier host started in loaderDir. It returns
// nil if there is none, because all memory is loaded, and an error if the loader has ended
// before; see hibernate.Engine.
func RejoinLoader(loaderDir string) (unfinished hibernate.Loading, err error) {
	defer func() {
		if unfinished == nil {
			awaitAndReapLoaderOf(loaderDir)
		}
		reapEndedLoaders()
	}()
	entries, err := os.ReadDir(loaderDir)
	if len(entries) == 0 {
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		return nil, err
	}
	path := filepath.Join(loaderDir, entries[0].Name())
	conn, err := unixsock.Dial(path)
	if errors.Is(err, os.ErrNotExist) { // the loader has just loaded the last memory
		return nil, nil //nolint:nilnil // as promised
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errLoaderEnded, err)
	}
	c := newUnstartedLoaderClient()
	peer, err := unixsock.PeerOf(conn)
	if err == nil {
		err = c.openPidfdAndSetLoader(conn, path, peer.PID)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	go c.readReportsUntilEnd()
	return c, nil
}

// openPidfdAndSetLoader sets the loader: the process with the PID, which listens at
// socketPath and is at the other end of conn. It opens a pidfd of the process.
func (c *loaderClient) openPidfdAndSetLoader(conn *net.UnixConn, socketPath string, pid int) (err error) {
	if c.pidfd, err = unix.PidfdOpen(pid, 0); err == nil {
		c.conn, c.path = conn, socketPath
	}
	return err
}

// RunRestoreAndServe implements Pager. It starts the loader, which takes over the address
// spaces, while CRIU starts: both take about as long.
func (c *loaderClient) RunRestoreAndServe(_ context.Context, workDirFD int32, restore func() error) error {
	listener, err := listenForCRIU(workDirFD)
	if err != nil {
		return err
	}
	defer listener.Close()
	started := make(chan error, 1)
	go func() { started <- c.startLoaderAndHandOver(listener) }()
	err = restore()
	return errors.Join(err, <-started)
}

// VerifyAndSecureRestore implements Pager. It sends the loader a Confirm and returns when the
// loader goes on without this process, or with an error if it has failed or ctx ends before.
func (c *loaderClient) VerifyAndSecureRestore(ctx context.Context, rootPID int) error {
	if c.conn == nil {
		return c.Err()
	}
	if err := c.sendToLoader(command{Confirm: true, Root: rootPID}); err != nil {
		return errors.Join(err, c.Err())
	}
	select {
	case <-c.confirmed:
		return nil
	case <-c.done:
	case <-ctx.Done():
		return fmt.Errorf("the process that loads the memory does not answer: %w", timelimit.EndError(ctx))
	}
	select {
	case <-c.confirmed: // and all memory is loaded already
		return nil
	default:
		return cmp.Or(c.err, errLoaderEnded)
	}
}

// sendToLoader sends the loader a loadOrder or a command.
func (c *loaderClient) sendToLoader(message any) error {
	return json.NewEncoder(c.conn).Encode(message)
}

// readReportsUntilEnd reads the reports of the loader until the last one, a failure, or the
// end of the connection. It records each of them in c, and closes confirmed and done.
func (c *loaderClient) readReportsUntilEnd() {
	defer close(c.done)
	reports := json.NewDecoder(c.conn)
	for {
		var r report
		err := reports.Decode(&r)
		switch {
		case c.leaving.Load():
			return
		case err != nil:
			if _, err := os.Lstat(c.path); err == nil { // without its socket, all memory is loaded
				c.err = errLoaderEnded
			}
			return
		case r.Failure != "":
			c.err = &loaderError{r.Failure, r.Refused}
			return
		}
		c.loaded.Store(r.Loaded)
		c.total.Store(r.Total)
		c.read.Store(r.Read)
		if r.Done {
			return
		}
		if r.Confirmed {
			select {
			case <-c.confirmed:
			default:
				close(c.confirmed)
			}
		}
	}
}

// BytesRead implements hibernate.Loading, as far as the loader has reported.
func (c *loaderClient) BytesRead() int64 { return c.read.Load() }

// Hurry implements hibernate.Loading. It sends the loader a command, without an answer.
func (c *loaderClient) Hurry() { _ = c.sendToLoader(command{Hurry: true}) } // readReportsUntilEnd notices a loader that has ended

// Leave implements hibernate.Loading. It disconnects from the loader, which goes on.
func (c *loaderClient) Leave() {
	c.closing.Do(func() {
		c.leaving.Store(true)
		c.disconnectAndAwaitReader()
	})
}

// Close implements hibernate.Loading. It kills the loader, unless that has ended, waits for
// its end and removes its socket. It does nothing after Leave.
func (c *loaderClient) Close() {
	c.closing.Do(func() {
		if c.memory != nil {
			_ = c.memory.Close()
		}
		if c.conn == nil {
			return
		}
		_ = unix.PidfdSendSignal(c.pidfd, unix.SIGKILL, nil, 0) // it may have ended
		waitReadable(c.pidfd)
		_ = unix.Waitid(unix.P_PIDFD, c.pidfd, nil, unix.WEXITED, nil) // it may be no child of this host
		c.disconnectAndAwaitReader()
		_ = os.Remove(c.path) // the loader removes it when all memory is loaded
		reapEndedLoaders()
	})
}

// disconnectAndAwaitReader closes the connection and the pidfd, and waits for the end of
// readReportsUntilEnd.
func (c *loaderClient) disconnectAndAwaitReader() {
	_ = c.conn.Close()
	<-c.done
	_ = unix.Close(c.pidfd)
}

// waitReadable returns when the descriptor is readable, however long that takes. A pidfd is
// readable when its process has ended.
func waitReadable(fd int) {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(poll, -1); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
