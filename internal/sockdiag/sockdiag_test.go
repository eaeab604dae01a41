package sockdiag

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

const otherUID = 54321

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// listen returns a listener that ends with the test.
func listen(tb testing.TB, network, address string) *net.TCPListener {
	tb.Helper()
	l, err := net.Listen(network, address)
	must(tb, err)
	tb.Cleanup(func() { _ = l.Close() })
	return l.(*net.TCPListener) //nolint:errcheck // the network is TCP
}

// client is a socket that a user made, and the host's end of its connection.
type client struct {
	*os.File
	host *net.TCPConn
}

// connectAs makes a socket as that user, has prepare change it, and connects it to l at the address.
func connectAs(tb testing.TB, uid int, l *net.TCPListener, address string, prepare func(fd int) error) client {
	tb.Helper()
	fd := socketOf(tb, uid, netip.MustParseAddr(address).Is6())
	if prepare != nil {
		must(tb, prepare(fd))
	}
	port := l.Addr().(*net.TCPAddr).Port //nolint:errcheck // it is one
	must(tb, unix.Connect(fd, sockaddr(address, port)))
	host, err := l.AcceptTCP()
	must(tb, err)
	one := client{os.NewFile(uintptr(fd), "client"), host}
	tb.Cleanup(func() {
		_ = host.Close()
		_ = one.Close() // the test may have closed it
	})
	return one
}

// socketOf returns a TCP socket that belongs to the user.
func socketOf(tb testing.TB, uid int, is6 bool) (fd int) {
	tb.Helper()
	family := unix.AF_INET
	if is6 {
		family = unix.AF_INET6
	}
	if uid != os.Geteuid() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		must(tb, unix.Setfsuid(uid))
		defer func() { must(tb, unix.Setfsuid(os.Geteuid())) }()
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(tb, err)
	return fd
}

func sockaddr(address string, port int) unix.Sockaddr {
	a := netip.MustParseAddr(address)
	if a.Is6() {
		return &unix.SockaddrInet6{Addr: a.As16(), Port: port}
	}
	return &unix.SockaddrInet4{Addr: a.As4(), Port: port}
}

// users returns the users that a test can make sockets as.
func users() []int {
	if os.Geteuid() != 0 {
		return []int{os.Geteuid()}
	}
	return []int{0, otherUID}
}

// The kernel names the user of a client of each kind, and so does /proc.
func TestPeerUID(t *testing.T) {
	bindTo := func(address string) func(int) error {
		return func(fd int) error { return unix.Bind(fd, sockaddr(address, 0)) }
	}
	for name, c := range map[string]struct {
		listen, connect string
		prepare         func(int) error
	}{
		"IPv4":                        {"127.0.0.1:0", "127.0.0.1", nil},
		"IPv4 from another address":   {"127.0.0.1:0", "127.0.0.1", bindTo("127.9.8.7")},
		"IPv4 bound to lo":            {"127.0.0.1:0", "127.0.0.1", func(fd int) error { return unix.BindToDevice(fd, "lo") }},
		"IPv6":                        {"[::1]:0", "::1", nil},
		"IPv4 at a dual-stack socket": {"[::]:0", "127.0.0.1", nil},
		"IPv6 at a dual-stack socket": {"[::]:0", "::1", nil},
		"wrapped IPv4":                {"127.0.0.1:0", "::ffff:127.0.0.1", nil},
		"wrapped at a dual-stack":     {"[::]:0", "::ffff:127.0.0.1", nil},
		"half closed":                 {"127.0.0.1:0", "127.0.0.1", nil},
	} {
		for _, uid := range users() {
			l := listen(t, "tcp", c.listen)
			one := connectAs(t, uid, l, c.connect, c.prepare)
			if name == "half closed" {
				must(t, unix.Shutdown(int(one.Fd()), unix.SHUT_WR))
			}
			if got, err := PeerUID(one.host); err != nil || got != uid {
				t.Errorf("%s of user %d: %d, %v", name, uid, got, err)
			}
			e, err := endsOf(one.host.RemoteAddr(), one.host.LocalAddr())
			must(t, err)
			if found, err := findInProc("/proc/net", e); err != nil || found.uid != uid || found.checkConnected() != nil {
				t.Errorf("%s of user %d in /proc: %+v, %v", name, uid, found, err)
			}
		}
	}
}

// A client whose end is gone is unknown, however it went, and whatever has its address
// now.
func TestPeerIsGone(t *testing.T) {
	const address = "127.7.7.7" // whose ports other tests leave alone
	reset := func(fd int) error {
		if err := unix.Bind(fd, sockaddr(address, 0)); err != nil {
			return err
		}
		return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	for name, prepare := range map[string]func(int) error{"closed": nil, "reset": reset} {
		for _, uid := range users() {
			l := listen(t, "tcp4", "127.0.0.1:0")
			one := connectAs(t, uid, l, "127.0.0.1", prepare)
			must(t, one.Close())
			if got, err := PeerUID(one.host); !errors.Is(err, errClosed) {
				t.Errorf("%s by user %d: %d, %v", name, uid, got, err)
			}
			if prepare == nil {
				continue
			}
			// A new client of the host's user gets the address of the one that reset.
			old, err := endsOf(one.host.RemoteAddr(), one.host.LocalAddr())
			must(t, err)
			next := connectAs(t, os.Geteuid(), l, "127.0.0.1", func(fd int) error {
				return unix.Bind(fd, sockaddr(address, int(old.local.Port())))
			})
			if got, err := PeerUID(one.host); !errors.Is(err, errClosed) {
				t.Errorf("%s by user %d, and another has the address: %d, %v", name, uid, got, err)
			}
			if _, err := PeerUID(next.host); err != nil {
				t.Error(err)
			}
		}
	}
}

// A socket that listens at the client's port is not the client's.
func TestListenerAtThePort(t *testing.T) {
	l := listen(t, "tcp4", "127.0.0.1:0")
	other := listen(t, "tcp4", "127.0.0.1:0")
	e := ends{unmapped(other.Addr().(*net.TCPAddr).AddrPort()), unmapped(l.Addr().(*net.TCPAddr).AddrPort())} //nolint:errcheck // they are
	if found, err := findByNetlink(e); !errors.Is(err, errClosed) {
		t.Errorf("%+v, %v", found, err)
	}
	if found, err := findInProc("/proc/net", e); !errors.Is(err, errClosed) {
		t.Errorf("in /proc: %+v, %v", found, err)
	}
}

// Another machine may be at an address that is not a loopback address.
func TestNotLoopback(t *testing.T) {
	for _, ends := range [][2]string{{"127.0.0.1:1", "192.0.2.7:2"}, {"192.0.2.7:1", "127.0.0.1:2"}, {"[fd00::1]:1", "[::1]:2"}, {"[::ffff:192.0.2.7]:1", "[::ffff:127.0.0.1]:2"}} {
		local, remote := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(ends[0])), net.TCPAddrFromAddrPort(netip.MustParseAddrPort(ends[1]))
		if _, err := endsOf(local, remote); !errors.Is(err, ErrNotLoopback) {
			t.Errorf("%v: %v", ends, err)
		}
	}
	addresses, err := net.InterfaceAddrs()
	must(t, err)
	for _, a := range addresses { // with each address of this machine that others can reach
		network, ok := a.(*net.IPNet)
		if !ok || network.IP.IsLoopback() || network.IP.To4() == nil {
			continue
		}
		l := listen(t, "tcp4", "0.0.0.0:0")
		for _, to := range []string{"127.0.0.1", network.IP.String()} {
			one := connectAs(t, os.Geteuid(), l, to, func(fd int) error { return unix.Bind(fd, sockaddr(network.IP.String(), 0)) })
			if got, err := PeerUID(one.host); !errors.Is(err, ErrNotLoopback) {
				t.Errorf("from %s to %s: %d, %v", network.IP, to, got, err)
			}
		}
	}
}

// Tables that the kernel would not write are errors or have no sockets.
func TestProcTables(t *testing.T) {
	dir := t.TempDir()
	e := ends{netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:2")}
	if _, err := findInProc(dir, e); !errors.Is(err, errClosed) {
		t.Errorf("without tables: %v", err)
	}
	for _, line := range []string{"", "0: 0100007F:0001", "0: x:1 y:2 01 0 0 0 0 0 0", "0: 01:1 01:2 01 0 0 0 0 0 0", "0: 0100007F:0001 0100007F:0002 01 0:0 0:0 0 x 0 7"} {
		must(t, os.WriteFile(filepath.Join(dir, "tcp"), []byte("heading\n"+line+"\n"), 0o600))
		if found, err := findInProc(dir, e); !errors.Is(err, errClosed) {
			t.Errorf("%q: %+v, %v", line, found, err)
		}
	}
}

func BenchmarkPeerUID(b *testing.B) {
	l := listen(b, "tcp4", "127.0.0.1:0")
	one := connectAs(b, os.Geteuid(), l, "127.0.0.1", nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := PeerUID(one.host); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkProc(b *testing.B) {
	l := listen(b, "tcp4", "127.0.0.1:0")
	one := connectAs(b, os.Geteuid(), l, "127.0.0.1", nil)
	e, err := endsOf(one.host.RemoteAddr(), one.host.LocalAddr())
	must(b, err)
	for b.Loop() {
		if _, err := findInProc("/proc/net", e); err != nil {
			b.Fatal(err)
		}
	}
}
