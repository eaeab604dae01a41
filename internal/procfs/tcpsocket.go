package procfs

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// TCPSocket is the state of a TCP socket.
type TCPSocket struct {
	Listening bool
	Reuse     bool   // the option SO_REUSEADDR
	Waiting   int    // number of connections that are not accepted yet
	Port      string // local, "" when not bound
}

// TCPSocket returns the state of the open TCP socket, and an error when the file is not a
// TCP socket.
func (d Descriptor) TCPSocket() (s TCPSocket, err error) {
	err = d.WithDuplicate(func(fd int) error {
		accepts, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		if err != nil {
			return err
		}
		reuse, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR)
		if err != nil {
			return err
		}
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return err
		}
		name, err := unix.Getsockname(fd)
		if err != nil {
			return err
		}
		s.Listening, s.Reuse, s.Port = accepts != 0, reuse != 0, localPort(name)
		if s.Listening {
			s.Waiting = int(info.Unacked) // the length of the accept queue, for a listening socket
		}
		return nil
	})
	return s, err
}

// localPort returns the port of the local address of a socket, "" when it has none.
func localPort(address unix.Sockaddr) string {
	n := 0
	switch name := address.(type) {
	case *unix.SockaddrInet4:
		n = name.Port
	case *unix.SockaddrInet6:
		n = name.Port
	}
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}
