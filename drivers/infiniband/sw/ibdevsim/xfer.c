// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Moving messages: the worker of an HCA, RC and UD.
 *
 * An RC message is copied once, from the buffers of the sender to those of the
 * receiver, in place of the DMA engines at both ends. A UD message is built as
 * a packet on its way: it is short, it may go to many receivers, and there may
 * be a checksum to compute in it.
 */
#include <linux/ip.h>
#include <linux/rwsem.h>
#include <linux/slab.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/checksum.h>
#include <net/ip.h>

#include "ibdevsim.h"

/* A QP that is attached to a multicast group, so it cannot be destroyed */
struct ibdevsim_mcast {
	struct list_head node;
	struct ibdevsim_qp *qp;
	union ib_gid mgid;
};

static LIST_HEAD(ibdevsim_mcasts);
static DECLARE_RWSEM(ibdevsim_mcast_rwsem);

/* "For ever", as an RNR retry count, IBA 9.7.5.2.8 */
#define RNR_RETRY_FOR_EVER	7

/* A place in a list of buffers */
struct ibdevsim_cursor {
	const struct ib_sge *sge;
	u32 off;
};

static struct ibdevsim_mcast *
ibdevsim_mcast_find(struct ib_qp *ibqp, const union ib_gid *mgid)
{
	struct ibdevsim_mcast *mcast;

	list_for_each_entry(mcast, &ibdevsim_mcasts, node)
		if (mcast->qp == to_qp(ibqp) &&
		    !memcmp(&mcast->mgid, mgid, sizeof(*mgid)))
			return mcast;
	return NULL;
}

int ibdevsim_attach_mcast(struct ib_qp *ibqp, union ib_gid *mgid, u16 mlid)
{
	struct ibdevsim_mcast new = { .qp = to_qp(ibqp), .mgid = *mgid };
	struct ibdevsim_mcast *mcast;

	guard(rwsem_write)(&ibdevsim_mcast_rwsem);
	if (ibdevsim_mcast_find(ibqp, mgid))
		return -EEXIST;
	mcast = kmemdup(&new, sizeof(new), GFP_KERNEL);
	if (!mcast)
		return -ENOMEM;
	list_add_tail(&mcast->node, &ibdevsim_mcasts);
	return 0;
}

int ibdevsim_detach_mcast(struct ib_qp *ibqp, union ib_gid *mgid, u16 mlid)
{
	struct ibdevsim_mcast *mcast;

	guard(rwsem_write)(&ibdevsim_mcast_rwsem);
	mcast = ibdevsim_mcast_find(ibqp, mgid);
	if (!mcast)
		return -EINVAL;
	list_del(&mcast->node);
	kfree(mcast);
	return 0;
}

/* The worker is done with the QP to which it delivered */
static void ibdevsim_rcv_close(struct ibdevsim_hca *hca)
{
	struct ibdevsim_qp *qp = hca->rcv;

	if (!qp)
		return;
	mutex_unlock(&qp->rq_mutex);
	if (hca->rcv_notify)
		ibdevsim_cq_notify(qp->ibqp.recv_cq);
	ibdevsim_qp_put(qp);
	hca->rcv = NULL;
	hca->rcv_notify = false;
}

/* The worker delivers to this QP from now on. It takes over the reference. */
static void ibdevsim_rcv_set(struct ibdevsim_hca *hca, struct ibdevsim_qp *qp)
{
	ibdevsim_rcv_close(hca);
	mutex_lock(&qp->rq_mutex);
	hca->rcv = qp;
}

/* Same as above, by address. Most messages go where the last one went. */
static bool ibdevsim_rcv_open(struct ibdevsim_hca *hca, u16 lid, u32 qpn)
{
	struct ibdevsim_qp *qp = hca->rcv;
	struct ibdevsim_hca *peer;

	if (qp && qp->ibqp.qp_num == qpn) {
		peer = to_hca(qp->ibqp.device);
		if (READ_ONCE(peer->lid) == lid && READ_ONCE(peer->port_up))
			return true;
	}

	rcu_read_lock();
	peer = ibdevsim_hca_by_lid(lid);
	qp = peer && READ_ONCE(peer->port_up) ? ibdevsim_qp_get(peer, qpn) :
						NULL;
	rcu_read_unlock();
	if (qp)
		ibdevsim_rcv_set(hca, qp);
	return qp;
}

static bool ibdevsim_can_receive(struct ibdevsim_qp *qp)
{
	enum ib_qp_state state = READ_ONCE(qp->state);

	return state == IB_QPS_RTR || state == IB_QPS_RTS;
}

/* Takes the next receive of hca->rcv. If there is none, the worker may ask to
 * be woken when one is posted.
 */
static bool ibdevsim_take_recv(struct ibdevsim_hca *hca, struct ibdevsim_wq *rq,
			       bool wake)
{
	guard(spinlock_irq)(&rq->lock);
	if (rq->head == rq->tail) {
		if (wake)
			__set_bit(hca->index, &rq->starved);
		return false;
	}
	hca->rwqe = rq->wqe[rq->tail++ & rq->mask];
	memcpy(hca->rsge, hca->rwqe.sge,
	       hca->rwqe.num_sge * sizeof(*hca->rsge));
	return true;
}

static void ibdevsim_put(struct ibdevsim_cursor *to, const void *from, u32 len)
{
	u32 n;

	for (; len; len -= n, from += n) {
		n = min(len, to->sge->length - to->off);
		memcpy(ib_virt_dma_to_ptr(to->sge->addr + to->off), from, n);
		to->off += n;
		if (to->off == to->sge->length) {
			to->sge++;
			to->off = 0;
		}
	}
}

static void ibdevsim_put_wqe(struct ibdevsim_cursor *to,
			     const struct ibdevsim_wqe *wqe, u32 off, u32 len)
{
	const struct ib_sge *sge;
	u32 skip, n;

	for (sge = wqe->sge; len; len -= n, off -= skip, sge++) {
		skip = min(off, sge->length);
		n = min(len, sge->length - skip);
		ibdevsim_put(to, ib_virt_dma_to_ptr(sge->addr + skip), n);
	}
}

/* Which part of a message arrives */
static u32 ibdevsim_truncate(struct ibdevsim_hca *hca, enum ibdevsim_kind kind,
			     u32 len, u32 *off)
{
	u32 from = min(READ_ONCE(hca->truncate_offset), len);
	u32 to = min(READ_ONCE(hca->truncate_length), len - from);

	*off = 0;
	if (to == len ||
	    !ibdevsim_fault(&hca->faults[IBDEVSIM_TRUNCATE][kind]))
		return len;
	*off = from;
	return to;
}

static void ibdevsim_tamper(struct ibdevsim_hca *hca, enum ibdevsim_kind kind,
			    const struct ib_sge *sge, u32 len)
{
	u32 offset = READ_ONCE(hca->tamper_offset);
	u64 mask = READ_ONCE(hca->tamper_mask);

	if (offset >= len ||
	    !ibdevsim_fault(&hca->faults[IBDEVSIM_TAMPER][kind]))
		return;
	for (len -= offset; mask && len; mask >>= 8, offset++, len--) {
		while (offset >= sge->length)
			offset -= (sge++)->length;
		*(u8 *)ib_virt_dma_to_ptr(sge->addr + offset) ^= mask;
	}
}

/* Does the ICRC check of this message at hca->rcv fail? */
static bool ibdevsim_corrupt(struct ibdevsim_hca *hca, enum ibdevsim_kind kind)
{
	struct ibdevsim_hca *peer = to_hca(hca->rcv->ibqp.device);

	/* What does not leave the HCA has none */
	if (peer == hca || !ibdevsim_fault(&hca->faults[IBDEVSIM_CORRUPT][kind]))
		return false;
	ibdevsim_count(peer, IBDEVSIM_ICRC_ERR, 1);
	return true;
}

/* Completes the receive that the worker has taken. The caller has filled in
 * what depends on the message.
 */
static void ibdevsim_recv_done(struct ibdevsim_hca *hca,
			       const struct ibdevsim_wqe *wqe, struct ib_wc *wc)
{
	struct ibdevsim_qp *qp = hca->rcv;
	struct ibdevsim_hca *peer = to_hca(qp->ibqp.device);

	wc->wr_id = hca->rwqe.wr_id;
	wc->opcode = IB_WC_RECV;
	wc->qp = &qp->ibqp;
	wc->port_num = 1;
	if (wqe->opcode == IB_WR_SEND_WITH_IMM) {
		wc->wc_flags |= IB_WC_WITH_IMM;
		wc->ex.imm_data = wqe->imm_data;
	}
	hca->rcv_notify |= ibdevsim_cq_add(qp->ibqp.recv_cq, wc,
					   wqe->send_flags & IB_SEND_SOLICITED);
	if (wc->status == IB_WC_SUCCESS) {
		ibdevsim_count(peer, IBDEVSIM_RX_MSGS, 1);
		ibdevsim_count(peer, IBDEVSIM_RX_BYTES, wc->byte_len);
	} else {
		ibdevsim_count(peer, IBDEVSIM_LEN_ERR, 1);
		ibdevsim_qp_error(qp);
	}
}

/* Delivers an RC message to hca->rcv. What is returned is for the sender. */
static enum ib_wc_status ibdevsim_rc_deliver(struct ibdevsim_hca *hca,
					     const struct ibdevsim_wqe *wqe,
					     u16 slid, u32 src_qpn, bool wake)
{
	struct ibdevsim_cursor to = { .sge = hca->rsge };
	struct ibdevsim_qp *qp = hca->rcv;
	struct ib_wc wc = { .slid = slid, .src_qp = src_qpn };
	u32 off;

	if (READ_ONCE(to_hca(qp->ibqp.device)->starve) ||
	    !ibdevsim_take_recv(hca, qp->rq, wake))
		return IB_WC_RNR_RETRY_EXC_ERR;

	wc.byte_len = ibdevsim_truncate(hca, IBDEVSIM_RC, wqe->len, &off);
	if (wc.byte_len > hca->rwqe.len) {
		wc.status = IB_WC_LOC_LEN_ERR;
		ibdevsim_recv_done(hca, wqe, &wc);
		return IB_WC_REM_INV_REQ_ERR;
	}

	ibdevsim_put_wqe(&to, wqe, off, wc.byte_len);
	ibdevsim_tamper(hca, IBDEVSIM_RC, hca->rsge, wc.byte_len);
	ibdevsim_recv_done(hca, wqe, &wc);
	return IB_WC_SUCCESS;
}

/* Fault: the peer sends what it received back on the same connection */
static void ibdevsim_rc_reflect(struct ibdevsim_hca *hca,
				struct ibdevsim_qp *qp,
				const struct ibdevsim_wqe *wqe)
{
	struct ibdevsim_hca *peer = to_hca(hca->rcv->ibqp.device);
	u32 src_qpn = hca->rcv->ibqp.qp_num;
	u16 slid = READ_ONCE(peer->lid);

	if (READ_ONCE(hca->rcv->state) == IB_QPS_RTS &&
	    ibdevsim_fault(&peer->reflect) &&
	    ibdevsim_rcv_open(hca, READ_ONCE(hca->lid), qp->ibqp.qp_num) &&
	    ibdevsim_can_receive(qp) &&
	    !ibdevsim_rc_deliver(hca, wqe, slid, src_qpn, false))
		ibdevsim_count(hca, IBDEVSIM_REFLECTED, 1);
}

/* Is hca->rcv the other end of this connection? */
static bool ibdevsim_rc_connected(struct ibdevsim_hca *hca,
				  struct ibdevsim_qp *qp)
{
	struct ibdevsim_qp *rcv = hca->rcv;

	return rcv->ibqp.qp_type == IB_QPT_RC && ibdevsim_can_receive(rcv) &&
	       rcv->attr.dest_qp_num == qp->ibqp.qp_num &&
	       rdma_ah_get_dlid(&rcv->attr.ah_attr) == READ_ONCE(hca->lid) &&
	       rcv->attr.pkey_index == qp->attr.pkey_index;
}

/* Puts a QP aside until its peer posts a receive. Returns false if its time for
 * that is over.
 */
static bool ibdevsim_park(struct ibdevsim_hca *hca, struct ibdevsim_qp *qp,
			  unsigned int wake_seq)
{
	unsigned long grace;

	if (!qp->rnr_waiting) {
		grace = usecs_to_jiffies(READ_ONCE(ibdevsim_rnr_grace_us));
		qp->rnr_waiting = true;
		qp->rnr_deadline = jiffies + grace * (qp->attr.rnr_retry + 1);
		ibdevsim_count(hca, IBDEVSIM_RNR_WAIT, 1);
	}
	if (time_after_eq(jiffies, qp->rnr_deadline)) {
		if (qp->attr.rnr_retry != RNR_RETRY_FOR_EVER)
			return false;
		/* The peer may be gone, so look again */
		qp->rnr_deadline = jiffies + HZ;
	}

	spin_lock_irq(&hca->lock);
	/* Unless it was woken, or has failed, since the worker looked */
	if (hca->wake_seq != wake_seq || READ_ONCE(qp->state) != IB_QPS_RTS) {
		list_move_tail(&qp->node, &hca->ready);
	} else {
		list_move_tail(&qp->node, &hca->parked);
		timer_reduce(&hca->rnr_timer, qp->rnr_deadline);
	}
	spin_unlock_irq(&hca->lock);
	return true;
}

/* Has the worker look again at the QPs that wait for a receive */
void ibdevsim_unpark(struct ibdevsim_hca *hca)
{
	guard(spinlock_irqsave)(&hca->lock);
	WRITE_ONCE(hca->wake_seq, hca->wake_seq + 1);
	if (!list_empty(&hca->parked)) {
		list_splice_tail_init(&hca->parked, &hca->ready);
		ibdevsim_start(hca);
	}
}

/* Sends the oldest message of an RC QP. Returns false if it has to wait. */
static bool ibdevsim_rc_send(struct ibdevsim_hca *hca, struct ibdevsim_qp *qp,
			     const struct ibdevsim_wqe *wqe,
			     enum ib_wc_status *status)
{
	u16 dlid = rdma_ah_get_dlid(&qp->attr.ah_attr);
	unsigned int wake_seq = READ_ONCE(hca->wake_seq);

	if (!READ_ONCE(hca->port_up) ||
	    ibdevsim_fault(&hca->faults[IBDEVSIM_DROP][IBDEVSIM_RC]) ||
	    !ibdevsim_rcv_open(hca, dlid, qp->attr.dest_qp_num) ||
	    !ibdevsim_rc_connected(hca, qp) ||
	    ibdevsim_corrupt(hca, IBDEVSIM_RC)) {
		ibdevsim_count(hca, IBDEVSIM_RETRY_ERR, 1);
		*status = IB_WC_RETRY_EXC_ERR;
		return true;
	}

	*status = ibdevsim_rc_deliver(hca, wqe, READ_ONCE(hca->lid),
				      qp->ibqp.qp_num, true);
	if (*status == IB_WC_SUCCESS) {
		ibdevsim_rc_reflect(hca, qp, wqe);
	} else if (*status == IB_WC_RNR_RETRY_EXC_ERR) {
		if (ibdevsim_park(hca, qp, wake_seq))
			return false;
		ibdevsim_count(hca, IBDEVSIM_RNR_ERR, 1);
	}
	qp->rnr_waiting = false;
	return true;
}

/* If the packet on its way is TCP or UDP over IPv4, behind an IPoIB header, then
 * fills in its checksum, or tells whether there is one, and a good one.
 */
static bool ibdevsim_csum(struct ibdevsim_hca *hca, u32 len, bool fill)
{
	struct iphdr *iph = (void *)hca->pkt.data + 4;
	u32 ihl, l4_len, offset;
	__sum16 *check, sum;
	void *l4;

	if (len < 4 + sizeof(*iph) ||
	    *(__be16 *)hca->pkt.data != htons(ETH_P_IP))
		return false;
	ihl = iph->ihl * 4;
	l4_len = ntohs(iph->tot_len) - ihl;
	if (iph->version != 4 || ihl < sizeof(*iph) ||
	    ntohs(iph->tot_len) > len - 4 || ntohs(iph->tot_len) < ihl ||
	    ip_is_fragment(iph))
		return false;

	if (iph->protocol == IPPROTO_TCP && l4_len >= sizeof(struct tcphdr))
		offset = offsetof(struct tcphdr, check);
	else if (iph->protocol == IPPROTO_UDP && l4_len >= sizeof(struct udphdr))
		offset = offsetof(struct udphdr, check);
	else
		return false;

	l4 = (void *)iph + ihl;
	check = l4 + offset;
	if (fill)
		*check = 0;
	sum = csum_tcpudp_magic(iph->saddr, iph->daddr, l4_len, iph->protocol,
				csum_partial(l4, l4_len, 0));
	if (fill)
		*check = sum ? sum : CSUM_MANGLED_0;
	return fill || (*check && !sum);
}

/* Which faults can hca->pkt suffer, from or to this QP? */
static enum ibdevsim_kind ibdevsim_ud_kind(struct ibdevsim_hca *hca,
					   const struct ibdevsim_qp *qp)
{
	const struct ib_mad_hdr *mad = (void *)hca->pkt.data;
	u16 attr_id = READ_ONCE(hca->gsi_attr);

	if (qp->ibqp.qp_type == IB_QPT_UD)
		return IBDEVSIM_UD;
	return attr_id && be16_to_cpu(mad->attr_id) != attr_id ?
	       IBDEVSIM_SPARED : IBDEVSIM_GSI;
}

/* Delivers hca->pkt to hca->rcv, if that wants it. @wc is what all receivers
 * are told of it.
 */
static void ibdevsim_ud_deliver(struct ibdevsim_hca *hca, struct ib_wc wc,
				const struct ibdevsim_wqe *wqe, u32 qkey)
{
	struct ibdevsim_cursor to = { .sge = hca->rsge };
	struct ibdevsim_qp *qp = hca->rcv;
	struct ibdevsim_hca *peer = to_hca(qp->ibqp.device);

	if (ibdevsim_corrupt(hca, ibdevsim_ud_kind(hca, qp)))
		return;
	/* QP1 is in all partitions */
	if (qp->ibqp.qp_type == IB_QPT_RC || !ibdevsim_can_receive(qp) ||
	    qkey != qp->attr.qkey ||
	    (qp->ibqp.qp_type == IB_QPT_UD &&
	     wc.pkey_index != qp->attr.pkey_index)) {
		ibdevsim_count(peer, IBDEVSIM_UD_REJECTED, 1);
	} else if (!ibdevsim_take_recv(hca, qp->rq, false)) {
		ibdevsim_count(peer, IBDEVSIM_UD_NO_BUFFER, 1);
	} else {
		if (wc.byte_len > hca->rwqe.len)
			wc.status = IB_WC_LOC_LEN_ERR;
		else
			ibdevsim_put(&to, &hca->pkt, wc.byte_len);
		ibdevsim_recv_done(hca, wqe, &wc);
	}
}

static void ibdevsim_ud_multicast(struct ibdevsim_hca *hca,
				  const struct ib_wc *wc,
				  const struct ibdevsim_wqe *wqe, u32 qkey)
{
	const union ib_gid *mgid = &hca->pkt.grh.dgid;
	struct ibdevsim_mcast *mcast;

	ibdevsim_rcv_close(hca);
	guard(rwsem_read)(&ibdevsim_mcast_rwsem);
	list_for_each_entry(mcast, &ibdevsim_mcasts, node) {
		if (memcmp(&mcast->mgid, mgid, sizeof(*mgid)) ||
		    !READ_ONCE(to_hca(mcast->qp->ibqp.device)->port_up))
			continue;
		refcount_inc(&mcast->qp->refs);
		ibdevsim_rcv_set(hca, mcast->qp);
		ibdevsim_ud_deliver(hca, *wc, wqe, qkey);
	}
	ibdevsim_rcv_close(hca);
}

static bool ibdevsim_ud_grh(struct ibdevsim_hca *hca,
			    const struct rdma_ah_attr *attr, u32 len)
{
	const struct ib_global_route *route = &attr->grh;

	memset(&hca->pkt.grh, 0, sizeof(hca->pkt.grh));
	if (!(rdma_ah_get_ah_flags(attr) & IB_AH_GRH))
		return false;
	hca->pkt.grh = (struct ib_grh) {
		.version_tclass_flow =
			cpu_to_be32(6U << 28 | route->traffic_class << 20 |
				    (route->flow_label & 0xfffff)),
		/* BTH, DETH, the padded payload, ICRC */
		.paylen = cpu_to_be16(12 + 8 + ALIGN(len, 4) + 4),
		.next_hdr = 0x1b,
		.hop_limit = route->hop_limit,
		.sgid = hca->gid,
		.dgid = route->dgid,
	};
	return true;
}

/* Sends the oldest message of a UD QP or QP1 */
static void ibdevsim_ud_send(struct ibdevsim_hca *hca, struct ibdevsim_qp *qp,
			     const struct ibdevsim_wqe *wqe)
{
	const struct ib_sge pkt = {
		.addr = (uintptr_t)hca->pkt.data,
		.length = sizeof(hca->pkt.data),
	};
	/* The top bit says that the Q_Key of the QP is to be used */
	u32 qkey = wqe->remote_qkey & BIT(31) ? qp->attr.qkey :
						wqe->remote_qkey;
	u16 dlid = rdma_ah_get_dlid(&wqe->ah_attr);
	struct ibdevsim_cursor to = { .sge = &pkt };
	struct ib_grh *grh = &hca->pkt.grh;
	u32 off, len = wqe->len;
	enum ibdevsim_kind kind;
	struct ib_wc wc = {
		.slid = READ_ONCE(hca->lid),
		.src_qp = qp->ibqp.qp_num,
		.pkey_index = qp->ibqp.qp_type == IB_QPT_GSI ?
			      wqe->pkey_index : qp->attr.pkey_index,
		.sl = rdma_ah_get_sl(&wqe->ah_attr),
	};

	if (!READ_ONCE(hca->port_up))
		return;

	if (ibdevsim_ud_grh(hca, &wqe->ah_attr, wqe->len))
		wc.wc_flags |= IB_WC_GRH;
	ibdevsim_put_wqe(&to, wqe, 0, wqe->len);
	kind = ibdevsim_ud_kind(hca, qp);
	if (ibdevsim_fault(&hca->faults[IBDEVSIM_DROP][kind]))
		return;
	if (wqe->send_flags & IB_SEND_IP_CSUM)
		ibdevsim_csum(hca, wqe->len, true);
	ibdevsim_tamper(hca, kind, &pkt, len);
	len = ibdevsim_truncate(hca, kind, len, &off);
	memmove(hca->pkt.data, hca->pkt.data + off, len);
	wc.byte_len = sizeof(*grh) + len;
	if (ibdevsim_ud_csum && ibdevsim_csum(hca, len, false))
		wc.wc_flags |= IB_WC_IP_CSUM_OK;

	if (dlid >= be16_to_cpu(IB_MULTICAST_LID_BASE)) {
		ibdevsim_ud_multicast(hca, &wc, wqe, qkey);
		return;
	}
	if (dlid == IBDEVSIM_SM_LID) {
		if (wqe->remote_qpn != 1 || qkey != IB_QP1_QKEY ||
		    len != sizeof(struct ib_sa_mad) ||
		    !ibdevsim_sa_process(hca, (void *)hca->pkt.data))
			return;
		/* The answer comes back the same way */
		swap(grh->sgid, grh->dgid);
		dlid = wc.slid;
		wc.slid = IBDEVSIM_SM_LID;
		wc.src_qp = 1;
	}
	if (ibdevsim_rcv_open(hca, dlid, wqe->remote_qpn) &&
	    (!(wc.wc_flags & IB_WC_GRH) ||
	     !memcmp(&grh->dgid, &to_hca(hca->rcv->ibqp.device)->gid,
		     sizeof(grh->dgid))))
		ibdevsim_ud_deliver(hca, wc, wqe, qkey);
	else
		ibdevsim_count(hca, IBDEVSIM_UD_REJECTED, 1);
}

/* Completes the oldest send. Returns true if the consumer is to be told. */
static bool ibdevsim_send_done(struct ibdevsim_qp *qp,
			       const struct ibdevsim_wqe *wqe,
			       enum ib_wc_status status)
{
	bool signaled = qp->sig_all || wqe->send_flags & IB_SEND_SIGNALED;
	struct ib_wc wc = {
		.wr_id = wqe->wr_id,
		.status = status,
		.opcode = IB_WC_SEND,
		.byte_len = wqe->len,
		.qp = &qp->ibqp,
		.port_num = 1,
	};

	/* By the time the completion can be seen, the slot must be free */
	spin_lock_irq(&qp->sq.lock);
	qp->sq.tail++;
	spin_unlock_irq(&qp->sq.lock);
	return (signaled || status != IB_WC_SUCCESS) &&
	       ibdevsim_cq_add(qp->ibqp.send_cq, &wc, false);
}

/* Returns the oldest send, if any, and the state that goes with it */
static struct ibdevsim_wqe *ibdevsim_sq_peek(struct ibdevsim_qp *qp,
					     enum ib_qp_state *state)
{
	guard(spinlock_irq)(&qp->sq.lock);
	*state = qp->state;
	if (qp->sq.head == qp->sq.tail)
		return NULL;
	return &qp->sq.wqe[qp->sq.tail & qp->sq.mask];
}

/* Flushes a QP in the error state */
static void ibdevsim_flush(struct ibdevsim_hca *hca, struct ibdevsim_qp *qp,
			   bool *send_notify, bool *recv_notify)
{
	struct ib_wc wc = {
		.status = IB_WC_WR_FLUSH_ERR,
		.opcode = IB_WC_RECV,
		.qp = &qp->ibqp,
		.port_num = 1,
	};
	struct ibdevsim_wqe *wqe;
	enum ib_qp_state state;
	bool last_wqe;

	ibdevsim_rcv_close(hca);
	/* Another worker may be filling a receive of this QP */
	mutex_lock(&qp->rq_mutex);
	while ((wqe = ibdevsim_sq_peek(qp, &state)))
		*send_notify |= ibdevsim_send_done(qp, wqe, wc.status);
	while (!qp->ibqp.srq && ibdevsim_take_recv(hca, qp->rq, false)) {
		wc.wr_id = hca->rwqe.wr_id;
		*recv_notify |= ibdevsim_cq_add(qp->ibqp.recv_cq, &wc, false);
	}
	mutex_unlock(&qp->rq_mutex);

	spin_lock_irq(&qp->sq.lock);
	last_wqe = qp->last_wqe_due;
	qp->last_wqe_due = false;
	spin_unlock_irq(&qp->sq.lock);
	if (last_wqe)
		queue_work(ibdevsim_workqueue, &qp->last_wqe_work);
}

/* Does what a QP has to do, up to a limit */
static void ibdevsim_run(struct ibdevsim_hca *hca, struct ibdevsim_qp *qp)
{
	bool send_notify = false, recv_notify = false;
	enum ib_wc_status status;
	struct ibdevsim_wqe *wqe;
	enum ib_qp_state state;
	unsigned int n;

	mutex_lock(&qp->sq_mutex);
	for (n = 0; n < IBDEVSIM_BATCH; n++) {
		wqe = ibdevsim_sq_peek(qp, &state);
		if (state == IB_QPS_ERR) {
			ibdevsim_flush(hca, qp, &send_notify, &recv_notify);
			break;
		}
		if (state != IB_QPS_RTS || !wqe)
			break;

		status = IB_WC_SUCCESS;
		if (qp->ibqp.qp_type != IB_QPT_RC)
			ibdevsim_ud_send(hca, qp, wqe);
		else if (!ibdevsim_rc_send(hca, qp, wqe, &status))
			break;
		if (status == IB_WC_SUCCESS) {
			ibdevsim_count(hca, IBDEVSIM_TX_MSGS, 1);
			ibdevsim_count(hca, IBDEVSIM_TX_BYTES, wqe->len);
		}
		send_notify |= ibdevsim_send_done(qp, wqe, status);
		if (status != IB_WC_SUCCESS)
			ibdevsim_qp_error(qp);
	}
	if (n == IBDEVSIM_BATCH)
		ibdevsim_qp_schedule(qp, false);
	ibdevsim_rcv_close(hca);
	mutex_unlock(&qp->sq_mutex);

	if (send_notify)
		ibdevsim_cq_notify(qp->ibqp.send_cq);
	if (recv_notify)
		ibdevsim_cq_notify(qp->ibqp.recv_cq);
}

/* Moves what the QPs of an HCA have to send */
void ibdevsim_worker(struct work_struct *work)
{
	struct ibdevsim_hca *hca = container_of(work, struct ibdevsim_hca, work);
	struct ibdevsim_qp *qp;

	for (;;) {
		spin_lock_irq(&hca->lock);
		qp = list_first_entry_or_null(&hca->ready, struct ibdevsim_qp,
					      node);
		if (!qp) {
			hca->running = false;
			spin_unlock_irq(&hca->lock);
			return;
		}
		list_del_init(&qp->node);
		refcount_inc(&qp->refs);
		spin_unlock_irq(&hca->lock);

		ibdevsim_run(hca, qp);
		ibdevsim_qp_put(qp);
		cond_resched();
	}
}
