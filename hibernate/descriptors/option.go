package descriptors

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// option is a socket option that can be read and set, see socket(7), ip(7) and the like.
type option struct {
	// name is the name in C, and in the notes: it must never change.
	name          string
	level, number int
	form          form
}

// form is what an option's value is.
type form int

const (
	// number is a value of 4 bytes.
	number form = iota
	// wide is a value of 8 bytes.
	wide
	// anySize is a value of any size.
	anySize
	// text ends with the first zero.
	text
	// interfaceIndex is the number of a network interface, which another boot may give to
	// another interface: its name is noted.
	interfaceIndex
	// interfaceIndexBig is the same in network byte order.
	interfaceIndexBig
	// withOthers is a number that setting other options changes: it is noted whenever
	// another option of the socket is.
	withOthers
)

// Levels and options that golang.org/x/sys/unix lacks.
const (
	solUDP, solUDPLite, solICMPv6, solRaw = 17, 136, 58, 255
	soPassRights, soRcvPriority, soInq    = 83, 82, 84
)

// options are all that an engine may leave at their defaults, in the order in which they are
// set. Those that can't be read, or not set again, are rows of docs/sleeping.md.
var options = []option{
	{"SO_DEBUG", unix.SOL_SOCKET, unix.SO_DEBUG, number},
	{"SO_REUSEADDR", unix.SOL_SOCKET, unix.SO_REUSEADDR, number},
	{"SO_DONTROUTE", unix.SOL_SOCKET, unix.SO_DONTROUTE, number},
	{"SO_BROADCAST", unix.SOL_SOCKET, unix.SO_BROADCAST, number},
	{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, number},
	{"SO_OOBINLINE", unix.SOL_SOCKET, unix.SO_OOBINLINE, number},
	{"SO_NO_CHECK", unix.SOL_SOCKET, unix.SO_NO_CHECK, number},
	{"SO_LINGER", unix.SOL_SOCKET, unix.SO_LINGER, wide},
	{"SO_RCVLOWAT", unix.SOL_SOCKET, unix.SO_RCVLOWAT, number},
	{"SO_TIMESTAMP", unix.SOL_SOCKET, unix.SO_TIMESTAMP_OLD, number},
	{"SO_TIMESTAMPNS", unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_OLD, number},
	{"SO_TIMESTAMP_NEW", unix.SOL_SOCKET, unix.SO_TIMESTAMP_NEW, number},
	{"SO_TIMESTAMPNS_NEW", unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, number},
	{"SO_TIMESTAMPING", unix.SOL_SOCKET, unix.SO_TIMESTAMPING_OLD, wide},
	{"SO_TIMESTAMPING_NEW", unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, wide},
	{"SO_MARK", unix.SOL_SOCKET, unix.SO_MARK, number},
	{"SO_PASSCRED", unix.SOL_SOCKET, unix.SO_PASSCRED, number},
	{"SO_PASSSEC", unix.SOL_SOCKET, unix.SO_PASSSEC, number},
	{"SO_PASSPIDFD", unix.SOL_SOCKET, unix.SO_PASSPIDFD, number},
	{"SO_PASSRIGHTS", unix.SOL_SOCKET, soPassRights, number},
	{"SO_RXQ_OVFL", unix.SOL_SOCKET, unix.SO_RXQ_OVFL, number},
	{"SO_WIFI_STATUS", unix.SOL_SOCKET, unix.SO_WIFI_STATUS, number},
	{"SO_PEEK_OFF", unix.SOL_SOCKET, unix.SO_PEEK_OFF, number},
	{"SO_NOFCS", unix.SOL_SOCKET, unix.SO_NOFCS, number},
	{"SO_LOCK_FILTER", unix.SOL_SOCKET, unix.SO_LOCK_FILTER, number},
	{"SO_SELECT_ERR_QUEUE", unix.SOL_SOCKET, unix.SO_SELECT_ERR_QUEUE, number},
	{"SO_BUSY_POLL", unix.SOL_SOCKET, unix.SO_BUSY_POLL, number},
	{"SO_PREFER_BUSY_POLL", unix.SOL_SOCKET, unix.SO_PREFER_BUSY_POLL, number},
	{"SO_BUSY_POLL_BUDGET", unix.SOL_SOCKET, unix.SO_BUSY_POLL_BUDGET, number},
	{"SO_MAX_PACING_RATE", unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, wide},
	{"SO_INCOMING_CPU", unix.SOL_SOCKET, unix.SO_INCOMING_CPU, number},
	{"SO_ZEROCOPY", unix.SOL_SOCKET, unix.SO_ZEROCOPY, number},
	{"SO_TXTIME", unix.SOL_SOCKET, unix.SO_TXTIME, wide},
	{"SO_RESERVE_MEM", unix.SOL_SOCKET, unix.SO_RESERVE_MEM, number},
	{"SO_TXREHASH", unix.SOL_SOCKET, unix.SO_TXREHASH, number},
	{"SO_RCVMARK", unix.SOL_SOCKET, unix.SO_RCVMARK, number},
	{"SO_RCVPRIORITY", unix.SOL_SOCKET, soRcvPriority, number},
	{"SO_INQ", unix.SOL_SOCKET, soInq, number},

	{"IP_TOS", unix.SOL_IP, unix.IP_TOS, number},
	{"IP_TTL", unix.SOL_IP, unix.IP_TTL, number},
	{"IP_HDRINCL", unix.SOL_IP, unix.IP_HDRINCL, number},
	{"IP_OPTIONS", unix.SOL_IP, unix.IP_OPTIONS, anySize},
	{"IP_RECVOPTS", unix.SOL_IP, unix.IP_RECVOPTS, number},
	{"IP_RETOPTS", unix.SOL_IP, unix.IP_RETOPTS, number},
	{"IP_PKTINFO", unix.SOL_IP, unix.IP_PKTINFO, number},
	{"IP_MTU_DISCOVER", unix.SOL_IP, unix.IP_MTU_DISCOVER, number},
	{"IP_RECVERR", unix.SOL_IP, unix.IP_RECVERR, number},
	{"IP_RECVTTL", unix.SOL_IP, unix.IP_RECVTTL, number},
	{"IP_RECVTOS", unix.SOL_IP, unix.IP_RECVTOS, number},
	{"IP_FREEBIND", unix.SOL_IP, unix.IP_FREEBIND, number},
	{"IP_PASSSEC", unix.SOL_IP, unix.IP_PASSSEC, number},
	{"IP_TRANSPARENT", unix.SOL_IP, unix.IP_TRANSPARENT, number},
	{"IP_RECVORIGDSTADDR", unix.SOL_IP, unix.IP_RECVORIGDSTADDR, number},
	{"IP_MINTTL", unix.SOL_IP, unix.IP_MINTTL, number},
	{"IP_NODEFRAG", unix.SOL_IP, unix.IP_NODEFRAG, number},
	{"IP_CHECKSUM", unix.SOL_IP, unix.IP_CHECKSUM, number},
	{"IP_BIND_ADDRESS_NO_PORT", unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, number},
	{"IP_RECVFRAGSIZE", unix.SOL_IP, unix.IP_RECVFRAGSIZE, number},
	{"IP_RECVERR_RFC4884", unix.SOL_IP, unix.IP_RECVERR_RFC4884, number},
	{"IP_LOCAL_PORT_RANGE", unix.SOL_IP, 51, number},
	{"IP_MULTICAST_IF", unix.SOL_IP, unix.IP_MULTICAST_IF, number},
	{"IP_MULTICAST_TTL", unix.SOL_IP, unix.IP_MULTICAST_TTL, number},
	{"IP_MULTICAST_LOOP", unix.SOL_IP, unix.IP_MULTICAST_LOOP, number},
	{"IP_MULTICAST_ALL", unix.SOL_IP, unix.IP_MULTICAST_ALL, number},
	{"IP_UNICAST_IF", unix.SOL_IP, unix.IP_UNICAST_IF, interfaceIndexBig},
	{"ICMP_FILTER", solRaw, 1, number},

	{"IPV6_V6ONLY", unix.SOL_IPV6, unix.IPV6_V6ONLY, number},
	{"IPV6_CHECKSUM", unix.SOL_IPV6, unix.IPV6_CHECKSUM, number},
	{"IPV6_2292PKTINFO", unix.SOL_IPV6, unix.IPV6_2292PKTINFO, number},
	{"IPV6_2292HOPOPTS", unix.SOL_IPV6, unix.IPV6_2292HOPOPTS, number},
	{"IPV6_2292DSTOPTS", unix.SOL_IPV6, unix.IPV6_2292DSTOPTS, number},
	{"IPV6_2292RTHDR", unix.SOL_IPV6, unix.IPV6_2292RTHDR, number},
	{"IPV6_2292HOPLIMIT", unix.SOL_IPV6, unix.IPV6_2292HOPLIMIT, number},
	{"IPV6_FLOWINFO", unix.SOL_IPV6, 11, number},
	{"IPV6_UNICAST_HOPS", unix.SOL_IPV6, unix.IPV6_UNICAST_HOPS, number},
	{"IPV6_MULTICAST_IF", unix.SOL_IPV6, unix.IPV6_MULTICAST_IF, interfaceIndex},
	{"IPV6_MULTICAST_HOPS", unix.SOL_IPV6, unix.IPV6_MULTICAST_HOPS, number},
	{"IPV6_MULTICAST_LOOP", unix.SOL_IPV6, unix.IPV6_MULTICAST_LOOP, number},
	{"IPV6_MULTICAST_ALL", unix.SOL_IPV6, unix.IPV6_MULTICAST_ALL, number},
	{"IPV6_MTU_DISCOVER", unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, number},
	{"IPV6_RECVERR", unix.SOL_IPV6, unix.IPV6_RECVERR, number},
	{"IPV6_ROUTER_ALERT_ISOLATE", unix.SOL_IPV6, unix.IPV6_ROUTER_ALERT_ISOLATE, number},
	{"IPV6_RECVERR_RFC4884", unix.SOL_IPV6, unix.IPV6_RECVERR_RFC4884, number},
	{"IPV6_FLOWINFO_SEND", unix.SOL_IPV6, 33, number},
	{"IPV6_HDRINCL", unix.SOL_IPV6, unix.IPV6_HDRINCL, number},
	{"IPV6_RECVPKTINFO", unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, number},
	{"IPV6_RECVHOPLIMIT", unix.SOL_IPV6, unix.IPV6_RECVHOPLIMIT, number},
	{"IPV6_RECVHOPOPTS", unix.SOL_IPV6, unix.IPV6_RECVHOPOPTS, number},
	{"IPV6_HOPOPTS", unix.SOL_IPV6, unix.IPV6_HOPOPTS, anySize},
	{"IPV6_RTHDRDSTOPTS", unix.SOL_IPV6, unix.IPV6_RTHDRDSTOPTS, anySize},
	{"IPV6_RECVRTHDR", unix.SOL_IPV6, unix.IPV6_RECVRTHDR, number},
	{"IPV6_RTHDR", unix.SOL_IPV6, unix.IPV6_RTHDR, anySize},
	{"IPV6_RECVDSTOPTS", unix.SOL_IPV6, unix.IPV6_RECVDSTOPTS, number},
	{"IPV6_DSTOPTS", unix.SOL_IPV6, unix.IPV6_DSTOPTS, anySize},
	{"IPV6_RECVPATHMTU", unix.SOL_IPV6, unix.IPV6_RECVPATHMTU, number},
	{"IPV6_DONTFRAG", unix.SOL_IPV6, unix.IPV6_DONTFRAG, number},
	{"IPV6_RECVTCLASS", unix.SOL_IPV6, unix.IPV6_RECVTCLASS, number},
	{"IPV6_TCLASS", unix.SOL_IPV6, unix.IPV6_TCLASS, number},
	{"IPV6_AUTOFLOWLABEL", unix.SOL_IPV6, unix.IPV6_AUTOFLOWLABEL, number},
	{"IPV6_ADDR_PREFERENCES", unix.SOL_IPV6, unix.IPV6_ADDR_PREFERENCES, number},
	{"IPV6_MINHOPCOUNT", unix.SOL_IPV6, unix.IPV6_MINHOPCOUNT, number},
	{"IPV6_RECVORIGDSTADDR", unix.SOL_IPV6, unix.IPV6_RECVORIGDSTADDR, number},
	{"IPV6_TRANSPARENT", unix.SOL_IPV6, unix.IPV6_TRANSPARENT, number},
	{"IPV6_UNICAST_IF", unix.SOL_IPV6, unix.IPV6_UNICAST_IF, interfaceIndexBig},
	{"IPV6_RECVFRAGSIZE", unix.SOL_IPV6, unix.IPV6_RECVFRAGSIZE, number},
	{"IPV6_FREEBIND", unix.SOL_IPV6, unix.IPV6_FREEBIND, number},
	{"ICMPV6_FILTER", solICMPv6, 1, anySize},

	{"TCP_NODELAY", unix.SOL_TCP, unix.TCP_NODELAY, number},
	{"TCP_MAXSEG", unix.SOL_TCP, unix.TCP_MAXSEG, number},
	{"TCP_CORK", unix.SOL_TCP, unix.TCP_CORK, number},
	{"TCP_KEEPIDLE", unix.SOL_TCP, unix.TCP_KEEPIDLE, number},
	{"TCP_KEEPINTVL", unix.SOL_TCP, unix.TCP_KEEPINTVL, number},
	{"TCP_KEEPCNT", unix.SOL_TCP, unix.TCP_KEEPCNT, number},
	{"TCP_SYNCNT", unix.SOL_TCP, unix.TCP_SYNCNT, number},
	{"TCP_LINGER2", unix.SOL_TCP, unix.TCP_LINGER2, number},
	{"TCP_DEFER_ACCEPT", unix.SOL_TCP, unix.TCP_DEFER_ACCEPT, number},
	{"TCP_WINDOW_CLAMP", unix.SOL_TCP, unix.TCP_WINDOW_CLAMP, number},
	{"TCP_CONGESTION", unix.SOL_TCP, unix.TCP_CONGESTION, text},
	{"TCP_THIN_LINEAR_TIMEOUTS", unix.SOL_TCP, unix.TCP_THIN_LINEAR_TIMEOUTS, number},
	{"TCP_USER_TIMEOUT", unix.SOL_TCP, unix.TCP_USER_TIMEOUT, number},
	{"TCP_FASTOPEN", unix.SOL_TCP, unix.TCP_FASTOPEN, number},
	{"TCP_FASTOPEN_CONNECT", unix.SOL_TCP, unix.TCP_FASTOPEN_CONNECT, number},
	{"TCP_FASTOPEN_NO_COOKIE", unix.SOL_TCP, unix.TCP_FASTOPEN_NO_COOKIE, number},
	{"TCP_NOTSENT_LOWAT", unix.SOL_TCP, unix.TCP_NOTSENT_LOWAT, number},
	{"TCP_SAVE_SYN", unix.SOL_TCP, unix.TCP_SAVE_SYN, number},
	{"TCP_INQ", unix.SOL_TCP, unix.TCP_INQ, number},
	{"TCP_TX_DELAY", unix.SOL_TCP, unix.TCP_TX_DELAY, number},
	{"TCP_RTO_MAX_MS", unix.SOL_TCP, 44, number},
	{"TCP_RTO_MIN_US", unix.SOL_TCP, 45, number},
	{"TCP_DELACK_MAX_US", unix.SOL_TCP, 46, number},

	{"UDP_ENCAP", solUDP, 100, number},
	{"UDP_NO_CHECK6_TX", solUDP, 101, number},
	{"UDP_NO_CHECK6_RX", solUDP, 102, number},
	{"UDP_SEGMENT", solUDP, 103, number},
	{"UDP_GRO", solUDP, 104, number},
	{"UDPLITE_SEND_CSCOV", solUDPLite, 10, number},
	{"UDPLITE_RECV_CSCOV", solUDPLite, 11, number},

	{"NETLINK_PKTINFO", unix.SOL_NETLINK, unix.NETLINK_PKTINFO, number},
	{"NETLINK_BROADCAST_ERROR", unix.SOL_NETLINK, unix.NETLINK_BROADCAST_ERROR, number},
	{"NETLINK_NO_ENOBUFS", unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, number},
	{"NETLINK_LISTEN_ALL_NSID", unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, number},
	{"NETLINK_CAP_ACK", unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, number},
	{"NETLINK_EXT_ACK", unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, number},
	{"NETLINK_GET_STRICT_CHK", unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, number},

	{"PACKET_COPY_THRESH", unix.SOL_PACKET, unix.PACKET_COPY_THRESH, number},
	{"PACKET_AUXDATA", unix.SOL_PACKET, unix.PACKET_AUXDATA, number},
	{"PACKET_ORIGDEV", unix.SOL_PACKET, unix.PACKET_ORIGDEV, number},
	{"PACKET_VERSION", unix.SOL_PACKET, unix.PACKET_VERSION, number},
	{"PACKET_RESERVE", unix.SOL_PACKET, unix.PACKET_RESERVE, number},
	{"PACKET_LOSS", unix.SOL_PACKET, unix.PACKET_LOSS, number},
	{"PACKET_VNET_HDR", unix.SOL_PACKET, unix.PACKET_VNET_HDR, number},
	{"PACKET_VNET_HDR_SZ", unix.SOL_PACKET, 24, number},
	{"PACKET_TIMESTAMP", unix.SOL_PACKET, unix.PACKET_TIMESTAMP, number},
	{"PACKET_TX_HAS_OFF", unix.SOL_PACKET, unix.PACKET_TX_HAS_OFF, number},
	{"PACKET_QDISC_BYPASS", unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, number},
	{"PACKET_IGNORE_OUTGOING", unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, number},

	{"SO_PRIORITY", unix.SOL_SOCKET, unix.SO_PRIORITY, withOthers}, // IP_TOS sets it, too
}

// optionOf returns the option with the name, nil if there is none.
func optionOf(name string) *option {
	i := slices.IndexFunc(options, func(o option) bool { return o.name == name })
	if i < 0 {
		return nil
	}
	return &options[i]
}

// isFor reports whether sockets of the kind may have options of that level.
func (o option) isFor(k kind) bool {
	isInet := k.family == unix.AF_INET || k.family == unix.AF_INET6
	switch o.level {
	case unix.SOL_SOCKET:
		return true
	case unix.SOL_IP:
		return isInet
	case unix.SOL_IPV6:
		return k.family == unix.AF_INET6
	case unix.SOL_TCP, solUDP, solUDPLite, solICMPv6:
		return isInet && k.protocol == o.level
	case solRaw:
		return k.family == unix.AF_INET && k.kind == unix.SOCK_RAW
	case unix.SOL_NETLINK:
		return k.family == unix.AF_NETLINK
	}
	return o.level == unix.SOL_PACKET && k.family == unix.AF_PACKET
}

// size returns how many bytes a value has at most.
func (f form) size() int {
	switch f {
	case wide:
		return 8
	case text:
		return 16
	case anySize:
		return 2048
	default:
		return 4
	}
}

// read returns the option's value in the socket, nil if the socket has no such option. Of
// an interface it is the name, "" for none.
func (o option) read(fd int) []byte {
	buffer := make([]byte, o.form.size())
	n, err := getOption(fd, o.level, o.number, buffer)
	if err != nil {
		return nil
	}
	value := buffer[:n]
	switch {
	case o.form == text:
		return []byte(unix.ByteSliceToString(value))
	case o.form == interfaceIndex && n == 4:
		return interfaceName(fd, binary.NativeEndian.Uint32(value))
	case o.form == interfaceIndexBig && n == 4:
		return interfaceName(fd, binary.BigEndian.Uint32(value))
	}
	return value
}

// set sets the option to a value that read has returned.
func (o option) set(fd int, value []byte) error {
	if o.form == interfaceIndex || o.form == interfaceIndexBig {
		index, err := interfaceIndexOf(fd, string(value))
		if err != nil {
			return err
		}
		value = make([]byte, 4)
		if o.form == interfaceIndexBig {
			binary.BigEndian.PutUint32(value, index)
		} else {
			binary.NativeEndian.PutUint32(value, index)
		}
	}
	return setOption(fd, o.level, o.number, value)
}
