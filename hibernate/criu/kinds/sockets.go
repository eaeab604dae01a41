package kinds

// sockets are the kinds of sockets.
var sockets = Table{
	{Kind: "unix", Fate: ComesBack, Text: "unix sockets: pairs, listening, abstract and named ones, of all three types, with data and descriptors (SCM_RIGHTS) in flight, half closed, their options and buffer sizes"},
	{Kind: "unix-outside", Fate: Refused, Text: "unix connections to processes outside of the plugin",
		Name: "a unix connection to a process outside of the plugin", Advice: "close it in BeforeCheckpoint and connect again in AfterRestore"},
	{Kind: "unix-waiting", Fate: Refused, Text: "a unix connection that was not accepted yet, with data in it",
		Name: "a socket with a connection that it has not accepted", Advice: "accept it, or close the socket in BeforeCheckpoint", Passing: true},
	{Kind: "tcp", Fate: ComesBack, Text: "TCP sockets, IPv4 and IPv6. Connections come back closed: reads end, writes fail; the listening socket works on"},
	{Kind: "tcp-no-reuse", Fate: Refused, Text: "a TCP connection to a listening socket of the tree without SO_REUSEADDR",
		Name: "a connection to its own listening TCP port", Advice: "set SO_REUSEADDR on the listening socket, or close the connection in BeforeCheckpoint"},
	{Kind: "tcp-waiting", Fate: Refused, Text: "a TCP connection that was not accepted yet",
		Name: "a TCP port with connections that it has not accepted", Advice: "accept them, or close the port in BeforeCheckpoint", Passing: true},
	{Kind: "mptcp", Fate: Refused, Text: "MPTCP sockets (Go: the host sets `GODEBUG=multipathtcp=0`)",
		Name: "a socket of protocol MPTCP", Advice: "the program must ask for plain TCP (Go: GODEBUG=multipathtcp=0)"},
	{Kind: "udp", Fate: ComesBack, Text: "UDP sockets, bound and connected"},
	{Kind: "udp-unread", Fate: Lost, Text: "UDP datagrams not yet read: they are lost, as any datagram may be"},
	{Kind: "raw", Fate: ComesBack, Text: "raw sockets"},
	{Kind: "packet", Fate: ComesBack, Text: "packet sockets"},
	{Kind: "netlink", Fate: ComesBack, Text: "netlink sockets and their groups"},
	{Kind: "netlink-unread", Fate: Refused, Text: "netlink messages not yet read",
		Name: "a netlink socket with messages to read", Advice: "read them, or close it in BeforeCheckpoint", Passing: true},
	{Kind: "socket-option", Fate: BroughtBack, Text: "options of sockets that can be read: of IP, IPv6, TCP, UDP, netlink, packet and all sockets"},
	{Kind: "multicast", Fate: BroughtBack, Text: "multicast groups of a socket, with their interfaces and sources; a wake waits for an interface that is not there yet"},
	{Kind: "vsock", Fate: Refused, Text: "vsock sockets",
		Name: "a socket of protocol AF_VSOCK", Advice: reopen},
}
