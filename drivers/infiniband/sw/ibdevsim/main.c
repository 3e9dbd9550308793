// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Simulated InfiniBand HCAs: module parameters, the switch, registration, and
 * the files in debugfs.
 */
#include <linux/debugfs.h>
#include <linux/device.h>
#include <linux/module.h>
#include <linux/rcupdate.h>

#include "ibdevsim.h"

#define IBDEVSIM_GUID(index)	(0x021bd0fffe000000ULL | ((index) + 1) << 8)

static unsigned int hcas = 2;
module_param(hcas, uint, 0444);
MODULE_PARM_DESC(hcas, "Number of HCAs, 1 to 16 (default 2)");

unsigned int ibdevsim_max_send_sge = IBDEVSIM_MAX_SGE;
module_param_named(max_send_sge, ibdevsim_max_send_sge, uint, 0444);
MODULE_PARM_DESC(max_send_sge, "Buffers per send, 1 to 32 (default 32)");

unsigned int ibdevsim_max_srq_sge[IBDEVSIM_MAX_HCAS] = { IBDEVSIM_MAX_SGE };
static unsigned int num_max_srq_sge = 1;
module_param_array_named(max_srq_sge, ibdevsim_max_srq_sge, uint,
			 &num_max_srq_sge, 0444);
MODULE_PARM_DESC(max_srq_sge,
		 "Buffers per SRQ receive, 1 to 32, for each HCA; the last one is for all that follow (default 32)");

bool ibdevsim_srq = true;
module_param_named(srq, ibdevsim_srq, bool, 0444);
MODULE_PARM_DESC(srq, "Shared receive queues (default on)");

bool ibdevsim_ud_csum;
module_param_named(ud_csum, ibdevsim_ud_csum, bool, 0444);
MODULE_PARM_DESC(ud_csum, "IPv4 TCP/UDP checksums of UD messages (default off)");

unsigned int ibdevsim_rnr_grace_us = 500000;
module_param_named(rnr_grace_us, ibdevsim_rnr_grace_us, uint, 0644);
MODULE_PARM_DESC(rnr_grace_us,
		 "How long one RNR try lasts, in microseconds (default 500000)");

/* Every port is a full member of the same partitions, and has their keys at the
 * same indices: to compare the indices of two ports will do.
 */
const u16 ibdevsim_pkeys[IBDEVSIM_PKEYS] = {
	IB_DEFAULT_PKEY_FULL, 0x8001, 0x8002, 0x8003,
};

static const char * const ibdevsim_fault_names[IBDEVSIM_NUM_FAULTS] = {
	[IBDEVSIM_DROP]		= "drop",
	[IBDEVSIM_CORRUPT]	= "corrupt",
	[IBDEVSIM_TRUNCATE]	= "truncate",
	[IBDEVSIM_TAMPER]	= "tamper",
};

static const char * const ibdevsim_kind_names[IBDEVSIM_NUM_KINDS] = {
	[IBDEVSIM_RC]		= "rc",
	[IBDEVSIM_UD]		= "ud",
	[IBDEVSIM_GSI]		= "gsi",
};

struct workqueue_struct *ibdevsim_workqueue;

static struct device *ibdevsim_root;
static struct dentry *ibdevsim_debugfs_root;
/* The ports of the switch */
static struct ibdevsim_hca __rcu *ibdevsim_ports[IBDEVSIM_MAX_HCAS];

/* The HCA at this port of the switch, or NULL. The result is good for the RCU
 * read-side critical section that the caller is in.
 */
struct ibdevsim_hca *ibdevsim_hca_by_index(unsigned int index)
{
	return rcu_dereference(ibdevsim_ports[index]);
}

/* Same as above by LID */
struct ibdevsim_hca *ibdevsim_hca_by_lid(u16 lid)
{
	struct ibdevsim_hca *hca;
	unsigned int i;

	for (i = 0; i < IBDEVSIM_MAX_HCAS; i++) {
		hca = ibdevsim_hca_by_index(i);
		if (hca && READ_ONCE(hca->lid) == lid)
			return hca;
	}
	return NULL;
}

static void ibdevsim_port_event(struct ibdevsim_hca *hca,
				enum ib_event_type type)
{
	struct ib_event event = {
		.device = &hca->ibdev,
		.element.port_num = 1,
		.event = type,
	};

	ib_dispatch_event(&event);
}

static int ibdevsim_port_up_set(void *data, u64 up)
{
	struct ibdevsim_hca *hca = data;

	if (xchg(&hca->port_up, !!up) != !!up)
		ibdevsim_port_event(hca, up ? IB_EVENT_PORT_ACTIVE :
					      IB_EVENT_PORT_ERR);
	return 0;
}

DEFINE_DEBUGFS_ATTRIBUTE(ibdevsim_port_up_fops, NULL, ibdevsim_port_up_set,
			 "%llu\n");

/* The SM has everybody register again, and so forget the paths to the old LID */
static int ibdevsim_lid_set(void *data, u64 lid)
{
	struct ibdevsim_hca *peer, *hca = data;
	unsigned int i;

	guard(rcu)();
	if (lid < IBDEVSIM_BASE_LID || ibdevsim_hca_by_lid(lid) ||
	    lid >= be16_to_cpu(IB_MULTICAST_LID_BASE))
		return -EINVAL;
	WRITE_ONCE(hca->lid, lid);
	for (i = 0; i < IBDEVSIM_MAX_HCAS; i++) {
		peer = ibdevsim_hca_by_index(i);
		if (peer)
			ibdevsim_port_event(peer, peer == hca ?
					    IB_EVENT_LID_CHANGE :
					    IB_EVENT_CLIENT_REREGISTER);
	}
	return 0;
}

DEFINE_DEBUGFS_ATTRIBUTE(ibdevsim_lid_fops, NULL, ibdevsim_lid_set, "%llu\n");

/* The HCA has its name by now */
static void ibdevsim_debugfs_add(struct ibdevsim_hca *hca)
{
	struct dentry *dir;
	unsigned int i, kind;
	char name[16];

	dir = debugfs_create_dir(dev_name(&hca->ibdev.dev),
				 ibdevsim_debugfs_root);
	for (i = 0; i < IBDEVSIM_NUM_FAULTS; i++) {
		for (kind = 0; kind < IBDEVSIM_NUM_KINDS; kind++) {
			snprintf(name, sizeof(name), "%s_%s",
				 ibdevsim_fault_names[i],
				 ibdevsim_kind_names[kind]);
			debugfs_create_atomic_t(name, 0600, dir,
						&hca->faults[i][kind]);
		}
	}
	debugfs_create_atomic_t("reflect", 0600, dir, &hca->reflect);
	debugfs_create_u32("truncate_offset", 0600, dir, &hca->truncate_offset);
	debugfs_create_u32("truncate_length", 0600, dir, &hca->truncate_length);
	debugfs_create_u32("tamper_offset", 0600, dir, &hca->tamper_offset);
	debugfs_create_x64("tamper_mask", 0600, dir, &hca->tamper_mask);
	debugfs_create_x16("gsi_attr", 0600, dir, &hca->gsi_attr);
	debugfs_create_bool("starve", 0600, dir, &hca->starve);
	debugfs_create_file_unsafe("lid", 0200, dir, hca, &ibdevsim_lid_fops);
	debugfs_create_file_unsafe("port_up", 0200, dir, hca,
				   &ibdevsim_port_up_fops);
	hca->debugfs = dir;
}

static void ibdevsim_rnr_timeout(struct timer_list *timer)
{
	ibdevsim_unpark(container_of(timer, struct ibdevsim_hca, rnr_timer));
}

/* Its QPs are gone, but other HCAs may still be looking at it or waking it */
static void ibdevsim_hca_free(struct ibdevsim_hca *hca)
{
	RCU_INIT_POINTER(ibdevsim_ports[hca->index], NULL);
	synchronize_rcu();
	timer_shutdown_sync(&hca->rnr_timer);
	cancel_work_sync(&hca->work);
	xa_destroy(&hca->qps);
	ib_dealloc_device(&hca->ibdev);
}

static int ibdevsim_hca_create(unsigned int index)
{
	struct ibdevsim_hca *hca;
	int ret;

	hca = ib_alloc_device(ibdevsim_hca, ibdev);
	if (!hca)
		return -ENOMEM;

	hca->index = index;
	hca->lid = IBDEVSIM_BASE_LID + index;
	hca->gid.global.subnet_prefix = cpu_to_be64(0xfe80000000000000ULL);
	hca->gid.global.interface_id = cpu_to_be64(IBDEVSIM_GUID(index) | 1);
	hca->next_qpn = 0x100;
	xa_init_flags(&hca->qps, XA_FLAGS_ALLOC);
	spin_lock_init(&hca->lock);
	INIT_LIST_HEAD(&hca->ready);
	INIT_LIST_HEAD(&hca->parked);
	INIT_WORK(&hca->work, ibdevsim_worker);
	timer_setup(&hca->rnr_timer, ibdevsim_rnr_timeout, 0);

	hca->ibdev.node_type = RDMA_NODE_IB_CA;
	hca->ibdev.node_guid = cpu_to_be64(IBDEVSIM_GUID(index));
	hca->ibdev.phys_port_cnt = 1;
	hca->ibdev.num_comp_vectors = num_possible_cpus();
	hca->ibdev.local_dma_lkey = IBDEVSIM_LKEY;
	hca->ibdev.dev.parent = ibdevsim_root;
	snprintf(hca->ibdev.node_desc, sizeof(hca->ibdev.node_desc),
		 "Simulated HCA %u", index);
	ib_set_device_ops(&hca->ibdev, &ibdevsim_ops);

	rcu_assign_pointer(ibdevsim_ports[index], hca);
	ret = ib_register_device(&hca->ibdev, "ibdevsim%d", NULL);
	if (ret) {
		ibdevsim_hca_free(hca);
		return ret;
	}
	ibdevsim_debugfs_add(hca);
	/* As on a real fabric, the subnet manager comes a little later */
	return ibdevsim_port_up_set(hca, true);
}

static void ibdevsim_exit(void)
{
	struct ibdevsim_hca *hca;
	unsigned int i;

	for (i = 0; i < IBDEVSIM_MAX_HCAS; i++) {
		/* Nobody else writes the table */
		hca = rcu_dereference_protected(ibdevsim_ports[i], true);
		if (!hca)
			continue;
		debugfs_remove_recursive(hca->debugfs);
		ib_unregister_device(&hca->ibdev);
		ibdevsim_hca_free(hca);
	}
	debugfs_remove_recursive(ibdevsim_debugfs_root);
	root_device_unregister(ibdevsim_root);
	ibdevsim_sa_exit();
	destroy_workqueue(ibdevsim_workqueue);
}

static int __init ibdevsim_init(void)
{
	unsigned int *max_srq_sge = ibdevsim_max_srq_sge;
	unsigned int i;
	int ret;

	if (!hcas || hcas > IBDEVSIM_MAX_HCAS ||
	    !ibdevsim_max_send_sge || ibdevsim_max_send_sge > IBDEVSIM_MAX_SGE)
		return -EINVAL;
	for (i = 0; i < hcas; i++) {
		if (i >= num_max_srq_sge)
			max_srq_sge[i] = max_srq_sge[i - 1];
		if (!max_srq_sge[i] || max_srq_sge[i] > IBDEVSIM_MAX_SGE)
			return -EINVAL;
	}

	/* Netdevs above may have to make progress to free memory */
	ibdevsim_workqueue = alloc_workqueue("ibdevsim",
					     WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!ibdevsim_workqueue)
		return -ENOMEM;

	ret = ibdevsim_sa_init();
	if (ret)
		goto err_wq;

	ibdevsim_root = root_device_register("ibdevsim");
	if (IS_ERR(ibdevsim_root)) {
		ret = PTR_ERR(ibdevsim_root);
		goto err_sa;
	}

	ibdevsim_debugfs_root = debugfs_create_dir("ibdevsim", NULL);
	for (i = 0; i < hcas; i++) {
		ret = ibdevsim_hca_create(i);
		if (ret) {
			ibdevsim_exit();
			return ret;
		}
	}
	return 0;

err_sa:
	ibdevsim_sa_exit();
err_wq:
	destroy_workqueue(ibdevsim_workqueue);
	return ret;
}

module_init(ibdevsim_init);
module_exit(ibdevsim_exit);

MODULE_DESCRIPTION("Simulated InfiniBand HCA");
MODULE_LICENSE("Dual BSD/GPL");
