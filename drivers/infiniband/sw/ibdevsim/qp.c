// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Queue pairs: their life, their states, and posting to their queues.
 */
#include <linux/log2.h>
#include <linux/mm.h>

#include "ibdevsim.h"

/* Sets up a queue for *@max_wr requests of @max_sge buffers each. On return,
 * *@max_wr is how many it really holds.
 */
int ibdevsim_wq_init(struct ibdevsim_wq *wq, u32 *max_wr, u32 max_sge)
{
	u32 size = roundup_pow_of_two(max(*max_wr, 1U));

	spin_lock_init(&wq->lock);
	wq->mask = size - 1;
	wq->max_sge = max_sge;
	wq->wqe = kvcalloc(size, sizeof(*wq->wqe), GFP_KERNEL);
	wq->sge = kvcalloc(size, array_size(max(max_sge, 1U), sizeof(*wq->sge)),
			   GFP_KERNEL);
	if (!wq->wqe || !wq->sge) {
		ibdevsim_wq_free(wq);
		return -ENOMEM;
	}
	*max_wr = size;
	return 0;
}

void ibdevsim_wq_free(struct ibdevsim_wq *wq)
{
	kvfree(wq->wqe);
	kvfree(wq->sge);
}

/* Copies a request to the head of a queue, which the caller advances */
static int ibdevsim_wq_put(struct ibdevsim_wq *wq, u64 wr_id,
			   const struct ib_sge *sge, int num_sge)
{
	u32 i = wq->head & wq->mask;
	struct ibdevsim_wqe *wqe = &wq->wqe[i];
	u64 len = 0;
	int n;

	if (num_sge < 0 || num_sge > wq->max_sge)
		return -EINVAL;
	if (wq->head - wq->tail > wq->mask)
		return -ENOMEM;
	wqe->wr_id = wr_id;
	wqe->num_sge = num_sge;
	wqe->sge = &wq->sge[i * wq->max_sge];
	for (n = 0; n < num_sge; n++) {
		if (sge[n].lkey != IBDEVSIM_LKEY)
			return -EINVAL;
		wqe->sge[n] = sge[n];
		len += sge[n].length;
	}
	wqe->len = min_t(u64, len, U32_MAX);
	return 0;
}

/* Posts receives to a QP's own queue or an SRQ */
int ibdevsim_wq_post_recv(struct ibdevsim_wq *wq, const struct ib_recv_wr *wr,
			  const struct ib_recv_wr **bad_wr)
{
	struct ibdevsim_hca *hca;
	unsigned long flags, starved;
	unsigned int i;
	int ret = 0;

	spin_lock_irqsave(&wq->lock, flags);
	for (; wr; wr = wr->next) {
		ret = ibdevsim_wq_put(wq, wr->wr_id, wr->sg_list, wr->num_sge);
		if (ret)
			break;
		wq->head++;
	}
	starved = wq->starved;
	wq->starved = 0;
	spin_unlock_irqrestore(&wq->lock, flags);
	*bad_wr = wr;

	guard(rcu)();
	for_each_set_bit(i, &starved, IBDEVSIM_MAX_HCAS) {
		hca = ibdevsim_hca_by_index(i);
		if (hca)
			ibdevsim_unpark(hca);
	}
	return ret;
}

int ibdevsim_post_recv(struct ib_qp *ibqp, const struct ib_recv_wr *wr,
		       const struct ib_recv_wr **bad_wr)
{
	struct ibdevsim_qp *qp = to_qp(ibqp);
	int ret;

	if (ibqp->srq || READ_ONCE(qp->state) == IB_QPS_RESET) {
		*bad_wr = wr;
		return -EINVAL;
	}
	ret = ibdevsim_wq_post_recv(qp->rq, wr, bad_wr);
	/* This is read after the lock of the queue was held. If it is not the
	 * error state yet, then the flush to come will find the receive.
	 */
	if (READ_ONCE(qp->state) == IB_QPS_ERR)
		ibdevsim_qp_schedule(qp, true);
	return ret;
}

static int ibdevsim_post_one(struct ibdevsim_qp *qp, const struct ib_send_wr *wr)
{
	struct ibdevsim_wqe *wqe = &qp->sq.wqe[qp->sq.head & qp->sq.mask];
	bool ud = qp->ibqp.qp_type != IB_QPT_RC;
	int ret;

	ret = ibdevsim_wq_put(&qp->sq, wr->wr_id, wr->sg_list, wr->num_sge);
	if (ret)
		return ret;
	wqe->opcode = wr->opcode;
	wqe->send_flags = wr->send_flags;
	wqe->imm_data = wr->ex.imm_data;

	/* In the error state any send will do: it is only flushed */
	if (qp->state == IB_QPS_ERR)
		return 0;

	if ((wr->opcode != IB_WR_SEND && wr->opcode != IB_WR_SEND_WITH_IMM) ||
	    wr->send_flags & IB_SEND_INLINE ||
	    wqe->len > (ud ? IBDEVSIM_UD_MTU : IBDEVSIM_MAX_MSG))
		return -EINVAL;
	if (!ud) {
		if (wr->send_flags & IB_SEND_IP_CSUM)
			ibdevsim_count(to_hca(qp->ibqp.device),
				       IBDEVSIM_RC_IP_CSUM, 1);
		return 0;
	}

	wqe->remote_qpn = ud_wr(wr)->remote_qpn;
	wqe->remote_qkey = ud_wr(wr)->remote_qkey;
	wqe->pkey_index = ud_wr(wr)->pkey_index;
	wqe->ah_attr = to_ah(ud_wr(wr)->ah)->attr;
	if ((wr->send_flags & IB_SEND_IP_CSUM && !ibdevsim_ud_csum) ||
	    (qp->ibqp.qp_type == IB_QPT_GSI &&
	     wqe->pkey_index >= IBDEVSIM_PKEYS))
		return -EINVAL;
	return 0;
}

int ibdevsim_post_send(struct ib_qp *ibqp, const struct ib_send_wr *wr,
		       const struct ib_send_wr **bad_wr)
{
	struct ibdevsim_qp *qp = to_qp(ibqp);
	unsigned long flags;
	bool posted = false;
	int ret = 0;

	spin_lock_irqsave(&qp->sq.lock, flags);
	if (qp->state != IB_QPS_RTS && qp->state != IB_QPS_ERR)
		ret = -EINVAL;
	while (wr && !ret) {
		ret = ibdevsim_post_one(qp, wr);
		if (ret)
			break;
		qp->sq.head++;
		wr = wr->next;
		posted = true;
	}
	spin_unlock_irqrestore(&qp->sq.lock, flags);

	*bad_wr = wr;
	if (posted)
		ibdevsim_qp_schedule(qp, false);
	return ret;
}

/* Raises the event with no lock held */
static void ibdevsim_last_wqe_work(struct work_struct *work)
{
	struct ibdevsim_qp *qp = container_of(work, struct ibdevsim_qp,
					      last_wqe_work);
	struct ib_event event = {
		.device = qp->ibqp.device,
		.element.qp = &qp->ibqp,
		.event = IB_EVENT_QP_LAST_WQE_REACHED,
	};

	qp->ibqp.event_handler(&event, qp->ibqp.qp_context);
}

struct ibdevsim_qp *ibdevsim_qp_get(struct ibdevsim_hca *hca, u32 qpn)
{
	struct ibdevsim_qp *qp;

	xa_lock(&hca->qps);
	qp = xa_load(&hca->qps, qpn);
	if (qp)
		refcount_inc(&qp->refs);
	xa_unlock(&hca->qps);
	return qp;
}

void ibdevsim_qp_put(struct ibdevsim_qp *qp)
{
	if (refcount_dec_and_test(&qp->refs))
		complete(&qp->released);
}

/* With the lock of the HCA held: something is on its ready list */
void ibdevsim_start(struct ibdevsim_hca *hca)
{
	if (!hca->running)
		queue_work(ibdevsim_workqueue, &hca->work);
	hca->running = true;
}

/* Has the worker look at a QP; if @unpark, then even if that waits for its peer
 * to post a receive
 */
void ibdevsim_qp_schedule(struct ibdevsim_qp *qp, bool unpark)
{
	struct ibdevsim_hca *hca = to_hca(qp->ibqp.device);

	guard(spinlock_irqsave)(&hca->lock);
	if (unpark || list_empty(&qp->node)) {
		list_move_tail(&qp->node, &hca->ready);
		ibdevsim_start(hca);
	}
}

/* Puts a QP, one of whose mutexes is held, into the error state. The worker of
 * its own HCA flushes it later.
 */
void ibdevsim_qp_error(struct ibdevsim_qp *qp)
{
	bool fails;

	spin_lock_irq(&qp->sq.lock);
	fails = qp->state != IB_QPS_RESET && qp->state != IB_QPS_ERR;
	if (fails) {
		WRITE_ONCE(qp->state, IB_QPS_ERR);
		qp->last_wqe_due = qp->ibqp.srq;
	}
	spin_unlock_irq(&qp->sq.lock);
	if (fails)
		ibdevsim_qp_schedule(qp, true);
}

static bool ibdevsim_qp_cap_ok(const struct ib_qp_init_attr *attr)
{
	const struct ib_qp_cap *cap = &attr->cap;
	u32 max_send_sge = ibdevsim_max_send_sge;

	/* The MAD layer needs two, whatever the others are left with */
	if (attr->qp_type == IB_QPT_GSI)
		max_send_sge = max(max_send_sge, 2U);
	return cap->max_send_wr <= IBDEVSIM_MAX_WR &&
	       cap->max_send_sge <= max_send_sge && !cap->max_inline_data &&
	       (attr->srq || (cap->max_recv_wr <= IBDEVSIM_MAX_WR &&
			      cap->max_recv_sge <= IBDEVSIM_MAX_SGE));
}

int ibdevsim_create_qp(struct ib_qp *ibqp, struct ib_qp_init_attr *attr,
		       struct ib_udata *udata)
{
	struct ibdevsim_hca *hca = to_hca(ibqp->device);
	struct ibdevsim_qp *qp = to_qp(ibqp);
	int ret;

	if (attr->create_flags ||
	    (attr->qp_type != IB_QPT_RC && attr->qp_type != IB_QPT_UD &&
	     attr->qp_type != IB_QPT_GSI))
		return -EOPNOTSUPP;
	if ((attr->srq && attr->qp_type != IB_QPT_RC) ||
	    !ibdevsim_qp_cap_ok(attr))
		return -EINVAL;

	ret = ibdevsim_wq_init(&qp->sq, &attr->cap.max_send_wr,
			       attr->cap.max_send_sge);
	if (ret)
		return ret;
	qp->rq = &qp->own_rq;
	if (attr->srq)
		qp->rq = &to_srq(attr->srq)->wq;
	else
		ret = ibdevsim_wq_init(qp->rq, &attr->cap.max_recv_wr,
				       attr->cap.max_recv_sge);
	if (ret)
		goto err_sq;

	refcount_set(&qp->refs, 1);
	init_completion(&qp->released);
	INIT_LIST_HEAD(&qp->node);
	mutex_init(&qp->sq_mutex);
	mutex_init(&qp->rq_mutex);
	INIT_WORK(&qp->last_wqe_work, ibdevsim_last_wqe_work);
	qp->state = IB_QPS_RESET;
	qp->attr.port_num = 1;
	qp->cap = attr->cap;
	qp->sig_all = attr->sq_sig_type == IB_SIGNAL_ALL_WR;

	/* From here on it can be found, but in RESET it takes part in nothing */
	ibqp->qp_num = 1;
	if (attr->qp_type == IB_QPT_GSI)
		ret = xa_insert(&hca->qps, 1, qp, GFP_KERNEL);
	else
		ret = xa_alloc_cyclic(&hca->qps, &ibqp->qp_num, qp,
				      XA_LIMIT(2, IB_MULTICAST_QPN - 1),
				      &hca->next_qpn, GFP_KERNEL);
	if (ret >= 0)
		return 0;

	ibdevsim_wq_free(&qp->own_rq);
err_sq:
	ibdevsim_wq_free(&qp->sq);
	return ret;
}

/* Both mutexes are held */
static void ibdevsim_qp_reset(struct ibdevsim_qp *qp)
{
	struct ibdevsim_hca *hca = to_hca(qp->ibqp.device);

	spin_lock_irq(&qp->sq.lock);
	WRITE_ONCE(qp->state, IB_QPS_RESET);
	qp->sq.tail = qp->sq.head;
	qp->last_wqe_due = false;
	spin_unlock_irq(&qp->sq.lock);
	qp->rnr_waiting = false;

	if (!qp->ibqp.srq) {
		spin_lock_irq(&qp->rq->lock);
		qp->rq->tail = qp->rq->head;
		spin_unlock_irq(&qp->rq->lock);
	}

	/* Nobody puts a QP onto a list without a mutex held, or in RESET */
	spin_lock_irq(&hca->lock);
	list_del_init(&qp->node);
	spin_unlock_irq(&hca->lock);

	/* Consumers find their context through wc->qp: leave them none */
	ibdevsim_cq_purge(qp->ibqp.send_cq, &qp->ibqp);
	ibdevsim_cq_purge(qp->ibqp.recv_cq, &qp->ibqp);
}

static bool ibdevsim_qp_attr_ok(const struct ib_qp_attr *attr, int mask)
{
	return !(mask & ~IB_QP_ATTR_STANDARD_BITS) &&
	       (!(mask & IB_QP_PORT) || attr->port_num == 1) &&
	       (!(mask & IB_QP_PKEY_INDEX) ||
		attr->pkey_index < IBDEVSIM_PKEYS) &&
	       (!(mask & IB_QP_RNR_RETRY) || attr->rnr_retry <= 7);
}

/* Takes over what the simulation makes use of */
static void ibdevsim_qp_set_attr(struct ibdevsim_qp *qp,
				 const struct ib_qp_attr *attr, int mask)
{
	if (mask & IB_QP_PKEY_INDEX)
		qp->attr.pkey_index = attr->pkey_index;
	if (mask & IB_QP_QKEY)
		qp->attr.qkey = attr->qkey;
	if (mask & IB_QP_AV) {
		qp->attr.ah_attr = attr->ah_attr;
		/* The core has the reference, in ibqp->av_sgid_attr */
		qp->attr.ah_attr.grh.sgid_attr = NULL;
	}
	if (mask & IB_QP_PATH_MTU)
		qp->attr.path_mtu = attr->path_mtu;
	if (mask & IB_QP_RNR_RETRY)
		qp->attr.rnr_retry = attr->rnr_retry;
	if (mask & IB_QP_DEST_QPN)
		qp->attr.dest_qp_num = attr->dest_qp_num;
}

int ibdevsim_modify_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
		       struct ib_udata *udata)
{
	struct ibdevsim_qp *qp = to_qp(ibqp);
	enum ib_qp_state old, new;

	guard(mutex)(&qp->sq_mutex);
	guard(mutex)(&qp->rq_mutex);
	old = READ_ONCE(qp->state);
	new = mask & IB_QP_STATE ? attr->qp_state : old;
	/* Nobody here needs to pause a send queue */
	if ((mask & IB_QP_CUR_STATE && attr->cur_qp_state != old) ||
	    !ib_modify_qp_is_ok(old, new, ibqp->qp_type, mask) ||
	    !ibdevsim_qp_attr_ok(attr, mask) || new == IB_QPS_SQD)
		return -EINVAL;

	ibdevsim_qp_set_attr(qp, attr, mask);
	if (new == IB_QPS_RESET) {
		ibdevsim_qp_reset(qp);
	} else if (new == IB_QPS_ERR) {
		ibdevsim_qp_error(qp);
	} else {
		spin_lock_irq(&qp->sq.lock);
		WRITE_ONCE(qp->state, new);
		spin_unlock_irq(&qp->sq.lock);
	}
	return 0;
}

int ibdevsim_query_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
		      struct ib_qp_init_attr *init_attr)
{
	struct ibdevsim_qp *qp = to_qp(ibqp);

	mutex_lock(&qp->sq_mutex);
	*attr = qp->attr;
	mutex_unlock(&qp->sq_mutex);
	attr->qp_state = READ_ONCE(qp->state);
	attr->cur_qp_state = attr->qp_state;
	attr->cap = qp->cap;

	*init_attr = (struct ib_qp_init_attr) {
		.cap = qp->cap,
		.qp_type = ibqp->qp_type,
	};
	return 0;
}

int ibdevsim_destroy_qp(struct ib_qp *ibqp, struct ib_udata *udata)
{
	struct ibdevsim_hca *hca = to_hca(ibqp->device);
	struct ibdevsim_qp *qp = to_qp(ibqp);

	/* No worker finds it any more, neither in the table nor on a list ... */
	xa_erase(&hca->qps, ibqp->qp_num);
	mutex_lock(&qp->sq_mutex);
	mutex_lock(&qp->rq_mutex);
	ibdevsim_qp_reset(qp);
	mutex_unlock(&qp->rq_mutex);
	mutex_unlock(&qp->sq_mutex);

	/* ... but one may still be about to call a completion handler */
	ibdevsim_qp_put(qp);
	wait_for_completion(&qp->released);
	cancel_work_sync(&qp->last_wqe_work);

	ibdevsim_wq_free(&qp->own_rq);
	ibdevsim_wq_free(&qp->sq);
	return 0;
}
