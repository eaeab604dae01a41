package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"

	"dormouse/plugins/communicator"
)

// nativeName is what systemd calls the socket of native clients that it hands
// over: FileDescriptorName=communicator.
const nativeName = "communicator"

// sockets are those on which the host serves.
type sockets struct {
	front  []net.Listener
	native net.Listener
}

// listen returns the sockets that systemd hands over, and binds those that it
// doesn't: the front's to address, the native clients' to path.
func listen(address, path string, group communicator.Group) (_ *sockets, err error) {
	s := &sockets{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if err := s.take(activation.Files(true)); err != nil {
		return nil, err
	}
	if err := checkHanded(s.front); err != nil {
		return nil, err
	}
	if len(s.front) == 0 {
		l, err := net.Listen("tcp", address)
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("cannot listen on %s: another program does; end it, or choose another address with --listen", address)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot listen: %w", err)
		}
		s.front = []net.Listener{l}
	}
	if s.native == nil {
		if s.native, err = communicator.Listen(path, group); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// take sorts what systemd handed over by its name.
func (s *sockets) take(handed []*os.File) error {
	for i, f := range handed {
		l, err := net.FileListener(f)
		_ = f.Close() // the listener has its own
		if err != nil {
			return fmt.Errorf("cannot use socket %d that was handed over: it is no listening stream socket", i)
		}
		if f.Name() != nativeName {
			s.front = append(s.front, l)
			continue
		}
		if s.native != nil || l.Addr().Network() != "unix" {
			_ = l.Close() // it is of no use
			return fmt.Errorf("cannot use socket %d that was handed over: one unix socket may be called %s", i, nativeName)
		}
		s.native = l
	}
	return nil
}

// checkHanded holds sockets from outside to what the configuration allows.
func checkHanded(listeners []net.Listener) error {
	for _, l := range listeners {
		if tcp, ok := l.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
			return fmt.Errorf("cannot listen on %s: there is no token or TLS yet: anyone who can reach it would control the box; "+
				"set ListenStream= to a loopback address", tcp)
		}
	}
	return nil
}

func (s *sockets) close() {
	for _, l := range s.front {
		_ = l.Close() // serving may have closed it
	}
	if s.native != nil {
		_ = s.native.Close() // the same
	}
}
