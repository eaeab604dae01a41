#include "objects.h"
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/un.h>

static int s[2], a, b, c;
static struct kid other;
static char text[256];
static struct sockaddr_in here = {.sin_family = AF_INET};
static socklen_t length = sizeof here;

static void pair(int type) { CHECK(socketpair(AF_UNIX, type, 0, s) == 0 && write(s[0], "in", 2) == 2 && write(s[0], "flight", 6) == 6); }
static void stream_set(void) { pair(SOCK_STREAM); }
static void packet_pair_set(void) { pair(SOCK_SEQPACKET); }
static void dgram_set(void) { pair(SOCK_DGRAM); }
static void stream_check(void) { CHECK(read(s[1], text, 99) == 8 && !memcmp(text, "inflight", 8)); CHECK(write(s[1], "x", 1) == 1 && read(s[0], text, 9) == 1); }
static void packets_check(void) { CHECK(read(s[1], text, 99) == 2); CHECK(read(s[1], text, 99) == 6 && !memcmp(text, "flight", 6)); }
static int echo(int k) { char x; return read(s[1], &x, 1) == 1 && write(s[1], &x, 1) == 1 ? k : 0; }
static void family_set(void) { CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0); other = kid(NULL, echo); }
static void family_check(void) { CHECK(write(s[0], "q", 1) == 1); CHECK(ask(&other, 'x') == 'x' && read(s[0], text, 1) == 1 && *text == 'q'); }
static void half_set(void) { pair(SOCK_STREAM); CHECK(shutdown(s[0], SHUT_WR) == 0); }
static void half_check(void) { CHECK(read(s[1], text, 99) == 8); CHECK(read(s[1], text, 99) == 0); CHECK(write(s[1], "x", 1) == 1 && read(s[0], text, 9) == 1); }
static void send_fd(int fd) {
	char space[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec v = {"f", 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(h), &fd, sizeof fd);
	CHECK(sendmsg(s[0], &m, 0) == 1);
}
static int receive_fd(void) {
	char space[CMSG_SPACE(sizeof(int))];
	struct iovec v = {text, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
	int fd = -1;
	CHECK(recvmsg(s[1], &m, MSG_DONTWAIT) == 1);
	if (CMSG_FIRSTHDR(&m)) memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
	return fd;
}
static int passed[2];
static void rights_of(int type) { CHECK(socketpair(AF_UNIX, type, 0, s) == 0 && pipe(passed) == 0); send_fd(passed[1]); close(passed[1]); }
static void rights_set(void) { rights_of(SOCK_STREAM); }
static void rights_dgram_set(void) { rights_of(SOCK_DGRAM); }
static void rights_check(void) { int fd = receive_fd(); CHECK(fd >= 0); CHECK(write(fd, "x", 1) == 1 && read(passed[0], text, 1) == 1); }
static struct sockaddr_un name = {.sun_family = AF_UNIX};
static void listening(const char *path, int type, size_t n) {
	memcpy(name.sun_path, path, n);
	socklen_t l = offsetof(struct sockaddr_un, sun_path) + n;
	CHECK((a = socket(AF_UNIX, type, 0)) >= 0 && bind(a, (void *)&name, l) == 0 && (type == SOCK_DGRAM || listen(a, 8) == 0));
	CHECK((b = socket(AF_UNIX, type, 0)) >= 0);
	length = l;
}
static void named_set(void) { listening("sock", SOCK_STREAM, 5); }
static void named_check(void) { if (c) close(b), close(c); CHECK((b = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0); CHECK(connect(b, (void *)&name, length) == 0 && (c = accept(a, NULL, NULL)) >= 0 && write(b, "x", 1) == 1 && read(c, text, 1) == 1); }
static void pending_set(void) { named_set(); CHECK(connect(b, (void *)&name, length) == 0 && write(b, "x", 1) == 1); }
static void pending_check(void) { CHECK(fcntl(a, F_SETFL, O_NONBLOCK) == 0 && (c = accept(a, NULL, NULL)) >= 0); CHECK(read(c, text, 1) == 1); }
static void accepted_set(void) { pending_set(); CHECK((c = accept(a, NULL, NULL)) >= 0); }
static void accepted_check(void) { CHECK(read(c, text, 1) == 1 && write(c, "y", 1) == 1 && read(b, text, 1) == 1 && *text == 'y'); }
static void abstract_set(void) { char n[32]; int l = snprintf(n, sizeof n, "%cdm-%lx-%ld", 0, (long)getpid() ^ (long)n, (long)time(NULL)); listening(n, SOCK_STREAM, l); }
static void dgram_named_set(void) { listening("dgram", SOCK_DGRAM, 6); CHECK(sendto(b, "queued", 6, 0, (void *)&name, length) == 6); }
static void dgram_named_check(void) { CHECK(recv(a, text, 99, MSG_DONTWAIT) == 6); }
static void options_set(void) { int v = 1, n = 50000; CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0 && setsockopt(s[0], SOL_SOCKET, SO_PASSCRED, &v, 4) == 0 && setsockopt(s[0], SOL_SOCKET, SO_RCVBUF, &n, 4) == 0); struct timeval t = {7, 0}; CHECK(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t) == 0); }
static void options_check(void) { int v = 0; socklen_t l = 4; struct timeval t; CHECK(getsockopt(s[0], SOL_SOCKET, SO_PASSCRED, &v, &l) == 0 && v == 1); CHECK(getsockopt(s[0], SOL_SOCKET, SO_RCVBUF, &v, &l) == 0 && v == 100000); l = sizeof t; CHECK(getsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &t, &l) == 0 && t.tv_sec == 7); }

static int reuse = 1;
static void bound(int type, int protocol) {
	here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if ((a = socket(AF_INET, type, protocol)) < 0) absent("socket");
	CHECK(setsockopt(a, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse) == 0);
	CHECK(bind(a, (void *)&here, length) == 0 && (type == SOCK_DGRAM || listen(a, 8) == 0));
	CHECK(getsockname(a, (void *)&here, &length) == 0 && (b = socket(AF_INET, type, 0)) >= 0);
}
static void tcp_set(void) { bound(SOCK_STREAM, 0); }
static void tcp_check(void) { CHECK(connect(b, (void *)&here, length) == 0 && (c = accept(a, NULL, NULL)) >= 0 && write(b, "x", 1) == 1 && read(c, text, 1) == 1); }
static void mptcp_set(void) { bound(SOCK_STREAM, 262); }
static void within_set(void) { bound(SOCK_STREAM, 0); tcp_check(); }
static void stuck_set(void) { reuse = 0, bound(SOCK_STREAM, 0); tcp_check(); }
static void within_check(void) { CHECK(write(b, "x", 1) == 1 && read(c, text, 1) == 1); }
static void closed_check(void) { CHECK(read(b, text, 1) == 0); CHECK(send(b, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE); close(b), b = socket(AF_INET, SOCK_STREAM, 0); tcp_check(); }
static void backlog_set(void) { bound(SOCK_STREAM, 0); CHECK(connect(b, (void *)&here, length) == 0); }
static void udp_set(void) { bound(SOCK_DGRAM, 0); CHECK(connect(b, (void *)&here, length) == 0); }
static void udp_check(void) { CHECK(write(b, "x", 1) == 1 && read(a, text, 1) == 1); }
static void udp_data_set(void) { udp_set(); CHECK(write(b, "queued", 6) == 6); }
static void udp_data_check(void) { CHECK(recv(a, text, 99, MSG_DONTWAIT) == 6); }
static void tcp6_set(void) {
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
	if ((a = socket(AF_INET6, SOCK_STREAM, 0)) < 0 || bind(a, (void *)&six, sizeof six)) absent("IPv6");
	CHECK(listen(a, 1) == 0);
}
static void there_check(void) { int v; socklen_t l = 4; CHECK(getsockopt(a, SOL_SOCKET, SO_TYPE, &v, &l) == 0); }
static void open_socket(int family, int type, int protocol) { if ((a = socket(family, type, protocol)) < 0) absent("socket"); }
static void raw_set(void) { open_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP); }
static void packet_set(void) { open_socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)); }
static void vsock_set(void) { open_socket(40, SOCK_STREAM, 0); }
static void netlink_set(void) { struct sockaddr_nl l = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK}; open_socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE); CHECK(bind(a, (void *)&l, sizeof l) == 0); }
static void dump_links(void) { struct { struct nlmsghdr h; struct rtgenmsg g; } r = {{sizeof r, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0}, {AF_UNSPEC}}; CHECK(send(a, &r, sizeof r, 0) == sizeof r); }
static void netlink_check(void) { dump_links(); CHECK(recv(a, text, sizeof text, 0) > 0); while (recv(a, text, sizeof text, MSG_DONTWAIT) > 0); }
static void netlink_data_set(void) { netlink_set(); dump_links(); }
static void netlink_data_check(void) { CHECK(recv(a, text, sizeof text, MSG_DONTWAIT) > 0); }

// Multicast on the loopback interface: a receives what b sends.
static struct sockaddr_in group = {.sin_family = AF_INET};
static struct ip_mreqn membership;
static int receives(void) { // within a moment
	struct timeval t = {0, 200000};
	CHECK(setsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t) == 0);
	while (recv(a, text, 99, MSG_DONTWAIT) > 0) continue;
	CHECK(sendto(b, "x", 1, 0, (void *)&group, sizeof group) == 1);
	return recv(a, text, 99, 0) == 1;
}
static void group_set(void) {
	int none = 0;
	inet_aton("239.7.7.7", &group.sin_addr);
	membership.imr_multiaddr = group.sin_addr, inet_aton("127.0.0.1", &membership.imr_address);
	open_socket(AF_INET, SOCK_DGRAM, 0);
	CHECK(bind(a, (void *)&here, length) == 0 && getsockname(a, (void *)&here, &length) == 0 && (b = socket(AF_INET, SOCK_DGRAM, 0)) >= 0);
	group.sin_port = here.sin_port;
	CHECK(setsockopt(a, IPPROTO_IP, IP_MULTICAST_ALL, &none, sizeof none) == 0);
	CHECK(setsockopt(b, IPPROTO_IP, IP_MULTICAST_IF, &membership.imr_address, 4) == 0);
	CHECK(setsockopt(a, IPPROTO_IP, IP_ADD_MEMBERSHIP, &membership, 8) == 0);
	CHECK(receives());
}
static void group_check(void) {
	CHECK(receives());
	CHECK(setsockopt(a, IPPROTO_IP, IP_DROP_MEMBERSHIP, &membership, 8) == 0 && !receives());
	CHECK(setsockopt(a, IPPROTO_IP, IP_ADD_MEMBERSHIP, &membership, 8) == 0 && receives());
}
static struct group_source_req source_of(const char *address) {
	struct group_source_req r = {.gsr_interface = 1};
	struct sockaddr_in sender = {.sin_family = AF_INET};
	inet_aton(address, &sender.sin_addr);
	memcpy(&r.gsr_group, &group, sizeof group), memcpy(&r.gsr_source, &sender, sizeof sender);
	return r;
}
static void sources_set(void) {
	group_set();
	struct group_source_req other = source_of("127.0.0.9"), own = source_of("127.0.0.1");
	CHECK(setsockopt(a, IPPROTO_IP, IP_DROP_MEMBERSHIP, &membership, 8) == 0);
	CHECK(setsockopt(a, IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, &other, sizeof other) == 0 && !receives());
	CHECK(setsockopt(a, IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, &own, sizeof own) == 0 && receives());
}
static void sources_check(void) {
	struct group_source_req own = source_of("127.0.0.1"), other = source_of("127.0.0.9");
	CHECK(receives());
	CHECK(setsockopt(a, IPPROTO_IP, MCAST_LEAVE_SOURCE_GROUP, &own, sizeof own) == 0 && !receives());
	CHECK(setsockopt(a, IPPROTO_IP, MCAST_LEAVE_SOURCE_GROUP, &other, sizeof other) == 0);
}
static void blocked_source_set(void) {
	group_set();
	struct group_source_req own = source_of("127.0.0.1");
	CHECK(setsockopt(a, IPPROTO_IP, MCAST_BLOCK_SOURCE, &own, sizeof own) == 0 && !receives());
}
static void blocked_source_check(void) {
	struct group_source_req own = source_of("127.0.0.1");
	CHECK(!receives());
	CHECK(setsockopt(a, IPPROTO_IP, MCAST_UNBLOCK_SOURCE, &own, sizeof own) == 0 && receives());
}
static void by_index_set(void) { // the interface of what is sent, by its number alone
	struct ip_mreqn loopback = {.imr_ifindex = 1};
	group_set();
	CHECK(close(b) == 0 && (b = socket(AF_INET, SOCK_DGRAM, 0)) >= 0);
	CHECK(setsockopt(b, IPPROTO_IP, IP_MULTICAST_IF, &loopback, sizeof loopback) == 0 && receives());
}
static struct sockaddr_in6 group6 = {.sin6_family = AF_INET6};
static int receives6(void) {
	struct timeval t = {0, 200000};
	CHECK(setsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t) == 0);
	while (recv(a, text, 99, MSG_DONTWAIT) > 0) continue;
	if (sendto(b, "x", 1, 0, (void *)&group6, sizeof group6) != 1) return 0;
	return recv(a, text, 99, 0) == 1;
}
static void group6_set(void) {
	struct sockaddr_in6 any = {.sin6_family = AF_INET6};
	socklen_t n = sizeof any;
	int none = 0, first = 0;
	struct ipv6_mreq m = {0};
	struct if_nameindex *all = if_nameindex();
	for (int i = 0; all && all[i].if_index; i++) // the loopback interface has no multicast of IPv6
		if (all[i].if_index > 1 && !strncmp(all[i].if_name, "e", 1)) first = all[i].if_index;
	m.ipv6mr_interface = first;
	inet_pton(AF_INET6, "ff05::7777", &m.ipv6mr_multiaddr), group6.sin6_addr = m.ipv6mr_multiaddr;
	open_socket(AF_INET6, SOCK_DGRAM, 0);
	CHECK(bind(a, (void *)&any, n) == 0 && getsockname(a, (void *)&any, &n) == 0 && (b = socket(AF_INET6, SOCK_DGRAM, 0)) >= 0);
	group6.sin6_port = any.sin6_port;
	CHECK(setsockopt(a, IPPROTO_IPV6, IPV6_MULTICAST_ALL, &none, sizeof none) == 0);
	CHECK(setsockopt(b, IPPROTO_IPV6, IPV6_MULTICAST_IF, &first, sizeof first) == 0 && setsockopt(b, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &none, sizeof none) == 0);
	CHECK(setsockopt(a, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, sizeof m) == 0);
	if (!first || !receives6()) absent("multicast of IPv6");
}
static void group6_check(void) { CHECK(receives6()); }
// What each datagram says to a program that asks for it.
static void told_set(void) {
	int yes = 1, hops = 5;
	bound(SOCK_DGRAM, 0);
	CHECK(setsockopt(a, IPPROTO_IP, IP_PKTINFO, &yes, 4) == 0 && setsockopt(a, IPPROTO_IP, IP_RECVTTL, &yes, 4) == 0 && setsockopt(a, SOL_SOCKET, SO_TIMESTAMP, &yes, 4) == 0);
	CHECK(setsockopt(b, IPPROTO_IP, IP_TTL, &hops, 4) == 0);
}
static void told_check(void) {
	char space[512];
	struct iovec v = {text, 9};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
	int info = 0, time = 0, hops = 0;
	CHECK(sendto(b, "x", 1, 0, (void *)&here, length) == 1 && recvmsg(a, &m, 0) == 1);
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h))
		if (h->cmsg_level == SOL_SOCKET) time = h->cmsg_type == SCM_TIMESTAMP;
		else if (h->cmsg_type == IP_PKTINFO) info = 1;
		else if (h->cmsg_type == IP_TTL) memcpy(&hops, CMSG_DATA(h), 4);
	CHECK(info && time && hops == 5);
}
static void errors_set(void) { // an error of the network is queued
	int yes = 1;
	bound(SOCK_DGRAM, 0), close(a);
	CHECK(setsockopt(b, IPPROTO_IP, IP_RECVERR, &yes, 4) == 0);
}
static void errors_check(void) {
	char space[512];
	struct iovec v = {text, 9};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
	CHECK(sendto(b, "x", 1, 0, (void *)&here, length) == 1);
	CHECK(recvmsg(b, &m, MSG_ERRQUEUE | MSG_DONTWAIT) == 1 && CMSG_FIRSTHDR(&m)->cmsg_type == IP_RECVERR);
}
static void defer_set(void) { // accepts only what has something to say
	int seconds = 5;
	bound(SOCK_STREAM, 0);
	CHECK(setsockopt(a, IPPROTO_TCP, 9, &seconds, 4) == 0 && fcntl(a, F_SETFL, O_NONBLOCK) == 0); // TCP_DEFER_ACCEPT
}
static void defer_check(void) {
	CHECK(connect(b, (void *)&here, length) == 0);
	CHECK(accept(a, NULL, NULL) == -1 && errno == EAGAIN);
	CHECK(write(b, "x", 1) == 1 && fcntl(a, F_SETFL, 0) == 0 && (c = accept(a, NULL, NULL)) >= 0);
}
static void pair_use(void) { CHECK(write(s[1], "x", 1) == 1 && read(s[0], text, 9) == 1 && *text == 'x'); }
static void tcp_use(void) { tcp_check(); close(b), close(c); CHECK((b = socket(AF_INET, SOCK_STREAM, 0)) >= 0); }

static struct sock_filter nothing[] = {{BPF_RET | BPF_K, 0, 0, 0}};
static void filter_set(void) { // lets nothing in
	struct sock_fprog f = {1, nothing};
	bound(SOCK_DGRAM, 0);
	CHECK(setsockopt(a, SOL_SOCKET, SO_ATTACH_FILTER, &f, sizeof f) == 0);
}
static void filter_check(void) { CHECK(sendto(b, "x", 1, 0, (void *)&here, length) == 1 && recv(a, text, 9, MSG_DONTWAIT) == -1); }
static void program_set(void) { // the same as a program of BPF
	struct bpf_insn drop[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0}, {.code = BPF_JMP | BPF_EXIT}};
	union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_SOCKET_FILTER, .insn_cnt = 2, .insns = (uint64_t)drop, .license = (uint64_t)"GPL"};
	bound(SOCK_DGRAM, 0);
	int program = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof attr);
	if (program < 0) absent("BPF");
	CHECK(setsockopt(a, SOL_SOCKET, SO_ATTACH_BPF, &program, sizeof program) == 0);
	close(program);
}
static char cookie[16] = "0123456789abcdef";
static void cookie_set(void) {
	if ((a = socket(AF_INET, SOCK_STREAM, 0)) < 0 || setsockopt(a, IPPROTO_TCP, 33, cookie, 16)) absent("TCP_FASTOPEN_KEY");
	CHECK(listen(a, 1) == 0);
}
static void cookie_check(void) {
	char now[16];
	socklen_t n = sizeof now;
	CHECK(getsockopt(a, IPPROTO_TCP, 33, now, &n) == 0 && n == 16 && !memcmp(now, cookie, 16));
}
static void under_way_set(void) { // a socket that is open only in a message
	int hops = 5;
	open_socket(AF_INET, SOCK_DGRAM, 0);
	CHECK(setsockopt(a, IPPROTO_IP, IP_MINTTL, &hops, 4) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
	send_fd(a), close(a);
}
static void under_way_check(void) {
	int hops = 0;
	socklen_t n = 4;
	CHECK((a = receive_fd()) >= 0 && getsockopt(a, IPPROTO_IP, IP_MINTTL, &hops, &n) == 0 && hops == 5);
}

const struct object sockets[] = {
	{"stream-pair", stream_set, stream_check, pair_use}, {"seqpacket-pair", packet_pair_set, packets_check, pair_use}, {"dgram-pair", dgram_set, packets_check},
	{"pair-with-child", family_set, family_check, family_check}, {"half-closed", half_set, half_check}, {"rights-in-flight", rights_set, rights_check},
	{"rights-in-flight-dgram", rights_dgram_set, rights_check}, {"unix-listener", named_set, named_check, named_check}, {"unix-pending", pending_set, pending_check},
	{"unix-accepted", accepted_set, accepted_check}, {"unix-abstract", abstract_set, named_check, named_check}, {"dgram-named", dgram_named_set, dgram_named_check},
	{"socket-options", options_set, options_check, options_check}, {"tcp-listener", tcp_set, tcp_check, tcp_use}, {"tcp6-listener", tcp6_set, there_check, there_check}, {"mptcp", mptcp_set, tcp_check},
	{"tcp-connection", within_set, closed_check}, {"tcp-connection-no-reuse", stuck_set, within_check}, {"tcp-backlog", backlog_set, there_check},
	{"udp", udp_set, udp_check, udp_check}, {"udp-data", udp_data_set, udp_data_check}, {"raw", raw_set, there_check, there_check},
	{"packet", packet_set, there_check, there_check}, {"vsock", vsock_set, there_check},
	{"netlink", netlink_set, netlink_check, netlink_check}, {"netlink-data", netlink_data_set, netlink_data_check},
	{"multicast", group_set, group_check}, {"multicast-sources", sources_set, sources_check}, {"multicast-blocked-source", blocked_source_set, blocked_source_check},
	{"multicast-by-index", by_index_set, group_check}, {"multicast6", group6_set, group6_check},
	{"socket-filter", filter_set, filter_check}, {"socket-program", program_set, filter_check}, {"fastopen-key", cookie_set, cookie_check}, {"socket-under-way", under_way_set, under_way_check},
	{"datagrams-told", told_set, told_check}, {"queued-errors", errors_set, errors_check}, {"defer-accept", defer_set, defer_check}, {0},
};
