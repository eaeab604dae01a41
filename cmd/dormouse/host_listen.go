package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/plugins/access"
	"dormouse/plugins/communicator"
)

// sockets are all sockets on which the host serves.
type sockets struct {
	front           []frontListener
	control, native net.Listener // the unix sockets
	// paths are those of the unix sockets that systemd has not handed over.
	paths []string
	kept  []keptSocket
}

// frontListener is a listener for clients at an address, with what is served there.
type frontListener struct {
	net.Listener
	configured configs.Listener
	tls        *tlsFiles // nil if connections are not encrypted
}

// addressToTry returns where this program reaches the host without any settings: at the first
// listener, or if that has TLS at the control socket.
func (s *sockets) addressToTry() string {
	if s.front[0].tls == nil {
		return s.front[0].Addr().String()
	}
	return unixPrefix + s.control.Addr().String()
}

// addressPorts returns the addresses of the listeners for clients of other machines or this one,
// without the unix sockets.
func (s *sockets) addressPorts() (all []netip.AddrPort) {
	for _, l := range s.front {
		if at, err := netip.ParseAddrPort(l.Addr().String()); err == nil {
			all = append(all, at)
		}
	}
	return all
}

// inheritOrOpenSockets returns the sockets that systemd hands over, and opens the others:
// those for JSON-RPC clients at the configured addresses, the unix sockets at those paths.
// It uses sockets that an earlier host has kept, and closes the kept ones that it does
// not need. A socket that other machines can reach without protection is an error.
func inheritOrOpenSockets(config configs.Config, paths unixSocketPaths, group communicator.Group, log zerolog.Logger) (_ *sockets, err error) {
	s := &sockets{}
	handed, left := takeReceivedSockets()
	defer func() {
		left.closeAndUnstoreAll(log)
		if err != nil {
			s.close(false)
		}
	}()
	main := configs.Listener{Address: config.Host.Listen, Protocol: configs.ProtocolJSONRPC, Dialect: config.Host.Dialect, TLS: config.Host.TLS}
	if err := s.addSystemdSockets(handed, main, config); err != nil {
		return nil, err
	}
	if len(s.front) == 0 {
		if err := s.reuseOrBindFront(left, main, config); err != nil {
			return nil, err
		}
	}
	for _, l := range config.Listeners {
		if err := s.reuseOrBindFront(left, l, config); err != nil {
			return nil, err
		}
	}
	return s, s.reuseOrBindUnixSockets(left, paths, group)
}

// reuseOrBindFront adds a listener for clients as configured: on the socket that an
// earlier host has kept, if any, else on a new one.
func (s *sockets) reuseOrBindFront(left leftSockets, configured configs.Listener, config configs.Config) error {
	if err := checkExposure(configured.Address, configured, config); err != nil {
		return err
	}
	name := keptSocketName(configured.Address)
	l, err := left.takeListenerOrNil(name), error(nil)
	if l == nil {
		l, err = net.Listen("tcp", configured.Address)
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("cannot listen on %s: another program does; end it, or choose another address with --listen", configured.Address)
	}
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	if err := s.addFront(l, configured); err != nil {
		return errors.Join(err, l.Close())
	}
	return s.keepSocketForNextHost(name, l)
}

// addFront adds the listener l with what is configured for it.
func (s *sockets) addFront(l net.Listener, configured configs.Listener) (err error) {
	e := frontListener{Listener: l, configured: configured}
	if configured.IsOn() {
		alpn := alpnHTTP1
		if configured.Protocol == configs.ProtocolGRPC {
			alpn = alpnHTTP2
		}
		if e.tls, err = readTLSFiles(configured.TLS, alpn); err != nil {
			return err
		}
	}
	s.front = append(s.front, e)
	return nil
}

// keepSocketForNextHost holds a duplicate of a listener's socket, and has systemd hold
// another, so that the socket outlives the listener.
func (s *sockets) keepSocketForNextHost(name string, l net.Listener) error {
	file, err := l.(interface{ File() (*os.File, error) }).File() //nolint:errcheck // every socket has it
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	s.kept = append(s.kept, keptSocket{name, file})
	storeSocketInSystemd(name, l)
	return nil
}

// addSystemdSockets adds the sockets that systemd handed over. The name of a socket says
// for which clients it is; one that does not listen is an error. Those for JSON-RPC
// clients are served as configured for the main address.
func (s *sockets) addSystemdSockets(handed []*os.File, main configs.Listener, config configs.Config) error {
	for i, f := range handed {
		s.kept = append(s.kept, keptSocket{f.Name(), f})
		l, err := net.FileListener(f)
		if err != nil {
			return fmt.Errorf("cannot use socket %d that was handed over: it is not a listening stream socket", i)
		}
		unixSocket := s.unixSocketByName(f.Name())
		switch {
		case unixSocket == nil:
			if l.Addr().Network() == "tcp" {
				err = checkExposure(l.Addr().String(), main, config)
			}
			if err == nil {
				err = s.addFront(l, main)
			}
			if err != nil {
				return errors.Join(err, l.Close())
			}
		case *unixSocket != nil || l.Addr().Network() != "unix":
			_ = l.Close() // it is of no use
			return fmt.Errorf("cannot use socket %d that was handed over: one unix socket may be called %s", i, f.Name())
		default:
			*unixSocket = l
		}
	}
	return nil
}

// checkExposure returns an error if other machines can reach the listener at that address
// without TLS, or no client there could show by what it is known.
func checkExposure(address string, l configs.Listener, config configs.Config) error {
	ip, _, err := net.SplitHostPort(address)
	if err == nil {
		err = config.CheckExposure(ip, l)
	}
	if err == nil && !configs.IsLoopback(ip) && l.ClientCA == "" && l.Only == "" {
		err = checkTokenExists(config.Host.Root)
	}
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w", address, err)
	}
	return nil
}

// checkTokenExists returns an error if the host with that root has no token.
func checkTokenExists(root string) error {
	tokens, err := access.TokenFileIn(root).Read()
	if err == nil && len(tokens) == 0 {
		err = errors.New("other machines can reach it, and there is no token yet: make one with `dormouse token add NAME`")
	}
	return err
}

// close closes the sockets, also the kept ones, and removes the paths of the unix sockets
// unless keepPaths is true, as for a successor.
func (s *sockets) close(keepPaths bool) {
	for _, l := range s.front {
		_ = l.Close() // serving may have closed it
	}
	for _, l := range []net.Listener{s.control, s.native} {
		if l != nil {
			_ = l.Close() // the same
		}
	}
	for _, k := range s.kept {
		_ = k.file.Close()
	}
	for _, path := range s.paths {
		if !keepPaths {
			_ = os.Remove(path)
		}
	}
}
