/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * Checksums that the stack has left to the driver: who computes them?
 */

#ifndef _IPOIB_CSUM_H
#define _IPOIB_CSUM_H

#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/ip.h>

#include "ipoib.h"

/**
 * ipoib_plain_csum() - Is the checksum that is asked for a plain one?
 * @skb: packet with CHECKSUM_PARTIAL, skb->data at the encapsulation header
 *
 * A plain one is that of TCP or UDP, where everybody would find it who parses
 * the packet: behind an IPv4 header of a packet that is no fragment, or behind
 * an IPv6 header without extensions. A packet socket or a tap can ask for
 * anything else, so only the bytes count, and where the sum begins and goes,
 * not what the skb says of protocol and headers.
 *
 * Context: Any.
 * Return: The ethertype, ETH_P_IP or ETH_P_IPV6 as on the wire, or 0.
 */
static inline __be16 ipoib_plain_csum(const struct sk_buff *skb)
{
	const struct ipoib_header *header = (void *)skb->data;
	const struct ipv6hdr *ip6h = (void *)(header + 1);
	const struct iphdr *iph = (void *)(header + 1);
	unsigned int start = sizeof(*header);
	unsigned int offset, len;
	u8 proto;

	switch (header->proto) {
	case htons(ETH_P_IP):
		if (skb_headlen(skb) < start + sizeof(*iph) || iph->ihl < 5 ||
		    ip_is_fragment(iph))
			return 0;
		start += iph->ihl * 4;
		proto = iph->protocol;
		break;
	case htons(ETH_P_IPV6):
		if (skb_headlen(skb) < start + sizeof(*ip6h))
			return 0;
		start += sizeof(*ip6h);
		proto = ip6h->nexthdr;
		break;
	default:
		return 0;
	}

	switch (proto) {
	case IPPROTO_TCP:
		offset = offsetof(struct tcphdr, check);
		len = sizeof(struct tcphdr);
		break;
	case IPPROTO_UDP:
		offset = offsetof(struct udphdr, check);
		len = sizeof(struct udphdr);
		break;
	default:
		return 0;
	}

	if (skb_headlen(skb) < start + len ||
	    skb_checksum_start_offset(skb) != start ||
	    skb->csum_offset != offset)
		return 0;

	return header->proto;
}

/**
 * ipoib_cm_csum() - What becomes of a checksum on a connection?
 * @skb: packet with CHECKSUM_PARTIAL, skb->data at the encapsulation header
 * @caps: what was agreed on
 *
 * What is marked by this, skb_checksum_setup() at the receiver must be able to
 * set up, with the same start and offset. Small packets are not: to sum them
 * costs next to nothing, and they are what is mostly read by programs that do
 * not know TP_STATUS_CSUMNOTREADY, such as DHCP clients.
 *
 * Context: Any.
 * Return: IPOIB_TX_CSUM_MARKED to leave it out, IPOIB_TX_CSUM_SW_* to sum it
 * here, for this reason, or IPOIB_TX_CSUM_DROPPED for a GSO packet, which can be
 * neither. There are some while the mode is switched, and by generic XDP.
 */
static inline enum ipoib_counter_id ipoib_cm_csum(const struct sk_buff *skb,
						  u32 caps)
{
	if (skb_is_gso(skb))
		return IPOIB_TX_CSUM_DROPPED;
	if (!(caps & IPOIB_CM_CAP_CRC_AS_CSUM))
		return IPOIB_TX_CSUM_SW_PEER;
	if (!ipoib_plain_csum(skb))
		return IPOIB_TX_CSUM_SW_OTHER;
	if (skb->len - IPOIB_ENCAP_LEN < IPOIB_CM_CSUM_MIN)
		return IPOIB_TX_CSUM_SW_SMALL;
	return IPOIB_TX_CSUM_MARKED;
}

#endif /* _IPOIB_CSUM_H */
