package criu_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// optionRow is a socket option with a value that is not its default.
type optionRow struct {
	level, number int
	value         string // in hexadecimal
}

// socketRow is a kind of socket with options that it has.
type socketRow struct {
	family, kind, protocol int
	apart                  bool // each option has a socket of its own
	options                [][]optionRow
}

// Values of options.
const (
	on, off, two, five, high = "01000000", "00000000", "02000000", "05000000", "40420f00"
)

var anySocketOptions = []optionRow{
	{unix.SOL_SOCKET, unix.SO_DEBUG, on},
	{unix.SOL_SOCKET, unix.SO_DONTROUTE, on},
	{unix.SOL_SOCKET, unix.SO_BROADCAST, on},
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE, on},
	{unix.SOL_SOCKET, unix.SO_OOBINLINE, on},
	{unix.SOL_SOCKET, unix.SO_NO_CHECK, on},
	{unix.SOL_SOCKET, unix.SO_LINGER, "0100000007000000"},
	{unix.SOL_SOCKET, unix.SO_RCVLOWAT, five},
	{unix.SOL_SOCKET, unix.SO_SNDBUF, high},
	{unix.SOL_SOCKET, unix.SO_RCVBUF, high},
	{unix.SOL_SOCKET, unix.SO_RCVTIMEO, "07000000000000000000000000000000"},
	{unix.SOL_SOCKET, unix.SO_SNDTIMEO, "07000000000000000000000000000000"},
	{unix.SOL_SOCKET, unix.SO_REUSEADDR, on},
	{unix.SOL_SOCKET, unix.SO_REUSEPORT, on},
	{unix.SOL_SOCKET, unix.SO_BUF_LOCK, "03000000"},
	{unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "6c6f00"},
	{unix.SOL_SOCKET, unix.SO_TIMESTAMP_OLD, on},
	{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_OLD, on},
	{unix.SOL_SOCKET, unix.SO_TIMESTAMP_NEW, on},
	{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, on},
	{unix.SOL_SOCKET, unix.SO_TIMESTAMPING_OLD, "18000000"},
	{unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, "18000000"},
	{unix.SOL_SOCKET, unix.SO_MARK, five},
	{unix.SOL_SOCKET, unix.SO_PASSCRED, on},
	{unix.SOL_SOCKET, unix.SO_PASSSEC, on},
	{unix.SOL_SOCKET, unix.SO_PASSPIDFD, on},
	{unix.SOL_SOCKET, 83, off}, // SO_PASSRIGHTS
	{unix.SOL_SOCKET, unix.SO_RXQ_OVFL, on},
	{unix.SOL_SOCKET, unix.SO_WIFI_STATUS, on},
	{unix.SOL_SOCKET, unix.SO_PEEK_OFF, five},
	{unix.SOL_SOCKET, unix.SO_NOFCS, on},
	{unix.SOL_SOCKET, unix.SO_LOCK_FILTER, on},
	{unix.SOL_SOCKET, unix.SO_SELECT_ERR_QUEUE, on},
	{unix.SOL_SOCKET, unix.SO_BUSY_POLL, "32000000"},
	{unix.SOL_SOCKET, unix.SO_PREFER_BUSY_POLL, on},
	{unix.SOL_SOCKET, unix.SO_BUSY_POLL_BUDGET, "10000000"},
	{unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, "40420f0000000000"},
	{unix.SOL_SOCKET, unix.SO_INCOMING_CPU, on},
	{unix.SOL_SOCKET, unix.SO_ZEROCOPY, on},
	{unix.SOL_SOCKET, unix.SO_TXTIME, "0100000001000000"},
	{unix.SOL_SOCKET, unix.SO_RESERVE_MEM, "00200000"},
	{unix.SOL_SOCKET, unix.SO_TXREHASH, off},
	{unix.SOL_SOCKET, unix.SO_RCVMARK, on},
	{unix.SOL_SOCKET, 82, on}, // SO_RCVPRIORITY
	{unix.SOL_SOCKET, 84, on}, // SO_INQ
	{unix.SOL_SOCKET, unix.SO_PRIORITY, five},
}

var ipOptions = []optionRow{
	{unix.SOL_IP, unix.IP_TOS, "10000000"},
	{unix.SOL_IP, unix.IP_TTL, five},
	{unix.SOL_IP, unix.IP_HDRINCL, on},
	{unix.SOL_IP, unix.IP_OPTIONS, "01010100"},
	{unix.SOL_IP, unix.IP_RECVOPTS, on},
	{unix.SOL_IP, unix.IP_RETOPTS, on},
	{unix.SOL_IP, unix.IP_PKTINFO, on},
	{unix.SOL_IP, unix.IP_MTU_DISCOVER, "03000000"},
	{unix.SOL_IP, unix.IP_RECVERR, on},
	{unix.SOL_IP, unix.IP_RECVTTL, on},
	{unix.SOL_IP, unix.IP_RECVTOS, on},
	{unix.SOL_IP, unix.IP_FREEBIND, on},
	{unix.SOL_IP, unix.IP_PASSSEC, on},
	{unix.SOL_IP, unix.IP_TRANSPARENT, on},
	{unix.SOL_IP, unix.IP_RECVORIGDSTADDR, on},
	{unix.SOL_IP, unix.IP_MINTTL, five},
	{unix.SOL_IP, unix.IP_NODEFRAG, on},
	{unix.SOL_IP, unix.IP_CHECKSUM, on},
	{unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, on},
	{unix.SOL_IP, unix.IP_RECVFRAGSIZE, on},
	{unix.SOL_IP, unix.IP_RECVERR_RFC4884, on},
	{unix.SOL_IP, 51, "401f4a1f"}, // IP_LOCAL_PORT_RANGE
	{unix.SOL_IP, unix.IP_MULTICAST_IF, "7f000001"},
	{unix.SOL_IP, unix.IP_MULTICAST_TTL, five},
	{unix.SOL_IP, unix.IP_MULTICAST_LOOP, off},
	{unix.SOL_IP, unix.IP_MULTICAST_ALL, off},
	{unix.SOL_IP, unix.IP_UNICAST_IF, "00000001"},
}

var ipv6Options = []optionRow{
	{unix.SOL_IPV6, unix.IPV6_V6ONLY, on},
	{unix.SOL_IPV6, unix.IPV6_CHECKSUM, two},
	{unix.SOL_IPV6, unix.IPV6_2292PKTINFO, on},
	{unix.SOL_IPV6, unix.IPV6_2292HOPOPTS, on},
	{unix.SOL_IPV6, unix.IPV6_2292DSTOPTS, on},
	{unix.SOL_IPV6, unix.IPV6_2292RTHDR, on},
	{unix.SOL_IPV6, unix.IPV6_2292HOPLIMIT, on},
	{unix.SOL_IPV6, 11, on}, // IPV6_FLOWINFO
	{unix.SOL_IPV6, unix.IPV6_UNICAST_HOPS, five},
	{unix.SOL_IPV6, unix.IPV6_MULTICAST_IF, on},
	{unix.SOL_IPV6, unix.IPV6_MULTICAST_HOPS, five},
	{unix.SOL_IPV6, unix.IPV6_MULTICAST_LOOP, off},
	{unix.SOL_IPV6, unix.IPV6_MULTICAST_ALL, off},
	{unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, "03000000"},
	{unix.SOL_IPV6, unix.IPV6_RECVERR, on},
	{unix.SOL_IPV6, unix.IPV6_ROUTER_ALERT_ISOLATE, on},
	{unix.SOL_IPV6, unix.IPV6_RECVERR_RFC4884, on},
	{unix.SOL_IPV6, 33, on}, // IPV6_FLOWINFO_SEND
	{unix.SOL_IPV6, unix.IPV6_HDRINCL, on},
	{unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, on},
	{unix.SOL_IPV6, unix.IPV6_PKTINFO, "0000000000000000000000000000000101000000"},
	{unix.SOL_IPV6, unix.IPV6_RECVHOPLIMIT, on},
	{unix.SOL_IPV6, unix.IPV6_RECVHOPOPTS, on},
	{unix.SOL_IPV6, unix.IPV6_HOPOPTS, "0000010400000000"},
	{unix.SOL_IPV6, unix.IPV6_RTHDRDSTOPTS, "0000010400000000"},
	{unix.SOL_IPV6, unix.IPV6_RECVRTHDR, on},
	{unix.SOL_IPV6, unix.IPV6_RECVDSTOPTS, on},
	{unix.SOL_IPV6, unix.IPV6_DSTOPTS, "0000010400000000"},
	{unix.SOL_IPV6, unix.IPV6_RECVPATHMTU, on},
	{unix.SOL_IPV6, unix.IPV6_DONTFRAG, on},
	{unix.SOL_IPV6, unix.IPV6_RECVTCLASS, on},
	{unix.SOL_IPV6, unix.IPV6_TCLASS, "10000000"},
	{unix.SOL_IPV6, unix.IPV6_AUTOFLOWLABEL, off},
	{unix.SOL_IPV6, unix.IPV6_ADDR_PREFERENCES, on},
	{unix.SOL_IPV6, unix.IPV6_MINHOPCOUNT, five},
	{unix.SOL_IPV6, unix.IPV6_RECVORIGDSTADDR, on},
	{unix.SOL_IPV6, unix.IPV6_TRANSPARENT, on},
	{unix.SOL_IPV6, unix.IPV6_UNICAST_IF, "00000001"},
	{unix.SOL_IPV6, unix.IPV6_RECVFRAGSIZE, on},
	{unix.SOL_IPV6, unix.IPV6_FREEBIND, on},
}

var tcpOptions = []optionRow{
	{unix.SOL_TCP, unix.TCP_NODELAY, on},
	{unix.SOL_TCP, unix.TCP_MAXSEG, "f4010000"},
	{unix.SOL_TCP, unix.TCP_CORK, on},
	{unix.SOL_TCP, unix.TCP_KEEPIDLE, five},
	{unix.SOL_TCP, unix.TCP_KEEPINTVL, five},
	{unix.SOL_TCP, unix.TCP_KEEPCNT, five},
	{unix.SOL_TCP, unix.TCP_SYNCNT, five},
	{unix.SOL_TCP, unix.TCP_LINGER2, five},
	{unix.SOL_TCP, unix.TCP_DEFER_ACCEPT, five},
	{unix.SOL_TCP, unix.TCP_WINDOW_CLAMP, high},
	{unix.SOL_TCP, unix.TCP_CONGESTION, "72656e6f"}, // reno
	{unix.SOL_TCP, unix.TCP_THIN_LINEAR_TIMEOUTS, on},
	{unix.SOL_TCP, unix.TCP_USER_TIMEOUT, high},
	{unix.SOL_TCP, unix.TCP_FASTOPEN, five},
	{unix.SOL_TCP, unix.TCP_FASTOPEN_CONNECT, on},
	{unix.SOL_TCP, unix.TCP_FASTOPEN_NO_COOKIE, on},
	{unix.SOL_TCP, unix.TCP_NOTSENT_LOWAT, high},
	{unix.SOL_TCP, unix.TCP_SAVE_SYN, on},
	{unix.SOL_TCP, unix.TCP_INQ, on},
	{unix.SOL_TCP, unix.TCP_TX_DELAY, high},
	{unix.SOL_TCP, 44, "10270000"}, // TCP_RTO_MAX_MS
	{unix.SOL_TCP, 45, "10270000"}, // TCP_RTO_MIN_US
	{unix.SOL_TCP, 46, "10270000"}, // TCP_DELACK_MAX_US
}

var udpOptions = []optionRow{
	{17, 100, two}, // UDP_ENCAP
	{17, 101, on},  // UDP_NO_CHECK6_TX
	{17, 102, on},  // UDP_NO_CHECK6_RX
	{17, 103, "e8030000"},
	{17, 104, on}, // UDP_GRO
}

var netlinkOptions = []optionRow{
	{unix.SOL_NETLINK, unix.NETLINK_PKTINFO, on},
	{unix.SOL_NETLINK, unix.NETLINK_BROADCAST_ERROR, on},
	{unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, on},
	{unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, on},
	{unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, on},
	{unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, on},
	{unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, on},
}

var packetOptions = []optionRow{
	{unix.SOL_PACKET, unix.PACKET_COPY_THRESH, high},
	{unix.SOL_PACKET, unix.PACKET_AUXDATA, on},
	{unix.SOL_PACKET, unix.PACKET_ORIGDEV, on},
	{unix.SOL_PACKET, unix.PACKET_VERSION, two},
	{unix.SOL_PACKET, unix.PACKET_RESERVE, five},
	{unix.SOL_PACKET, unix.PACKET_LOSS, on},
	{unix.SOL_PACKET, unix.PACKET_VNET_HDR, on},
	{unix.SOL_PACKET, 24, "0c000000"}, // PACKET_VNET_HDR_SZ
	{unix.SOL_PACKET, unix.PACKET_TIMESTAMP, on},
	{unix.SOL_PACKET, unix.PACKET_TX_HAS_OFF, on},
	{unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, on},
	{unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, on},
}

var socketRows = []socketRow{
	{unix.AF_INET, unix.SOCK_DGRAM, 0, true, [][]optionRow{anySocketOptions, ipOptions, udpOptions}},
	{unix.AF_INET6, unix.SOCK_DGRAM, 0, false, [][]optionRow{ipOptions, ipv6Options, udpOptions}},
	{unix.AF_INET, unix.SOCK_STREAM, 0, true, [][]optionRow{anySocketOptions, ipOptions, tcpOptions}},
	{unix.AF_INET6, unix.SOCK_STREAM, 0, false, [][]optionRow{ipv6Options, tcpOptions}},
	{unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP, false, [][]optionRow{ipOptions, {{255, 1, five}}}},
	{unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6, false, [][]optionRow{ipv6Options, {{58, 1, strings.Repeat("0f", 32)}}}},
	{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE, false, [][]optionRow{anySocketOptions, netlinkOptions}},
	{unix.AF_PACKET, unix.SOCK_RAW, 0, false, [][]optionRow{anySocketOptions, packetOptions}},
	{unix.AF_UNIX, unix.SOCK_DGRAM, 0, false, [][]optionRow{anySocketOptions}},
	{unix.AF_UNIX, unix.SOCK_STREAM, 0, false, [][]optionRow{anySocketOptions}},
	{unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE, false, [][]optionRow{{{136, 10, "14000000"}, {136, 11, "14000000"}}}},
}

// writeOptions writes the file from which the C program takes the options.
func writeOptions(t *testing.T, dir string) {
	t.Helper()
	var lines strings.Builder
	for _, s := range socketRows {
		for _, options := range s.options {
			for i, o := range options {
				isNew := 0
				if s.apart || i == 0 {
					isNew = 1
				}
				fmt.Fprintf(&lines, "%d %d %d %d %d %d %s\n", isNew, s.family, s.kind, s.protocol, o.level, o.number, o.value)
			}
		}
	}
	must(t, os.WriteFile(filepath.Join(dir, "options"), []byte(lines.String()), 0o600))
}
