package obstacles

import (
	"fmt"
	"slices"
	"strings"

	"dormouse/internal/procfs"
)

// stuckConnections finds accepted TCP connections that would keep their listener
// from its port: both come back, and without SO_REUSEADDR one of them can't.
func stuckConnections(tree []int, found *findings) {
	type connection struct {
		procfs.Descriptor
		port string
	}
	listening := make(map[string]bool)
	var accepted []connection
	for _, pid := range tree {
		for _, d := range procfs.Descriptors(pid) {
			if d.Socket() == 0 || !strings.HasPrefix(d.Protocol(), "TCP") {
				continue
			}
			s, err := d.TCP()
			if err == nil && s.Waiting > 0 {
				found.add(d, fmt.Sprintf("a TCP port, %s, with connections that it has not accepted", s.Port), "accept them, or close the port in BeforeCheckpoint").passes = true
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
			found.add(c.Descriptor, "a connection to its own listening TCP port "+c.port,
				"set SO_REUSEADDR on the listening socket, or close the connection in BeforeCheckpoint")
		}
	}
}

// unread finds netlink sockets with messages in them, which CRIU leaves alone.
func unread(d procfs.Descriptor, found *findings) {
	if d.Protocol() != "NETLINK" {
		return
	}
	if unread, err := d.Unread(); err == nil && unread {
		found.add(d, "a netlink socket with messages to read", "read them, or close it in BeforeCheckpoint").passes = true
	}
}

// unheard finds those of the watches of files that have events in them which nobody
// reads, and which CRIU leaves alone.
func unheard(watches []procfs.Descriptor, found *findings) {
	lasts(func() bool {
		watches = slices.DeleteFunc(watches, func(d procfs.Descriptor) bool {
			size, err := d.Queued()
			return err != nil || size == 0
		})
		return len(watches) > 0
	})
	for _, d := range watches {
		found.add(d, d.Target+" with events to read", "read them, or close it in BeforeCheckpoint").passes = true
	}
}

// watchesFiles tells whether it is an inotify or fanotify.
func watchesFiles(d procfs.Descriptor) bool {
	return d.Target == "anon_inode:inotify" || d.Target == "anon_inode:[fanotify]"
}

// unaccepted finds connections within the tree that wait at the listening socket and
// carry data already. One that was closed again may have.
func unaccepted(d procfs.Descriptor, all map[uint32]procfs.UnixSocket, found *findings) {
	listener := all[d.Socket()]
	for _, inode := range listener.Waiting {
		if inode == 0 || all[inode].Unread > 0 {
			found.add(d, "a socket, "+listener.Name+", with a connection that it has not accepted", "accept it, or close the socket in BeforeCheckpoint").passes = true
		}
	}
}
