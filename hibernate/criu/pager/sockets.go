package pager

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// bindUnix creates a unix socket at path. Connections are refused until a process
// listens on it.
func bindUnix(path string) (*os.File, error) {
	n, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	socket := os.NewFile(uintptr(n), "socket")
	err = withShortPath(path, func(short string) error { return unix.Bind(n, &unix.SockaddrUnix{Name: short}) })
	if err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	return socket, nil
}

// dialUnix connects to the unix socket at path.
func dialUnix(path string) (conn *net.UnixConn, err error) {
	err = withShortPath(path, func(short string) error {
		conn, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: short, Net: "unix"})
		return err
	})
	return conn, err
}

// withShortPath calls use with another path to the same file, short enough for the
// address of a unix socket (108 bytes, see unix(7)).
func withShortPath(path string, use func(short string) error) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return use(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}

// peerPID returns the PID of the process that listened where conn was made.
func peerPID(conn *net.UnixConn) (pid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	cerr := raw.Control(func(fd uintptr) {
		var credentials *unix.Ucred
		if credentials, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(credentials.Pid)
		}
	})
	return pid, errors.Join(err, cerr)
}

// unixPair returns both ends of a connection, the second for another process.
func unixPair() (*net.UnixConn, *os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	theirs := os.NewFile(uintptr(pair[1]), "theirs")
	ours, err := connFromFD(uintptr(pair[0]))
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// connFromFD takes over the descriptor of a unix connection.
func connFromFD(fd uintptr) (*net.UnixConn, error) {
	f := os.NewFile(fd, "connection")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	if of, ok := conn.(*net.UnixConn); ok {
		return of, nil
	}
	return nil, errors.Join(fmt.Errorf("descriptor %d is no unix socket", fd), conn.Close())
}

// listenerFromFD takes over the descriptor of a listening unix socket.
func listenerFromFD(fd uintptr) (*net.UnixListener, error) {
	f := os.NewFile(fd, "listener")
	defer f.Close()
	listener, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	if of, ok := listener.(*net.UnixListener); ok {
		return of, nil
	}
	return nil, errors.Join(fmt.Errorf("descriptor %d is no unix socket", fd), listener.Close())
}
