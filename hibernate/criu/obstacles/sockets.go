package obstacles

import (
	"fmt"
	"slices"
	"strings"

	"dormouse/hibernate/criu/kinds"
	"dormouse/internal/procfs"
)

// findTCPListenerObstacles finds listening TCP sockets with connections that were not
// accepted, which it calls passing, and accepted connections that would prevent a restore of
// their listener: without SO_REUSEADDR the two cannot be bound to one port again.
func findTCPListenerObstacles(treePIDs []int, found *findings) {
	type connection struct {
		procfs.Descriptor
		port string
	}
	listening := make(map[string]bool)
	var accepted []connection
	for _, pid := range treePIDs {
		for _, d := range procfs.Descriptors(pid) {
			if d.SocketInode() == 0 || !strings.HasPrefix(d.SocketProtocol(), "TCP") {
				continue
			}
			s, err := d.TCPSocket()
			if err == nil && s.Waiting > 0 {
				found.lookAtDescriptor(d, "tcp-waiting", ", "+s.Port)
			}
			switch {
			case err != nil || s.Reuse:
			case s.Listening:
				listening[s.Port] = true
			case s.Port != "":
				accepted = append(accepted, connection{d, s.Port})
			}
		}
	}
	for _, c := range accepted {
		if listening[c.port] {
			found.lookAtDescriptor(c.Descriptor, "tcp-no-reuse", " "+c.port)
		}
	}
}

// findUnixSocketObstacles finds unix sockets of the tree whose peer is a process outside of
// it, and listening ones with connections that were not accepted. The keys of treeSockets
// are the inodes of the tree's sockets of any kind.
func findUnixSocketObstacles(treeSockets map[uint32]procfs.Descriptor, found *findings) error {
	all, err := procfs.UnixSockets()
	if err != nil {
		return err
	}
	for inode, d := range treeSockets {
		findUnacceptedUnixConnections(d, all, found)
		s, isUnix := all[inode]
		findMovedUnixSocket(d, s, found)
		if !isUnix || s.Peer == 0 {
			continue
		}
		if _, within := treeSockets[s.Peer]; within {
			continue
		}
		peer := ""
		if name := all[s.Peer].Name; name != "" {
			peer = ", at " + name
		} else if holder := procfs.FindSocketHolder(s.Peer); holder != 0 {
			peer = fmt.Sprintf(", %d (%s)", holder, procfs.ProcessName(holder))
		}
		found.lookAtDescriptor(d, "unix-outside", peer)
	}
	return nil
}

// findUnacceptedUnixConnections finds connections with unread data that the tree has made to
// its own listening unix socket d and not accepted. A connection whose other end is closed
// (inode 0) may hold data, too.
func findUnacceptedUnixConnections(d procfs.Descriptor, allSockets map[uint32]procfs.UnixSocket, found *findings) {
	listener := allSockets[d.SocketInode()]
	for _, inode := range listener.Waiting {
		if inode == 0 || allSockets[inode].Unread > 0 {
			found.lookAtDescriptor(d, "unix-waiting", ", "+listener.Name)
		}
	}
}

// findUnreadNetlink adds a finding if the descriptor is a netlink socket with unread
// messages, which CRIU does not dump.
func findUnreadNetlink(d procfs.Descriptor, found *findings) {
	if d.SocketProtocol() != "NETLINK" {
		return
	}
	if unread, err := d.HasUnreadData(); err == nil && unread {
		found.lookAtDescriptor(d, "netlink-unread", "")
	}
}

// findSocketProgram adds a finding if the socket has a BPF program, which the kernel does not
// let CRIU read.
func findSocketProgram(d procfs.Descriptor, found *findings) {
	if d.HasSocketProgram() {
		found.lookAtDescriptor(d, "socket-program", "")
	}
}

// awaitAndFindUnreadWatches finds those of the inotify and fanotify descriptors that have
// unread events, which CRIU does not dump. It gives the plugin a moment to read them.
func awaitAndFindUnreadWatches(watches []procfs.Descriptor, found *findings) {
	isPresentAfterWait(func() bool {
		watches = slices.DeleteFunc(watches, func(d procfs.Descriptor) bool {
			size, err := d.ReadableBytes()
			return err != nil || size == 0
		})
		return len(watches) > 0
	})
	for _, d := range watches {
		kind := kinds.Kind("inotify-queued")
		if d.Target != inotifyTarget {
			kind = "fanotify-queued"
		}
		found.lookAtDescriptor(d, kind, "")
	}
}

// socketKinds are the kinds of the sockets that have a row, by the names that the kernel has
// for their protocols.
var socketKinds = map[string]kinds.Kind{
	"UNIX": "unix", "UNIX-STREAM": "unix",
	"TCP": "tcp", "TCPv6": "tcp", "UDP": "udp", "UDPv6": "udp", "RAW": "raw", "RAWv6": "raw",
	"UDP-Lite": "udp", "UDPLITEv6": "udp",
	"PACKET": "packet", "NETLINK": "netlink",
	"MPTCP": "mptcp", "MPTCPv6": "mptcp", "AF_VSOCK": "vsock", "XDP": "xdp",
}

// classifySocket returns the kind of an open socket, and a detail that follows the name of
// the kind in an error.
func classifySocket(d procfs.Descriptor) (kind kinds.Kind, detail string) {
	protocol := d.SocketProtocol()
	kind, isKnown := socketKinds[protocol]
	switch {
	case !isKnown:
		return kinds.Kind("a socket of protocol " + protocol), ""
	case kind == "udp" && d.IsCorked():
		return "udp-corked", ""
	case kind == "netlink" && d.HasHighNetlinkGroup():
		return "netlink-high-group", ""
	}
	return kind, ""
}

// findMovedUnixSocket finds a bound unix socket whose file was renamed since, or has a second
// name.
func findMovedUnixSocket(d procfs.Descriptor, s procfs.UnixSocket, found *findings) {
	if s.Name == "" || strings.HasPrefix(s.Name, "@") {
		return
	}
	switch path, names := d.SocketFile(); {
	case path != "" && !strings.HasSuffix(path, s.Name):
		found.lookAtDescriptor(d, "unix-renamed", fmt.Sprintf(", %s, now %s", s.Name, path))
	case names > 1:
		found.lookAtDescriptor(d, "unix-linked", ", "+path)
	}
}
