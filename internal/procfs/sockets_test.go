package procfs

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// raw returns a duplicate of the connection's or listener's descriptor, so that it
// can be found.
func raw(t *testing.T, of any) int {
	t.Helper()
	c, ok := of.(syscall.Conn)
	if !ok {
		t.Fatalf("%v has no descriptor", of)
	}
	control, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var dup int
	if cerr := control.Control(func(fd uintptr) { dup, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	t.Cleanup(func() { _ = unix.Close(dup) })
	return dup
}

func TestTCP(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	d := find(t, raw(t, listener))
	if s, err := d.TCP(); err != nil || s != (TCPSocket{Listening: true, Reuse: true, Port: port}) {
		t.Errorf("a listening socket is %+v, %v", s, err)
	}
	conn, err := net.Dial("tcp4", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if s, err := d.TCP(); err != nil || s.Waiting != 1 {
		t.Errorf("with a connection it is %+v, %v", s, err)
	}
	if s, err := find(t, raw(t, conn)).TCP(); err != nil || s.Listening || s.Waiting != 0 || s.Port == port {
		t.Errorf("the connection is %+v, %v", s, err)
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
	if holder := HolderOf(ours.Socket()); holder != os.Getpid() {
		t.Errorf("process %d holds it", holder)
	}
	if holder := HolderOf(0xfffffffe); holder != 0 {
		t.Errorf("process %d holds what is not", holder)
	}
	look := func(waiting uint32, sent bool) {
		t.Helper()
		all, err := UnixSockets()
		if err != nil {
			t.Fatal(err)
		}
		if got := all[theirs.Socket()].Waiting; !slices.Equal(got, []uint32{waiting}) {
			t.Errorf("%v wait for it", got)
		}
		if got := all[ours.Socket()].Unread; got > 0 != sent {
			t.Errorf("%d bytes are not read", got)
		}
	}
	look(ours.Socket(), false)
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	look(ours.Socket(), true)
}

func TestUnread(t *testing.T) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written that could be lost
	d := find(t, fd)
	if unread, err := d.Unread(); err != nil || unread {
		t.Errorf("a new one has something to read: %v, %v", unread, err)
	}
	request := []byte{20, 0, 0, 0, 18, 0, 1, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // RTM_GETLINK, all
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	if unread, err := d.Unread(); err != nil || !unread {
		t.Errorf("with an answer it has nothing to read: %v, %v", unread, err)
	}
}

func TestShared(t *testing.T) {
	own := os.Getpid()
	if pairs := Shared([]int{own, os.Getppid(), 1 << 30}, SharedMemory); len(pairs) != 0 {
		t.Errorf("strangers share: %v", pairs)
	}
	if pairs := Shared([]int{own, own}, SharedDirectory); !slices.Equal(pairs, [][2]int{{own, own}}) {
		t.Errorf("with itself it shares %v", pairs)
	}
	if Uninterruptible(1 << 30) {
		t.Error("nobody waits")
	}
}

func TestOwner(t *testing.T) {
	if got := OwnerOf(os.Getpid()); got != (Owner{os.Getuid(), os.Getgid()}) {
		t.Errorf("got %+v", got)
	}
}
