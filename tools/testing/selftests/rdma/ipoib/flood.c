// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Goodput, for cm_bench.sh: sends as fast as it can, and throws away what comes.
 *
 *   flood tcp-recv ADDR PORT	take one connection
 *   flood tcp-send ADDR PORT FILE	send FILE, again and again
 *   flood udp-recv ADDR PORT	take datagrams, until there are none any more
 *   flood udp-send ADDR PORT	send datagrams
 *
 *   -l SEC	for so long (default 1)
 *   -m		TCP: sendfile() instead of write()
 *   -s SIZE	UDP: bytes in a datagram (default 65000)
 *
 * A receiver prints "ready" when it is, and in the end how many Mbit/s of payload
 * came in between first and last. It does not copy them.
 */
#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>

#include "common.h"

#define CHUNK	(1024 * 1024)
#define RCVBUF	(64 << 20)

static double length = 1;
static size_t size = 65000;
static bool use_sendfile;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void receive(int fd, bool tcp)
{
	static char buf[65536];
	double first = 0, last = 0;
	unsigned long long bytes = 0;
	ssize_t n;

	puts("ready");
	fflush(stdout);
	if (tcp) {
		fd = accept(fd, NULL, NULL);
		if (fd < 0)
			err(1, "accept");
	}
	for (;;) {
		n = recv(fd, buf, tcp ? CHUNK : sizeof(buf), MSG_TRUNC);
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && first)
			break;
		if (n < 0)
			err(1, "recv");
		if (!n)
			break;
		last = now();
		if (!first) {
			struct timeval tv = { .tv_usec = 500 * 1000 };

			first = last;
			if (!tcp && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO,
					       &tv, sizeof(tv)))
				err(1, "setsockopt");
		}
		bytes += n;
	}
	if (last <= first)
		errx(1, "nothing came");
	printf("%.1f\n", bytes * 8 / (last - first) / 1e6);
}

static void tcp_send(int fd, const char *name)
{
	double end = now() + length;
	struct stat st;
	int file;
	char *data;

	file = open(name, O_RDONLY);
	if (file < 0 || fstat(file, &st))
		err(1, "%s", name);
	data = mmap(NULL, st.st_size, PROT_READ, MAP_SHARED, file, 0);
	if (data == MAP_FAILED)
		err(1, "mmap");

	while (now() < end) {
		off_t off = 0;
		ssize_t n;

		while (off < st.st_size) {
			n = use_sendfile ? sendfile(fd, file, &off, CHUNK) :
					   write(fd, data + off,
						 st.st_size - off < CHUNK ?
						 st.st_size - off : CHUNK);
			if (n <= 0)
				err(1, "send");
			if (!use_sendfile)
				off += n;
		}
	}
}

static void udp_send(int fd)
{
	static char buf[65536];
	double end = now() + length;

	while (now() < end)
		if (send(fd, buf, size, 0) < 0 && errno != ENOBUFS)
			err(1, "send");
}

int main(int argc, char **argv)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
	struct addrinfo *ai;
	bool tcp, sender;
	int c, fd, ret;

	while ((c = getopt(argc, argv, "l:ms:")) != -1) {
		switch (c) {
		case 'l':
			length = atof(optarg);
			break;
		case 'm':
			use_sendfile = true;
			break;
		case 's':
			size = atoi(optarg);
			break;
		default:
			usage();
		}
	}
	argv += optind;
	argc -= optind;
	tcp = argc && !strncmp(argv[0], "tcp-", 4);
	sender = argc && strstr(argv[0], "-send");
	if (argc != 3 + (tcp && sender))
		usage();

	hints.ai_socktype = tcp ? SOCK_STREAM : SOCK_DGRAM;
	ret = getaddrinfo(argv[1], argv[2], &hints, &ai);
	if (ret)
		errx(1, "%s: %s", argv[1], gai_strerror(ret));
	fd = socket(ai->ai_family, ai->ai_socktype, 0);
	if (fd < 0)
		err(1, "socket");

	if (sender) {
		if (connect(fd, ai->ai_addr, ai->ai_addrlen))
			err(1, "connect");
		if (tcp)
			tcp_send(fd, argv[3]);
		else
			udp_send(fd);
		return 0;
	}

	set_opt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (!tcp)
		set_opt(fd, SOL_SOCKET, SO_RCVBUFFORCE, RCVBUF);
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) || (tcp && listen(fd, 1)))
		err(1, "bind");
	receive(fd, tcp);
	return 0;
}
