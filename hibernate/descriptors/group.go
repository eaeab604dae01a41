package descriptors

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Group is a multicast group that a socket has joined on a network interface.
type Group struct {
	Address   netip.Addr `json:"address"`
	Interface string     `json:"interface"`
	// Include means that only datagrams from Sources are received, and otherwise those
	// from all others.
	Include bool         `json:"include,omitempty"`
	Sources []netip.Addr `json:"sources,omitempty"`
}

// String returns the text "address on interface".
func (g Group) String() string { return fmt.Sprintf("%s on %s", g.Address, g.Interface) }

// joinedGroup is a group that some socket of this machine, or the kernel, has joined.
type joinedGroup struct {
	address netip.Addr
	index   uint32 // of the interface
}

// mayJoinGroups reports whether sockets of the kind may join multicast groups of addresses.
func (k kind) mayJoinGroups() bool {
	return (k.family == unix.AF_INET || k.family == unix.AF_INET6) && (k.kind == unix.SOCK_DGRAM || k.kind == unix.SOCK_RAW)
}

// groupsOf returns the groups that the socket has joined. The kernel does not list them: the
// socket is asked for each group that any socket has joined.
func (t *taker) groupsOf(fd int, k kind) (groups []Group, err error) {
	if !t.hasRead {
		if t.groups, err = readJoinedGroups(); err != nil {
			return nil, err
		}
		t.hasRead = true
	}
	for _, j := range t.groups {
		if j.address.Is6() && k.family != unix.AF_INET6 {
			continue
		}
		g, joined, err := j.readFrom(fd)
		if err != nil {
			return nil, fmt.Errorf("the multicast group %s: %w", j.address, err)
		}
		if joined {
			groups = append(groups, g)
		}
	}
	return groups, nil
}

// readJoinedGroups returns the groups in the tables of this network namespace.
func readJoinedGroups() ([]joinedGroup, error) {
	four, err := readTable("/proc/net/igmp")
	if err != nil {
		return nil, err
	}
	six, err := readTable("/proc/net/igmp6")
	return append(parseGroups(four), parseGroups6(six)...), err
}

// readTable returns the text of the file, "" if the kernel lacks the protocol.
func readTable(path string) (string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}

// parseGroups returns the groups in a table of IPv4: a line for each interface, which begins
// with its index, and below it an indented line for each group.
func parseGroups(table string) (groups []joinedGroup) {
	var index uint64
	for line := range strings.Lines(table) {
		columns := strings.Fields(line)
		if len(columns) == 0 {
			continue
		}
		if !strings.HasPrefix(line, "\t") {
			index, _ = strconv.ParseUint(columns[0], 10, 32) // the heading has none
			continue
		}
		raw, err := strconv.ParseUint(columns[0], 16, 32)
		if err != nil {
			continue
		}
		var address [4]byte
		binary.NativeEndian.PutUint32(address[:], uint32(raw))
		groups = append(groups, joinedGroup{netip.AddrFrom4(address), uint32(index)})
	}
	return groups
}

// parseGroups6 returns the groups in a table of IPv6: a line for each, with the index and
// name of its interface, and its address.
func parseGroups6(table string) (groups []joinedGroup) {
	for line := range strings.Lines(table) {
		columns := strings.Fields(line)
		if len(columns) < 3 {
			continue
		}
		index, err := strconv.ParseUint(columns[0], 10, 32)
		if err != nil {
			continue
		}
		address, err := hex.DecodeString(columns[2])
		if err != nil || len(address) != 16 {
			continue
		}
		groups = append(groups, joinedGroup{netip.AddrFrom16([16]byte(address)), uint32(index)})
	}
	return groups
}

// Sizes of structures in linux/in.h.
const (
	sizeofSockaddrStorage = 128
	filterHead            = 144 // of a group_filter, before its sources
	maxSources            = 64
)

// readFrom returns the group as the socket has joined it, and joined = false if it has not.
func (j joinedGroup) readFrom(fd int) (g Group, joined bool, err error) {
	for sources := maxSources; ; {
		filter := filterOf(j.address, j.index, sources)
		_, err := getOption(fd, levelOf(j.address), unix.MCAST_MSFILTER, filter)
		switch {
		case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENOPROTOOPT):
			return g, false, nil
		case err != nil:
			return g, false, err
		}
		n := int(binary.NativeEndian.Uint32(filter[140:]))
		if n > sources {
			sources = n
			continue
		}
		g = Group{Address: j.address, Interface: string(interfaceName(fd, j.index))}
		g.Include = binary.NativeEndian.Uint32(filter[136:]) == unix.MCAST_INCLUDE
		for i := range n {
			g.Sources = append(g.Sources, addressIn(filter[filterHead+i*sizeofSockaddrStorage:]))
		}
		return g, true, nil
	}
}

// join makes the socket join the group.
func (g Group) join(fd int) error {
	index, err := interfaceIndexOf(fd, g.Interface)
	if err != nil {
		return err
	}
	request := make([]byte, 8+sizeofSockaddrStorage) // group_req
	binary.NativeEndian.PutUint32(request, index)
	putAddress(request[8:], g.Address)
	level := levelOf(g.Address)
	if err := setOption(fd, level, unix.MCAST_JOIN_GROUP, request); err != nil && !errors.Is(err, unix.EADDRINUSE) {
		return err
	}
	if !g.Include && len(g.Sources) == 0 {
		return nil
	}
	filter := filterOf(g.Address, index, len(g.Sources))
	mode := uint32(unix.MCAST_EXCLUDE)
	if g.Include {
		mode = unix.MCAST_INCLUDE
	}
	binary.NativeEndian.PutUint32(filter[136:], mode)
	for i, source := range g.Sources {
		putAddress(filter[filterHead+i*sizeofSockaddrStorage:], source)
	}
	return setOption(fd, level, unix.MCAST_MSFILTER, filter)
}

// filterOf returns a group_filter for that many sources.
func filterOf(group netip.Addr, index uint32, sources int) []byte {
	filter := make([]byte, filterHead+sources*sizeofSockaddrStorage)
	binary.NativeEndian.PutUint32(filter, index)
	putAddress(filter[8:], group)
	binary.NativeEndian.PutUint32(filter[140:], uint32(sources))
	return filter
}

// levelOf returns the level of options about the group.
func levelOf(group netip.Addr) int {
	if group.Is4() {
		return unix.SOL_IP
	}
	return unix.SOL_IPV6
}

// putAddress writes the address into a sockaddr_storage.
func putAddress(storage []byte, address netip.Addr) {
	if address.Is4() {
		binary.NativeEndian.PutUint16(storage, unix.AF_INET)
		copy(storage[4:], address.AsSlice())
		return
	}
	binary.NativeEndian.PutUint16(storage, unix.AF_INET6)
	copy(storage[8:], address.AsSlice())
}

// addressIn returns the address in a sockaddr_storage.
func addressIn(storage []byte) netip.Addr {
	if binary.NativeEndian.Uint16(storage) == unix.AF_INET {
		return netip.AddrFrom4([4]byte(storage[4:8]))
	}
	return netip.AddrFrom16([16]byte(storage[8:24]))
}
