package process

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"dormouse/shell"
)

// serveHost is a host that lets visitors in and closes their connections at the end.
func (r *rig) serveHost(_ string, l net.Listener) (stop func()) {
	var serving sync.WaitGroup
	var conns []net.Conn
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns = append(conns, conn)
			r.visitors <- conn
		}
	})
	return func() {
		if err := l.Close(); err != nil {
			r.t.Error(err)
		}
		serving.Wait()
		for _, conn := range conns {
			_ = conn.Close() // the test may have
		}
	}
}

// The plugin gets in and nobody else does.
func TestHostSocket(t *testing.T) {
	r := newRig(t, rogue())
	r.activate()
	call[any](r, "dial", "")
	conn := receive(t, r.visitors)

	other, err := net.Dial("unix", r.hostSocketPath())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	r.log.await(t, "refused a connection to the plugin's host socket", "does not belong to the plugin")
	if _, err := other.Read(make([]byte, 1)); err == nil {
		t.Error("another process got in")
	}

	// A reader is let go at once, though the plugin keeps its end.
	read := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		read <- err
	}()
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if err := receive(t, read); err == nil {
		t.Error("it read something")
	}
	if err := conn.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}

	// What the plugin keeps is counted, and cut in the end.
	err = r.closeHostSocketAndConns(t.Context(), 50*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "keeps 1 connections") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(r.hostSocketPath()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	call[any](r, "hang up", "")

	// The next one is closed by the plugin in time, and what has come in before is
	// no obstacle.
	if err := r.openHostSocket(r.life.tree); err != nil {
		t.Fatal(err)
	}
	call[any](r, "dial", "")
	receive(t, r.visitors)
	closed := make(chan error, 1)
	go func() { closed <- r.closeHostSocketAndConns(context.Background(), patience) }()
	call[any](r, "hang up", "")
	if err := receive(t, closed); err != nil {
		t.Error(err)
	}
	if err := r.closeHostSocketAndConns(t.Context(), 0); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}

// A plugin that ends with a connection open takes it along.
func TestHostSocketOfADeadPlugin(t *testing.T) {
	r := newRig(t, rogue())
	r.activate()
	call[any](r, "dial", "")
	receive(t, r.visitors)
	_, err := r.Invoke(r.contextFor(patience), shell.Call{Method: "exit"})
	if err == nil {
		t.Error("it answered")
	}
	if err := receive(t, r.sink.exits); err == nil {
		t.Error("it ended for no reason")
	}
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Error(err)
	}
}
