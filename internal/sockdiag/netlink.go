package sockdiag

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Numbers of sock_diag(7).
const (
	sockDiagByFamily = 20
	anyCookie        = 0xffffffff
	loopbackIndex    = 1 // of the interface lo, for sockets that are bound to it
)

// socketID is inet_diag_sockid: the addresses of a socket, in network byte order.
type socketID struct {
	SourcePort, DestinationPort [2]byte
	Source, Destination         [16]byte
	Interface                   uint32
	Cookie                      [2]uint32
}

// question is a nlmsghdr and an inet_diag_req_v2.
type question struct {
	Header                          unix.NlMsghdr
	Family, Protocol, Extensions, _ uint8
	States                          uint32
	ID                              socketID
}

// answer is the inet_diag_msg after a nlmsghdr.
type answer struct {
	Family, State, Timer, Retransmits uint8
	ID                                socketID
	Expires, Unread, Unsent           uint32
	UID, Inode                        uint32
}

// findByNetlink asks the kernel for the socket with these ends. The error wraps ENOENT if
// there is none, or the kernel can't answer. A question costs some 15 µs, of which 5 are
// for the netlink socket of its own.
func findByNetlink(e ends) (socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return socket{}, fmt.Errorf("cannot ask the kernel by netlink: %w", err)
	}
	defer func() { _ = unix.Close(fd) }() // nothing is kept in it
	if err := unix.Sendto(fd, e.question(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return socket{}, fmt.Errorf("cannot ask the kernel by netlink: %w", err)
	}
	buffer := make([]byte, 512)
	n, _, err := unix.Recvfrom(fd, buffer, unix.MSG_DONTWAIT) // the kernel has answered before Sendto returns
	if err != nil {
		return socket{}, fmt.Errorf("cannot read the kernel's answer: %w", err)
	}
	return parseAnswer(buffer[:n], e)
}

// question returns the message that asks for the one socket with these ends.
func (e ends) question() []byte {
	q := question{Family: unix.AF_INET, Protocol: unix.IPPROTO_TCP, States: 0xffffffff}
	if e.local.Addr().Is6() {
		q.Family = unix.AF_INET6
	}
	q.ID = socketID{Interface: loopbackIndex, Cookie: [2]uint32{anyCookie, anyCookie}}
	q.ID.SourcePort, q.ID.DestinationPort = portBytes(e.local), portBytes(e.remote)
	copy(q.ID.Source[:], e.local.Addr().AsSlice())
	copy(q.ID.Destination[:], e.remote.Addr().AsSlice())
	q.Header = unix.NlMsghdr{Len: uint32(binary.Size(q)), Type: sockDiagByFamily, Flags: unix.NLM_F_REQUEST}
	message, _ := binary.Append(nil, binary.NativeEndian, q) // all its parts have a size
	return message
}

// portBytes returns the port in network byte order.
func portBytes(a netip.AddrPort) (b [2]byte) {
	binary.BigEndian.PutUint16(b[:], a.Port())
	return b
}

// parseAnswer returns the socket in the kernel's answer. An answer about another socket,
// such as one that listens at the port, is an error.
func parseAnswer(message []byte, asked ends) (socket, error) {
	var header unix.NlMsghdr
	n, err := binary.Decode(message, binary.NativeEndian, &header)
	if err != nil {
		return socket{}, fmt.Errorf("cannot read the kernel's answer: %w", err)
	}
	if header.Type == unix.NLMSG_ERROR && len(message) >= n+4 {
		return socket{}, unix.Errno(-int32(binary.NativeEndian.Uint32(message[n:])))
	}
	if header.Type != sockDiagByFamily {
		return socket{}, fmt.Errorf("cannot read the kernel's answer of type %d", header.Type)
	}
	var a answer
	if _, err := binary.Decode(message[n:], binary.NativeEndian, &a); err != nil {
		return socket{}, fmt.Errorf("cannot read the kernel's answer: %w", err)
	}
	found := socket{
		ends:  ends{addressOf(a.Family, a.ID.Source, a.ID.SourcePort), addressOf(a.Family, a.ID.Destination, a.ID.DestinationPort)},
		state: int(a.State), uid: int(a.UID), inode: a.Inode,
	}
	if found.ends != asked {
		return socket{}, errClosed
	}
	return found, nil
}

// addressOf returns the address in an answer of that family.
func addressOf(family uint8, address [16]byte, port [2]byte) netip.AddrPort {
	a := netip.AddrFrom16(address)
	if family == unix.AF_INET {
		a = netip.AddrFrom4([4]byte(address[:4]))
	}
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(port[:]))
}
