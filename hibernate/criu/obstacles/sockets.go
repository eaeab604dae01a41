package obstacles

import (
	"fmt"
	"slices"
	"strings"

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
				found.addOrMergeDescriptor(d, fmt.Sprintf("a TCP port, %s, with connections that it has not accepted", s.Port), "accept them, or close the port in BeforeCheckpoint").passing = true
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
			found.addOrMergeDescriptor(c.Descriptor, "a connection to its own listening TCP port "+c.port,
				"set SO_REUSEADDR on the listening socket, or close the connection in BeforeCheckpoint")
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
		if !isUnix || s.Peer == 0 {
			continue
		}
		if _, within := treeSockets[s.Peer]; within {
			continue
		}
		what := "a unix connection to a process outside of the plugin"
		if name := all[s.Peer].Name; name != "" {
			what += ", at " + name
		} else if holder := procfs.FindSocketHolder(s.Peer); holder != 0 {
			what += fmt.Sprintf(", %d (%s)", holder, procfs.ProcessName(holder))
		}
		found.addOrMergeDescriptor(d, what, "close it in BeforeCheckpoint and connect again in AfterRestore")
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
			found.addOrMergeDescriptor(d, "a socket, "+listener.Name+", with a connection that it has not accepted", "accept it, or close the socket in BeforeCheckpoint").passing = true
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
		found.addOrMergeDescriptor(d, "a netlink socket with messages to read", "read them, or close it in BeforeCheckpoint").passing = true
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
		found.addOrMergeDescriptor(d, d.Target+" with events to read", "read them, or close it in BeforeCheckpoint").passing = true
	}
}
