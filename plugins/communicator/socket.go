package communicator

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"dormouse/internal/unixsock"
)

// LongestPath is how many bytes the path of a unix socket may have; see unix(7).
const LongestPath = 107

// Group is the group whose members may be native clients, besides root and the
// host's own user. The zero Group has no members.
type Group struct {
	name  string
	id    int
	named bool
}

// LookupGroup returns the group of that name, the zero Group for the empty name. It
// returns an error if the machine has no such group.
func LookupGroup(name string) (Group, error) {
	if name == "" {
		return Group{}, nil
	}
	found, err := user.LookupGroup(name)
	if err != nil {
		return Group{}, fmt.Errorf("cannot let the communicator-group in: there is no group %q; add it with groupadd, or name another", name)
	}
	id, err := strconv.Atoi(found.Gid)
	if err != nil {
		return Group{}, fmt.Errorf("cannot use group %s: %w", name, err)
	}
	return Group{name: name, id: id, named: true}, nil
}

// checkMayConnect returns an error if the peer is neither root, nor the host's own user,
// nor a member of the group.
func (g Group) checkMayConnect(peer unixsock.Peer) error {
	switch {
	case peer.UID == 0, peer.UID == os.Geteuid():
		return nil
	case g.named && (peer.GID == g.id || slices.Contains(peer.Groups, uint32(g.id))):
		return nil
	case g.named:
		return fmt.Errorf("%s is not a member of group %s", peer, g.name)
	}
	return fmt.Errorf("%s is not the host's user %d; communicator-group lets others in", peer, os.Geteuid())
}

// ListenReplacingStale makes the socket of native clients at path, for root, the host's
// own user and the group. It replaces a socket that a dead host left there.
func ListenReplacingStale(path string, group Group) (net.Listener, error) {
	if len(path) > LongestPath {
		return nil, fmt.Errorf("cannot listen on %s: the path has %d bytes, a socket's may have %d; set communicator to a shorter one",
			path, len(path), LongestPath)
	}
	if err := removeStaleSocket(path); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("cannot listen for native clients: %w", err)
	}
	if err := group.SetSocketAccess(path); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// removeStaleSocket removes the socket at path if no program listens on it. It returns
// an error if a program does, or path is another kind of file. A missing file is no
// error.
func removeStaleSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("cannot listen for native clients: %w", err)
	case info.Mode()&os.ModeSocket == 0:
		return fmt.Errorf("cannot listen on %s: it is not a socket; remove it, or set communicator to another path", path)
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		_ = conn.Close() // the connection was only a test
		return fmt.Errorf("cannot listen on %s: another program does; end it, or set communicator to another path", path)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("cannot listen on %s: something is there: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("cannot replace the socket of an earlier host: %w", err)
	}
	return nil
}

// SetSocketAccess lets the members of the group connect to the socket at path, besides its
// owner and root. It lets them pass the directory of the socket, and returns an error
// if they can't pass a directory above that one. The zero Group lets only
// its owner and root connect.
func (g Group) SetSocketAccess(path string) error {
	if !g.named {
		return os.Chmod(path, 0o600)
	}
	err := os.Chown(path, -1, g.id)
	if err == nil {
		err = os.Chmod(path, 0o660)
	}
	if err == nil {
		err = g.makePassable(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("cannot let group %s use the communicator: %w", g.name, err)
	}
	return nil
}

// makePassable lets the group pass dir, the host's own directory, which it may give to
// the group for that. It returns an error if the group can't pass a directory above:
// the host must not change those.
func (g Group) makePassable(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !g.canPassDirectory(info) {
		if err := os.Chown(dir, -1, g.id); err != nil {
			return err
		}
		if err := os.Chmod(dir, info.Mode().Perm()&^0o070|0o010); err != nil {
			return err
		}
	}
	for dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		if info, err := os.Stat(dir); err != nil || !g.canPassDirectory(info) {
			return errors.Join(err, fmt.Errorf("it can't pass %s; set communicator to a path that it can reach, such as /run/dormouse/communicator", dir))
		}
	}
	return nil
}

// canPassDirectory reports whether the mode and owner of a directory let the group
// pass.
func (g Group) canPassDirectory(info os.FileInfo) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	return info.Mode()&0o001 != 0 || ok && int(owner.Gid) == g.id && info.Mode()&0o010 != 0
}
