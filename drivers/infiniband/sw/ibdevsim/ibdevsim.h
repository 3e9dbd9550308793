/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * Simulated InfiniBand HCAs on one simulated switch.
 *
 * Each HCA has a worker that moves the messages which its QPs send. It is the
 * worker of the *sending* HCA that hands a message to the receiving QP, so two
 * HCAs keep two CPUs busy. Post and poll functions take only spinlocks, and
 * only one at a time; everything else sleeps.
 *
 * Lock order:
 *
 *   qp->sq_mutex		held by the worker while it sends from a QP
 *     ibdevsim_mcast_rwsem	read while a multicast message is delivered
 *       qp->rq_mutex		held by any worker while it delivers to a QP
 *         sa_mutex		the tables of the SA
 *           spinlocks		all of them are leaves
 *
 * No two mutexes of one kind are ever held at once. With both mutexes of a QP
 * held, nothing moves from it or to it. Its attributes are written with both
 * held and read with either. Its state is written under sq.lock, since a
 * worker that holds one of the mutexes may put it into the error state.
 */
#ifndef IBDEVSIM_H
#define IBDEVSIM_H

#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/sizes.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <rdma/ib_mad.h>
#include <rdma/ib_verbs.h>

#define IBDEVSIM_MAX_HCAS	16
#define IBDEVSIM_MAX_SGE	32
#define IBDEVSIM_MAX_WR		SZ_16K
#define IBDEVSIM_MAX_CQE	SZ_4M
#define IBDEVSIM_MAX_MSG	SZ_1M
#define IBDEVSIM_UD_MTU		4096
#define IBDEVSIM_PKEYS		4
/* The one key to all memory */
#define IBDEVSIM_LKEY		0x1b
/* How many messages of one QP the worker moves before it tells the consumers
 * and looks at the next QP. The goodput depends on it, so it is no knob.
 */
#define IBDEVSIM_BATCH		16

/* The switch has LID 1 and answers as the SM and SA; the HCAs follow it */
#define IBDEVSIM_SM_LID		1
#define IBDEVSIM_BASE_LID	2
#define IBDEVSIM_RATE		IB_RATE_100_GBPS

/* Counters of a port, see ibdevsim_stat_descs */
enum ibdevsim_stat {
	IBDEVSIM_TX_MSGS,
	IBDEVSIM_TX_BYTES,
	IBDEVSIM_RX_MSGS,
	IBDEVSIM_RX_BYTES,
	IBDEVSIM_RNR_WAIT,
	IBDEVSIM_RNR_ERR,
	IBDEVSIM_RETRY_ERR,
	IBDEVSIM_LEN_ERR,
	IBDEVSIM_ICRC_ERR,
	IBDEVSIM_UD_NO_BUFFER,
	IBDEVSIM_UD_REJECTED,
	IBDEVSIM_RC_IP_CSUM,
	IBDEVSIM_CQ_OVERFLOW,
	IBDEVSIM_REFLECTED,
	IBDEVSIM_NUM_STATS
};

/* What can be made to go wrong with a message, see ibdevsim_fault_names */
enum ibdevsim_fault {
	IBDEVSIM_DROP,
	IBDEVSIM_CORRUPT,
	IBDEVSIM_TRUNCATE,
	IBDEVSIM_TAMPER,
	IBDEVSIM_NUM_FAULTS
};

/* With what kind of message, see ibdevsim_kind_names */
enum ibdevsim_kind {
	IBDEVSIM_RC,
	IBDEVSIM_UD,
	IBDEVSIM_GSI,
	IBDEVSIM_NUM_KINDS,
	IBDEVSIM_SPARED = IBDEVSIM_NUM_KINDS	/* by gsi_attr */
};

struct ibdevsim_cq {
	struct ib_cq ibcq;
	spinlock_t lock;		/* guards all that follows */
	struct ib_wc *ring;
	u32 mask;
	u32 head;
	u32 tail;
	int armed;
};

/* A posted receive or send */
struct ibdevsim_wqe {
	u64 wr_id;
	struct ib_sge *sge;
	u32 num_sge;
	u32 len;
	/* Sends only */
	enum ib_wr_opcode opcode;
	int send_flags;
	__be32 imm_data;
	/* UD and GSI only */
	u32 remote_qpn;
	u32 remote_qkey;
	u16 pkey_index;
	struct rdma_ah_attr ah_attr;
};

/* A send or receive queue, or an SRQ */
struct ibdevsim_wq {
	spinlock_t lock;		/* guards all that follows */
	struct ibdevsim_wqe *wqe;
	struct ib_sge *sge;		/* max_sge of them for each wqe */
	u32 max_sge;
	u32 mask;
	u32 head;
	u32 tail;
	unsigned long starved;		/* HCAs that wait for the next receive */
};

struct ibdevsim_srq {
	struct ib_srq ibsrq;
	struct ibdevsim_wq wq;
};

struct ibdevsim_ah {
	struct ib_ah ibah;
	struct rdma_ah_attr attr;
};

struct ibdevsim_qp {
	struct ib_qp ibqp;
	refcount_t refs;
	struct completion released;
	struct list_head node;		/* ready or parked, under hca->lock */
	struct mutex sq_mutex;		/* see the top of this file */
	struct mutex rq_mutex;		/* see the top of this file */
	struct ib_qp_attr attr;		/* without the state */
	struct ib_qp_cap cap;
	bool sig_all;

	struct ibdevsim_wq sq;
	enum ib_qp_state state;		/* under sq.lock */
	bool last_wqe_due;		/* under sq.lock */
	struct ibdevsim_wq *rq;		/* that of the SRQ, or own_rq */
	struct ibdevsim_wq own_rq;

	/* The oldest send found no receive; under sq_mutex */
	bool rnr_waiting;
	unsigned long rnr_deadline;

	struct work_struct last_wqe_work;
};

struct ibdevsim_hca {
	struct ib_device ibdev;
	unsigned int index;		/* its port of the switch */
	u16 lid;
	union ib_gid gid;
	bool port_up;
	struct xarray qps;		/* by number */
	u32 next_qpn;
	atomic64_t stats[IBDEVSIM_NUM_STATS];

	/* Written through debugfs: how many messages are to suffer, and how */
	struct dentry *debugfs;
	atomic_t faults[IBDEVSIM_NUM_FAULTS][IBDEVSIM_NUM_KINDS + 1];
	atomic_t reflect;
	u32 truncate_offset;
	u32 truncate_length;
	u32 tamper_offset;
	u64 tamper_mask;
	u16 gsi_attr;
	bool starve;

	spinlock_t lock;		/* guards the next four */
	struct list_head ready;		/* QPs with something to do */
	struct list_head parked;	/* QPs that wait for a receive */
	unsigned int wake_seq;		/* counts when these were woken */
	bool running;			/* the worker is queued or running */
	struct work_struct work;
	struct timer_list rnr_timer;

	/* The rest is private to the worker: first, to which QP it delivers.
	 * It has a reference to it, and holds its rq_mutex.
	 */
	struct ibdevsim_qp *rcv;
	bool rcv_notify;
	struct ibdevsim_wqe rwqe;
	struct ib_sge rsge[IBDEVSIM_MAX_SGE];
	/* The UD message on its way */
	struct {
		struct ib_grh grh;
		u8 data[IBDEVSIM_UD_MTU];
	} pkt;
};

static inline struct ibdevsim_hca *to_hca(struct ib_device *ibdev)
{
	return container_of(ibdev, struct ibdevsim_hca, ibdev);
}

static inline struct ibdevsim_qp *to_qp(struct ib_qp *ibqp)
{
	return container_of(ibqp, struct ibdevsim_qp, ibqp);
}

static inline struct ibdevsim_srq *to_srq(struct ib_srq *ibsrq)
{
	return container_of(ibsrq, struct ibdevsim_srq, ibsrq);
}

static inline struct ibdevsim_ah *to_ah(struct ib_ah *ibah)
{
	return container_of(ibah, struct ibdevsim_ah, ibah);
}

static inline void ibdevsim_count(struct ibdevsim_hca *hca,
				  enum ibdevsim_stat stat, u64 n)
{
	atomic64_add(n, &hca->stats[stat]);
}

/* Is this message to suffer a fault of which that many are ordered? */
static inline bool ibdevsim_fault(atomic_t *ordered)
{
	return unlikely(atomic_read(ordered) > 0) &&
	       atomic_dec_if_positive(ordered) >= 0;
}

/* main.c */
extern struct workqueue_struct *ibdevsim_workqueue;
extern unsigned int ibdevsim_max_send_sge;
extern unsigned int ibdevsim_max_srq_sge[IBDEVSIM_MAX_HCAS];
extern unsigned int ibdevsim_rnr_grace_us;
extern bool ibdevsim_srq;
extern bool ibdevsim_ud_csum;
extern const u16 ibdevsim_pkeys[IBDEVSIM_PKEYS];
struct ibdevsim_hca *ibdevsim_hca_by_index(unsigned int index);
struct ibdevsim_hca *ibdevsim_hca_by_lid(u16 lid);

/* verbs.c */
extern const struct ib_device_ops ibdevsim_ops;

/* cq.c */
int ibdevsim_create_cq(struct ib_cq *ibcq, const struct ib_cq_init_attr *attr,
		       struct uverbs_attr_bundle *attrs);
int ibdevsim_destroy_cq(struct ib_cq *ibcq, struct ib_udata *udata);
int ibdevsim_poll_cq(struct ib_cq *ibcq, int num, struct ib_wc *wc);
int ibdevsim_req_notify_cq(struct ib_cq *ibcq, enum ib_cq_notify_flags flags);
bool ibdevsim_cq_add(struct ib_cq *ibcq, const struct ib_wc *wc,
		     bool solicited);
void ibdevsim_cq_notify(struct ib_cq *ibcq);
void ibdevsim_cq_purge(struct ib_cq *ibcq, struct ib_qp *ibqp);

/* qp.c */
int ibdevsim_wq_init(struct ibdevsim_wq *wq, u32 *max_wr, u32 max_sge);
void ibdevsim_wq_free(struct ibdevsim_wq *wq);
int ibdevsim_wq_post_recv(struct ibdevsim_wq *wq, const struct ib_recv_wr *wr,
			  const struct ib_recv_wr **bad_wr);
int ibdevsim_create_qp(struct ib_qp *ibqp, struct ib_qp_init_attr *attr,
		       struct ib_udata *udata);
int ibdevsim_modify_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
		       struct ib_udata *udata);
int ibdevsim_query_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
		      struct ib_qp_init_attr *init_attr);
int ibdevsim_destroy_qp(struct ib_qp *ibqp, struct ib_udata *udata);
int ibdevsim_post_send(struct ib_qp *ibqp, const struct ib_send_wr *wr,
		       const struct ib_send_wr **bad_wr);
int ibdevsim_post_recv(struct ib_qp *ibqp, const struct ib_recv_wr *wr,
		       const struct ib_recv_wr **bad_wr);
struct ibdevsim_qp *ibdevsim_qp_get(struct ibdevsim_hca *hca, u32 qpn);
void ibdevsim_qp_put(struct ibdevsim_qp *qp);
void ibdevsim_start(struct ibdevsim_hca *hca);
void ibdevsim_qp_schedule(struct ibdevsim_qp *qp, bool unpark);
void ibdevsim_qp_error(struct ibdevsim_qp *qp);

/* xfer.c */
int ibdevsim_attach_mcast(struct ib_qp *ibqp, union ib_gid *mgid, u16 mlid);
int ibdevsim_detach_mcast(struct ib_qp *ibqp, union ib_gid *mgid, u16 mlid);
void ibdevsim_unpark(struct ibdevsim_hca *hca);
void ibdevsim_worker(struct work_struct *work);

/* sa.c */
int ibdevsim_sa_init(void);
void ibdevsim_sa_exit(void);
bool ibdevsim_sa_process(struct ibdevsim_hca *hca, struct ib_sa_mad *mad);

#endif
