// Sockets of rarer kinds and states.
#include "objects.h"
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/if_xdp.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stddef.h>
#include <sys/un.h>

static int a, b, c, s[2];
static char text[4096];
static struct sockaddr_in here = {.sin_family = AF_INET};
static socklen_t length = sizeof here;
static struct sockaddr_un name = {.sun_family = AF_UNIX};
static void nothing(void) {}
static void open_socket(int family, int type, int protocol) { if ((a = socket(family, type, protocol)) < 0) absent("socket"); }
static void there_use(void) { int v; socklen_t l = 4; CHECK(getsockopt(a, SOL_SOCKET, SO_TYPE, &v, &l) == 0); }

static void listen_at(const char *path) { strcpy(name.sun_path, path); CHECK((a = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0 && bind(a, (void *)&name, sizeof name) == 0 && listen(a, 8) == 0); }
static void dial(const char *path) { strcpy(name.sun_path, path); CHECK((b = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0 && connect(b, (void *)&name, sizeof name) == 0 && (c = accept(a, NULL, NULL)) >= 0 && write(b, "x", 1) == 1 && read(c, text, 1) == 1); close(b), close(c); }
static void renamed_set(void) { listen_at("before"); CHECK(rename("before", "after") == 0); }
static void renamed_use(void) { dial("after"); }
static void unlinked_set(void) { listen_at("before"); CHECK(unlink("before") == 0); }
static void unlinked_use(void) { CHECK(access("before", F_OK) == -1); there_use(); }
static void rebound_set(void) { int old; unlinked_set(), old = a; listen_at("before"); (void)old; }
static void rebound_use(void) { dial("before"); }
static void linked_set(void) { listen_at("before"); CHECK(link("before", "again") == 0); }
static void linked_use(void) { dial("before"), dial("again"); }
static void moved_directory_set(void) { CHECK(mkdir("d", 0700) == 0); listen_at("d/s"); CHECK(rename("d", "e") == 0); }
static void moved_directory_use(void) { dial("e/s"); }
static void other_cwd_set(void) { listen_at("s"); CHECK(mkdir("d", 0700) == 0 && chdir("d") == 0); dial("../s"); }
static void other_cwd_use(void) { dial("../s"); }
static void mode_set(void) { listen_at("s"); CHECK(chmod("s", 0622) == 0 && chown("s", 65534, 65533) == 0); }
static void mode_use(void) { struct stat st; CHECK(stat("s", &st) == 0 && (st.st_mode & 0777) == 0622 && st.st_uid == 65534 && st.st_gid == 65533); dial("s"); }
static void bound_set(void) { strcpy(name.sun_path, "s"); CHECK((a = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0 && bind(a, (void *)&name, sizeof name) == 0); }
static void bound_check(void) { CHECK(listen(a, 8) == 0); dial("s"); }
static void fresh_set(void) { CHECK((a = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0); }
static void oob_set(void) { CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0 && write(s[0], "ab", 2) == 2); if (send(s[0], "c", 1, MSG_OOB) < 0) absent("MSG_OOB"); }
static void oob_check(void) { CHECK(recv(s[1], text, 1, MSG_OOB) == 1 && *text == 'c'); CHECK(read(s[1], text, 9) == 2); }
static struct ucred peer;
static void credentials_set(void) { socklen_t l = sizeof peer; CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0 && getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &peer, &l) == 0); }
static void credentials_use(void) { struct ucred now; socklen_t l = sizeof now; CHECK(getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &now, &l) == 0 && now.pid == peer.pid && now.uid == peer.uid); }
static int answered(int k) { char x; return read(s[1], &x, 1) == 1 && write(s[1], &x, 1) == 1 ? k : 0; }
static struct kid other;
static void nobody_begin(void) { if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)) _exit(3); CHECK((b = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0 && connect(b, (void *)&name, sizeof name) == 0); s[1] = b; }
static void accepted_credentials_set(void) { listen_at("s"); chmod("s", 0777), chmod(".", 0777); char d[300]; CHECK(getcwd(d, 300)); *strrchr(d, '/') = 0; chmod(d, 0777); other = kid(nobody_begin, answered); CHECK((s[0] = accept(a, NULL, NULL)) >= 0); }
static void accepted_credentials_use(void) { struct ucred now; socklen_t l = sizeof now; CHECK(getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &now, &l) == 0 && now.uid == 65534); CHECK(write(s[0], "x", 1) == 1 && ask(&other, 'k') == 'k' && read(s[0], text, 1) == 1); }

static void udp_at(int family) {
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
	here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	open_socket(family, SOCK_DGRAM, 0);
	if (bind(a, family == AF_INET ? (void *)&here : (void *)&six, family == AF_INET ? sizeof here : sizeof six)) absent("bind");
}
static void udp6_set(void) { udp_at(AF_INET6); }
static void udp6_use(void) { struct sockaddr_in6 six; socklen_t l = sizeof six; CHECK(getsockname(a, (void *)&six, &l) == 0 && six.sin6_port); CHECK(sendto(a, "x", 1, 0, (void *)&six, l) == 1 && recv(a, text, 9, 0) == 1); }
static void corked_set(void) {
	int one = 1;
	udp_at(AF_INET);
	CHECK(getsockname(a, (void *)&here, &length) == 0 && (b = socket(AF_INET, SOCK_DGRAM, 0)) >= 0 && connect(b, (void *)&here, length) == 0);
	CHECK(setsockopt(b, IPPROTO_UDP, UDP_CORK, &one, 4) == 0 && write(b, "in ", 3) == 3);
}
static void corked_check(void) { int zero = 0; CHECK(write(b, "parts", 5) == 5 && setsockopt(b, IPPROTO_UDP, UDP_CORK, &zero, 4) == 0); CHECK(recv(a, text, 99, MSG_DONTWAIT) == 8); }
static void cork_idle_set(void) { int one = 1; udp_at(AF_INET); CHECK(setsockopt(a, IPPROTO_UDP, UDP_CORK, &one, 4) == 0); }
static void cork_idle_use(void) { int v = 0; socklen_t l = 4; CHECK(getsockopt(a, IPPROTO_UDP, UDP_CORK, &v, &l) == 0 && v == 1); }
static void half_udp_set(void) { udp_at(AF_INET); CHECK(getsockname(a, (void *)&here, &length) == 0 && connect(a, (void *)&here, length) == 0 && shutdown(a, SHUT_WR) == 0); }
static void half_udp_use(void) { CHECK(send(a, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE); }
static void tcp_fresh_set(void) { open_socket(AF_INET, SOCK_STREAM, 0); }
static void tcp_fresh_check(void) { here.sin_addr.s_addr = htonl(INADDR_LOOPBACK); CHECK(bind(a, (void *)&here, sizeof here) == 0 && listen(a, 1) == 0); }
static void tcp_bound_set(void) { tcp_fresh_set(); here.sin_addr.s_addr = htonl(INADDR_LOOPBACK); CHECK(bind(a, (void *)&here, sizeof here) == 0 && getsockname(a, (void *)&here, &length) == 0); }
static void tcp_bound_use(void) { struct sockaddr_in now; socklen_t l = sizeof now; CHECK(getsockname(a, (void *)&now, &l) == 0 && now.sin_port == here.sin_port); }
static void tcp_syn_set(void) { struct sockaddr_in far = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(0x0a000099)}; CHECK((a = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) >= 0); if (connect(a, (void *)&far, sizeof far) == 0 || errno != EINPROGRESS) absent("a route"); }
static void tcp_wildcard_set(void) { struct sockaddr_in6 six = {.sin6_family = AF_INET6}; open_socket(AF_INET6, SOCK_STREAM, 0); if (bind(a, (void *)&six, sizeof six)) absent("bind"); CHECK(listen(a, 4) == 0); }
static void raw6_set(void) { open_socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6); }
static void raw_packet_set(void) { open_socket(AF_INET, SOCK_RAW, IPPROTO_RAW); }
static void udplite_set(void) { open_socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE); }
static void xdp_set(void) { open_socket(AF_XDP, SOCK_RAW, 0); }
static void packet_bound_set(void) { struct sockaddr_ll l = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = 1}; open_socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)); CHECK(bind(a, (void *)&l, sizeof l) == 0); }
static void packet_ring_set(void) { struct tpacket_req r = {4096, 4, 2048, 8}; open_socket(AF_PACKET, SOCK_RAW, 0); CHECK(setsockopt(a, SOL_PACKET, PACKET_RX_RING, &r, sizeof r) == 0); }
static void packet_ring_mapped_set(void) { packet_ring_set(); CHECK(mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, a, 0) != MAP_FAILED); }
static void packet_member_set(void) { struct packet_mreq m = {.mr_ifindex = 1, .mr_type = PACKET_MR_PROMISC}; open_socket(AF_PACKET, SOCK_RAW, 0); CHECK(setsockopt(a, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof m) == 0); }
static void netlink_open(int protocol) { struct sockaddr_nl l = {.nl_family = AF_NETLINK}; open_socket(AF_NETLINK, SOCK_RAW, protocol); if (bind(a, (void *)&l, sizeof l)) absent("bind"); }
static void netlink_group_set(void) { int group = RTNLGRP_NSID + 8; netlink_open(NETLINK_ROUTE); if (setsockopt(a, 270, NETLINK_ADD_MEMBERSHIP, &group, 4)) absent("group"); }
static void netlink_group_use(void) { unsigned g[4] = {0}; socklen_t l = sizeof g; CHECK(getsockopt(a, 270, NETLINK_LIST_MEMBERSHIPS, g, &l) == 0 && g[1]); }
static void netlink_28_set(void) { int group = 28; netlink_open(NETLINK_ROUTE); CHECK(setsockopt(a, 270, NETLINK_ADD_MEMBERSHIP, &group, 4) == 0); }
static void netlink_28_use(void) { unsigned g[4] = {0}; socklen_t l = sizeof g; CHECK(getsockopt(a, 270, NETLINK_LIST_MEMBERSHIPS, g, &l) == 0 && g[0] & 1 << 27); }
static void netlink_diag_set(void) { netlink_open(4); }
static void netlink_audit_set(void) { netlink_open(9); }
static void netlink_uevent_set(void) { netlink_open(15); }
static void netlink_generic_set(void) { netlink_open(16); }
static void netlink_xfrm_set(void) { netlink_open(6); }
static void netlink_netfilter_set(void) { netlink_open(12); }
static void netlink_connector_set(void) { netlink_open(11); }
static void netlink_unbound_set(void) { open_socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE); }
static void rights_cycle_set(void) {
	char space[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec v = {"f", 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
	h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(h), &s[1], sizeof(int));
	CHECK(sendmsg(s[0], &m, 0) == 1);
}
static void rights_cycle_check(void) { CHECK(recv(s[1], text, 9, 0) == 1); }

#define KEEPS(name, set, use) {name, set, nothing, use}
const struct object othersockets[] = {
	KEEPS("unix-renamed", renamed_set, renamed_use), KEEPS("unix-unlinked", unlinked_set, unlinked_use), KEEPS("unix-rebound", rebound_set, rebound_use), KEEPS("unix-linked", linked_set, linked_use), KEEPS("unix-moved-directory", moved_directory_set, moved_directory_use), KEEPS("unix-other-cwd", other_cwd_set, other_cwd_use), KEEPS("unix-owner", mode_set, mode_use),
	{"unix-bound", bound_set, bound_check, there_use}, KEEPS("unix-fresh", fresh_set, there_use), {"unix-urgent", oob_set, oob_check}, KEEPS("unix-credentials", credentials_set, credentials_use), KEEPS("unix-accepted-credentials", accepted_credentials_set, accepted_credentials_use), {"rights-cycle", rights_cycle_set, rights_cycle_check},
	KEEPS("udp6", udp6_set, udp6_use), {"udp-corked", corked_set, corked_check}, KEEPS("udp-cork-idle", cork_idle_set, cork_idle_use), KEEPS("udp-half-closed", half_udp_set, half_udp_use),
	{"tcp-fresh", tcp_fresh_set, tcp_fresh_check, there_use}, KEEPS("tcp-bound", tcp_bound_set, tcp_bound_use), KEEPS("tcp-syn", tcp_syn_set, there_use), KEEPS("tcp-wildcard", tcp_wildcard_set, there_use),
	KEEPS("raw6", raw6_set, there_use), KEEPS("raw-packet", raw_packet_set, there_use), KEEPS("udplite", udplite_set, there_use), KEEPS("xdp", xdp_set, there_use),
	KEEPS("packet-bound", packet_bound_set, there_use), KEEPS("packet-ring", packet_ring_set, there_use), KEEPS("packet-ring-mapped", packet_ring_mapped_set, there_use), KEEPS("packet-promiscuous", packet_member_set, there_use),
	KEEPS("netlink-high-group", netlink_group_set, netlink_group_use), KEEPS("netlink-group", netlink_28_set, netlink_28_use), KEEPS("netlink-diag", netlink_diag_set, there_use), KEEPS("netlink-audit", netlink_audit_set, there_use), KEEPS("netlink-uevent", netlink_uevent_set, there_use), KEEPS("netlink-generic", netlink_generic_set, there_use), KEEPS("netlink-xfrm", netlink_xfrm_set, there_use), KEEPS("netlink-netfilter", netlink_netfilter_set, there_use), KEEPS("netlink-connector", netlink_connector_set, there_use), KEEPS("netlink-unbound", netlink_unbound_set, there_use), {0},
};
