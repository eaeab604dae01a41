package unixsock

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

var errNoDescriptor = errors.New("the other process sent no descriptor")

// SendDescriptor sends a duplicate of the descriptor with one byte of data.
func SendDescriptor(conn *net.UnixConn, fd int) error {
	_, _, err := conn.WriteMsgUnix([]byte{0}, unix.UnixRights(fd), nil)
	return err
}

// ReceiveDescriptor reads one byte and returns the descriptor that was sent with it.
// The descriptor is closed on exec. It returns an error if none was sent with the byte.
func ReceiveDescriptor(conn *net.UnixConn) (fd int, err error) {
	data, control := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(data, control)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil {
		return -1, err
	}
	if len(messages) != 1 {
		return -1, errNoDescriptor
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, errors.Join(errNoDescriptor, err)
	}
	unix.CloseOnExec(fds[0])
	return fds[0], nil
}
