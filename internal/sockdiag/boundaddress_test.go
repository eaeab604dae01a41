package sockdiag

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// The socket that has an address is found, also when it or the question is about all
// addresses of the machine.
func TestFindBoundInode(t *testing.T) {
	for _, test := range []struct{ network, has, asked string }{
		{"tcp", "127.0.0.1", "127.0.0.1"},
		{"tcp", "127.0.0.1", "0.0.0.0"},
		{"tcp", "[::1]", "::1"},
		{"tcp", "[::]", "127.0.0.1"},
		{"udp", "127.0.0.1", "127.0.0.1"},
		{"udp", "[::1]", "::"},
	} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			var local string
			var file *os.File
			if test.network == "tcp" {
				l := listen(t, "tcp", test.has+":0")
				var err error
				file, err = l.File()
				must(t, err)
				local = l.Addr().String()
			} else {
				c, err := net.ListenPacket("udp", test.has+":0")
				must(t, err)
				defer c.Close()
				file, err = c.(*net.UDPConn).File() //nolint:errcheck // it is one
				must(t, err)
				local = c.LocalAddr().String()
			}
			defer file.Close()
			var st unix.Stat_t
			must(t, unix.Fstat(int(file.Fd()), &st))
			port := netip.MustParseAddrPort(local).Port()
			asked := netip.AddrPortFrom(netip.MustParseAddr(test.asked), port)
			if inode := FindBoundInode(test.network, asked); uint64(inode) != st.Ino {
				t.Errorf("%s has inode %d, found %d", asked, st.Ino, inode)
			}
			if other := netip.AddrPortFrom(netip.MustParseAddr("127.9.9.9"), port); test.has == "127.0.0.1" && FindBoundInode(test.network, other) == uint32(st.Ino) {
				t.Errorf("%s does not keep others from %s", local, other)
			}
		})
	}
}

// A TCP socket that is only bound is found, too, among many others.
func TestFindBoundOnly(t *testing.T) {
	bind := func(family int, at unix.Sockaddr) (fd int) {
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		must(t, err)
		t.Cleanup(func() { _ = unix.Close(fd) })
		must(t, unix.Bind(fd, at))
		return fd
	}
	for range 300 { // the answer comes in parts
		bind(unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	for name, fd := range map[string]int{
		"IPv4": bind(unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}),
		"IPv6": bind(unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte{15: 1}}),
	} {
		at, err := unix.Getsockname(fd)
		must(t, err)
		var address netip.AddrPort
		switch at := at.(type) {
		case *unix.SockaddrInet4:
			address = netip.AddrPortFrom(netip.AddrFrom4(at.Addr), uint16(at.Port))
		case *unix.SockaddrInet6:
			address = netip.AddrPortFrom(netip.AddrFrom16(at.Addr), uint16(at.Port))
		}
		var st unix.Stat_t
		must(t, unix.Fstat(fd, &st))
		want := uint32(st.Ino)
		if !tellsBoundOnly(t) {
			want = 0
		}
		if inode := FindBoundInode("tcp", address); inode != want {
			t.Errorf("%s: %s has inode %d, found %d", name, address, want, inode)
		}
	}
}

// tellsBoundOnly reports whether this kernel tells of such sockets.
func tellsBoundOnly(t *testing.T) bool {
	t.Helper()
	var u unix.Utsname
	must(t, unix.Uname(&u))
	var major, minor int
	_, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	must(t, err)
	return major > 6 || major == 6 && minor >= 8
}
