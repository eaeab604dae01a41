package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// boundOnly is the state TCP_BOUND_INACTIVE of a question, see tcp_states.h: TCP sockets that are
// bound, and neither listen nor are connected. The tables of /proc do not have them, and kernels
// before 6.8 don't tell.
const boundOnly = 13

// findBoundOnly returns the inode of a TCP socket that is only bound and keeps others from binding
// the address, 0 if the kernel knows none.
func findBoundOnly(address netip.AddrPort) (inode uint32) {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} { // an IPv4 address may be of either
		sockets, err := listSockets(family, 1<<boundOnly)
		if err != nil {
			continue // a kernel without IPv6 has no second family
		}
		for _, s := range sockets {
			if s.inode != 0 && excludeEachOther(s.local, address) {
				return s.inode
			}
		}
	}
	return 0
}

// listSockets returns the TCP sockets of a family that are in one of these states.
func listSockets(family uint8, states uint32) (all []socket, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("cannot ask the kernel by netlink: %w", err)
	}
	defer func() { _ = unix.Close(fd) }() // nothing is kept in it
	q := question{Family: family, Protocol: unix.IPPROTO_TCP, States: states}
	q.Header = unix.NlMsghdr{Len: uint32(binary.Size(q)), Type: sockDiagByFamily, Flags: unix.NLM_F_REQUEST | unix.NLM_F_DUMP}
	message, _ := binary.Append(nil, binary.NativeEndian, q) // all its parts have a size
	if err := unix.Sendto(fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("cannot ask the kernel by netlink: %w", err)
	}
	buffer := make([]byte, 32<<10) // the kernel sends no longer parts
	for done := false; !done; {
		n, _, err := unix.Recvfrom(fd, buffer, unix.MSG_DONTWAIT) // each part is there before the one before is read
		if err != nil {
			return nil, fmt.Errorf("cannot read the kernel's answer: %w", err)
		}
		var some []socket
		if some, done, err = parseList(buffer[:n]); err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// parseList returns the sockets in one part of the kernel's answer, and in done whether it is the
// last part.
func parseList(part []byte) (all []socket, done bool, err error) {
	for len(part) >= unix.NLMSG_HDRLEN {
		var header unix.NlMsghdr
		n, err := binary.Decode(part, binary.NativeEndian, &header)
		if err != nil || int(header.Len) < n || int(header.Len) > len(part) {
			return nil, false, errors.Join(errors.New("cannot read the kernel's answer: it is cut"), err)
		}
		switch header.Type {
		case unix.NLMSG_DONE:
			return all, true, nil
		case unix.NLMSG_ERROR:
			return nil, false, errors.New("cannot list sockets: the kernel refuses")
		}
		var a answer
		if _, err := binary.Decode(part[n:header.Len], binary.NativeEndian, &a); err != nil {
			return nil, false, fmt.Errorf("cannot read the kernel's answer: %w", err)
		}
		all = append(all, socket{
			ends:  ends{local: addressOf(a.Family, a.ID.Source, a.ID.SourcePort)},
			state: int(a.State), uid: int(a.UID), inode: a.Inode,
		})
		part = part[min(len(part), (int(header.Len)+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
	return all, false, nil
}
