// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * The device, its port, and the objects that hardly do anything.
 */
#include <linux/module.h>
#include <linux/slab.h>

#include "ibdevsim.h"

static const struct rdma_stat_desc ibdevsim_stat_descs[] = {
	[IBDEVSIM_TX_MSGS].name		= "tx_msgs",
	[IBDEVSIM_TX_BYTES].name	= "tx_bytes",
	[IBDEVSIM_RX_MSGS].name		= "rx_msgs",
	[IBDEVSIM_RX_BYTES].name	= "rx_bytes",
	[IBDEVSIM_RNR_WAIT].name	= "rnr_wait",
	[IBDEVSIM_RNR_ERR].name		= "rnr_nak_retry_err",
	[IBDEVSIM_RETRY_ERR].name	= "retry_exc_err",
	[IBDEVSIM_LEN_ERR].name		= "resp_local_length_error",
	[IBDEVSIM_ICRC_ERR].name	= "rx_icrc_error",
	[IBDEVSIM_UD_NO_BUFFER].name	= "ud_no_buffer",
	[IBDEVSIM_UD_REJECTED].name	= "ud_rejected",
	[IBDEVSIM_RC_IP_CSUM].name	= "rc_ip_csum",
	[IBDEVSIM_CQ_OVERFLOW].name	= "cq_overflow",
	[IBDEVSIM_REFLECTED].name	= "reflected",
};

static int ibdevsim_query_device(struct ib_device *ibdev,
				 struct ib_device_attr *attr,
				 struct ib_udata *udata)
{
	unsigned int index = to_hca(ibdev)->index;

	attr->sys_image_guid = ibdev->node_guid;
	attr->max_qp = SZ_64K;
	attr->max_qp_wr = IBDEVSIM_MAX_WR;
	attr->device_cap_flags = ibdevsim_ud_csum ? IB_DEVICE_UD_IP_CSUM : 0;
	attr->kernel_cap_flags = IBK_LOCAL_DMA_LKEY;
	attr->max_send_sge = ibdevsim_max_send_sge;
	attr->max_recv_sge = IBDEVSIM_MAX_SGE;
	attr->max_cq = SZ_64K;
	attr->max_cqe = IBDEVSIM_MAX_CQE;
	attr->max_pd = SZ_64K;
	attr->max_ah = SZ_64K;
	attr->max_pkeys = IBDEVSIM_PKEYS;
	if (ibdevsim_srq) {
		attr->max_srq = SZ_64K;
		attr->max_srq_wr = IBDEVSIM_MAX_WR;
		attr->max_srq_sge = ibdevsim_max_srq_sge[index];
	}
	return 0;
}

static int ibdevsim_query_port(struct ib_device *ibdev, u32 port_num,
			       struct ib_port_attr *attr)
{
	struct ibdevsim_hca *hca = to_hca(ibdev);
	bool up = READ_ONCE(hca->port_up);

	attr->state = up ? IB_PORT_ACTIVE : IB_PORT_DOWN;
	attr->phys_state = up ? IB_PORT_PHYS_STATE_LINK_UP :
				IB_PORT_PHYS_STATE_POLLING;
	attr->max_mtu = IB_MTU_4096;
	attr->active_mtu = IB_MTU_4096;
	attr->gid_tbl_len = 1;
	attr->pkey_tbl_len = IBDEVSIM_PKEYS;
	attr->max_msg_sz = IBDEVSIM_MAX_MSG;
	attr->lid = READ_ONCE(hca->lid);
	attr->sm_lid = IBDEVSIM_SM_LID;
	attr->max_vl_num = 1;
	attr->subnet_timeout = 18;
	attr->active_width = IB_WIDTH_4X;
	attr->active_speed = IB_SPEED_EDR;
	return 0;
}

/* The CM does not start unless it can announce itself, here to nobody */
static int ibdevsim_modify_port(struct ib_device *ibdev, u32 port_num, int mask,
				struct ib_port_modify *modify)
{
	return mask & ~IB_PORT_RESET_QKEY_CNTR ? -EOPNOTSUPP : 0;
}

static int ibdevsim_get_port_immutable(struct ib_device *ibdev, u32 port_num,
				       struct ib_port_immutable *immutable)
{
	immutable->gid_tbl_len = 1;
	immutable->pkey_tbl_len = IBDEVSIM_PKEYS;
	immutable->max_mad_size = IB_MGMT_MAD_SIZE;
	/* An IBA port without QP0: the subnet manager needs no MADs to run it */
	immutable->core_cap_flags = RDMA_CORE_PORT_IBA_IB &
				    ~RDMA_CORE_CAP_IB_SMI;
	return 0;
}

static int ibdevsim_query_gid(struct ib_device *ibdev, u32 port_num, int index,
			      union ib_gid *gid)
{
	if (index)
		return -EINVAL;
	*gid = to_hca(ibdev)->gid;
	return 0;
}

static int ibdevsim_query_pkey(struct ib_device *ibdev, u32 port_num, u16 index,
			       u16 *pkey)
{
	if (index >= IBDEVSIM_PKEYS)
		return -EINVAL;
	*pkey = ibdevsim_pkeys[index];
	return 0;
}

static struct rdma_hw_stats *
ibdevsim_alloc_hw_port_stats(struct ib_device *ibdev, u32 port_num)
{
	BUILD_BUG_ON(ARRAY_SIZE(ibdevsim_stat_descs) != IBDEVSIM_NUM_STATS);

	return rdma_alloc_hw_stats_struct(ibdevsim_stat_descs,
					  ARRAY_SIZE(ibdevsim_stat_descs), 0);
}

static int ibdevsim_get_hw_stats(struct ib_device *ibdev,
				 struct rdma_hw_stats *stats, u32 port,
				 int index)
{
	struct ibdevsim_hca *hca = to_hca(ibdev);
	unsigned int i;

	for (i = 0; i < IBDEVSIM_NUM_STATS; i++)
		stats->value[i] = atomic64_read(&hca->stats[i]);
	return IBDEVSIM_NUM_STATS;
}

/* A protection domain protects nothing here, neither when it comes nor goes */
static int ibdevsim_pd(struct ib_pd *ibpd, struct ib_udata *udata)
{
	return 0;
}

/* The core wants these three from everyone who serves kernel consumers. There is
 * the local_dma_lkey, no RDMA, and no uverbs: nobody calls them.
 */
static struct ib_mr *ibdevsim_get_dma_mr(struct ib_pd *ibpd, int access)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static struct ib_mr *ibdevsim_reg_user_mr(void)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static int ibdevsim_dereg_mr(struct ib_mr *ibmr, struct ib_udata *udata)
{
	return -EOPNOTSUPP;
}

static int ibdevsim_create_ah(struct ib_ah *ibah,
			      struct rdma_ah_init_attr *init_attr,
			      struct ib_udata *udata)
{
	struct ibdevsim_ah *ah = to_ah(ibah);

	ah->attr = *init_attr->ah_attr;
	/* The core has the reference, in ibah->sgid_attr */
	ah->attr.grh.sgid_attr = NULL;
	return 0;
}

static int ibdevsim_query_ah(struct ib_ah *ibah, struct rdma_ah_attr *attr)
{
	*attr = to_ah(ibah)->attr;
	return 0;
}

static int ibdevsim_destroy_ah(struct ib_ah *ibah, u32 flags)
{
	return 0;
}

static int ibdevsim_create_srq(struct ib_srq *ibsrq,
			       struct ib_srq_init_attr *attr,
			       struct ib_udata *udata)
{
	unsigned int index = to_hca(ibsrq->device)->index;

	if (!ibdevsim_srq || attr->srq_type != IB_SRQT_BASIC)
		return -EOPNOTSUPP;
	if (attr->attr.max_wr > IBDEVSIM_MAX_WR ||
	    attr->attr.max_sge > ibdevsim_max_srq_sge[index])
		return -EINVAL;
	return ibdevsim_wq_init(&to_srq(ibsrq)->wq, &attr->attr.max_wr,
				attr->attr.max_sge);
}

static int ibdevsim_destroy_srq(struct ib_srq *ibsrq, struct ib_udata *udata)
{
	ibdevsim_wq_free(&to_srq(ibsrq)->wq);
	return 0;
}

static int ibdevsim_post_srq_recv(struct ib_srq *ibsrq,
				  const struct ib_recv_wr *wr,
				  const struct ib_recv_wr **bad_wr)
{
	return ibdevsim_wq_post_recv(&to_srq(ibsrq)->wq, wr, bad_wr);
}

const struct ib_device_ops ibdevsim_ops = {
	.owner = THIS_MODULE,
	.driver_id = RDMA_DRIVER_UNKNOWN,

	.alloc_hw_port_stats = ibdevsim_alloc_hw_port_stats,
	.alloc_pd = ibdevsim_pd,
	.attach_mcast = ibdevsim_attach_mcast,
	.create_ah = ibdevsim_create_ah,
	.create_cq = ibdevsim_create_cq,
	.create_qp = ibdevsim_create_qp,
	.create_srq = ibdevsim_create_srq,
	.dealloc_pd = ibdevsim_pd,
	.dereg_mr = ibdevsim_dereg_mr,
	.destroy_ah = ibdevsim_destroy_ah,
	.destroy_cq = ibdevsim_destroy_cq,
	.destroy_qp = ibdevsim_destroy_qp,
	.destroy_srq = ibdevsim_destroy_srq,
	.detach_mcast = ibdevsim_detach_mcast,
	.get_dma_mr = ibdevsim_get_dma_mr,
	.get_hw_stats = ibdevsim_get_hw_stats,
	.get_port_immutable = ibdevsim_get_port_immutable,
	.modify_port = ibdevsim_modify_port,
	.modify_qp = ibdevsim_modify_qp,
	.poll_cq = ibdevsim_poll_cq,
	.post_recv = ibdevsim_post_recv,
	.post_send = ibdevsim_post_send,
	.post_srq_recv = ibdevsim_post_srq_recv,
	.query_ah = ibdevsim_query_ah,
	.query_device = ibdevsim_query_device,
	.query_gid = ibdevsim_query_gid,
	.query_pkey = ibdevsim_query_pkey,
	.query_port = ibdevsim_query_port,
	.query_qp = ibdevsim_query_qp,
	/* Its arguments differ between kernel releases */
	.reg_user_mr = (void *)ibdevsim_reg_user_mr,
	.req_notify_cq = ibdevsim_req_notify_cq,

	INIT_RDMA_OBJ_SIZE(ib_ah, ibdevsim_ah, ibah),
	INIT_RDMA_OBJ_SIZE(ib_cq, ibdevsim_cq, ibcq),
	INIT_RDMA_OBJ_SIZE(ib_qp, ibdevsim_qp, ibqp),
	INIT_RDMA_OBJ_SIZE(ib_srq, ibdevsim_srq, ibsrq),
	.size_ib_pd = sizeof(struct ib_pd),
};
