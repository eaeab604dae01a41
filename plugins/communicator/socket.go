package communicator

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"dormouse/internal/unixsock"
)

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

// SetSocketAccess lets the members of the group connect to the socket at path, besides its
// owner and root. With dirIsOwn it lets them pass the directory of the socket, which is the
// host's own. It returns an error if they can't pass another directory of the path. The zero
// Group lets only its owner and root connect.
func (g Group) SetSocketAccess(path string, dirIsOwn bool) error {
	if !g.named {
		return os.Chmod(path, 0o600)
	}
	err := os.Chown(path, -1, g.id)
	if err == nil {
		err = os.Chmod(path, 0o660)
	}
	if dir := filepath.Dir(path); err == nil && dirIsOwn {
		err = g.MakePassable(dir)
	} else if err == nil {
		err = g.checkPassable(dir)
	}
	if err != nil {
		return fmt.Errorf("cannot let group %s use the communicator: %w", g.name, err)
	}
	return nil
}

// MakePassable lets the group pass dir, the host's own directory, which it may give to
// the group for that. It returns an error if the group can't pass a directory above:
// the host must not change those.
func (g Group) MakePassable(dir string) error {
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
	return g.checkPassable(filepath.Dir(dir))
}

// checkPassable returns an error if the group can't pass dir or a directory above.
func (g Group) checkPassable(dir string) error {
	if info, err := os.Stat(dir); err != nil || !g.canPassDirectory(info) {
		return errors.Join(err, fmt.Errorf("it can't pass %s; set communicator to a path that it can reach, such as /run/dormouse/communicator", dir))
	}
	if parent := filepath.Dir(dir); parent != dir {
		return g.checkPassable(parent)
	}
	return nil
}

// canPassDirectory reports whether the mode and owner of a directory let the group
// pass.
func (g Group) canPassDirectory(info os.FileInfo) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	return info.Mode()&0o001 != 0 || ok && int(owner.Gid) == g.id && info.Mode()&0o010 != 0
}
