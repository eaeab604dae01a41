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
