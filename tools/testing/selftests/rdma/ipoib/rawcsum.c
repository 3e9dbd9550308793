// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Verifies the TCP and UDP checksums of what a packet socket sees, for the tests
 * of IPoIB.
 *
 *   rawcsum [-o] [-b BYTES] [-N NAME] [-p PORT] IF
 *
 * As programs do that read packets raw and know nothing of offloads, it goes by
 * the bytes alone: what the kernel says in the auxiliary data is counted apart.
 * Of the packets that come in (with -o: that go out), from or to PORT if given,
 * fragments and IPv6 packets with extension headers are left out. NAME is that of
 * the network namespace that IF is in, if it is another.
 *
 * Prints "ready" once it captures. On SIGTERM or SIGINT it prints, on one line,
 *
 *   good=N	packets with the right checksum
 *   bad=N	and with a wrong one
 *   notready=N	packets, good or bad, with TP_STATUS_CSUMNOTREADY
 *   lost=N	packets that did not fit into the socket
 *   big=N	with -b only: IP packets of at least so many bytes
 *
 * and exits with status 0.
 */
#include <arpa/inet.h>
#include <err.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/types.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

#define RCVBUF	(64 << 20)

static union {
	unsigned char data[256 * 1024];
	struct iphdr ip4;
	struct ip6_hdr ip6;
} pkt;

/*
 * Finds the TCP or UDP header at offset *off and its length *len, with the sum of
 * the pseudo header. Returns false for what is not looked at.
 */
static bool parse(size_t n, unsigned int *proto, size_t *off, size_t *len,
		  __u64 *pseudo)
{
	const struct ip6_hdr *ip6 = &pkt.ip6;
	const struct iphdr *ip = &pkt.ip4;
	__u32 word;

	if (n >= sizeof(*ip) && ip->version == 4) {
		*off = ip->ihl * 4;
		if (ntohs(ip->tot_len) > n || ntohs(ip->tot_len) < *off ||
		    (ntohs(ip->frag_off) & 0x3fff))
			return false;
		*len = ntohs(ip->tot_len) - *off;
		*proto = ip->protocol;
		*pseudo = sum(0, &ip->saddr, 8);
	} else if (n >= sizeof(*ip6) && ip->version == 6) {
		*off = sizeof(*ip6);
		*len = ntohs(ip6->ip6_plen);
		if (*off + *len > n)
			return false;
		*proto = ip6->ip6_nxt;
		*pseudo = sum(0, &ip6->ip6_src, 32);
	} else {
		return false;
	}

	if (*len < (*proto == IPPROTO_TCP ? sizeof(struct tcphdr) :
					    sizeof(struct udphdr)))
		return false;
	word = htonl(*len);
	*pseudo = sum(*pseudo, &word, sizeof(word));
	word = htonl(*proto);
	*pseudo = sum(*pseudo, &word, sizeof(word));
	return *proto == IPPROTO_TCP || *proto == IPPROTO_UDP;
}

static bool has_port(size_t off, unsigned int port)
{
	__u16 ports[2];

	memcpy(ports, pkt.data + off, sizeof(ports));
	return !port || ntohs(ports[0]) == port || ntohs(ports[1]) == port;
}

static bool csum_ok(unsigned int proto, size_t off, size_t len, __u64 pseudo)
{
	struct udphdr *udp = (void *)(pkt.data + off);

	if (proto == IPPROTO_UDP && !udp->check)
		return pkt.ip4.version == 4;	/* not used */
	return !fold(sum(pseudo, pkt.data + off, len));
}

static unsigned int aux_status(struct msghdr *msg)
{
	struct tpacket_auxdata aux;
	struct cmsghdr *cmsg;

	for (cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
		if (cmsg->cmsg_level != SOL_PACKET ||
		    cmsg->cmsg_type != PACKET_AUXDATA)
			continue;
		memcpy(&aux, CMSG_DATA(cmsg), sizeof(aux));
		return aux.tp_status;
	}
	return 0;
}

static int open_socket(const char *ifname)
{
	struct sockaddr_ll sll = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = if_nametoindex(ifname),
	};
	int one = 1, size = RCVBUF, fd;

	if (!sll.sll_ifindex)
		err(1, "%s", ifname);
	fd = socket(AF_PACKET, SOCK_DGRAM, 0);
	if (fd < 0)
		err(1, "socket");
	if (setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &one, sizeof(one)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		err(1, "setsockopt");
	if (bind(fd, (void *)&sll, sizeof(sll)))
		err(1, "bind to %s", ifname);
	return fd;
}

static int open_signals(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		err(1, "sigprocmask");
	fd = signalfd(-1, &set, 0);
	if (fd < 0)
		err(1, "signalfd");
	return fd;
}

/* Returns false if there is no packet and none is waited for any more */
static bool wait_packet(int fd, int signals)
{
	struct pollfd fds[] = {
		{ .fd = fd, .events = POLLIN },
		{ .fd = signals, .events = POLLIN },
	};

	if (poll(fds, 2, -1) < 0)
		err(1, "poll");
	return fds[0].revents;
}

/* Returns the length of the packet, 0 for one that does not count */
static size_t read_packet(int fd, bool outgoing, unsigned int *status)
{
	union {
		struct cmsghdr align;
		char data[256];
	} control;
	struct iovec iov = { &pkt, sizeof(pkt) };
	struct sockaddr_ll from;
	struct msghdr msg = {
		.msg_name = &from,
		.msg_namelen = sizeof(from),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	bool went_out;
	ssize_t n;

	n = recvmsg(fd, &msg, 0);
	if (n < 0)
		err(1, "recvmsg");
	*status = aux_status(&msg);
	went_out = from.sll_pkttype == PACKET_OUTGOING;
	return went_out == outgoing ? n : 0;
}

int main(int argc, char **argv)
{
	unsigned int good = 0, bad = 0, notready = 0, big = 0;
	unsigned int min_big = 0, port = 0, status, proto;
	struct tpacket_stats stats = { 0 };
	socklen_t stats_len = sizeof(stats);
	bool outgoing = false;
	size_t n, off, len;
	int c, fd, signals;
	__u64 pseudo;

	while ((c = getopt(argc, argv, "b:N:op:")) != -1) {
		if (c == 'b')
			min_big = atoi(optarg);
		else if (c == 'N')
			enter_netns(optarg);
		else if (c == 'o')
			outgoing = true;
		else if (c == 'p')
			port = atoi(optarg);
		else
			usage();
	}
	if (optind != argc - 1)
		usage();

	signals = open_signals();
	fd = open_socket(argv[optind]);
	puts("ready");
	fflush(stdout);

	while (wait_packet(fd, signals)) {
		n = read_packet(fd, outgoing, &status);
		if (!parse(n, &proto, &off, &len, &pseudo) ||
		    !has_port(off, port))
			continue;

		if (off + len >= min_big)
			big++;
		if (status & TP_STATUS_CSUMNOTREADY)
			notready++;
		if (csum_ok(proto, off, len, pseudo))
			good++;
		else
			bad++;
	}

	if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &stats_len))
		err(1, "PACKET_STATISTICS");
	printf("good=%u bad=%u notready=%u lost=%u", good, bad, notready,
	       stats.tp_drops);
	if (min_big)
		printf(" big=%u", big);
	putchar('\n');
	return 0;
}
