package pager

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// bind makes a socket that nobody can connect to yet.
func bind(path string) (*os.File, error) {
	n, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	socket := os.NewFile(uintptr(n), "socket")
	err = through(path, func(short string) error { return unix.Bind(n, &unix.SockaddrUnix{Name: short}) })
	if err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	return socket, nil
}

func dial(path string) (conn *net.UnixConn, err error) {
	err = through(path, func(short string) error {
		conn, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: short, Net: "unix"})
		return err
	})
	return conn, err
}

// through calls with a path to the same that is short enough for a socket.
func through(path string, call func(short string) error) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return call(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}

// peer is the process that listens where conn was made.
func peer(conn *net.UnixConn) (pid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	cerr := raw.Control(func(fd uintptr) {
		var who *unix.Ucred
		if who, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(who.Pid)
		}
	})
	return pid, errors.Join(err, cerr)
}

// connected returns two ends of a connection, the second for another process.
func connected() (*net.UnixConn, *os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	far := os.NewFile(uintptr(pair[1]), "far")
	near, err := unixConn(uintptr(pair[0]))
	if err != nil {
		return nil, nil, errors.Join(err, far.Close())
	}
	return near, far, nil
}

// unixConn takes the descriptor of a connection over.
func unixConn(fd uintptr) (*net.UnixConn, error) {
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

// unixListener takes the descriptor of a listening socket over.
func unixListener(fd uintptr) (*net.UnixListener, error) {
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
