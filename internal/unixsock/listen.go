package unixsock

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// LongestPath is how many bytes the path of a listening socket may have; see unix(7).
const LongestPath = 107

// ListenReplacingStale listens at path. It replaces a socket there that no program listens
// on, such as that of a killed program. The file of the socket stays when the listener is
// closed.
func ListenReplacingStale(path string) (*net.UnixListener, error) {
	if len(path) > LongestPath {
		return nil, fmt.Errorf("cannot listen on %s: the path has %d bytes, a socket's may have %d", path, len(path), LongestPath)
	}
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("cannot listen on a socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	return l, nil
}

// removeStale removes the socket at path if no program listens on it. It returns an error
// if a program does, or path is another kind of file. A missing file is no error.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&os.ModeSocket == 0:
		return errors.New("it is not a socket; remove it")
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		_ = conn.Close() // the connection was only a test
		return errors.New("another program does; end it")
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("something is there: %w", err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("the socket of a program that has ended can't be replaced: %w", err)
	}
	return nil
}
