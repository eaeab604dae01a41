// Package sockdiag asks the kernel which user owns the other end of a TCP connection
// inside this machine, and which socket has an address. It does not know what the user may do.
package sockdiag

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ErrNotLoopback means that an end of the connection has no loopback address, so that the
// other end may be on another machine.
var ErrNotLoopback = errors.New("it does not connect loopback addresses")

// errClosed means that no process has the other end any more. The kernel then says that
// root owns it.
var errClosed = errors.New("the other end is closed already")

// kernelAnswers is whether this kernel has answered a question by netlink once.
var kernelAnswers atomic.Bool

// PeerUID returns the number of the user that made the socket at the other end of the connection. It
// returns ErrNotLoopback if another machine may be there, and an error if no process has
// that socket any more: nothing proves then which user sent what came over it.
func PeerUID(conn *net.TCPConn) (uid int, err error) {
	ends, err := endsOf(conn.RemoteAddr(), conn.LocalAddr())
	if err != nil {
		return 0, err
	}
	peer, err := find(ends)
	if err == nil {
		err = peer.checkConnected()
	}
	if err == nil {
		err = checkStillConnected(conn)
	}
	if err != nil {
		return 0, fmt.Errorf("cannot find out which user is at the other end: %w", err)
	}
	return peer.uid, nil
}

// ends are the addresses of a socket.
type ends struct{ local, remote netip.AddrPort }

// endsOf returns the ends of a socket with these addresses, of which none may be that of
// another machine.
func endsOf(local, remote net.Addr) (ends, error) {
	from, ok := local.(*net.TCPAddr)
	to, alsoOK := remote.(*net.TCPAddr)
	if !ok || !alsoOK {
		return ends{}, errClosed
	}
	e := ends{unmapped(from.AddrPort()), unmapped(to.AddrPort())}
	if !e.local.Addr().IsLoopback() || !e.remote.Addr().IsLoopback() {
		return ends{}, ErrNotLoopback
	}
	return e, nil
}

// unmapped returns an IPv4 address that is written as an IPv6 one as IPv4, and any other
// as it is.
func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// socket is what the kernel says of a socket.
type socket struct {
	ends
	state, uid int
	inode      uint32 // 0 if no process has the socket
}

// States of a TCP socket, see tcp_states.h.
const (
	established = 1
	finWait1    = 4
	finWait2    = 5
	closeWait   = 8
)

// checkConnected returns an error unless a process has the socket, and it is connected. A
// socket that only tries to connect from there would be another one than the peer's.
func (s socket) checkConnected() error {
	switch s.state {
	case established, finWait1, finWait2, closeWait:
		if s.inode != 0 {
			return nil
		}
	}
	return errClosed
}

// find returns the socket with these ends. It asks by netlink. If the kernel can't answer
// that, find reads the tables in /proc, which takes milliseconds where there are many
// sockets.
func find(e ends) (socket, error) {
	found, err := findByNetlink(e)
	switch {
	case err == nil:
		kernelAnswers.Store(true)
		return found, nil
	case kernelAnswers.Load() && errors.Is(err, unix.ENOENT):
		return socket{}, errClosed // without kernelAnswers it may mean that the kernel can't answer
	}
	found, procErr := findInProc("/proc/net", e)
	if procErr != nil && !errors.Is(procErr, errClosed) {
		return socket{}, errors.Join(err, procErr)
	}
	return found, procErr
}

// checkStillConnected returns an error if the connection was reset. Another socket may
// have the addresses of its peer then.
func checkStillConnected(conn *net.TCPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var info *unix.TCPInfo
	cerr := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	switch {
	case cerr != nil || err != nil:
		return errors.Join(cerr, err)
	case info.State != established && info.State != closeWait:
		return errClosed
	}
	return nil
}
