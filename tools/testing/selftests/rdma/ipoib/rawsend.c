// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Sends UDP datagrams through a packet socket, for the tests of IPoIB: as virtual
 * machines do, it can leave a checksum to the kernel, at any place.
 *
 *   rawsend [OPTION...] IF LLADDR FROM TO PORT
 *
 * LLADDR is the link layer address of the neighbour, FROM and TO are numeric. What
 * comes is for xfer udp-recv with the same -n and -s.
 *
 *   -c START,OFFSET	ask for the sum from START, counted from the IP header, to the
 *			end of the packet; it belongs OFFSET, an even number, behind
 *			START
 *   -n N	number of datagrams (default 1)
 *   -N NAME	in this network namespace
 *   -r BITS	in the reserved field of the encapsulation header (default 0)
 *   -s SIZE	their size (default 1000)
 *
 * All checksums are right, and a field that is asked for has such a value before that
 * the sum is what is in the datagram there: if anything but that is computed, or
 * elsewhere, the datagram is not what it should be.
 */
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "common.h"

#define LLADDR_LEN	20

static struct virtio_net_hdr vnet;
static struct {
	unsigned char lladdr[LLADDR_LEN];
	__be16 proto;
	__be16 reserved;
	union {
		unsigned char ip[65536];
		struct iphdr ip4;
		struct ip6_hdr ip6;
	};
} frame;

#define HARD_LEN	(LLADDR_LEN + 4)

static struct {
	bool csum;
	unsigned int csum_start;
	unsigned int csum_offset;
	unsigned int num;
	unsigned int reserved;
	unsigned int size;
} opt = {
	.num = 1,
	.size = 1000,
};

static void parse_lladdr(const char *s)
{
	unsigned int i;
	int n;

	for (i = 0; i < LLADDR_LEN; i++, s += n)
		if (sscanf(s, i ? ":%2hhx%n" : "%2hhx%n", &frame.lladdr[i], &n) != 1)
			usage();
	if (*s)
		usage();
}

static size_t put_ip4(const char *from, const char *to, size_t len)
{
	struct iphdr *ip = &frame.ip4;

	if (inet_pton(AF_INET, from, &ip->saddr) != 1 ||
	    inet_pton(AF_INET, to, &ip->daddr) != 1)
		return 0;
	frame.proto = htons(ETH_P_IP);
	ip->version = 4;
	ip->ihl = sizeof(*ip) / 4;
	ip->tot_len = htons(sizeof(*ip) + len);
	ip->ttl = 64;
	ip->protocol = IPPROTO_UDP;
	ip->check = fold(sum(0, ip, sizeof(*ip)));
	return sizeof(*ip);
}

static size_t put_ip6(const char *from, const char *to, size_t len)
{
	struct ip6_hdr *ip6 = &frame.ip6;

	if (inet_pton(AF_INET6, from, &ip6->ip6_src) != 1 ||
	    inet_pton(AF_INET6, to, &ip6->ip6_dst) != 1)
		return 0;
	frame.proto = htons(ETH_P_IPV6);
	ip6->ip6_flow = htonl(6 << 28);
	ip6->ip6_plen = htons(len);
	ip6->ip6_nxt = IPPROTO_UDP;
	ip6->ip6_hlim = 64;
	return sizeof(*ip6);
}

static __u64 pseudo_sum(size_t len)
{
	__u64 acc = htons(len) + htons(IPPROTO_UDP);

	return frame.ip4.version == 4 ? sum(acc, &frame.ip4.saddr, 8) :
					sum(acc, &frame.ip6.ip6_src, 32);
}

/* Leaves the field such that the sum will be what is there now */
static void ask_for_csum(size_t len)
{
	unsigned char *field = frame.ip + opt.csum_start + opt.csum_offset;
	__u16 want, have, rest;

	memcpy(&want, field, sizeof(want));
	memset(field, 0, sizeof(want));
	rest = fold(sum(0, frame.ip + opt.csum_start, len - opt.csum_start));
	have = ~fold((__u64)(__u16)~want + rest);
	memcpy(field, &have, sizeof(have));

	vnet.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	vnet.csum_start = HARD_LEN + opt.csum_start;
	vnet.csum_offset = opt.csum_offset;
}

static int open_socket(const char *ifname)
{
	struct sockaddr_ll sll = {
		.sll_family = AF_PACKET,
		.sll_protocol = frame.proto,
		.sll_ifindex = if_nametoindex(ifname),
	};
	int fd;

	if (!sll.sll_ifindex)
		err(1, "%s", ifname);
	fd = socket(AF_PACKET, SOCK_RAW, 0);
	if (fd < 0)
		err(1, "socket");
	set_opt(fd, SOL_PACKET, PACKET_VNET_HDR, 1);
	if (bind(fd, (void *)&sll, sizeof(sll)))
		err(1, "bind to %s", ifname);
	return fd;
}

int main(int argc, char **argv)
{
	struct iovec iov[2] = {
		{ &vnet, sizeof(vnet) },
		{ &frame, 0 },
	};
	size_t udp_len, ip_len, len;
	struct udphdr *udp;
	unsigned int seq;
	int c, fd;

	while ((c = getopt(argc, argv, "c:n:N:r:s:")) != -1) {
		if (c == 'c')
			opt.csum = sscanf(optarg, "%u,%u", &opt.csum_start,
					  &opt.csum_offset) == 2;
		else if (c == 'n')
			opt.num = atoi(optarg);
		else if (c == 'N')
			enter_netns(optarg);
		else if (c == 'r')
			opt.reserved = strtoul(optarg, NULL, 0);
		else if (c == 's')
			opt.size = atoi(optarg);
		else
			usage();
	}
	argv += optind;
	if (argc - optind != 5)
		usage();

	udp_len = sizeof(*udp) + opt.size;
	if (udp_len + sizeof(struct ip6_hdr) > sizeof(frame.ip))
		usage();
	parse_lladdr(argv[1]);
	frame.reserved = htons(opt.reserved);
	ip_len = put_ip4(argv[2], argv[3], udp_len);
	if (!ip_len)
		ip_len = put_ip6(argv[2], argv[3], udp_len);
	if (!ip_len)
		usage();
	len = ip_len + udp_len;
	iov[1].iov_len = HARD_LEN + len;
	if (opt.csum_start + opt.csum_offset + 2 > len || opt.csum_offset % 2)
		usage();
	udp = (void *)(frame.ip + ip_len);
	udp->source = htons(9);
	udp->dest = htons(atoi(argv[4]));
	udp->len = htons(udp_len);

	fd = open_socket(argv[0]);
	for (seq = 0; seq < opt.num; seq++) {
		fill((void *)(udp + 1), seq, opt.size);
		udp->check = 0;
		udp->check = fold(sum(pseudo_sum(udp_len), udp, udp_len));
		if (opt.csum)
			ask_for_csum(len);
		if (writev(fd, iov, 2) < 0)
			err(1, "writev");
	}
	return 0;
}
