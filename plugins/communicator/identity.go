package communicator

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// identity is who connected, as the kernel vouches for.
type identity struct {
	pid, uid, gid int
	groups        []uint32
}

func (i identity) String() string { return fmt.Sprintf("pid %d, user %d", i.pid, i.uid) }

// check refuses whoever is neither root nor the host's own user nor a member of
// the group.
func (g Group) check(who identity) error {
	switch {
	case who.uid == 0, who.uid == os.Geteuid():
		return nil
	case g.named && (who.gid == g.id || slices.Contains(who.groups, uint32(g.id))):
		return nil
	case g.named:
		return fmt.Errorf("%s is not a member of group %s", who, g.name)
	}
	return fmt.Errorf("%s is not the host's user %d; communicator-group lets others in", who, os.Geteuid())
}

func identify(conn net.Conn) (identity, error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return identity{}, errors.New("it is not a socket")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return identity{}, err
	}
	var who identity
	cerr := raw.Control(func(fd uintptr) {
		var peer *unix.Ucred
		if peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err != nil {
			return
		}
		who = identity{pid: int(peer.Pid), uid: int(peer.Uid), gid: int(peer.Gid)}
		who.groups, err = peerGroups(fd)
	})
	if err := errors.Join(cerr, err); err != nil {
		return identity{}, fmt.Errorf("cannot ask who connects: %w", err)
	}
	return who, nil
}

// peerGroups are the supplementary groups of the process at the other end, as
// they were when it connected.
func peerGroups(fd uintptr) ([]uint32, error) {
	groups := make([]uint32, 32)
	for {
		size := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4], nil
		case !errors.Is(errno, unix.ERANGE) || int(size/4) <= len(groups):
			return nil, errno
		}
		groups = make([]uint32, size/4)
	}
}
