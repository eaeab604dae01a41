// Package unixsock adds to package net for unix sockets: it finds out which process is at
// the other end, passes descriptors, and binds and dials at paths of any length, see
// unix(7). It does not know what the processes send to each other.
package unixsock

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// BindWithoutListening returns a stream socket bound to path. No client can connect
// before the caller makes the socket listen. path may be longer than the 107 bytes of a
// socket's address.
func BindWithoutListening(path string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	socket := os.NewFile(uintptr(fd), "socket")
	err = withShortPath(path, func(short string) error { return unix.Bind(fd, &unix.SockaddrUnix{Name: short}) })
	if err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	return socket, nil
}

// Dial connects to the stream socket at path, which may be of any length.
func Dial(path string) (conn *net.UnixConn, err error) {
	err = withShortPath(path, func(short string) error {
		conn, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: short, Net: "unix"})
		return err
	})
	return conn, err
}

// ListenIn listens at that name in the directory that dirFD is open on.
func ListenIn(dirFD int, name string) (*net.UnixListener, error) {
	return net.ListenUnix("unix", &net.UnixAddr{Name: pathIn(dirFD, name), Net: "unix"})
}

// withShortPath calls use with another path that leads to the same file and fits into a
// socket's address. The short path is valid during the call only.
func withShortPath(path string, use func(short string) error) error {
	dir := filepath.Dir(path)
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) // it may be passable only
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer func() { _ = unix.Close(fd) }() // it was only a place
	return use(pathIn(fd, filepath.Base(path)))
}

// pathIn returns a path of the file of that name in the directory that dirFD is open on.
func pathIn(dirFD int, name string) string { return fmt.Sprintf("/proc/self/fd/%d/%s", dirFD, name) }

// Pair returns both ends of a connection of that socket type, unix.SOCK_STREAM or
// unix.SOCK_SEQPACKET. far is meant for another process.
func Pair(socketType int) (near *net.UnixConn, far *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, socketType|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	far = os.NewFile(uintptr(pair[1]), "far")
	near, err = TakeConnFromFD(uintptr(pair[0]))
	if err != nil {
		return nil, nil, errors.Join(err, far.Close())
	}
	return near, far, nil
}

// TakeConnFromFD returns the connection that the descriptor is open on, and closes the
// descriptor. It returns an error if the descriptor is not a connected unix socket.
func TakeConnFromFD(fd uintptr) (*net.UnixConn, error) {
	return takeSocketFromFD[*net.UnixConn](fd, net.FileConn)
}

// TakeListenerFromFD returns the listener that the descriptor is open on, and closes the
// descriptor. It returns an error if the descriptor is not a listening unix socket.
func TakeListenerFromFD(fd uintptr) (*net.UnixListener, error) {
	return takeSocketFromFD[*net.UnixListener](fd, net.FileListener)
}

// takeSocketFromFD returns the socket of type T that open makes of the descriptor, and
// closes the descriptor. It returns an error if open makes another type.
func takeSocketFromFD[T any, Socket io.Closer](fd uintptr, open func(*os.File) (Socket, error)) (socket T, err error) {
	f := os.NewFile(fd, "socket")
	defer f.Close()
	opened, err := open(f)
	if err != nil {
		return socket, err
	}
	socket, ok := any(opened).(T)
	if !ok {
		return socket, errors.Join(fmt.Errorf("descriptor %d is not a unix socket", fd), opened.Close())
	}
	return socket, nil
}
