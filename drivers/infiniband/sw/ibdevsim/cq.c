// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Completion queues.
 */
#include <linux/log2.h>
#include <linux/mm.h>

#include "ibdevsim.h"

static struct ibdevsim_cq *to_cq(struct ib_cq *ibcq)
{
	return container_of(ibcq, struct ibdevsim_cq, ibcq);
}

int ibdevsim_create_cq(struct ib_cq *ibcq, const struct ib_cq_init_attr *attr,
		       struct uverbs_attr_bundle *attrs)
{
	struct ibdevsim_cq *cq = to_cq(ibcq);

	if (attr->flags)
		return -EOPNOTSUPP;
	if (!attr->cqe || attr->cqe > IBDEVSIM_MAX_CQE)
		return -EINVAL;

	spin_lock_init(&cq->lock);
	ibcq->cqe = roundup_pow_of_two(attr->cqe);
	cq->mask = ibcq->cqe - 1;
	cq->ring = kvcalloc(ibcq->cqe, sizeof(*cq->ring), GFP_KERNEL);
	return cq->ring ? 0 : -ENOMEM;
}

/* No QP is left, so no worker knows this CQ any more: see ibdevsim_destroy_qp() */
int ibdevsim_destroy_cq(struct ib_cq *ibcq, struct ib_udata *udata)
{
	kvfree(to_cq(ibcq)->ring);
	return 0;
}

int ibdevsim_poll_cq(struct ib_cq *ibcq, int num, struct ib_wc *wc)
{
	struct ibdevsim_cq *cq = to_cq(ibcq);
	int n;

	guard(spinlock_irqsave)(&cq->lock);
	for (n = 0; n < num && cq->tail != cq->head; n++)
		wc[n] = cq->ring[cq->tail++ & cq->mask];
	return n;
}

int ibdevsim_req_notify_cq(struct ib_cq *ibcq, enum ib_cq_notify_flags notify)
{
	struct ibdevsim_cq *cq = to_cq(ibcq);

	guard(spinlock_irqsave)(&cq->lock);
	/* To ask for solicited ones does not take back to have asked for all */
	cq->armed |= notify & IB_CQ_SOLICITED_MASK;
	return notify & IB_CQ_REPORT_MISSED_EVENTS && cq->tail != cq->head;
}

/* Adds a completion. Returns true if ibdevsim_cq_notify() is due, until which the
 * caller holds a reference to a QP of this CQ.
 */
bool ibdevsim_cq_add(struct ib_cq *ibcq, const struct ib_wc *wc,
		     bool solicited)
{
	struct ibdevsim_cq *cq = to_cq(ibcq);
	bool notify, overflow;
	unsigned long flags;

	solicited |= wc->status != IB_WC_SUCCESS;
	spin_lock_irqsave(&cq->lock, flags);
	overflow = cq->head - cq->tail > cq->mask;
	if (!overflow)
		cq->ring[cq->head++ & cq->mask] = *wc;
	notify = cq->armed & (solicited ? IB_CQ_SOLICITED_MASK : IB_CQ_NEXT_COMP);
	if (notify)
		cq->armed = 0;
	spin_unlock_irqrestore(&cq->lock, flags);

	if (overflow) {
		ibdevsim_count(to_hca(ibcq->device), IBDEVSIM_CQ_OVERFLOW, 1);
		ibdev_err_ratelimited(ibcq->device, "CQ overflow\n");
	}
	return notify;
}

/* Calls the completion handler, which may raise softirqs. They run as soon as
 * bottom halves are enabled again: here, and not when the next interrupt comes.
 */
void ibdevsim_cq_notify(struct ib_cq *ibcq)
{
	local_bh_disable();
	ibcq->comp_handler(ibcq, ibcq->cq_context);
	local_bh_enable();
}

/* Removes the completions of a QP, for which no more are added */
void ibdevsim_cq_purge(struct ib_cq *ibcq, struct ib_qp *ibqp)
{
	struct ibdevsim_cq *cq = to_cq(ibcq);
	u32 from, to;

	guard(spinlock_irq)(&cq->lock);
	to = cq->tail;
	for (from = to; from != cq->head; from++)
		if (cq->ring[from & cq->mask].qp != ibqp)
			cq->ring[to++ & cq->mask] = cq->ring[from & cq->mask];
	cq->head = to;
}
