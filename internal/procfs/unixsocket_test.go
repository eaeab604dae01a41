package procfs

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestUnixSockets(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0]) //nolint:errcheck // nothing was written that could be lost
	one, other := find(t, pair[0]), find(t, pair[1])
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	abstract, err := net.Listen("unix", "@dormouse-"+filepath.Base(t.TempDir())+path)
	if err != nil {
		t.Fatal(err)
	}
	defer abstract.Close()

	sockets, err := UnixSockets()
	if err != nil {
		t.Fatal(err)
	}
	if one.SocketProtocol() != "UNIX-STREAM" || sockets[one.SocketInode()].Peer != other.SocketInode() || sockets[other.SocketInode()].Peer != one.SocketInode() {
		t.Errorf("a pair of %s is %+v and %+v", one.SocketProtocol(), sockets[one.SocketInode()], sockets[other.SocketInode()])
	}
	named := make(map[string]bool)
	for _, s := range sockets {
		named[s.Name] = true
	}
	if !named[path] || !named[abstract.Addr().String()] {
		t.Errorf("the listeners at %s and %s are missing", path, abstract.Addr())
	}
	if err := unix.Close(pair[1]); err != nil {
		t.Fatal(err)
	}
	if sockets, err = UnixSockets(); err != nil || sockets[one.SocketInode()].Peer != 0 {
		t.Errorf("a socket whose peer is closed is %+v, %v", sockets[one.SocketInode()], err)
	}
}

func TestUnaccepted(t *testing.T) {
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := find(t, raw(t, conn)), find(t, raw(t, listener))
	if holder := FindSocketHolder(ours.SocketInode()); holder != os.Getpid() {
		t.Errorf("process %d holds it", holder)
	}
	if holder := FindSocketHolder(0xfffffffe); holder != 0 {
		t.Errorf("process %d holds what is not", holder)
	}
	look := func(waiting uint32, sent bool) {
		t.Helper()
		all, err := UnixSockets()
		if err != nil {
			t.Fatal(err)
		}
		if got := all[theirs.SocketInode()].Waiting; !slices.Equal(got, []uint32{waiting}) {
			t.Errorf("%v wait for it", got)
		}
		if got := all[ours.SocketInode()].Unread; got > 0 != sent {
			t.Errorf("%d bytes are not read", got)
		}
	}
	look(ours.SocketInode(), false)
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	look(ours.SocketInode(), true)
}

func TestUnixPeers(t *testing.T) {
	for _, name := range []string{"s", "with  space", "s2"} {
		path := filepath.Join(t.TempDir(), name)
		listener, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		check := func(want int) {
			t.Helper()
			if got, err := CountUnixConnections(path); err != nil || got != want {
				t.Errorf("%q: got %d, %v, want %d", name, got, err, want)
			}
		}
		check(0)
		pending, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		check(1)
		accepted, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		check(1)
		_ = pending.Close()
		check(1) // the plugin's end is what counts
		_ = accepted.Close()
		check(0)
	}
}
