// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Moves data over TCP or UDP, IPv4 or IPv6, for the tests of IPoIB.
 *
 *   xfer tcp-recv ADDR PORT FILE	take one connection, write its data to FILE
 *   xfer tcp-send ADDR PORT FILE	send FILE, wait until the peer has all of it
 *   xfer udp-recv ADDR PORT		take datagrams and check what is in them
 *   xfer udp-send ADDR PORT		send datagrams
 *
 * ADDR is numeric. For UDP it may be a multicast group; IF is then the interface.
 *
 *   -c		UDP over IPv4: send without checksums
 *   -g N	UDP: N datagrams of one size in each system call, by UDP_SEGMENT
 *   -i IF	interface of a multicast group
 *   -m		the same as -w sendfile
 *   -n N	UDP: number of datagrams (default 1)
 *   -N NAME	in this network namespace
 *   -o		with IPv4 options, or IPv6 extension headers
 *   -p PROTO	sctp instead of TCP, udplite instead of UDP
 *   -r RATE	TCP: no more than so many bytes per second, until SIGUSR1
 *   -s S,...	UDP: their sizes, in turn (default 1000)
 *   -t SEC	give up after so long (default 20)
 *   -v		UDP: name each byte that is not what it should be
 *   -w WAY	how to send:
 *		write		copy all to the kernel (default)
 *		more		copy small pieces, with MSG_MORE; TCP: every other one
 *				of them is spliced, so that none can join the last
 *		zerocopy	MSG_ZEROCOPY
 *		nocopy		the same, and it is an error if the kernel copies
 *		sendfile	TCP only
 *		splice		TCP only, through a pipe
 *
 * A receiver prints "ready" once the sender may start, and in the end what came.
 * Both ends of a UDP transfer must be given the same -n and -s: datagrams carry
 * their number, if they are long enough, and each byte depends on the number and
 * on its place. The exit status is 0 if everything came, once and intact.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <linux/types.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "common.h"

#define CHUNK		(128 * 1024)
#define PIECE		199
#define MAX_SIZES	64
#define MAX_DGRAM	65535
#define RCVBUF		(64 << 20)

enum way { WRITE, MORE, ZEROCOPY, NOCOPY, SENDFILE, SPLICE, WAYS };

static const char *const way_names[WAYS] = {
	[WRITE] = "write",
	[MORE] = "more",
	[ZEROCOPY] = "zerocopy",
	[NOCOPY] = "nocopy",
	[SENDFILE] = "sendfile",
	[SPLICE] = "splice",
};

static struct {
	const char *ifname;
	bool ip_options;
	bool no_check;
	unsigned int num;
	unsigned int num_gso;
	int proto;
	unsigned int rate;
	unsigned int sizes[MAX_SIZES];
	unsigned int num_sizes;
	unsigned int timeout;
	bool verbose;
	enum way way;
} opt = {
	.num = 1,
	.num_gso = 1,
	.sizes = { 1000 },
	.num_sizes = 1,
	.timeout = 20,
};

static struct sockaddr_storage addr;
static socklen_t addr_len;
static unsigned char buf[CHUNK];
static int sender_fd;

static void on_alarm(int sig)
{
	(void)sig;
}

/* When the time is over, system calls fail with EINTR, and go on doing so */
static void set_timeout(void)
{
	struct itimerval timer = {
		.it_value.tv_sec = opt.timeout,
		.it_interval.tv_usec = 100 * 1000,
	};
	struct sigaction sa = { .sa_handler = on_alarm };

	if (sigaction(SIGALRM, &sa, NULL) ||
	    setitimer(ITIMER_REAL, &timer, NULL))
		err(1, "timer");
}

static bool is_zerocopy(void)
{
	return opt.way == ZEROCOPY || opt.way == NOCOPY;
}

static void on_usr1(int sig)
{
	(void)sig;
	set_opt(sender_fd, SOL_SOCKET, SO_MAX_PACING_RATE, ~0);
}

static void limit_rate(int fd)
{
	struct sigaction sa = { .sa_handler = on_usr1, .sa_flags = SA_RESTART };

	sender_fd = fd;
	set_opt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, opt.rate);
	if (sigaction(SIGUSR1, &sa, NULL))
		err(1, "sigaction");
}

static void ready(void)
{
	puts("ready");
	fflush(stdout);
}

/* For each packet: as good as none, but they are there */
static void set_ip_options(int fd)
{
	static const unsigned char nops[4] = { 1, 1, 1, 0 };
	static const unsigned char padding[8] = { 0, 0, 1, 4 };

	if (addr.ss_family == AF_INET) {
		if (setsockopt(fd, SOL_IP, IP_OPTIONS, nops, sizeof(nops)))
			err(1, "IP_OPTIONS");
		return;
	}
	if (setsockopt(fd, SOL_IPV6, IPV6_HOPOPTS, padding, sizeof(padding)) ||
	    setsockopt(fd, SOL_IPV6, IPV6_DSTOPTS, padding, sizeof(padding)))
		err(1, "IPv6 extension headers");
}

static int open_socket(const char *host, const char *port, int type)
{
	struct addrinfo hints = {
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
		.ai_socktype = type,
	};
	struct addrinfo *ai;
	int fd, ret;

	ret = getaddrinfo(host, port, &hints, &ai);
	if (ret)
		errx(1, "%s port %s: %s", host, port, gai_strerror(ret));
	memcpy(&addr, ai->ai_addr, ai->ai_addrlen);
	addr_len = ai->ai_addrlen;
	freeaddrinfo(ai);

	fd = socket(addr.ss_family, type, opt.proto);
	if (fd < 0)
		err(1, "socket");
	set_opt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (opt.ip_options)
		set_ip_options(fd);
	if (is_zerocopy())
		set_opt(fd, SOL_SOCKET, SO_ZEROCOPY, 1);
	return fd;
}

static void write_all(int fd, const unsigned char *data, size_t len)
{
	ssize_t n;

	while (len) {
		n = write(fd, data, len);
		if (n < 0)
			err(1, "write");
		data += n;
		len -= n;
	}
}

static int tcp_recv(int lfd, const char *path)
{
	unsigned long long total = 0;
	ssize_t n;
	int fd, out;

	out = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (out < 0)
		err(1, "%s", path);
	if (bind(lfd, (void *)&addr, addr_len) || listen(lfd, 1))
		err(1, "bind or listen");
	ready();

	fd = accept(lfd, NULL, NULL);
	if (fd < 0)
		err(1, "accept");
	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		write_all(out, buf, n);
		total += n;
	}
	if (n < 0)
		err(1, "read");
	if (close(out))
		err(1, "%s", path);
	/* Only now the sender may believe that everything has come */
	close(fd);
	printf("received %llu bytes\n", total);
	return 0;
}

/* Takes notices from the error queue, in any order, until "sends" sends are done with */
static void wait_zerocopy(int fd, unsigned int sends)
{
	static unsigned int done;
	struct pollfd pfd = { .fd = fd };
	struct sock_extended_err *ee;
	struct cmsghdr *cmsg;
	char control[256];
	struct msghdr msg;

	while (done != sends) {
		msg = (struct msghdr) {
			.msg_control = control,
			.msg_controllen = sizeof(control),
		};
		if (recvmsg(fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) {
			if (errno != EAGAIN || poll(&pfd, 1, -1) < 0)
				err(1, "error queue, %u of %u done", done, sends);
			continue;
		}
		cmsg = CMSG_FIRSTHDR(&msg);
		if (!cmsg)
			errx(1, "error queue: nothing");
		ee = (void *)CMSG_DATA(cmsg);
		if (ee->ee_origin != SO_EE_ORIGIN_ZEROCOPY || ee->ee_errno ||
		    ee->ee_info > ee->ee_data || ee->ee_data >= sends)
			errx(1, "error queue: origin %u error %u ids %u to %u of %u",
			     ee->ee_origin, ee->ee_errno, ee->ee_info, ee->ee_data, sends);
		if (opt.way == NOCOPY &&
		    ee->ee_code & SO_EE_CODE_ZEROCOPY_COPIED)
			errx(1, "MSG_ZEROCOPY: the kernel has copied");
		done += ee->ee_data - ee->ee_info + 1;
	}
}

/* What the file system has in memory is what is sent */
static void splice_all(int from, int to, size_t len, unsigned int flags)
{
	static int fds[2] = { -1, -1 };
	ssize_t n, out;

	if (fds[0] < 0 && pipe(fds))
		err(1, "pipe");
	while (len) {
		n = splice(from, NULL, fds[1], NULL, len, 0);
		if (n <= 0)
			err(1, "splice from file");
		for (len -= n; n; n -= out) {
			out = splice(fds[0], NULL, to, NULL, n, flags);
			if (out <= 0)
				err(1, "splice to socket");
		}
	}
}

static void send_pieces(int fd, int in, size_t size)
{
	bool copy = true;
	ssize_t n;

	for (; size; size -= n, copy = !copy) {
		n = size < PIECE ? size : PIECE;
		if (!copy)
			splice_all(in, fd, n, SPLICE_F_MORE);
		else if (read(in, buf, n) != n ||
			 send(fd, buf, n, MSG_MORE) != n)
			err(1, "read or send");
	}
}

static void send_zerocopy(int fd, int in, size_t size)
{
	unsigned int sends = 0;
	size_t off, left;
	char *data;
	ssize_t n;

	data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, in, 0);
	if (data == MAP_FAILED)
		err(1, "mmap");
	for (off = 0; off < size; off += n) {
		left = size - off;
		n = send(fd, data + off, left < CHUNK ? left : CHUNK,
			 MSG_ZEROCOPY);
		if (n < 0)
			err(1, "send");
		sends++;
	}
	wait_zerocopy(fd, sends);
}

static void send_file(int fd, int in, size_t size)
{
	ssize_t n;

	switch (opt.way) {
	case SENDFILE:
		for (; size; size -= n) {
			n = sendfile(fd, in, NULL, size);
			if (n <= 0)
				err(1, "sendfile");
		}
		break;
	case SPLICE:
		splice_all(in, fd, size, 0);
		break;
	case ZEROCOPY:
	case NOCOPY:
		send_zerocopy(fd, in, size);
		break;
	case MORE:
		send_pieces(fd, in, size);
		break;
	default:
		for (; size; size -= n) {
			n = read(in, buf, sizeof(buf));
			if (n <= 0)
				err(1, "read");
			write_all(fd, buf, n);
		}
	}
}

static int tcp_send(int fd, const char *path)
{
	struct stat st;
	ssize_t n;
	int in;

	in = open(path, O_RDONLY);
	if (in < 0 || fstat(in, &st))
		err(1, "%s", path);
	if (opt.rate)
		limit_rate(fd);
	if (connect(fd, (void *)&addr, addr_len))
		err(1, "connect");

	send_file(fd, in, st.st_size);

	if (shutdown(fd, SHUT_WR))
		err(1, "shutdown");
	n = read(fd, buf, sizeof(buf));
	/* SCTP may have told both ends already that all is over */
	if (n && (opt.proto != IPPROTO_SCTP || errno != ENOTCONN))
		err(1, "peer did not close");
	return 0;
}

static unsigned int size_of(__u32 seq)
{
	return opt.sizes[seq % opt.num_sizes];
}

static bool is_multicast(void)
{
	struct sockaddr_in6 *sin6 = (void *)&addr;
	struct sockaddr_in *sin = (void *)&addr;

	if (addr.ss_family == AF_INET6)
		return IN6_IS_ADDR_MULTICAST(&sin6->sin6_addr);
	return IN_MULTICAST(ntohl(sin->sin_addr.s_addr));
}

static unsigned int mcast_if(void)
{
	unsigned int index = opt.ifname ? if_nametoindex(opt.ifname) : 0;

	if (!index)
		errx(1, "multicast: which interface (-i)?");
	return index;
}

static void mcast_join(int fd)
{
	struct group_req req = { .gr_interface = mcast_if() };

	memcpy(&req.gr_group, &addr, addr_len);
	if (setsockopt(fd, addr.ss_family == AF_INET6 ? SOL_IPV6 : SOL_IP,
		       MCAST_JOIN_GROUP, &req, sizeof(req)))
		err(1, "MCAST_JOIN_GROUP");
}

static void mcast_out(int fd)
{
	struct ip_mreqn mreq = { .imr_ifindex = mcast_if() };

	if (addr.ss_family == AF_INET6)
		set_opt(fd, SOL_IPV6, IPV6_MULTICAST_IF, mcast_if());
	else if (setsockopt(fd, SOL_IP, IP_MULTICAST_IF, &mreq, sizeof(mreq)))
		err(1, "IP_MULTICAST_IF");
}

/* Which one is it? Those too short for a number are told by their size. */
static bool find_seq(const bool *seen, unsigned int len, __u32 *seq)
{
	if (len >= MIN_NUMBERED) {
		memcpy(seq, buf, sizeof(*seq));
		*seq = ntohl(*seq);
		return *seq < opt.num && size_of(*seq) == len && !seen[*seq];
	}
	for (*seq = 0; *seq < opt.num; ++*seq)
		if (size_of(*seq) == len && !seen[*seq])
			return true;
	return false;
}

static void show_wrong(const unsigned char *want, unsigned int len)
{
	unsigned int i;

	for (i = 0; i < len; i++)
		if (buf[i] != want[i])
			printf("wrong byte %u\n", i);
}

static int udp_recv(int fd)
{
	static unsigned char want[MAX_DGRAM];
	unsigned int good = 0, bad = 0;
	__u32 seq;
	bool *seen;
	ssize_t n;

	seen = calloc(opt.num, sizeof(*seen));
	if (!seen)
		err(1, "calloc");
	set_opt(fd, SOL_SOCKET, SO_RCVBUFFORCE, RCVBUF);
	if (bind(fd, (void *)&addr, addr_len))
		err(1, "bind");
	if (is_multicast())
		mcast_join(fd);
	ready();

	while (good + bad < opt.num) {
		n = recv(fd, buf, sizeof(buf), 0);
		/* Time is over: say how many are missing */
		if (n < 0 && errno == EINTR)
			break;
		if (n < 0)
			err(1, "recv");
		if (!find_seq(seen, n, &seq)) {
			bad++;
			continue;
		}
		seen[seq] = true;
		fill(want, seq, n);
		if (memcmp(buf, want, n))
			bad++;
		else
			good++;
		if (opt.verbose)
			show_wrong(want, n);
	}
	printf("received %u datagrams of %u, %u bad\n", good, opt.num, bad);
	return good == opt.num ? 0 : 1;
}

static void send_dgram(int fd, size_t len)
{
	static unsigned int sends;
	int flags = is_zerocopy() ? MSG_ZEROCOPY : 0;
	size_t off = 0;

	for (; opt.way == MORE && len - off > PIECE; off += PIECE)
		if (sendto(fd, buf + off, PIECE, MSG_MORE, (void *)&addr,
			   addr_len) != PIECE)
			err(1, "sendto, a piece of %zu bytes", len);
	if (sendto(fd, buf + off, len - off, flags, (void *)&addr, addr_len) < 0)
		err(1, "sendto, %zu bytes", len);
	if (is_zerocopy())
		wait_zerocopy(fd, ++sends);
}

static int udp_send(int fd)
{
	unsigned int len = size_of(0), i;
	__u32 seq = 0;

	set_opt(fd, SOL_SOCKET, SO_BROADCAST, 1);
	if (is_multicast())
		mcast_out(fd);
	if (opt.no_check)
		set_opt(fd, SOL_SOCKET, SO_NO_CHECK, 1);
	if (opt.num_gso > 1) {
		if (opt.num_sizes > 1 || len * opt.num_gso > sizeof(buf))
			usage();
		set_opt(fd, SOL_UDP, UDP_SEGMENT, len);
	}

	while (seq < opt.num) {
		len = 0;
		for (i = 0; i < opt.num_gso && seq < opt.num; i++, seq++) {
			fill(buf + len, seq, size_of(seq));
			len += size_of(seq);
		}
		send_dgram(fd, len);
	}
	return 0;
}

static unsigned int number(const char *s, char **end)
{
	unsigned long n;

	errno = 0;
	n = strtoul(s, end, 0);
	if (errno || *end == s || n > ~0U)
		usage();
	return n;
}

static void parse_sizes(const char *s)
{
	char *end;

	opt.num_sizes = 0;
	do {
		if (opt.num_sizes == MAX_SIZES)
			usage();
		opt.sizes[opt.num_sizes] = number(s, &end);
		if (opt.sizes[opt.num_sizes++] > MAX_DGRAM)
			usage();
		s = end + 1;
	} while (*end == ',');
	if (*end)
		usage();
}

static int parse_proto(const char *s)
{
	if (!strcmp(s, "sctp"))
		return IPPROTO_SCTP;
	if (!strcmp(s, "udplite"))
		return IPPROTO_UDPLITE;
	usage();
	return 0;
}

static enum way parse_way(const char *s)
{
	enum way way;

	for (way = 0; way < WAYS; way++)
		if (!strcmp(s, way_names[way]))
			return way;
	usage();
	return 0;
}

int main(int argc, char **argv)
{
	const char *what;
	char *end;
	bool tcp;
	int c, fd;

	while ((c = getopt(argc, argv, "cg:i:mn:N:op:r:s:t:vw:")) != -1) {
		switch (c) {
		case 'c':
			opt.no_check = true;
			break;
		case 'g':
			opt.num_gso = number(optarg, &end);
			break;
		case 'i':
			opt.ifname = optarg;
			break;
		case 'm':
			opt.way = SENDFILE;
			break;
		case 'n':
			opt.num = number(optarg, &end);
			break;
		case 'N':
			enter_netns(optarg);
			break;
		case 'o':
			opt.ip_options = true;
			break;
		case 'p':
			opt.proto = parse_proto(optarg);
			break;
		case 'r':
			opt.rate = number(optarg, &end);
			break;
		case 's':
			parse_sizes(optarg);
			break;
		case 't':
			opt.timeout = number(optarg, &end);
			break;
		case 'v':
			opt.verbose = true;
			break;
		case 'w':
			opt.way = parse_way(optarg);
			break;
		default:
			usage();
		}
	}
	argv += optind;
	argc -= optind;
	if (argc < 3)
		usage();
	what = argv[0];
	tcp = !strncmp(what, "tcp-", 4);
	if (argc != (tcp ? 4 : 3))
		usage();

	set_timeout();
	fd = open_socket(argv[1], argv[2], tcp ? SOCK_STREAM : SOCK_DGRAM);
	if (!strcmp(what, "tcp-recv"))
		return tcp_recv(fd, argv[3]);
	if (!strcmp(what, "tcp-send"))
		return tcp_send(fd, argv[3]);
	if (!strcmp(what, "udp-recv"))
		return udp_recv(fd);
	if (!strcmp(what, "udp-send"))
		return udp_send(fd);
	usage();
	return 2;
}
