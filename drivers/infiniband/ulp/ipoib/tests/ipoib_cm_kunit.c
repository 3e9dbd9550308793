// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * KUnit tests of connected mode, included by ipoib_cm.c: what the private data of
 * REQ and REP say, which packets are marked, what becomes of a mark, how packets
 * are repacked, and that the pages of received ones are used again.
 */

#include <kunit/test.h>
#include <net/ip6_checksum.h>

#define CRC_AS_CSUM	IPOIB_CM_CAP_CRC_AS_CSUM

/* A byte of the payload, by its place */
static u8 ipoib_test_byte(unsigned int i)
{
	return i ^ i >> 8;
}

/*
 * Private data
 */
struct ipoib_test_caps {
	const char *name;
	u8 bytes[16];
	u32 caps;
};

static const struct ipoib_test_caps ipoib_test_caps[] = {
	{ "no extension", { 0, 0, 0, 1, 0, 0, 0xff, 0xf4 }, 0 },
	{ "magic, no capability",
	  { [8] = 0x49, 0x43, 0x4d, 0x31 }, 0 },
	{ "magic and capability",
	  { [8] = 0x49, 0x43, 0x4d, 0x31, 0, 0, 0, 1 }, CRC_AS_CSUM },
	{ "capabilities of the future",
	  { [8] = 0x49, 0x43, 0x4d, 0x31, 0x80, 0, 0, 3 }, 0x80000003 },
	{ "capability, no magic", { [15] = 1 }, 0 },
	{ "magic of the wrong endianness",
	  { [8] = 0x31, 0x4d, 0x43, 0x49, 0, 0, 0, 1 }, 0 },
	{ "one bit of the magic is wrong",
	  { [8] = 0x49, 0x43, 0x4d, 0x30, 0, 0, 0, 1 }, 0 },
	{ "another extension", { [8] = 0x22, 0x11, 0x01, 0x01 }, 0 },
	{ "junk", { [8] = 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, 0 },
};

KUNIT_ARRAY_PARAM_DESC(ipoib_test_caps, ipoib_test_caps, name);

static void ipoib_test_get_caps(struct kunit *test)
{
	const struct ipoib_test_caps *t = test->param_value;
	struct ipoib_cm_data data;

	BUILD_BUG_ON(sizeof(data) != sizeof(t->bytes));
	memcpy(&data, t->bytes, sizeof(data));
	KUNIT_EXPECT_EQ(test, ipoib_cm_get_caps(&data), t->caps);
}

static void ipoib_test_set_caps(struct kunit *test)
{
	static const u8 want[] = { 0, 0, 0, 0, 0, 0, 0, 0,
				   0x49, 0x43, 0x4d, 0x31, 0, 0, 0, 1 };
	struct ipoib_cm_data data = {};

	ipoib_cm_set_caps(&data, CRC_AS_CSUM);
	KUNIT_EXPECT_MEMEQ(test, &data, want, sizeof(want));
	KUNIT_EXPECT_EQ(test, ipoib_cm_get_caps(&data), CRC_AS_CSUM);
}

/*
 * Packets. Fields that are 0 are what they are in a plain TCP packet over IPv4 that
 * is not small.
 */
struct ipoib_test_pkt {
	const char *name;
	__be16 ethertype;
	u8 proto;		/* in the IP header */
	u8 ihl;
	bool ihl_zero;
	__be16 frag_off;
	unsigned int ip_len;	/* of what is there, from the IP header on */
	unsigned int headlen;	/* how much of that is linear */
	int start;		/* of the checksum, off from where it should be */
	int offset;		/* same for the offset of its field */
	unsigned int gso_size;
	u32 no_caps;
	enum ipoib_counter_id want;	/* of the sender */
	int rx;			/* of the receiver, if it were marked anyway */
};

static const struct ipoib_test_pkt ipoib_test_pkts[] = {
	{ "TCP over IPv4", .want = IPOIB_TX_CSUM_MARKED },
	{ "TCP over IPv4, with options", .ihl = 15, .want = IPOIB_TX_CSUM_MARKED },
	{ "TCP over IPv4, don't fragment", .frag_off = cpu_to_be16(IP_DF),
	  .want = IPOIB_TX_CSUM_MARKED },
	{ "TCP over IPv6", .ethertype = cpu_to_be16(ETH_P_IPV6),
	  .want = IPOIB_TX_CSUM_MARKED },
	{ "UDP over IPv4", .proto = IPPROTO_UDP, .want = IPOIB_TX_CSUM_MARKED },
	{ "UDP over IPv6", .ethertype = cpu_to_be16(ETH_P_IPV6),
	  .proto = IPPROTO_UDP, .want = IPOIB_TX_CSUM_MARKED },
	{ "only the headers are linear", .headlen = 40,
	  .want = IPOIB_TX_CSUM_MARKED },
	{ "64 KB", .ip_len = IPOIB_CM_MTU, .headlen = 40,
	  .want = IPOIB_TX_CSUM_MARKED },
	{ "1024 bytes", .ip_len = 1024, .want = IPOIB_TX_CSUM_MARKED },
	{ "1023 bytes", .ip_len = 1023, .want = IPOIB_TX_CSUM_SW_SMALL },
	{ "40 bytes", .ip_len = 40, .want = IPOIB_TX_CSUM_SW_SMALL },
	{ "not agreed", .no_caps = CRC_AS_CSUM, .want = IPOIB_TX_CSUM_SW_PEER },
	{ "GSO", .gso_size = 1000, .want = IPOIB_TX_CSUM_DROPPED },
	{ "first fragment", .frag_off = cpu_to_be16(IP_MF),
	  .want = IPOIB_TX_CSUM_SW_OTHER, .rx = -EPROTO },
	{ "last fragment", .frag_off = cpu_to_be16(100),
	  .want = IPOIB_TX_CSUM_SW_OTHER, .rx = -EPROTO },
	{ "IP header of no length", .ihl_zero = true,
	  .want = IPOIB_TX_CSUM_SW_OTHER },
	{ "IP header too short", .ihl = 4, .want = IPOIB_TX_CSUM_SW_OTHER },
	{ "TCP header not linear", .headlen = 39, .want = IPOIB_TX_CSUM_SW_OTHER },
	{ "IPv6 header not linear", .ethertype = cpu_to_be16(ETH_P_IPV6),
	  .headlen = 39, .want = IPOIB_TX_CSUM_SW_OTHER },
	{ "SCTP", .proto = IPPROTO_SCTP, .want = IPOIB_TX_CSUM_SW_OTHER,
	  .rx = -EPROTO },
	{ "GRE", .proto = IPPROTO_GRE, .want = IPOIB_TX_CSUM_SW_OTHER,
	  .rx = -EPROTO },
	{ "ICMP", .proto = IPPROTO_ICMP, .want = IPOIB_TX_CSUM_SW_OTHER,
	  .rx = -EPROTO },
	{ "UDP-Lite", .proto = IPPROTO_UDPLITE, .want = IPOIB_TX_CSUM_SW_OTHER,
	  .rx = -EPROTO },
	{ "IPv6 extension header", .ethertype = cpu_to_be16(ETH_P_IPV6),
	  .proto = IPPROTO_DSTOPTS, .want = IPOIB_TX_CSUM_SW_OTHER,
	  .rx = -EPROTO },
	{ "IPv6 fragment", .ethertype = cpu_to_be16(ETH_P_IPV6),
	  .proto = IPPROTO_FRAGMENT, .want = IPOIB_TX_CSUM_SW_OTHER,
	  .rx = -EPROTO },
	{ "ARP", .ethertype = cpu_to_be16(ETH_P_ARP),
	  .want = IPOIB_TX_CSUM_SW_OTHER, .rx = -EPROTO },
	{ "checksum starts elsewhere", .start = 2, .want = IPOIB_TX_CSUM_SW_OTHER },
	{ "checksum goes elsewhere", .offset = -2, .want = IPOIB_TX_CSUM_SW_OTHER },
	{ "no IP header", .ip_len = 19, .want = IPOIB_TX_CSUM_SW_OTHER,
	  .rx = -EPROTO },
	{ "no TCP header", .ip_len = 39, .want = IPOIB_TX_CSUM_SW_OTHER,
	  .rx = -EPROTO },
	{ "no UDP header", .proto = IPPROTO_UDP, .ip_len = 27,
	  .want = IPOIB_TX_CSUM_SW_OTHER, .rx = -EPROTO },
	{ "nothing", .ip_len = 1, .want = IPOIB_TX_CSUM_SW_OTHER, .rx = -EPROTO },
};

KUNIT_ARRAY_PARAM_DESC(ipoib_test_pkts, ipoib_test_pkts, name);

static void ipoib_test_free_skb(void *skb)
{
	kfree_skb(skb);
}

/* Free it when the test is over */
static void ipoib_test_own_skb(struct kunit *test, struct sk_buff *skb)
{
	int ret = kunit_add_action_or_reset(test, ipoib_test_free_skb, skb);

	KUNIT_ASSERT_EQ(test, ret, 0);
}

/*
 * A packet of @len bytes with a pattern, the first @headlen linear and the others in
 * fragments of @frag bytes
 */
static struct sk_buff *ipoib_test_skb(struct kunit *test, unsigned int len,
				      unsigned int headlen, unsigned int frag)
{
	struct sk_buff *skb;
	unsigned int off, size, i, n = 0;
	struct page *page;

	skb = alloc_skb(NET_SKB_PAD + IPOIB_PSEUDO_LEN + headlen, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, skb);
	skb_reserve(skb, NET_SKB_PAD + IPOIB_PSEUDO_LEN);
	for (i = 0; i < headlen; i++)
		skb_put_u8(skb, ipoib_test_byte(i));
	for (off = headlen; off < len; off += size) {
		size = min(len - off, frag);
		page = alloc_pages(GFP_KERNEL | __GFP_COMP, get_order(size));
		if (!page)
			kfree_skb(skb);
		KUNIT_ASSERT_NOT_NULL(test, page);
		for (i = 0; i < size; i++)
			((u8 *)page_address(page))[i] = ipoib_test_byte(off + i);
		skb_add_rx_frag(skb, n++, page, 0, size,
				PAGE_SIZE << get_order(size));
	}
	return skb;
}

/* How many bytes of such a packet are not what they were? */
static unsigned int ipoib_test_bad_bytes(const struct sk_buff *skb)
{
	unsigned int i, bad = 0;
	u8 byte;

	for (i = 0; i < skb->len; i++) {
		skb_copy_bits(skb, i, &byte, 1);
		bad += byte != ipoib_test_byte(i);
	}
	return bad;
}

static struct sk_buff *ipoib_test_make(struct kunit *test,
				       const struct ipoib_test_pkt *p)
{
	__be16 ethertype = p->ethertype ?: htons(ETH_P_IP);
	bool v6 = ethertype == htons(ETH_P_IPV6);
	unsigned int ihl = p->ihl_zero ? 0 : p->ihl ?: 5;
	u8 proto = p->proto ?: IPPROTO_TCP;
	unsigned int ip_len = p->ip_len ?: 2000;
	struct ipv6hdr ip6h = {
		.version = 6,
		.nexthdr = proto,
		.payload_len = htons(ip_len - sizeof(ip6h)),
	};
	struct iphdr iph = {
		.version = 4,
		.ihl = ihl,
		.protocol = proto,
		.tot_len = htons(ip_len),
		.frag_off = p->frag_off,
	};
	struct ipoib_header header = { .proto = ethertype };
	unsigned int headlen = min(p->headlen ?: 128, ip_len);
	unsigned int start = v6 ? sizeof(ip6h) : ihl * 4;
	struct sk_buff *skb;

	skb = ipoib_test_skb(test, IPOIB_ENCAP_LEN + ip_len,
			     IPOIB_ENCAP_LEN + headlen, SZ_4K);
	ipoib_test_own_skb(test, skb);
	skb_store_bits(skb, 0, &header, sizeof(header));
	if (v6)
		skb_store_bits(skb, IPOIB_ENCAP_LEN, &ip6h,
			       min_t(size_t, sizeof(ip6h), ip_len));
	else
		skb_store_bits(skb, IPOIB_ENCAP_LEN, &iph,
			       min_t(size_t, sizeof(iph), ip_len));

	skb->protocol = ethertype;
	skb->ip_summed = CHECKSUM_PARTIAL;
	skb->csum_start = skb_headroom(skb) + IPOIB_ENCAP_LEN + start + p->start;
	skb->csum_offset = (proto == IPPROTO_UDP ?
			    offsetof(struct udphdr, check) :
			    offsetof(struct tcphdr, check)) + p->offset;
	skb_shinfo(skb)->gso_size = p->gso_size;
	return skb;
}

/* What the receiver has: the same bytes, and nothing else */
static struct sk_buff *ipoib_test_receive(struct kunit *test, struct sk_buff *skb)
{
	struct sk_buff *rx = ipoib_test_skb(test, skb->len,
					    min(skb->len, (u32)IPOIB_CM_COPYBREAK),
					    SZ_4K);
	unsigned int i;
	u8 byte;

	ipoib_test_own_skb(test, rx);
	for (i = 0; i < skb->len; i++) {
		skb_copy_bits(skb, i, &byte, 1);
		skb_store_bits(rx, i, &byte, 1);
	}
	rx->protocol = ((struct ipoib_header *)rx->data)->proto;
	skb_add_pseudo_hdr(rx);
	return rx;
}

static struct ipoib_dev_priv *ipoib_test_priv(struct kunit *test)
{
	struct ipoib_dev_priv *priv = kunit_kzalloc(test, sizeof(*priv), GFP_KERNEL);
	int i;

	KUNIT_ASSERT_NOT_NULL(test, priv);
	for (i = 0; i < IPOIB_NUM_COUNTERS; i++)
		u64_stats_init(&priv->counters[i].syncp);
	return priv;
}

/* What is marked, the receiver sets up with the same start and offset */
static void ipoib_test_check_mark(struct kunit *test, struct sk_buff *skb)
{
	int start = skb_checksum_start_offset(skb) - IPOIB_ENCAP_LEN;
	struct sk_buff *rx = ipoib_test_receive(test, skb);

	skb_reset_network_header(rx);
	KUNIT_ASSERT_EQ(test, skb_checksum_setup(rx, false), 0);
	KUNIT_EXPECT_EQ(test, (int)rx->ip_summed, CHECKSUM_PARTIAL);
	KUNIT_EXPECT_EQ(test, skb_checksum_start_offset(rx), start);
	KUNIT_EXPECT_EQ(test, rx->csum_offset, skb->csum_offset);
}

static void ipoib_test_tx_csum(struct kunit *test)
{
	const struct ipoib_test_pkt *p = test->param_value;
	struct sk_buff *skb = ipoib_test_make(test, p);
	enum ipoib_counter_id what;

	what = ipoib_cm_csum(skb, ~p->no_caps);
	KUNIT_EXPECT_EQ(test, what, p->want);
	if (what == IPOIB_TX_CSUM_MARKED)
		ipoib_test_check_mark(test, skb);
}

/* The same for each value of the fields that matter */
static void ipoib_test_tx_csum_all(struct kunit *test)
{
	static const __be16 frag_off[] = { 0, htons(IP_DF), htons(IP_MF), htons(1) };
	static const int start[] = { 0, 1, -1, 20, -20 };
	struct ipoib_test_pkt p = { .ip_len = 1100 };
	unsigned int marked = 0;
	int i, j, v6, proto;
	struct sk_buff *skb;

	for (proto = 1; proto < 256; proto++)
		for (p.ihl = 1; p.ihl < 16; p.ihl++)
			for (i = 0; i < ARRAY_SIZE(frag_off); i++)
				for (j = 0; j < ARRAY_SIZE(start); j++) {
					/* The others go the same way */
					if (proto > 8 && proto != IPPROTO_UDP &&
					    (p.ihl != 5 || i || j))
						continue;
					v6 = p.ihl == 5 && !i;
again:
					p.proto = proto;
					p.frag_off = frag_off[i];
					p.start = start[j];
					p.ethertype = v6 ? htons(ETH_P_IPV6) : 0;
					skb = ipoib_test_make(test, &p);
					if (ipoib_cm_csum(skb, CRC_AS_CSUM) ==
					    IPOIB_TX_CSUM_MARKED) {
						ipoib_test_check_mark(test, skb);
						marked++;
					}
					kunit_release_action(test,
							     ipoib_test_free_skb,
							     skb);
					if (v6--)
						goto again;
				}
	/* TCP and UDP, 11 lengths of the IPv4 header, DF or not; and over IPv6 */
	KUNIT_EXPECT_EQ(test, marked, 2 * (11 * 2 + 1));
}

/* A mark may be on anything. No memory is touched that it should not be. */
static void ipoib_test_rx_csum(struct kunit *test)
{
	const struct ipoib_test_pkt *p = test->param_value;
	struct sk_buff *rx = ipoib_test_receive(test, ipoib_test_make(test, p));
	struct ipoib_dev_priv *priv = ipoib_test_priv(test);
	enum ipoib_counter_id id = p->rx ? IPOIB_RX_CSUM_BAD_MARK :
					   IPOIB_RX_CSUM_MARKED;

	KUNIT_EXPECT_EQ(test, ipoib_cm_rx_csum(priv, rx), p->rx);
	KUNIT_EXPECT_EQ(test, u64_stats_read(&priv->counters[id].packets), 1);
	KUNIT_EXPECT_EQ(test, (int)rx->ip_summed,
			p->rx ? CHECKSUM_NONE : CHECKSUM_PARTIAL);
}

/*
 * Repacking
 */
static void ipoib_test_chunk_order(struct kunit *test)
{
	unsigned int len, max, order, bad = 0;

	for (len = 1; len <= IPOIB_CM_BUF_SIZE; len++)
		for (max = 1; max <= 45; max++) {
			order = ipoib_cm_chunk_order(len, max);
			bad += DIV_ROUND_UP(len, PAGE_SIZE << order) > max;
			/* One less would not do */
			bad += order && DIV_ROUND_UP(len, PAGE_SIZE << (order - 1)) <= max;
			bad += order && max >= 16 && PAGE_SIZE >= SZ_4K;
		}
	KUNIT_EXPECT_EQ(test, bad, 0);
}

struct ipoib_test_repack {
	const char *name;
	unsigned int len, headlen, frag;
	unsigned int max_sge;
	unsigned int pieces;	/* on 4 KB pages */
};

static const struct ipoib_test_repack ipoib_test_repacks[] = {
	{ "1 byte, 1 SGE", 1, 1, 1, 1, 1 },
	{ "64 KB, 1 SGE", IPOIB_CM_BUF_SIZE, 56, SZ_4K, 1, 1 },
	{ "64 KB, 2 SGEs", IPOIB_CM_BUF_SIZE, 56, SZ_4K, 2, 2 },
	{ "64 KB, 3 SGEs", IPOIB_CM_BUF_SIZE, 56, SZ_4K, 3, 2 },
	{ "64 KB, 8 SGEs", IPOIB_CM_BUF_SIZE, 56, SZ_4K, 8, 2 },
	{ "64 KB, 15 SGEs", IPOIB_CM_BUF_SIZE, 56, SZ_4K, 15, 2 },
	{ "64 KB, 16 SGEs", IPOIB_CM_BUF_SIZE, 56, SZ_4K, 16, 2 },
	{ "64 KB, 18 SGEs", IPOIB_CM_BUF_SIZE, 56, SZ_4K, 18, 2 },
	{ "64 KB, 30 SGEs", IPOIB_CM_BUF_SIZE, 56, SZ_4K, 30, 2 },
	{ "28 KB, 2 SGEs", 28672, 56, SZ_2K, 2, 1 },
	{ "odd pieces", 17 * 333, 333, 333, 4, 1 },
	{ "one linear piece", 20000, 20000, 1, 16, 2 },
};

KUNIT_ARRAY_PARAM_DESC(ipoib_test_repacks, ipoib_test_repacks, name);

static void ipoib_test_repack(struct kunit *test)
{
	const struct ipoib_test_repack *t = test->param_value;
	struct ipoib_cm_tx tx = { .max_send_sge = t->max_sge };
	struct sk_buff *skb = ipoib_test_skb(test, t->len, t->headlen, t->frag);
	unsigned int i, pieces, truesize;

	skb->protocol = htons(ETH_P_IPV6);
	skb->mark = 0x1234;
	/* As the core leaves it, and where the pseudo header was */
	skb_set_mac_header(skb, -IPOIB_PSEUDO_LEN);
	skb->ip_summed = CHECKSUM_PARTIAL;
	skb->csum_start = skb_headroom(skb) + t->len / 2;
	skb = ipoib_cm_repack(&tx, skb);
	KUNIT_ASSERT_NOT_NULL(test, skb);
	ipoib_test_own_skb(test, skb);

	KUNIT_EXPECT_EQ(test, skb->len, t->len);
	pieces = skb_shinfo(skb)->nr_frags + !!skb_headlen(skb);
	if (PAGE_SIZE == SZ_4K)
		KUNIT_EXPECT_EQ(test, pieces, t->pieces);
	KUNIT_EXPECT_LE(test, pieces, t->max_sge);
	KUNIT_EXPECT_FALSE(test, skb_has_shared_frag(skb));
	KUNIT_EXPECT_EQ(test, ntohs(skb->protocol), ETH_P_IPV6);
	KUNIT_EXPECT_EQ(test, skb->mark, 0x1234);
	KUNIT_EXPECT_EQ(test, skb_mac_offset(skb), 0);
	KUNIT_EXPECT_EQ(test, skb_checksum_start_offset(skb), t->len / 2);

	truesize = SKB_TRUESIZE(skb_end_offset(skb));
	for (i = 0; i < skb_shinfo(skb)->nr_frags; i++)
		truesize += page_size(skb_frag_page(&skb_shinfo(skb)->frags[i]));
	KUNIT_EXPECT_EQ(test, skb->truesize, truesize);
	KUNIT_EXPECT_EQ(test, ipoib_test_bad_bytes(skb), 0);
}

/* No pieces, or others than pages of 4 KB: it may be left alone */
static const struct ipoib_test_repack ipoib_test_ends[] = {
	{ "8 KB, 16 SGEs", IPOIB_CM_BUF_SIZE, 56, SZ_4K, 16, 16 },
	{ "12 KB, 15 SGEs", IPOIB_CM_BUF_SIZE, 56, SZ_4K, 15, 15 },
	{ "32 KB, 10 SGEs", IPOIB_CM_BUF_SIZE, 56, SZ_4K, 10, 10 },
	{ "36 KB, 9 SGEs", IPOIB_CM_BUF_SIZE, 56, SZ_4K, 9, 0 },
	{ "no linear part", IPOIB_CM_BUF_SIZE, 0, SZ_4K, 15, 15 },
	{ "no linear part, 1 SGE", 10 * 333, 0, 333, 1, 1 },
	{ "1 SGE", 10 * 333, 333, 333, 1, 0 },
	/* What is kept fits into the linear part. */
	{ "tiny pieces", 17 * 8, 8, 8, 16, 2 },
};

KUNIT_ARRAY_PARAM_DESC(ipoib_test_ends, ipoib_test_ends, name);

static void ipoib_test_repack_end(struct kunit *test)
{
	const struct ipoib_test_repack *t = test->param_value;
	struct ipoib_cm_tx tx = { .max_send_sge = t->max_sge };
	struct sk_buff *skb = ipoib_test_skb(test, t->len, t->headlen, t->frag);
	struct page *page = skb_frag_page(skb_shinfo(skb)->frags);
	struct sk_buff *clone, *new;
	unsigned int pieces;

	skb->mark = 0x1234;
	skb->ip_summed = CHECKSUM_PARTIAL;
	skb->csum_start = skb_headroom(skb) + t->headlen / 2;
	ipoib_test_own_skb(test, skb);
	/* As TCP keeps one, and sends the other */
	clone = skb_clone(skb, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, clone);
	new = ipoib_cm_repack_end(&tx, clone);
	ipoib_test_own_skb(test, new ?: clone);

	KUNIT_EXPECT_EQ(test, skb->len, t->len);
	KUNIT_EXPECT_EQ(test, ipoib_test_bad_bytes(skb), 0);
	KUNIT_EXPECT_EQ(test, !!skb_cloned(skb), !new);
	if (PAGE_SIZE == SZ_4K)
		KUNIT_EXPECT_EQ(test, !!new, !!t->pieces);
	if (!new)
		return;

	KUNIT_EXPECT_EQ(test, new->len, t->len);
	KUNIT_EXPECT_EQ(test, ipoib_test_bad_bytes(new), 0);
	KUNIT_EXPECT_EQ(test, new->mark, 0x1234);
	KUNIT_EXPECT_EQ(test, skb_checksum_start_offset(new), t->headlen / 2);
	pieces = skb_shinfo(new)->nr_frags + !!skb_headlen(new);
	KUNIT_EXPECT_LE(test, pieces, t->max_sge);
	if (PAGE_SIZE == SZ_4K)
		KUNIT_EXPECT_EQ(test, pieces, t->pieces);
	if (pieces > 2)
		KUNIT_EXPECT_PTR_EQ(test, skb_frag_page(skb_shinfo(new)->frags),
				    page);
}

struct ipoib_test_ubuf {
	struct ubuf_info ubuf;
	int copied, done;
};

static void ipoib_test_ubuf_complete(struct sk_buff *skb, struct ubuf_info *ubuf,
				     bool success)
{
	struct ipoib_test_ubuf *u = container_of(ubuf, struct ipoib_test_ubuf, ubuf);

	u->copied += !success;
	u->done += refcount_dec_and_test(&ubuf->refcnt);
}

static const struct ubuf_info_ops ipoib_test_ubuf_ops = {
	.complete = ipoib_test_ubuf_complete,
};

static struct sk_buff *ipoib_test_zcopy_skb(struct kunit *test,
					    struct ipoib_test_ubuf *u, u8 flags)
{
	struct sk_buff *skb = ipoib_test_skb(test, IPOIB_CM_BUF_SIZE, 56, SZ_4K);

	u->ubuf.ops = &ipoib_test_ubuf_ops;
	u->ubuf.flags = SKBFL_ZEROCOPY_FRAG | flags;
	refcount_set(&u->ubuf.refcnt, 1);
	skb_zcopy_init(skb, &u->ubuf);
	return skb;
}

/* Whose pages they are hears once that they are free, and whether they were copied */
static void ipoib_test_zcopy(struct kunit *test)
{
	struct ipoib_cm_tx tx = { .max_send_sge = 16 };
	struct ipoib_test_ubuf whole = {}, end = {}, orphan = {};
	struct sk_buff *skb, *new;

	skb = ipoib_test_zcopy_skb(test, &whole, SKBFL_DONT_ORPHAN);
	new = ipoib_cm_repack(&tx, skb);
	KUNIT_ASSERT_NOT_NULL(test, new);
	KUNIT_EXPECT_EQ(test, whole.done, 1);
	KUNIT_EXPECT_EQ(test, whole.copied, 1);
	kfree_skb(new);
	KUNIT_EXPECT_EQ(test, whole.done, 1);

	skb = ipoib_test_zcopy_skb(test, &end, SKBFL_DONT_ORPHAN);
	new = ipoib_cm_repack_end(&tx, skb);
	KUNIT_ASSERT_NOT_NULL(test, new);
	KUNIT_EXPECT_EQ(test, end.done, 0);
	kfree_skb(new);
	KUNIT_EXPECT_EQ(test, end.done, 1);
	KUNIT_EXPECT_EQ(test, end.copied, 0);

	/* Whoever copies the headers has to copy these, too */
	skb = ipoib_test_zcopy_skb(test, &orphan, 0);
	KUNIT_ASSERT_NULL(test, ipoib_cm_repack_end(&tx, skb));
	KUNIT_EXPECT_EQ(test, orphan.done, 0);
	kfree_skb(skb);
	KUNIT_EXPECT_EQ(test, orphan.done, 1);
}

/* The sum over pages that may change is what skb_checksum_help() would compute */
static void ipoib_test_sum(struct kunit *test)
{
	static const unsigned int ip_len[] = { 40, 41, 1000, 1023, 4096, 65519, 65520 };
	static const unsigned int sge[] = { 1, 2, 16 };
	struct ipoib_test_pkt p = {};
	struct ipoib_cm_tx tx = {};
	struct sk_buff *skb, *ref;
	int i, ihl, udp, odd, which;
	void *data;

	for (i = 0; i < ARRAY_SIZE(ip_len); i++)
		for (ihl = 5; ihl < 8; ihl++)
			for (which = 0; which < 4 * ARRAY_SIZE(sge); which++) {
				udp = which & 1;
				/* The sum may begin at an odd byte, but with IP. */
				odd = which >> 1 & 1;
				tx.max_send_sge = sge[which >> 2];
				p.ip_len = ip_len[i] + (ihl - 5) * 4;
				if (p.ip_len > IPOIB_CM_MTU)
					continue;
				p.ihl = ihl;
				p.proto = udp ? IPPROTO_UDP : IPPROTO_TCP;
				/* The least that the reference takes, and odd */
				p.headlen = 39 + (ihl - 5) * 4;
				ref = ipoib_test_make(test, &p);
				ref->csum_start += odd;
				KUNIT_ASSERT_EQ(test, skb_checksum_help(ref), 0);

				skb = ipoib_test_make(test, &p);
				skb->csum_start += odd;
				kunit_remove_action(test, ipoib_test_free_skb, skb);
				skb_shinfo(skb)->flags |= SKBFL_SHARED_FRAG;
				KUNIT_ASSERT_EQ(test, ipoib_cm_sum(&tx, &skb), 0);
				ipoib_test_own_skb(test, skb);
				KUNIT_EXPECT_EQ(test, (int)skb->ip_summed, CHECKSUM_NONE);
				KUNIT_ASSERT_EQ(test, skb->len, ref->len);

				data = kunit_kmalloc(test, 2 * skb->len, GFP_KERNEL);
				KUNIT_ASSERT_NOT_NULL(test, data);
				skb_copy_bits(skb, 0, data, skb->len);
				skb_copy_bits(ref, 0, data + skb->len, skb->len);
				KUNIT_EXPECT_EQ(test, 0,
						memcmp(data, data + skb->len,
						       skb->len));
				kunit_kfree(test, data);
			}
}

/* 0 would say that there is no checksum */
static void ipoib_test_sum_zero(struct kunit *test)
{
	struct sk_buff *skb = ipoib_test_make(test, &(struct ipoib_test_pkt){});
	unsigned int where = skb_checksum_start_offset(skb) + skb->csum_offset;
	struct ipoib_cm_tx tx = { .max_send_sge = 16 };
	__sum16 sum = 0;
	int i;

	kunit_remove_action(test, ipoib_test_free_skb, skb);
	skb_store_bits(skb, where, &sum, sizeof(sum));
	/* With what the first time has put there, the sum is zero. */
	for (i = 0; i < 2; i++) {
		skb->ip_summed = CHECKSUM_PARTIAL;
		skb_shinfo(skb)->flags |= SKBFL_SHARED_FRAG;
		KUNIT_ASSERT_EQ(test, ipoib_cm_sum(&tx, &skb), 0);
	}
	ipoib_test_own_skb(test, skb);
	skb_copy_bits(skb, where, &sum, sizeof(sum));
	KUNIT_EXPECT_EQ(test, (__force u16)sum, (__force u16)CSUM_MANGLED_0);
}

/* The packet stays with the caller */
static void ipoib_test_sum_out_of_bounds(struct kunit *test)
{
	struct sk_buff *was = ipoib_test_make(test, &(struct ipoib_test_pkt){});
	unsigned int begin = skb_headroom(was), end = begin + was->len;
	struct ipoib_cm_tx tx = { .max_send_sge = 16 };
	struct sk_buff *skb = was;

	was->csum_start = begin - 1;
	KUNIT_EXPECT_EQ(test, ipoib_cm_sum(&tx, &skb), -EINVAL);
	KUNIT_ASSERT_PTR_EQ(test, skb, was);

	skb_shinfo(skb)->flags |= SKBFL_SHARED_FRAG;
	KUNIT_EXPECT_EQ(test, ipoib_cm_sum(&tx, &skb), -EINVAL);
	KUNIT_ASSERT_PTR_EQ(test, skb, was);

	was->csum_start = end - was->csum_offset - sizeof(__sum16) + 1;
	KUNIT_EXPECT_EQ(test, ipoib_cm_sum(&tx, &skb), -EINVAL);
	KUNIT_ASSERT_PTR_EQ(test, skb, was);
}

KUNIT_DEFINE_ACTION_WRAPPER(ipoib_test_destroy_pool, page_pool_destroy,
			    struct page_pool *);

/* The pages of one packet are those of the next. */
static void ipoib_test_recycle(struct kunit *test)
{
	const struct page_pool_params params = { .nid = NUMA_NO_NODE };
	struct ipoib_dev_priv *priv = ipoib_test_priv(test);
	struct ipoib_cm_rx_buf buf;
	struct page_pool *pool;
	struct sk_buff *skb;
	int i;

	priv->ca = kunit_kzalloc(test, sizeof(*priv->ca), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, priv->ca);
	if (!ib_uses_virt_dma(priv->ca))
		kunit_skip(test, "there is no device for DMA");

	pool = page_pool_create(&params);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, pool);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, ipoib_test_destroy_pool,
						  pool));
	priv->cm.rx_pool = pool;
	KUNIT_ASSERT_EQ(test, 0, ipoib_cm_alloc_rx_pages(priv, &buf, IPOIB_CM_RX_SG,
							 GFP_KERNEL));
	for (i = 0; i < 100; i++) {
		skb = ipoib_cm_rx_skb(priv, &buf, IPOIB_CM_BUF_SIZE);
		KUNIT_EXPECT_NOT_NULL(test, skb);
		kfree_skb(skb);
	}
	ipoib_cm_free_rx_pages(priv, &buf, IPOIB_CM_RX_SG);
	/* Far fewer than were used; not just 32, as it allocates some in advance */
	KUNIT_EXPECT_LT(test, pool->pages_state_hold_cnt, 100 * IPOIB_CM_RX_SG / 2);
}

static struct kunit_case ipoib_cm_test_cases[] = {
	KUNIT_CASE_PARAM(ipoib_test_get_caps, ipoib_test_caps_gen_params),
	KUNIT_CASE(ipoib_test_set_caps),
	KUNIT_CASE_PARAM(ipoib_test_tx_csum, ipoib_test_pkts_gen_params),
	KUNIT_CASE(ipoib_test_tx_csum_all),
	KUNIT_CASE_PARAM(ipoib_test_rx_csum, ipoib_test_pkts_gen_params),
	KUNIT_CASE(ipoib_test_chunk_order),
	KUNIT_CASE_PARAM(ipoib_test_repack, ipoib_test_repacks_gen_params),
	KUNIT_CASE_PARAM(ipoib_test_repack_end, ipoib_test_ends_gen_params),
	KUNIT_CASE(ipoib_test_zcopy),
	KUNIT_CASE(ipoib_test_recycle),
	KUNIT_CASE(ipoib_test_sum),
	KUNIT_CASE(ipoib_test_sum_zero),
	KUNIT_CASE(ipoib_test_sum_out_of_bounds),
	{}
};

static struct kunit_suite ipoib_cm_test_suite = {
	.name = "ipoib_cm",
	.test_cases = ipoib_cm_test_cases,
};

kunit_test_suite(ipoib_cm_test_suite);
