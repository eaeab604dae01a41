package descriptors

import (
	"bytes"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"dormouse/internal/procfs"
)

// Socket is what an engine does not restore of a socket.
type Socket struct {
	Place
	Options []Option `json:"options,omitempty"`
	Groups  []Group  `json:"groups,omitempty"`
	// MulticastInterface is the name of the network interface by which the socket sends
	// multicast, if that was set by number, see interfaceProbe.
	MulticastInterface string `json:"multicastInterface,omitempty"`
}

// Option is a socket option that differs from its default.
type Option struct {
	Name  string `json:"name"`
	Value []byte `json:"value"`
}

// kind is what socket(2) is called with.
type kind struct{ family, kind, protocol int }

// udp is the kind that may send multicast of IPv4.
var udp = kind{unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDP}

// defaults are the values of options in a new socket.
type defaults []optionDefault

type optionDefault struct {
	option
	value []byte
}

// taker takes the notes of one tree's sockets.
type taker struct {
	seen     map[uint32]bool   // by inode: sockets that were looked at
	defaults map[kind]defaults // of the kinds that the tree has
	groups   []joinedGroup     // of all sockets of this machine
	hasRead  bool              // the groups were read
	probe    *interfaceProbe   // nil before the first UDP socket
}

// close releases what the taker holds.
func (t *taker) close() {
	if t.probe != nil {
		_ = t.probe.close() // nothing is kept in it
	}
}

// addSocket adds a note of the socket, unless an engine restores it as it is. It notes
// nothing of a TCP connection, which comes back closed.
func (t *taker) addSocket(notes *Notes, d procfs.Descriptor, place Place) error {
	return d.WithDuplicate(func(fd int) error {
		k, err := kindOf(fd)
		if err != nil {
			return err
		}
		state, err := tcpState(fd, k)
		if err != nil || state != tcpClosed && state != tcpListening {
			return err
		}
		s := Socket{Place: place, Options: t.differingOptions(fd, k)}
		if k.mayJoinGroups() {
			if s.Groups, err = t.groupsOf(fd, k); err != nil {
				return err
			}
		}
		if k == udp {
			if t.probe == nil {
				if t.probe, err = newInterfaceProbe(); err != nil {
					return err
				}
			}
			s.MulticastInterface = t.probe.unusualInterfaceOf(fd)
		}
		if len(s.Options) > 0 || len(s.Groups) > 0 || s.MulticastInterface != "" {
			notes.Sockets = append(notes.Sockets, s)
		}
		return nil
	})
}

// kindOf returns the kind of the socket.
func kindOf(fd int) (k kind, err error) {
	for _, part := range []struct {
		option int
		value  *int
	}{{unix.SO_DOMAIN, &k.family}, {unix.SO_TYPE, &k.kind}, {unix.SO_PROTOCOL, &k.protocol}} {
		if *part.value, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, part.option); err != nil {
			return k, err
		}
	}
	return k, nil
}

// States of TCP sockets in the kernel.
const (
	tcpClosed    = 7 // or new
	tcpListening = 10
)

// tcpState returns the state of the socket, tcpClosed if it is not one of TCP.
func tcpState(fd int, k kind) (int, error) {
	if k.protocol != unix.IPPROTO_TCP || k.family != unix.AF_INET && k.family != unix.AF_INET6 { // others number protocols in their own way
		return tcpClosed, nil
	}
	var info [1]byte // begins with the state
	_, err := getOption(fd, unix.SOL_TCP, unix.TCP_INFO, info[:])
	return int(info[0]), err
}

// differingOptions returns the options of the socket that differ from those of a new one.
// Options of TCP count if they can be set to the value that they have: the kernel gives
// values of its own to a connection, and a listening socket refuses what is for clients.
func (t *taker) differingOptions(fd int, k kind) (differing []Option) {
	all, known := t.defaults[k]
	if !known {
		all = defaultsOf(k)
		t.defaults[k] = all
	}
	for _, o := range all {
		value := o.read(fd)
		if value == nil || bytes.Equal(value, o.value) && (o.form != withOthers || len(differing) == 0) {
			continue
		}
		if o.level == unix.SOL_TCP && o.set(fd, value) != nil {
			continue
		}
		differing = append(differing, Option{o.name, value})
	}
	return differing
}

// defaultsOf returns the defaults of sockets of the kind. Where this process may not make
// such a socket no value is known, so that each one counts as differing.
func defaultsOf(k kind) (all defaults) {
	protocol := k.protocol
	if k.family == unix.AF_PACKET {
		protocol = 0 // a new socket of another protocol would receive
	}
	fd, err := unix.Socket(k.family, k.kind|unix.SOCK_CLOEXEC, protocol)
	if err == nil {
		defer func() { _ = unix.Close(fd) }() // nothing was sent
	}
	for _, o := range options {
		if !o.isFor(k) {
			continue
		}
		d := optionDefault{option: o}
		if err == nil {
			d.value = o.read(fd)
		}
		if d.value != nil || err != nil {
			all = append(all, d)
		}
	}
	return all
}

// applyTo makes the restored socket d be as s was noted.
func (s Socket) applyTo(d procfs.Descriptor) error {
	return d.WithDuplicate(func(fd int) error {
		for _, g := range s.Groups {
			if err := g.join(fd); err != nil {
				return fmt.Errorf("the multicast group %s: %w", g, err)
			}
		}
		if s.MulticastInterface != "" {
			if err := setMulticastInterface(fd, s.MulticastInterface); err != nil {
				return fmt.Errorf("the interface for multicast: %w", err)
			}
		}
		for _, noted := range s.Options {
			o := optionOf(noted.Name)
			if o == nil {
				return fmt.Errorf("the option %s: this host does not know it", noted.Name)
			}
			if bytes.Equal(o.read(fd), noted.Value) {
				continue
			}
			if err := o.set(fd, noted.Value); err != nil {
				return fmt.Errorf("the option %s: %w", noted.Name, err)
			}
		}
		return nil
	})
}

// getOption reads the option into the buffer and returns the size of the value.
func getOption(fd, level, number int, buffer []byte) (size int, err error) {
	n := uint32(len(buffer))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(number),
		uintptr(unsafe.Pointer(unsafe.SliceData(buffer))), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// setOption sets the option to the value.
func setOption(fd, level, number int, value []byte) error {
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(number),
		uintptr(unsafe.Pointer(unsafe.SliceData(value))), uintptr(len(value)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// interfaceName returns the name of the network interface, empty and not nil if there is
// none with the index.
func interfaceName(fd int, index uint32) []byte {
	request, err := unix.NewIfreq("")
	if err != nil || index == 0 {
		return []byte{}
	}
	request.SetUint32(index)
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFNAME, request); err != nil {
		return []byte{}
	}
	return []byte(request.Name())
}

// interfaceIndexOf returns the index of the network interface, 0 for the name "".
func interfaceIndexOf(fd int, name string) (uint32, error) {
	if name == "" {
		return 0, nil
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request)
	if errors.Is(err, unix.ENODEV) {
		return 0, fmt.Errorf("there is no network interface %s now", name)
	}
	return request.Uint32(), err
}
