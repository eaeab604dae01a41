package unixsock

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A path may be longer than the address of a socket.
func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	must(t, os.Mkdir(dir, 0o700))
	path := filepath.Join(dir, "socket")
	bound, err := BindWithoutListening(path)
	must(t, err)
	defer bound.Close()
	if _, err := Dial(path); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("before it listens, Dial returned %v", err)
	}
	must(t, unix.Listen(int(bound.Fd()), 1))
	conn, err := Dial(path)
	must(t, err)
	defer conn.Close()
	peer, err := PeerOf(conn)
	must(t, err)
	if peer.PID != os.Getpid() || peer.UID != os.Getuid() || peer.GID != os.Getgid() {
		t.Errorf("the process at the other end is %+v", peer)
	}

	open, err := os.Open(dir)
	must(t, err)
	defer open.Close()
	listener, err := ListenIn(int(open.Fd()), "other")
	must(t, err)
	defer listener.Close()
	other, err := Dial(filepath.Join(dir, "other"))
	must(t, err)
	must(t, other.Close())
	if _, err := BindWithoutListening(filepath.Join(dir, "missing", "socket")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("in a missing directory, Bind returned %v", err)
	}
}

func TestPeerGroups(t *testing.T) {
	near, far, err := Pair(unix.SOCK_STREAM)
	must(t, err)
	defer near.Close()
	defer far.Close()
	peer, err := PeerOf(near)
	must(t, err)
	groups, err := os.Getgroups()
	must(t, err)
	for _, group := range groups {
		if !slices.Contains(peer.Groups, uint32(group)) {
			t.Errorf("group %d is not among %v", group, peer.Groups)
		}
	}
	one, two := net.Pipe()
	if _, err := PeerOf(one); err == nil {
		t.Error("a pipe has a process at its other end")
	}
	must(t, errors.Join(one.Close(), two.Close()))
}

func TestDescriptors(t *testing.T) {
	near, far, err := Pair(unix.SOCK_STREAM)
	must(t, err)
	defer near.Close()
	dup, err := unix.FcntlInt(far.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	must(t, errors.Join(err, far.Close()))
	there, err := TakeConnFromFD(uintptr(dup))
	must(t, err)
	defer there.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	must(t, err)
	must(t, SendDescriptor(near, int(file.Fd())))
	must(t, file.Close())
	fd, err := ReceiveDescriptor(there)
	must(t, err)
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("it is inherited: %v", err)
	}
	received := os.NewFile(uintptr(fd), "received")
	_, err = received.WriteString("x")
	must(t, errors.Join(err, received.Close()))
	_, err = near.Write([]byte("x"))
	must(t, err)
	if _, err := ReceiveDescriptor(there); !errors.Is(err, errNoDescriptor) {
		t.Errorf("without a descriptor: %v", err)
	}
	must(t, near.Close())
	if _, err := ReceiveDescriptor(there); !errors.Is(err, io.EOF) && !errors.Is(err, errNoDescriptor) {
		t.Errorf("after the end: %v", err)
	}
}

// A descriptor of something else is refused and closed.
func TestNotASocket(t *testing.T) {
	for name, of := range map[string]func(uintptr) error{
		"connection": func(fd uintptr) error { _, err := TakeConnFromFD(fd); return err },
		"listener":   func(fd uintptr) error { _, err := TakeListenerFromFD(fd); return err },
	} {
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		must(t, err)
		if err := of(uintptr(fd)); err == nil {
			t.Errorf("/dev/null is a %s", name)
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); !errors.Is(err, unix.EBADF) {
			t.Errorf("%s: the descriptor is still open: %v", name, err)
		}
	}
}
