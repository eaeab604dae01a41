package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"dormouse/internal/timelimit"
)

// pluginDisconnectLimit is how long a plugin may take to close its connections to the host
// socket after the host has closed its ends.
const pluginDisconnectLimit = 3 * time.Second

// hostSocket is the listener on which the host serves one plugin. It accepts connections
// from processes of the plugin's tree, and knows which of them are still open.
type hostSocket struct {
	*net.UnixListener
	tree *tree
	log  zerolog.Logger
	stop func() // ends the serving

	mu    sync.Mutex
	conns map[*hostConn]bool
	// open counts the connections whose other end the plugin has not closed.
	open sync.WaitGroup
}

// hostSocketPath returns the path of the host socket, "" if plugins have none.
func (b *Backend) hostSocketPath() string {
	if b.host.Serve == nil {
		return ""
	}
	return filepath.Join(b.runDir(), "host")
}

// openHostSocket begins to serve the host to the plugin of tree t, unless the host is
// served already.
func (b *Backend) openHostSocket(t *tree) error {
	path := b.hostSocketPath()
	b.mu.Lock()
	defer b.mu.Unlock()
	if path == "" || b.hostSocket != nil {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // the socket of a host that was killed
		return fmt.Errorf("cannot make the plugin's host socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return fmt.Errorf("cannot make the plugin's host socket: %w", err)
	}
	h := &hostSocket{UnixListener: l, tree: t, log: b.log, conns: make(map[*hostConn]bool)}
	h.stop = b.host.Serve(b.callsign, h)
	b.hostSocket = h
	return nil
}

// closeHostSocketAndConns ends the serving, if there is any, and returns when the plugin
// has closed its connections. If connections are open after limit, it cuts them and
// returns an error.
func (b *Backend) closeHostSocketAndConns(ctx context.Context, limit time.Duration) error {
	b.mu.Lock()
	h := b.hostSocket
	b.hostSocket = nil
	b.mu.Unlock()
	if h == nil {
		return nil
	}
	h.stop()
	ctx, cancel := timelimit.With(ctx, limit)
	defer cancel()
	if left := h.waitOrCutConns(ctx); left > 0 {
		return fmt.Errorf("the plugin keeps %d connections to its host socket open; it must close them in BeforeCheckpoint", left)
	}
	return nil
}

// Accept returns the next connection from the plugin, as a hostConn. It closes connections
// from processes outside of the plugin's tree.
func (h *hostSocket) Accept() (net.Conn, error) {
	for {
		conn, err := h.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if err := checkPeerInTree(conn, h.tree); err != nil {
			h.log.Warn().Err(errors.Join(err, conn.Close())).Msg("refused a connection to the plugin's host socket")
			continue
		}
		c := &hostConn{UnixConn: conn, socket: h}
		h.mu.Lock()
		h.conns[c] = true
		h.mu.Unlock()
		h.open.Add(1)
		return c, nil
	}
}

// waitOrCutConns waits for the plugin to close its connections. It cuts the connections
// that are open when ctx ends, and returns their number. The serving must have ended.
func (h *hostSocket) waitOrCutConns(ctx context.Context) (left int) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		h.open.Wait()
	}()
	select {
	case <-closed:
	case <-ctx.Done():
		h.mu.Lock()
		left = len(h.conns)
		for c := range h.conns {
			_ = c.UnixConn.Close() // drainThenClose returns then
		}
		h.mu.Unlock()
		<-closed
	}
	return left
}

// removeConn counts a connection as closed by both ends.
func (h *hostSocket) removeConn(c *hostConn) {
	h.mu.Lock()
	delete(h.conns, c)
	h.mu.Unlock()
	h.open.Done()
}

// hostConn is a connection that is closed in two steps: the host shuts its direction down,
// then waits for the plugin to close its end. A connection of which only the host's end is
// closed would be dumped with the plugin.
type hostConn struct {
	*net.UnixConn
	socket  *hostSocket
	reading sync.Mutex // held during Read
	closed  atomic.Bool
}

// Read fails with net.ErrClosed once Close was called. drainThenClose waits for a Read that
// has begun.
func (c *hostConn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.closed.Load() {
		return 0, net.ErrClosed
	}
	return c.UnixConn.Read(p)
}

// Close shuts the host's direction of the connection down and ends Reads and Writes. It
// starts drainThenClose and does not wait for it. A second Close returns net.ErrClosed.
func (c *hostConn) Close() error {
	if c.closed.Swap(true) {
		return net.ErrClosed
	}
	err := errors.Join(c.SetDeadline(time.Unix(1, 0)), c.CloseWrite()) // unblocks Read and Write
	go c.drainThenClose()
	return err
}

// drainThenClose drops what the plugin still sends until the plugin has closed its end, then
// closes the host's end and removes the connection from the host socket.
func (c *hostConn) drainThenClose() {
	defer c.socket.removeConn(c)
	c.reading.Lock()   // until a Read that has begun returns; later ones see that it is closed
	c.reading.Unlock() //nolint:staticcheck // only the wait matters
	if c.SetDeadline(time.Time{}) == nil {
		rest := make([]byte, 4096)
		for {
			if _, err := c.UnixConn.Read(rest); err != nil {
				break
			}
		}
	}
	_ = c.UnixConn.Close() // waitOrCutConns may have closed it already
}
