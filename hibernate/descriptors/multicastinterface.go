package descriptors

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// interfaceProbe finds out by which network interface a socket sends multicast: the kernel
// tells of IP_MULTICAST_IF only the address, which is 0 where it was set by number. The
// socket is made to send a datagram that never leaves the machine, and the probe sees where
// it came in.
type interfaceProbe struct {
	receiver int
	port     int
	usual    uint32 // index of the interface that a new socket sends by
	isDeaf   bool   // a datagram did not come in, so that no more are waited for
}

// newInterfaceProbe returns a probe, which the caller must close.
func newInterfaceProbe() (*interfaceProbe, error) {
	receiver, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	p := &interfaceProbe{receiver: receiver}
	err = unix.Bind(receiver, &unix.SockaddrInet4{})
	if err == nil {
		err = unix.SetsockoptInt(receiver, unix.SOL_IP, unix.IP_PKTINFO, 1)
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	name, err := unix.Getsockname(receiver)
	if inet, ok := name.(*unix.SockaddrInet4); ok {
		p.port = inet.Port
	}
	newSocket, nerr := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err = errors.Join(err, nerr); err != nil {
		return nil, errors.Join(err, p.close())
	}
	p.usual = p.indexOf(newSocket)
	return p, unix.Close(newSocket)
}

// close ends the probe.
func (p *interfaceProbe) close() error { return unix.Close(p.receiver) }

// unusualInterfaceOf returns the name of the interface by which the UDP socket sends
// multicast, "" if it is that of a new socket, has an address, or can't be found out.
func (p *interfaceProbe) unusualInterfaceOf(fd int) string {
	if address, err := unix.GetsockoptInet4Addr(fd, unix.SOL_IP, unix.IP_MULTICAST_IF); err != nil || address != [4]byte{} {
		return ""
	}
	index := p.indexOf(fd)
	if index == 0 || index == p.usual {
		return ""
	}
	return string(interfaceName(fd, index))
}

// indexOf returns the index of the interface by which the UDP socket sends multicast, 0 if
// it can't send now.
func (p *interfaceProbe) indexOf(fd int) uint32 {
	if p.isDeaf {
		return 0
	}
	restore, err := setForProbe(fd)
	if err != nil {
		return 0
	}
	mark := []byte(rand.Text())
	everyHost := &unix.SockaddrInet4{Port: p.port, Addr: [4]byte{224, 0, 0, 1}} // joined on all interfaces
	err = unix.Sendto(fd, mark, unix.MSG_DONTWAIT, everyHost)
	if errors.Join(err, restore()) != nil {
		return 0
	}
	return p.receive(mark)
}

// setForProbe lets what the socket sends to groups come back to this machine, and not leave
// it. The caller must call restore.
func setForProbe(fd int) (restore func() error, err error) {
	ttl, err := unix.GetsockoptInt(fd, unix.SOL_IP, unix.IP_MULTICAST_TTL)
	if err != nil {
		return nil, err
	}
	loop, err := unix.GetsockoptInt(fd, unix.SOL_IP, unix.IP_MULTICAST_LOOP)
	if err != nil {
		return nil, err
	}
	set := func(ttl, loop int) error {
		return errors.Join(unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_MULTICAST_TTL, ttl), unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_MULTICAST_LOOP, loop))
	}
	restore = func() error { return set(ttl, loop) }
	if err := set(0, 1); err != nil {
		return nil, errors.Join(err, restore())
	}
	return restore, nil
}

// probeTimeMS is how long a datagram may be under way inside the machine, in milliseconds.
const probeTimeMS = 20

// receive returns the index of the interface by which the datagram with the mark has come,
// 0 if it does not come, since a firewall drops it.
func (p *interfaceProbe) receive(mark []byte) uint32 {
	datagram, control := make([]byte, 2*len(mark)), make([]byte, 64)
	for range 8 { // other programs may send to the receiver, too
		ready := []unix.PollFd{{Fd: int32(p.receiver), Events: unix.POLLIN}}
		if n, err := unix.Poll(ready, probeTimeMS); err != nil || n == 0 {
			p.isDeaf = true
			return 0
		}
		n, c, _, _, err := unix.Recvmsg(p.receiver, datagram, control, unix.MSG_DONTWAIT)
		if err != nil || !bytes.Equal(datagram[:n], mark) {
			continue
		}
		messages, err := unix.ParseSocketControlMessage(control[:c])
		if err == nil && len(messages) == 1 && len(messages[0].Data) >= 4 { // in_pktinfo begins with the index
			return binary.NativeEndian.Uint32(messages[0].Data)
		}
	}
	return 0
}

// setMulticastInterface makes the socket send multicast by the interface.
func setMulticastInterface(fd int, name string) error {
	index, err := interfaceIndexOf(fd, name)
	if err != nil {
		return err
	}
	return unix.SetsockoptIPMreqn(fd, unix.SOL_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(index)})
}
