// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Sends any bytes to a neighbour as IPoIB messages. The driver puts its own
 * encapsulation header before them, which ibdevsim is to cut off: see raw() in
 * cm_hostile.sh.
 *
 *   rawmsg -i IF -d LLADDR HEX...
 *
 * Each HEX is a message, from the encapsulation header on.
 *
 *   -d LLADDR	link address of the neighbour, in hex; colons are ignored
 *   -e		send the first message with each ethertype
 *   -i IF	interface
 *   -N NAME	in this network namespace
 *   -r N	N times one of the messages, with some bytes replaced by others, and
 *		cut or prolonged; the same ones each time
 *
 * In the end it says what was sent: how many, how many of these are marked, and how
 * many are too short for the encapsulation header.
 */
#include <errno.h>
#include <linux/if_infiniband.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common.h"

#define ENCAP_LEN	4
#define MARK		0x80	/* in the third byte */
#define MAX_MSG		65520
#define MAX_TEMPLATE	256
#define MAX_TEMPLATES	256

static union {
	struct sockaddr_ll ll;
	unsigned char room[offsetof(struct sockaddr_ll, sll_addr) +
			   INFINIBAND_ALEN];
} dest;
static struct {
	size_t len;
	unsigned char data[MAX_TEMPLATE];
} templates[MAX_TEMPLATES];
static unsigned char msg[MAX_MSG];
static unsigned int sent, marked, cut;
static int fd;

static size_t from_hex(const char *hex, unsigned char *to, size_t size)
{
	size_t len = 0;
	int n;

	for (; *hex; hex += n) {
		if (*hex == ':') {
			n = 1;
			continue;
		}
		if (len == size || sscanf(hex, "%2hhx%n", &to[len++], &n) != 1 ||
		    n != 2)
			errx(2, "bad hex string: %s", hex);
	}
	return len;
}

/* Puts a template into msg, with zeros behind it, and returns its length */
static size_t load(unsigned int i)
{
	memset(msg, 0, MAX_TEMPLATE);
	memcpy(msg, templates[i].data, templates[i].len);
	return templates[i].len;
}

static void send_msg(size_t len)
{
	while (sendto(fd, msg, len, 0, (void *)&dest, sizeof(dest)) < 0) {
		if (errno != ENOBUFS)
			err(1, "sendto");
		usleep(1000);
	}
	sent++;
	marked += len >= ENCAP_LEN && msg[2] & MARK;
	cut += len < ENCAP_LEN;
}

/* xorshift, up to N - 1 */
static unsigned int rnd(unsigned int n)
{
	static unsigned int x = 1;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return x % n;
}

/* Few packets get far whose IPv4 header has no checksum */
static void fill_ipv4_csum(unsigned char *ip)
{
	__u16 csum;

	memset(ip + 10, 0, sizeof(csum));
	csum = fold(sum(0, ip, (ip[0] & 15) * 4));
	memcpy(ip + 10, &csum, sizeof(csum));
}

/* Changes the message of that length at random, and returns the new one */
static size_t mutate(size_t len)
{
	unsigned int i;

	for (i = rnd(5); i; i--)
		msg[rnd(len)] = rnd(256);
	if (rnd(2))
		msg[2] ^= MARK;
	if (rnd(2))
		fill_ipv4_csum(msg + ENCAP_LEN);

	switch (rnd(32)) {
	case 0 ... 3:
		return rnd(len + 1);
	case 4 ... 7:
		return len + rnd(1500);
	case 8:
		return len + rnd(MAX_MSG - len);
	default:
		return len + rnd(300);
	}
}

int main(int argc, char **argv)
{
	const char *ifname = NULL;
	bool each = false;
	unsigned int n = 0;
	int c, i;

	while ((c = getopt(argc, argv, "d:ei:N:r:")) != -1) {
		switch (c) {
		case 'd':
			dest.ll.sll_halen = from_hex(optarg, dest.ll.sll_addr,
						     INFINIBAND_ALEN);
			break;
		case 'e':
			each = true;
			break;
		case 'i':
			ifname = optarg;
			break;
		case 'N':
			enter_netns(optarg);
			break;
		case 'r':
			n = atoi(optarg);
			break;
		default:
			usage();
		}
	}
	argv += optind;
	argc -= optind;
	if (!ifname || !dest.ll.sll_halen || !argc || argc > MAX_TEMPLATES)
		usage();

	dest.ll.sll_family = AF_PACKET;
	dest.ll.sll_protocol = htons(ETH_P_IP);
	dest.ll.sll_ifindex = if_nametoindex(ifname);
	fd = socket(AF_PACKET, SOCK_DGRAM, 0);
	if (fd < 0)
		err(1, "socket");

	for (i = 0; i < argc; i++)
		templates[i].len = from_hex(argv[i], templates[i].data,
					    MAX_TEMPLATE);
	if (n) {
		while (n--)
			send_msg(mutate(load(rnd(argc))));
	} else if (each) {
		load(0);
		for (i = 0; i <= UINT16_MAX; i++) {
			msg[0] = i >> 8;
			msg[1] = i;
			send_msg(templates[0].len);
		}
	} else {
		for (i = 0; i < argc; i++)
			send_msg(load(i));
	}
	printf("sent=%u marked=%u short=%u\n", sent, marked, cut);
	return 0;
}
