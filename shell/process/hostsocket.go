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
)

// partingLimit is how long a plugin may take to close its connections to the
// host socket once the host has closed its ends.
const partingLimit = 3 * time.Second

// hostSocket is where the host serves one plugin process. It lets in processes of
// the plugin's tree, and knows when they have let go.
type hostSocket struct {
	*net.UnixListener
	tree *tree
	log  zerolog.Logger
	stop func()

	mu    sync.Mutex
	conns map[*hostConn]bool
	// parting counts the connections whose other end the plugin has not closed.
	parting sync.WaitGroup
}

func (b *Backend) hostSocketPath() string {
	if b.host.Serve == nil {
		return ""
	}
	return filepath.Join(b.runDir(), "host")
}

// openHostSocket serves the host to the plugin of tree t, unless it does
// already.
func (b *Backend) openHostSocket(t *tree) error {
	path := b.hostSocketPath()
	b.mu.Lock()
	defer b.mu.Unlock()
	if path == "" || b.hostSocket != nil {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // of a host that died
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

// closeHostSocket ends the serving. It returns when the plugin holds no
// connection any more, or with an error when it has not let go in time.
func (b *Backend) closeHostSocket(ctx context.Context, limit time.Duration) error {
	b.mu.Lock()
	h := b.hostSocket
	b.hostSocket = nil
	b.mu.Unlock()
	if h == nil {
		return nil
	}
	h.stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if left := h.part(ctx); left > 0 {
		return fmt.Errorf("the plugin keeps %d connections to its host socket open; it must close them in BeforeCheckpoint", left)
	}
	return nil
}

// Accept returns the next connection of the plugin's; others are refused.
func (h *hostSocket) Accept() (net.Conn, error) {
	for {
		conn, err := h.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if err := checkPeer(conn, h.tree); err != nil {
			h.log.Warn().Err(errors.Join(err, conn.Close())).Msg("refused a connection to the plugin's host socket")
			continue
		}
		c := &hostConn{UnixConn: conn, socket: h}
		h.mu.Lock()
		h.conns[c] = true
		h.mu.Unlock()
		h.parting.Add(1)
		return c, nil
	}
}

// part waits for the plugin to close its ends, cuts what is left when ctx ends,
// and returns how many that were. The serving has ended before.
func (h *hostSocket) part(ctx context.Context) (left int) {
	parted := make(chan struct{})
	go func() {
		defer close(parted)
		h.parting.Wait()
	}()
	select {
	case <-parted:
	case <-ctx.Done():
		h.mu.Lock()
		left = len(h.conns)
		for c := range h.conns {
			_ = c.UnixConn.Close() // the one that waits for the other end notices
		}
		h.mu.Unlock()
		<-parted
	}
	return left
}

func (h *hostSocket) forget(c *hostConn) {
	h.mu.Lock()
	delete(h.conns, c)
	h.mu.Unlock()
	h.parting.Done()
}

// hostConn is a connection that is closed in two steps: the host says that it
// has no more to say, and waits for the plugin to close its end. A connection
// that only the host has closed would be dumped with the plugin.
type hostConn struct {
	*net.UnixConn
	socket  *hostSocket
	reading sync.Mutex // held while someone reads
	closed  atomic.Bool
}

func (c *hostConn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.closed.Load() {
		return 0, net.ErrClosed
	}
	return c.UnixConn.Read(p)
}

// Close is the first step; the second follows by itself.
func (c *hostConn) Close() error {
	if c.closed.Swap(true) {
		return net.ErrClosed
	}
	err := errors.Join(c.SetDeadline(time.Unix(1, 0)), c.CloseWrite()) // whoever reads or writes is let go
	go c.part()
	return err
}

// part reads until the plugin has closed its end, and closes the host's. The
// socket waits for it.
func (c *hostConn) part() {
	defer c.socket.forget(c)
	c.reading.Lock()   // until the last reader has left; later ones see that it is closed
	c.reading.Unlock() //nolint:staticcheck // nothing is to be done in between
	if c.SetDeadline(time.Time{}) == nil {
		rest := make([]byte, 4096)
		for {
			if _, err := c.UnixConn.Read(rest); err != nil {
				break
			}
		}
	}
	_ = c.UnixConn.Close() // it may have been cut already
}
