package sockdiag

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// listening is the state of a TCP socket that listens, see tcp_states.h.
const listening = 10

// FindBoundInode returns the inode of a socket of this machine that keeps others from binding
// the address, 0 if there is none. The network is tcp or udp. A socket that listens goes
// before one that is only bound or connected. Of TCP, kernels before 6.8 don't know those that are
// only bound.
func FindBoundInode(network string, address netip.AddrPort) (inode uint32) {
	inode = findBoundIn("/proc/net", network, address)
	if inode == 0 && network == "tcp" {
		inode = findBoundOnly(address)
	}
	return inode
}

// findBoundIn is FindBoundInode with the tables in dir.
func findBoundIn(dir, network string, address netip.AddrPort) (inode uint32) {
	for _, table := range []string{network, network + "6"} { // an IPv4 address may be in either
		text, err := os.ReadFile(filepath.Join(dir, table))
		if err != nil {
			continue // a kernel without IPv6 has no second table
		}
		for line := range strings.Lines(string(text)) {
			s, err := parseTableLine(line)
			if err != nil || s.inode == 0 || !excludeEachOther(s.local, address) {
				continue // the heading has no addresses
			}
			if s.state == listening {
				return s.inode
			}
			inode = s.inode
		}
	}
	return inode
}

// excludeEachOther reports whether two sockets can't be bound to these addresses at once.
func excludeEachOther(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() && (a.Addr() == b.Addr() || a.Addr().IsUnspecified() || b.Addr().IsUnspecified())
}
