// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Sends messages over an RC connection, in both directions at once, and checks every
 * byte that comes: what IPoIB's connected mode relies on, without IPoIB.
 *
 *   rc_sge [OPTION...] listen ADDR PORT	take one connection
 *   rc_sge [OPTION...] connect ADDR PORT	open it, and close it in the end
 *
 * ADDR is numeric, and one of an interface with an RDMA device.
 *
 *   -e N	send from, and receive to, N elements at most (default: what the device
 *		can do, and 32 at most)
 *   -n N	number of messages in each direction (default 100)
 *   -N NAME	in this network namespace
 *   -r SEED	of the sizes, lengths of elements and gaps between them (default 1)
 *   -s S,...	sizes of the messages, in turn (default: 1, 65524, then any between)
 *   -t SEC	give up after so long (default 20)
 *
 * Both ends must be given the same -n, -r and -s. "ready" is printed once the other end
 * may connect, and once it is connected, and in the end what came:
 *
 *   messages=N bytes=N max_sge=N bad=N
 *
 * where max_sge is the largest number of elements that a message was sent from. The exit
 * status is 0 if everything came, and nothing was bad.
 */
#include <netdb.h>
#include <poll.h>
#include <rdma/rdma_verbs.h>
#include <signal.h>
#include <stdbool.h>

#include "common.h"

/* The largest message of IPoIB: 65520 bytes behind the encapsulation header */
#define MAX_LEN		65524
#define MAX_SGE		32
#define MAX_SIZES	64
/* Bytes between two elements, so that these begin anywhere */
#define MAX_GAP		64
#define SLOT		(MAX_LEN + (MAX_SGE + 1) * MAX_GAP)
#define POISON		0xa5

/*
 * Message k is sent when less than WINDOW messages are missing of those that the peer
 * has sent by then. So it has no more than 2 * WINDOW receives to post, and always has
 * one for what comes: nobody has to wait for a receiver that is not ready.
 */
#define WINDOW		8

/* 4.096 us << 14: one that is lost costs a fifteenth of a second */
#define ACK_TIMEOUT	14

static struct {
	bool listen;
	unsigned int max_sge;
	unsigned int num;
	unsigned int seed;
	unsigned int sizes[MAX_SIZES];
	unsigned int num_sizes;
	unsigned int timeout;
} opt = {
	.max_sge = MAX_SGE,
	.num = 100,
	.seed = 1,
	.timeout = 20,
};

static struct rdma_cm_id *id;
static struct ibv_comp_channel *channel;
static struct ibv_cq *cq;
static struct ibv_mr *mr;

static struct {
	unsigned char send[WINDOW][SLOT];
	unsigned char recv[2 * WINDOW][SLOT];
} slots;

static unsigned int sent, completed, received, bad, used_sge;
static unsigned long long bytes;

static void on_alarm(int sig)
{
	static const char msg[] = "rc_sge: time is over\n";

	(void)sig;
	_exit(write(2, msg, sizeof(msg) - 1) ? 1 : 3);
}

static void ready(void)
{
	puts("ready");
	fflush(stdout);
}

static __u32 random_start(__u32 what, __u32 seq)
{
	return (opt.seed * 4 + what) * 2654435761u + seq * 2246822519u;
}

/* From 0 to n - 1 */
static __u32 random_below(__u32 *state, __u32 n)
{
	*state = *state * 1664525 + 1013904223;
	return (__u64)*state * n >> 32;
}

static unsigned int size_of(unsigned int k)
{
	__u32 state = random_start(0, k);

	if (opt.num_sizes)
		return opt.sizes[k % opt.num_sizes];
	if (k < 2)
		return k ? MAX_LEN : 1;
	random_below(&state, 1);
	return 1 + random_below(&state, MAX_LEN);
}

/*
 * Where in its slot message k is: one more element each time, as far as it goes, all but
 * the last of odd length. Sender and receiver have different ones.
 */
static unsigned int lay_out(struct ibv_sge *sge, unsigned char *slot,
			    unsigned int k, bool sending)
{
	unsigned int num, off = 0, i, len, most, left = size_of(k);
	__u32 state = random_start(1 + sending, k);

	num = 1 + (sending ? k : k / 3) % opt.max_sge;
	if (num > left)
		num = left;
	for (i = 0; i < num; i++, off += len, left -= len) {
		/* Those that follow have a byte each, at least */
		most = left - (num - i - 1);
		len = 1 + random_below(&state, 2 * left / (num - i));
		if (len > most || i == num - 1)
			len = most;
		else if (len % 2 == 0)
			len--;
		off += 1 + random_below(&state, MAX_GAP);
		sge[i] = (struct ibv_sge) {
			.addr = (uintptr_t)slot + off,
			.length = len,
			.lkey = mr->lkey,
		};
	}
	return num;
}

/*
 * What such a slot has in it: the message, whose bytes depend on its number, on the
 * direction and on their place, and what was there before
 */
static void put_message(unsigned char *image, const unsigned char *slot,
			const struct ibv_sge *sge, unsigned int k, bool from_listener)
{
	static unsigned char data[MAX_LEN];
	unsigned int len = size_of(k), off;

	fill(data, 2 * k + from_listener, len);
	memset(image, POISON, SLOT);
	for (off = 0; off < len; off += sge->length, sge++)
		memcpy(image + (sge->addr - (uintptr_t)slot), data + off,
		       sge->length);
}

static void post_recv(unsigned int k)
{
	unsigned char *slot = slots.recv[k % (2 * WINDOW)];
	struct ibv_sge sge[MAX_SGE];
	unsigned int num;

	if (k >= opt.num)
		return;
	num = lay_out(sge, slot, k, false);
	memset(slot, POISON, SLOT);
	if (rdma_post_recvv(id, NULL, sge, num))
		err(1, "receive to %u elements", num);
}

static void post_send(void)
{
	unsigned char *slot = slots.send[sent % WINDOW];
	struct ibv_sge sge[MAX_SGE];
	unsigned int num;

	num = lay_out(sge, slot, sent, true);
	put_message(slot, slot, sge, sent, opt.listen);
	if (rdma_post_sendv(id, NULL, sge, num, IBV_SEND_SIGNALED))
		err(1, "send from %u elements", num);
	if (num > used_sge)
		used_sge = num;
	sent++;
}

/* They come in order, so this is number "received" */
static void check_message(unsigned int len)
{
	unsigned char *slot = slots.recv[received % (2 * WINDOW)];
	static unsigned char want[SLOT];
	struct ibv_sge sge[MAX_SGE];
	unsigned int i = 0;

	lay_out(sge, slot, received, false);
	put_message(want, slot, sge, received, !opt.listen);
	if (len != size_of(received) || memcmp(slot, want, SLOT)) {
		while (i < SLOT && slot[i] == want[i])
			i++;
		/* One of them will do */
		if (!bad++)
			warnx("message %u: %u bytes of %u, wrong from byte %u of the slot",
			      received, len, size_of(received), i);
	}
	bytes += len;
	received++;
	post_recv(received + 2 * WINDOW - 1);
}

static void take_completion(const struct ibv_wc *wc)
{
	if (wc->status != IBV_WC_SUCCESS) {
		/* The peer has all, or it would not close the connection */
		if (opt.listen && received == opt.num)
			return;
		errx(1, "completion after %u sent, %u received: %s", completed,
		     received, ibv_wc_status_str(wc->status));
	}
	if (wc->opcode == IBV_WC_RECV)
		check_message(wc->byte_len);
	else
		completed++;
}

static unsigned int take_completions(void)
{
	struct ibv_wc wc[2 * WINDOW];
	int i, n;

	n = ibv_poll_cq(cq, 2 * WINDOW, wc);
	if (n < 0)
		errx(1, "cannot poll the CQ");
	for (i = 0; i < n; i++)
		take_completion(&wc[i]);
	return n;
}

/* Returns true if the peer has closed the connection */
static bool wait_for_event(void)
{
	struct pollfd fds[] = {
		{ .fd = channel->fd, .events = POLLIN },
		{ .fd = id->channel->fd, .events = POLLIN },
	};
	struct rdma_cm_event *event;
	struct ibv_cq *event_cq;
	void *context;
	bool closed;

	if (ibv_req_notify_cq(cq, 0))
		errx(1, "cannot arm the CQ");
	/* It may have come just before */
	if (take_completions())
		return false;
	if (poll(fds, 2, -1) < 0)
		err(1, "poll");
	if (fds[0].revents) {
		if (ibv_get_cq_event(channel, &event_cq, &context))
			err(1, "CQ event");
		ibv_ack_cq_events(event_cq, 1);
	}
	if (!fds[1].revents)
		return false;
	if (rdma_get_cm_event(id->channel, &event))
		err(1, "CM event");
	closed = event->event == RDMA_CM_EVENT_DISCONNECTED;
	rdma_ack_cm_event(event);
	return closed;
}

static void exchange(void)
{
	bool closed = false;

	while (!closed && (opt.listen || received < opt.num || completed < opt.num)) {
		while (sent < opt.num && sent < received + WINDOW &&
		       sent < completed + WINDOW)
			post_send();
		if (!take_completions())
			closed = wait_for_event();
	}
	while (take_completions())
		;
	if (received < opt.num)
		errx(1, "closed after %u messages", received);
	if (!opt.listen && rdma_disconnect(id))
		err(1, "disconnect");
}

/* All that has to be there before the first message comes */
static void set_up(void)
{
	__u8 timeout = ACK_TIMEOUT;
	struct ibv_qp_init_attr attr = {
		.qp_type = IBV_QPT_RC,
		.cap = {
			.max_send_wr = WINDOW,
			.max_recv_wr = 2 * WINDOW,
		},
	};
	struct ibv_device_attr device;
	unsigned int k;

	if (ibv_query_device(id->verbs, &device))
		errx(1, "cannot query the device");
	if (opt.max_sge > (unsigned int)device.max_sge)
		opt.max_sge = device.max_sge;
	channel = ibv_create_comp_channel(id->verbs);
	if (!channel)
		err(1, "completion channel");
	cq = ibv_create_cq(id->verbs, 3 * WINDOW, NULL, channel, 0);
	if (!cq)
		err(1, "CQ");
	attr.send_cq = cq;
	attr.recv_cq = cq;
	attr.cap.max_send_sge = opt.max_sge;
	attr.cap.max_recv_sge = opt.max_sge;
	if (rdma_create_qp(id, NULL, &attr))
		err(1, "QP with %u elements", opt.max_sge);
	if (rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT,
			    &timeout, sizeof(timeout)))
		err(1, "ACK timeout");
	mr = rdma_reg_msgs(id, &slots, sizeof(slots));
	if (!mr)
		err(1, "memory region");
	for (k = 0; k < 2 * WINDOW; k++)
		post_recv(k);
}

static void connect_to(struct sockaddr *addr, struct rdma_conn_param *param)
{
	if (rdma_create_id(NULL, &id, NULL, RDMA_PS_TCP) ||
	    rdma_resolve_addr(id, NULL, addr, 20000))
		err(1, "no RDMA device to get there");
	if (rdma_resolve_route(id, 20000))
		err(1, "no route");
	set_up();
	if (rdma_connect(id, param))
		err(1, "connect");
}

static void accept_from(struct sockaddr *addr, struct rdma_conn_param *param)
{
	struct rdma_cm_id *listener;

	if (rdma_create_id(NULL, &listener, NULL, RDMA_PS_TCP) ||
	    rdma_bind_addr(listener, addr) || rdma_listen(listener, 1))
		err(1, "listen");
	ready();
	if (rdma_get_request(listener, &id))
		err(1, "no request");
	set_up();
	if (rdma_accept(id, param))
		err(1, "accept");
}

static void parse_sizes(char *s)
{
	for (s = strtok(s, ","); s; s = strtok(NULL, ",")) {
		if (opt.num_sizes == MAX_SIZES)
			usage();
		opt.sizes[opt.num_sizes] = atoi(s);
		if (opt.sizes[opt.num_sizes] - 1 >= MAX_LEN)
			usage();
		opt.num_sizes++;
	}
}

int main(int argc, char **argv)
{
	struct addrinfo *ai, hints = {
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
	};
	/* Seven is for ever, if the receiver is not ready */
	struct rdma_conn_param param = {
		.retry_count = 7,
		.rnr_retry_count = 7,
	};
	int c;

	while ((c = getopt(argc, argv, "e:n:N:r:s:t:")) != -1) {
		if (c == 'e')
			opt.max_sge = atoi(optarg);
		else if (c == 'n')
			opt.num = atoi(optarg);
		else if (c == 'N')
			enter_netns(optarg);
		else if (c == 'r')
			opt.seed = atoi(optarg);
		else if (c == 's')
			parse_sizes(optarg);
		else if (c == 't')
			opt.timeout = atoi(optarg);
		else
			usage();
	}
	argv += optind;
	if (argc - optind != 3 || opt.max_sge - 1 >= MAX_SGE)
		usage();
	opt.listen = !strcmp(argv[0], "listen");
	if (!opt.listen && strcmp(argv[0], "connect"))
		usage();
	c = getaddrinfo(argv[1], argv[2], &hints, &ai);
	if (c)
		errx(1, "%s port %s: %s", argv[1], argv[2], gai_strerror(c));

	signal(SIGALRM, on_alarm);
	alarm(opt.timeout);
	if (opt.listen)
		accept_from(ai->ai_addr, &param);
	else
		connect_to(ai->ai_addr, &param);
	ready();
	exchange();
	printf("messages=%u bytes=%llu max_sge=%u bad=%u\n", received, bytes,
	       used_sge, bad);
	return !!bad;
}
