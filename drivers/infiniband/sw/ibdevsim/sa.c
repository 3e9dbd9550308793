// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * The subnet administration agent of the switch, in miniature: what IPoIB and
 * the layers below it ask for.
 */
#include <linux/bitmap.h>
#include <linux/slab.h>
#include <rdma/ib_sa.h>

#include "ibdevsim.h"

/* Status codes of the class, IBA 15.2.5 */
#define SA_NO_RESOURCES		0x0100
#define SA_REQ_INVALID		0x0200
#define SA_NO_RECORDS		0x0300
#define SA_INSUFFICIENT_COMP	0x0600

#define SA_MAX_GROUPS		1024
#define SA_QKEY			0x0b1b
#define SA_RESP_TIME		16
#define SA_CAP2_SENDONLY_FULL	BIT(1)
#define SA_PATH_REVERSIBLE	BIT(7)
#define SA_FULL_MEMBERS		(BIT(FULLMEMBER_JOIN) | \
				 BIT(SENDONLY_FULLMEMBER_JOIN))
/* How MTU, rate and packet life time are said to be exactly so */
#define SA_EQ(value)		(IB_SA_EQ << 6 | (value))
#define SA_PKT_LIFE_TIME	SA_EQ(12)

/* What a join has to name, and what more if it is to create the group */
#define SA_MC_JOIN		(IB_SA_MCMEMBER_REC_MGID | \
				 IB_SA_MCMEMBER_REC_PORT_GID | \
				 IB_SA_MCMEMBER_REC_JOIN_STATE)
#define SA_MC_CREATE		(IB_SA_MCMEMBER_REC_QKEY | \
				 IB_SA_MCMEMBER_REC_PKEY | \
				 IB_SA_MCMEMBER_REC_SL | \
				 IB_SA_MCMEMBER_REC_FLOW_LABEL | \
				 IB_SA_MCMEMBER_REC_TRAFFIC_CLASS)

/* PathRecord and MCMemberRecord as they are in a MAD */
struct sa_path {
	__be64 service_id;
	union ib_gid dgid;
	union ib_gid sgid;
	__be16 dlid;
	__be16 slid;
	__be32 raw_flow_hop;
	u8 traffic_class;
	u8 reversible_numb;
	__be16 pkey;
	__be16 qos_sl;
	u8 mtu;
	u8 rate;
	u8 life_time;
	u8 preference;
	u8 reserved[6];
} __packed;

struct sa_mcmember {
	union ib_gid mgid;
	union ib_gid port_gid;
	__be32 qkey;
	__be16 mlid;
	u8 mtu;
	u8 traffic_class;
	__be16 pkey;
	u8 rate;
	u8 life_time;
	__be32 sl_flow_hop;
	u8 scope_join;
	u8 proxy;
	u8 reserved[2];
} __packed;

struct sa_group {
	struct list_head node;
	struct sa_mcmember rec;
	bool permanent;
	u8 joined[IBDEVSIM_MAX_HCAS];
};

static DEFINE_MUTEX(sa_mutex); /* guards the next two */
static LIST_HEAD(sa_groups);
static DECLARE_BITMAP(sa_mlids, SA_MAX_GROUPS);

static bool sa_pkey_valid(__be16 pkey)
{
	unsigned int i;

	for (i = 0; i < IBDEVSIM_PKEYS; i++)
		if (!((ibdevsim_pkeys[i] ^ be16_to_cpu(pkey)) & 0x7fff))
			return true;
	return false;
}

/* Returns the LID of the port that is up and has this GID, or 0 */
static u16 sa_find_lid(const union ib_gid *gid)
{
	struct ibdevsim_hca *hca;
	unsigned int i;

	guard(rcu)();
	for (i = 0; i < IBDEVSIM_MAX_HCAS; i++) {
		hca = ibdevsim_hca_by_index(i);
		if (hca && READ_ONCE(hca->port_up) &&
		    !memcmp(gid, &hca->gid, sizeof(*gid)))
			return READ_ONCE(hca->lid);
	}
	return 0;
}

static u16 sa_class_port_info(struct ibdevsim_hca *hca, struct ib_sa_mad *mad)
{
	struct ib_class_port_info *cpi = (void *)mad->data;

	memset(mad->data, 0, sizeof(mad->data));
	cpi->base_version = IB_MGMT_BASE_VERSION;
	cpi->class_version = IB_SA_CLASS_VERSION;
	ib_set_cpi_capmask2(cpi, SA_CAP2_SENDONLY_FULL);
	ib_set_cpi_resp_time(cpi, SA_RESP_TIME);
	return 0;
}

static u16 sa_path_get(struct ibdevsim_hca *hca, struct ib_sa_mad *mad)
{
	struct sa_path *path = (void *)mad->data;
	ib_sa_comp_mask mask = mad->sa_hdr.comp_mask;
	__be16 pkey = path->pkey;
	u16 dlid, slid;

	BUILD_BUG_ON(sizeof(*path) != 64);

	if (!(mask & IB_SA_PATH_REC_DGID))
		return SA_INSUFFICIENT_COMP;
	if (!(mask & IB_SA_PATH_REC_SGID))
		path->sgid = hca->gid;
	dlid = sa_find_lid(&path->dgid);
	slid = sa_find_lid(&path->sgid);
	if (!(mask & IB_SA_PATH_REC_PKEY))
		pkey = cpu_to_be16(IB_DEFAULT_PKEY_FULL);
	if (!dlid || !slid || !sa_pkey_valid(pkey))
		return SA_NO_RECORDS;

	*path = (struct sa_path) {
		.dgid = path->dgid,
		.sgid = path->sgid,
		.dlid = cpu_to_be16(dlid),
		.slid = cpu_to_be16(slid),
		.reversible_numb = SA_PATH_REVERSIBLE | 1,
		.pkey = pkey,
		.mtu = SA_EQ(IB_MTU_4096),
		.rate = SA_EQ(IBDEVSIM_RATE),
		.life_time = SA_PKT_LIFE_TIME,
	};
	return 0;
}

static struct sa_group *sa_group_find(const union ib_gid *mgid)
{
	struct sa_group *group;

	list_for_each_entry(group, &sa_groups, node)
		if (!memcmp(&group->rec.mgid, mgid, sizeof(*mgid)))
			return group;
	return NULL;
}

static struct sa_group *sa_group_create(const struct sa_mcmember *rec,
					bool permanent)
{
	struct sa_group new = { .rec = *rec, .permanent = permanent };
	struct sa_group *group;
	unsigned int i;

	i = find_first_zero_bit(sa_mlids, SA_MAX_GROUPS);
	if (i == SA_MAX_GROUPS)
		return NULL;
	group = kmemdup(&new, sizeof(new), GFP_KERNEL);
	if (!group)
		return NULL;
	__set_bit(i, sa_mlids);
	group->rec.mlid = cpu_to_be16(be16_to_cpu(IB_MULTICAST_LID_BASE) + i);
	group->rec.life_time = SA_PKT_LIFE_TIME;
	group->rec.scope_join = rec->mgid.raw[1] << 4;
	group->rec.proxy = 0;
	list_add_tail(&group->node, &sa_groups);
	return group;
}

static void sa_group_destroy(struct sa_group *group)
{
	__clear_bit(be16_to_cpu(group->rec.mlid) -
		    be16_to_cpu(IB_MULTICAST_LID_BASE), sa_mlids);
	list_del(&group->node);
	kfree(group);
}

/* Creates the group that a join asks for, if it says enough about it */
static u16 sa_group_new(struct sa_mcmember *rec, ib_sa_comp_mask mask,
			struct sa_group **group)
{
	u8 mtu = mask & IB_SA_MCMEMBER_REC_MTU ? rec->mtu & 0x3f : IB_MTU_4096;
	u8 rate = mask & IB_SA_MCMEMBER_REC_RATE ? rec->rate & 0x3f :
						   IBDEVSIM_RATE;

	if ((mask & SA_MC_CREATE) != SA_MC_CREATE)
		return SA_INSUFFICIENT_COMP;
	if (rec->mgid.raw[0] != 0xff || !sa_pkey_valid(rec->pkey) ||
	    !(rec->scope_join & SA_FULL_MEMBERS) ||
	    mtu < IB_MTU_256 || mtu > IB_MTU_4096)
		return SA_REQ_INVALID;
	rec->mtu = SA_EQ(mtu);
	rec->rate = SA_EQ(rate);
	*group = sa_group_create(rec, false);
	return *group ? 0 : SA_NO_RESOURCES;
}

/* Replaces the record in a MAD by that of the group */
static void sa_mcmember_reply(struct sa_mcmember *rec,
			      const struct sa_group *group, u8 join)
{
	union ib_gid port_gid = rec->port_gid;

	*rec = group->rec;
	rec->port_gid = port_gid;
	rec->scope_join |= join;
}

/* Is it well-formed? A port speaks for itself only. */
static bool sa_mcmember_ok(struct ibdevsim_hca *hca, struct ib_sa_mad *mad)
{
	struct sa_mcmember *rec = (void *)mad->data;

	BUILD_BUG_ON(sizeof(*rec) != 52);

	return (mad->sa_hdr.comp_mask & SA_MC_JOIN) == SA_MC_JOIN &&
	       !memcmp(&rec->port_gid, &hca->gid, sizeof(hca->gid)) &&
	       rec->scope_join & 0xf;
}

static u16 sa_mcmember_set(struct ibdevsim_hca *hca, struct ib_sa_mad *mad)
{
	struct sa_mcmember *rec = (void *)mad->data;
	ib_sa_comp_mask mask = mad->sa_hdr.comp_mask;
	struct sa_group *group;
	u16 status = 0;
	u8 *joined;

	if (!sa_mcmember_ok(hca, mad))
		return SA_REQ_INVALID;

	guard(mutex)(&sa_mutex);
	group = sa_group_find(&rec->mgid);
	if (!group)
		status = sa_group_new(rec, mask, &group);
	else if ((mask & IB_SA_MCMEMBER_REC_QKEY &&
		  rec->qkey != group->rec.qkey) ||
		 (mask & IB_SA_MCMEMBER_REC_PKEY &&
		  (rec->pkey ^ group->rec.pkey) & cpu_to_be16(0x7fff)))
		status = SA_REQ_INVALID;
	if (!status) {
		joined = &group->joined[hca->index];
		*joined |= rec->scope_join & 0xf;
		sa_mcmember_reply(rec, group, *joined);
	}
	return status;
}

static u16 sa_mcmember_delete(struct ibdevsim_hca *hca, struct ib_sa_mad *mad)
{
	struct sa_mcmember *rec = (void *)mad->data;
	u8 *joined, leave = rec->scope_join & 0xf;
	struct sa_group *group;
	unsigned int i;

	if (!sa_mcmember_ok(hca, mad))
		return SA_REQ_INVALID;

	guard(mutex)(&sa_mutex);
	group = sa_group_find(&rec->mgid);
	joined = group ? &group->joined[hca->index] : NULL;
	if (!group || !(*joined & leave))
		return SA_REQ_INVALID;
	*joined &= ~leave;
	sa_mcmember_reply(rec, group, leave);
	for (i = 0; i < IBDEVSIM_MAX_HCAS; i++)
		if (group->joined[i] & SA_FULL_MEMBERS)
			return 0;
	if (!group->permanent)
		sa_group_destroy(group);
	return 0;
}

static const struct {
	u8 method;
	u16 attr_id;
	u16 (*handler)(struct ibdevsim_hca *hca, struct ib_sa_mad *mad);
} sa_handlers[] = {
	{ IB_MGMT_METHOD_GET, IB_SA_ATTR_CLASS_PORTINFO, sa_class_port_info },
	{ IB_MGMT_METHOD_GET, IB_SA_ATTR_PATH_REC, sa_path_get },
	{ IB_MGMT_METHOD_SET, IB_SA_ATTR_MC_MEMBER_REC, sa_mcmember_set },
	{ IB_SA_METHOD_DELETE, IB_SA_ATTR_MC_MEMBER_REC, sa_mcmember_delete },
};

/* Turns a MAD that this HCA's QP1 sent into the answer. Returns false if there is
 * none.
 */
bool ibdevsim_sa_process(struct ibdevsim_hca *hca, struct ib_sa_mad *mad)
{
	u16 status = IB_MGMT_MAD_STATUS_UNSUPPORTED_METHOD_ATTRIB;
	struct ib_mad_hdr *hdr = &mad->mad_hdr;
	unsigned int i;

	if (hdr->base_version != IB_MGMT_BASE_VERSION ||
	    hdr->mgmt_class != IB_MGMT_CLASS_SUBN_ADM ||
	    hdr->method & IB_MGMT_METHOD_RESP)
		return false;

	for (i = 0; i < ARRAY_SIZE(sa_handlers); i++)
		if (sa_handlers[i].method == hdr->method &&
		    cpu_to_be16(sa_handlers[i].attr_id) == hdr->attr_id)
			break;
	if (hdr->class_version != IB_SA_CLASS_VERSION)
		status = IB_MGMT_MAD_STATUS_BAD_VERSION;
	else if (i < ARRAY_SIZE(sa_handlers))
		status = sa_handlers[i].handler(hca, mad);

	hdr->status = cpu_to_be16(status);
	if (hdr->method == IB_MGMT_METHOD_SET)
		hdr->method = IB_MGMT_METHOD_GET;
	hdr->method |= IB_MGMT_METHOD_RESP;
	return true;
}

void ibdevsim_sa_exit(void)
{
	struct sa_group *group, *tmp;

	list_for_each_entry_safe(group, tmp, &sa_groups, node)
		sa_group_destroy(group);
}

/* Creates the groups that are always there: IPv4 broadcast of RFC 4391 */
int ibdevsim_sa_init(void)
{
	struct sa_mcmember rec = {
		.mgid.raw = { 0xff, 0x12, 0x40, 0x1b, [12 ... 15] = 0xff },
		.qkey = cpu_to_be32(SA_QKEY),
		.mtu = SA_EQ(IB_MTU_4096),
		.rate = SA_EQ(IBDEVSIM_RATE),
	};
	unsigned int i;

	for (i = 0; i < IBDEVSIM_PKEYS; i++) {
		rec.pkey = cpu_to_be16(ibdevsim_pkeys[i]);
		memcpy(&rec.mgid.raw[4], &rec.pkey, sizeof(rec.pkey));
		if (!sa_group_create(&rec, true)) {
			ibdevsim_sa_exit();
			return -ENOMEM;
		}
	}
	return 0;
}
