package unixsock

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Peer is the process at the other end of a connection, with the rights that it had when it
// connected or began to listen. The data is from the kernel and cannot be forged.
type Peer struct {
	PID, UID, GID int
	Groups        []uint32 // supplementary
}

// String returns the PID and the user ID, for logs and errors.
func (p Peer) String() string { return fmt.Sprintf("pid %d, user %d", p.PID, p.UID) }

// PeerOf returns the process at the other end of the connection, which must be a unix socket.
func PeerOf(conn net.Conn) (p Peer, err error) {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return Peer{}, errors.New("cannot find out which process is at the other end: it is not a socket")
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	cerr := raw.Control(func(fd uintptr) {
		var credentials *unix.Ucred
		if credentials, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err != nil {
			return
		}
		p = Peer{PID: int(credentials.Pid), UID: int(credentials.Uid), GID: int(credentials.Gid)}
		p.Groups, err = peerGroups(fd)
	})
	if err := errors.Join(cerr, err); err != nil {
		return Peer{}, fmt.Errorf("cannot find out which process is at the other end: %w", err)
	}
	return p, nil
}

// peerGroups returns the supplementary groups of the process at the other end.
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
