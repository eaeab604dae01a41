package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"dormouse/internal/unixsock"
	"dormouse/plugins/access"
	"dormouse/plugins/communicator"
)

// Names of the unix sockets in the configuration, and as FileDescriptorName= of systemd:
// those of native clients, and of JSON-RPC clients on this machine.
const (
	nativeName  = "communicator"
	controlName = "control"
)

// unixSocketPaths are where the host's unix sockets are to be.
type unixSocketPaths struct{ control, native unixSocketPath }

// unixSocketPath is the path of a unix socket.
type unixSocketPath struct {
	path     string
	dirIsOwn bool // the directory is the host's own, which may let a group pass
}

// unixSocketByName returns where the unix socket of that name is held, nil for any other
// name.
func (s *sockets) unixSocketByName(name string) *net.Listener {
	switch name {
	case nativeName:
		return &s.native
	case controlName:
		return &s.control
	}
	return nil
}

// reuseOrBindUnixSockets opens the unix sockets that systemd has not handed over. Users
// that can pass its directory may connect to the control socket; each has its own role there.
func (s *sockets) reuseOrBindUnixSockets(left leftSockets, paths unixSocketPaths, group communicator.Group) error {
	err := s.reuseOrBindUnix(left, nativeName, paths.native.path, func(path string) error {
		return group.SetSocketAccess(path, paths.native.dirIsOwn)
	})
	if err != nil {
		return err
	}
	return s.reuseOrBindUnix(left, controlName, paths.control.path, func(path string) error {
		if paths.control.dirIsOwn {
			letOperatorsPass(filepath.Dir(path), group)
		}
		return os.Chmod(path, 0o666)
	})
}

// letOperatorsPass lets the members of the group pass the directory, or of the default
// group if the first has no name. Where that fails, the operators use TCP.
func letOperatorsPass(dir string, group communicator.Group) {
	if group == (communicator.Group{}) {
		group, _ = communicator.LookupGroup(access.DefaultGroup) // most machines have none
	}
	_ = group.MakePassable(dir)
}

// reuseOrBindUnix opens the unix socket of that name at path, unless systemd has handed it
// over: the one that an earlier host has kept if its path still exists, else a new one.
// setAccess lets the clients in.
func (s *sockets) reuseOrBindUnix(left leftSockets, name, path string, setAccess func(path string) error) error {
	if *s.unixSocketByName(name) != nil {
		return nil
	}
	kept := keptSocketName(path)
	l := left.takeListenerOrNil(kept)
	if l != nil {
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			_ = l.Close() // no client could find it
			removeSocketFromSystemd(kept)
			l = nil
		}
	}
	if l == nil {
		made, err := unixsock.ListenReplacingStale(path)
		if err != nil {
			return fmt.Errorf("%w; or set %s to another path", err, name)
		}
		l = made
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) //nolint:errcheck // it is one; and close knows whether the path is to go
	*s.unixSocketByName(name) = l
	s.paths = append(s.paths, path)
	if err := setAccess(path); err != nil {
		return err
	}
	return s.keepSocketForNextHost(kept, l)
}
