package procfs

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// TCPSocket is what a TCP socket says of itself.
type TCPSocket struct {
	Listening, Reuse bool
	Waiting          int    // connections that were not accepted yet
	Port             string // the local one, empty when it has none
}

// TCP asks the socket.
func (d Descriptor) TCPSocket() (s TCPSocket, err error) {
	err = d.withDuplicate(func(fd int) error {
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
			s.Waiting = int(info.Unacked) // of a listening socket, it means this
		}
		return nil
	})
	return s, err
}

func localPort(name unix.Sockaddr) string {
	n := 0
	switch name := name.(type) {
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
