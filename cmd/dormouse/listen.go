package main

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
)

// listen returns the sockets that systemd hands over, or else one that is bound
// to address.
func listen(address string) ([]net.Listener, error) {
	handed, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("cannot use the sockets that were handed over: %w", err)
	}
	if len(handed) > 0 {
		return handed, checkHanded(handed)
	}
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("cannot listen on %s: another program does; end it, or choose another address with --listen", address)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	return []net.Listener{l}, nil
}

// checkHanded holds sockets from outside to what the configuration allows.
func checkHanded(listeners []net.Listener) error {
	for i, l := range listeners {
		if l == nil {
			return fmt.Errorf("cannot use socket %d that was handed over: it is no listening stream socket", i)
		}
		if tcp, ok := l.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
			return fmt.Errorf("cannot listen on %s: there is no token or TLS yet: anyone who can reach it would control the box; "+
				"set ListenStream= to a loopback address", tcp)
		}
	}
	return nil
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		_ = l.Close() // serving may have closed it
	}
}
