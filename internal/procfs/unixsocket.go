package procfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// UnixSocket is the state of a unix socket.
type UnixSocket struct {
	// Peer is the inode of the socket at the other end, 0 when the other end was closed or
	// the socket was never connected.
	Peer uint32
	// Name is the address that the socket is bound to, often "". A name in the
	// abstract namespace begins with "@".
	Name string
	// Unread is the number of bytes that the socket has sent and its peer has not read yet.
	Unread uint32
	// Waiting are the inodes of the client ends of the connections that this listening
	// socket has not accepted yet, 0 for a client end that was closed since.
	Waiting []uint32
}

// UnixSockets returns all unix sockets of this process's network namespace, by inode. The
// error says that they cannot be listed.
func UnixSockets() (map[uint32]UnixSocket, error) {
	sockets, err := queryUnixSockets()
	if err != nil {
		return nil, fmt.Errorf("cannot list the unix sockets: %w", err)
	}
	return sockets, nil
}

// CountUnixConnections returns the number of connections, established or pending, to the
// listening unix socket that is bound to socketPath.
func CountUnixConnections(socketPath string) (int, error) {
	text, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return 0, err
	}
	peers := 0
	for line := range strings.Lines(string(text)) {
		// The fields are Num RefCount Protocol Flags Type St Inode Path; St 01 is listening
		// or unconnected.
		fields := strings.Fields(line)
		if len(fields) >= 8 && fields[5] != "01" && skipFields(strings.TrimSuffix(line, "\n"), 7) == socketPath {
			peers++
		}
	}
	return peers, nil
}

// The numbers, sizes and attributes of the messages in sock_diag(7).
const (
	diagByFamily = 20 // SOCK_DIAG_BY_FAMILY
	diagRequest  = 24
	diagMessage  = 16
	show         = 1 | 4 | 8 | 16 // UDIAG_SHOW_NAME, _PEER, _ICONS, _RQLEN
	attrName     = 0              // UNIX_DIAG_NAME
	attrPeer     = 2              // UNIX_DIAG_PEER
	attrWaiting  = 3              // UNIX_DIAG_ICONS
	attrQueues   = 4              // UNIX_DIAG_RQLEN
)

// queryUnixSockets returns the unix sockets that sock_diag(7) reports, by inode.
func queryUnixSockets() (map[uint32]UnixSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written that could be lost
	request := make([]byte, unix.NLMSG_HDRLEN+diagRequest)
	host := binary.NativeEndian
	host.PutUint32(request[0:], uint32(len(request)))
	host.PutUint16(request[4:], diagByFamily)
	host.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	body := request[unix.NLMSG_HDRLEN:]
	body[0] = unix.AF_UNIX
	host.PutUint32(body[4:], ^uint32(0)) // in any state
	host.PutUint32(body[12:], show)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	sockets := make(map[uint32]UnixSocket)
	for answer := make([]byte, 64<<10); ; {
		n, _, err := unix.Recvfrom(fd, answer, 0)
		if err != nil {
			return nil, err
		}
		messages, err := syscall.ParseNetlinkMessage(answer[:n])
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			switch {
			case m.Header.Type == unix.NLMSG_DONE:
				return sockets, nil
			case m.Header.Type == unix.NLMSG_ERROR || len(m.Data) < diagMessage:
				return nil, errors.New("the kernel refuses")
			}
			sockets[host.Uint32(m.Data[4:])] = parseUnixSocket(m.Data[diagMessage:])
		}
	}
}

// parseUnixSocket returns the unix socket that one message of sock_diag(7) describes by its
// attributes.
func parseUnixSocket(attributes []byte) (s UnixSocket) {
	host := binary.NativeEndian
	for len(attributes) >= unix.SizeofRtAttr {
		length := int(host.Uint16(attributes))
		if length < unix.SizeofRtAttr || length > len(attributes) {
			break
		}
		value := attributes[unix.SizeofRtAttr:length]
		switch kind := host.Uint16(attributes[2:]); {
		case kind == attrPeer && len(value) >= 4:
			s.Peer = host.Uint32(value)
		case kind == attrQueues && len(value) >= 8:
			s.Unread = host.Uint32(value[4:])
		case kind == attrWaiting:
			for ; len(value) >= 4; value = value[4:] {
				s.Waiting = append(s.Waiting, host.Uint32(value))
			}
		case kind == attrName && len(value) > 0 && value[0] == 0:
			s.Name = "@" + string(value[1:])
		case kind == attrName:
			s.Name = unix.ByteSliceToString(value)
		}
		attributes = attributes[min(len(attributes), (length+3)&^3):]
	}
	return s
}
