#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# HCAs that can do less, and queues as short as they can be:
#
#     namespace a           namespace b           namespace c
#   +----------------+    +----------------+    +----------------+
#   | patched IPoIB  |    | patched IPoIB  |    | patched IPoIB  |
#   |                |    |                |    | 192.0.2.3      |
#   +-------+--------+    +-------+--------+    +-------+--------+
#           | ibdevsim0           | ibdevsim1           | ibdevsim2
#           +---------------------+---------------------+
#                       ibdevsim, with limits

# shellcheck disable=SC2034 # lib.sh uses DEV, HCA, NS and SIDES
# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

ADDR["c4"]=192.0.2.3
ADDR["c6"]=2001:db8::3

# The elements of a packet: its head, and as many fragments as an skb has
MAX_SGE=18

# Data in both directions, by both protocols, on connections that survive it
check_traffic()
{
	local mtu=$1 conn sizes packets

	conn=$(conns a)
	sizes=100,1500,$((mtu - 48)),65000
	packets=$(((DATA_MIB << 20) / 65520))
	snap
	tcp a b 4
	tcp b a 6 -w sendfile
	tcp a b 6 -w more
	udp b a 4 20 "$sizes"
	snap
	grew a.tx_csum_marked -ge $((2 * packets))
	grew b.tx_csum_marked -ge "$packets"
	grew a.rx_csum_marked -eq "$(delta b.tx_csum_marked)"
	grew b.rx_csum_marked -eq "$(delta a.tx_csum_marked)"
	# Such as a packet of more elements than the HCA takes
	grew a.tx_errors -eq 0
	grew b.tx_errors -eq 0
	no_csum_errors a b
	no_hca_errors
	kept a "$conn"
}

# restart [PARAM...]: with other parameters of ibdevsim, and IPOIB_PARAMS of the driver
restart()
{
	ipoib_down
	# As ipoib_up does, but for the parameters
	{ load ibdevsim "$@" && load ib_ipoib "${IPOIB_PARAMS[@]}"; } ||
		bail_out "cannot load modules"
	ipoib_up patched-patched
}

# A packet of more pieces than the HCA takes is copied into one
send_sge()
{
	local sge=$1

	restart max_send_sge="$1"
	((sge <= MAX_SGE)) || sge=$MAX_SGE
	expect_conn a tx sge="$sge"
	expect_conn b tx sge="$sge"
	check_traffic 65520
	if ((sge < 2)); then
		features a "tx-scatter-gather: off [fixed]"
		grew a.tx_frags -eq 0
		grew a.tx_repacked -eq 0
	elif ((sge < MAX_SGE)); then
		grew a.tx_repacked -ge 1
	else
		grew a.tx_frags -ge 1
		grew a.tx_repacked -eq 0
	fi
}

srq_sge()
{
	local mtu=$(($1 * $(getconf PAGESIZE) - 16))

	restart max_srq_sge="$1"
	((mtu <= 65520)) || mtu=65520
	expect_conn a tx mtu=$mtu
	expect_conn a rx mtu=$mtu sge="$1"
	check_traffic $mtu
}

no_srq()
{
	restart srq=0 hcas=3
	expect_conn a rx mtu=65520 sge=16
	check_traffic 65520
}

# Each connection has receive buffers of its own
two_connections()
{
	local ns_c='' to

	HCA["c"]=ibdevsim2
	get_if c patched || fail "no third HCA" || return
	setup_ns ns_c || return
	NS["c"]=$ns_c
	if_up c || return
	for to in a4 a6 b4 b6; do
		wait_for 10000 ping_to c ${to%?} ${to#?} || fail "no connectivity" || return
	done
	expect "connections to b" "$(count_conns b rx granted=0x1)" -eq 2

	SIDES=(a b c)
	snap
	tcp_start a b 4 || return
	pings c b 6 60000 10
	tcp_finish
	udp c b 6 20 100,1500,60000
	tcp c b 4 -w sendfile
	tcp b c 6
	snap
	grew b.rx_csum_marked -eq $(($(delta a.tx_csum_marked) + $(delta c.tx_csum_marked)))
	no_csum_errors a b c
	no_hca_errors
	SIDES=(a b)
}

# Where there is a c, b keeps its connections with it
no_conn()
{
	local kept=0

	[[ $1 != b || ! ${DEV[c]:-} ]] || kept=2
	(($(conns "$1" | wc -l) <= kept))
}

# The buffers of connections that are gone are freed, others go on
no_srq_reconnect()
{
	reconnect && reconnect || return
	expect_conn a rx granted=0x1
	check_traffic 65520
	pings c b 4 56 3 || fail "c is gone"
}

# has_backlog SIDE: the driver has stopped its queue, and packets wait before it
has_backlog()
{
	[[ $(tc -n "${NS[$1]}" -s qdisc show dev "${DEV[$1]}") == *"backlog "[1-9]* ]]
}

feed_after_backlog()
{
	knob b starve 1
	(
		wait_for 10000 has_backlog a || touch "$TMP/no_backlog"
		knob b starve 0
	) &
	PID["feeder"]=$!
}

# No send is complete until there are receives: the ring gets full, and nothing is lost
full_ring()
{
	snap
	udp_to "${ADDR[b4]}" "${ADDR[b4]}" a b 300 100 feed_after_backlog
	wait "${PID[feeder]}"
	[[ ! -e $TMP/no_backlog ]] || fail "the queue has not been stopped"
	snap
	grew a.hca_rnr_wait -ge 1
	grew a.tx_errors -eq 0
	no_hca_errors
}

tiny_queues()
{
	local IPOIB_PARAMS=(send_queue_size=1 recv_queue_size=1) size

	restart rnr_grace_us=10000000 "$@"
	# As short as the driver lets them be
	read -r size </sys/module/ib_ipoib/parameters/recv_queue_size
	expect "recv_queue_size" "$size" -eq 2
	read -r size </sys/module/ib_ipoib/parameters/send_queue_size
	expect "send_queue_size" "$size" -eq 128
	check_traffic 65520
	full_ring
}

sim || skip_all "needs ibdevsim, but IPOIB_IF is set"
plan 13 1
IPOIB_PARAMS=()

for sge in 1 2 4 8 16 30; do
	run "sends of $sge elements" send_sge $sge
done
for sge in 1 16; do
	run "receives of $sge elements" srq_sge $sge
done
run "no shared receive queue" no_srq
run "no shared receive queue, two connections" two_connections
run "no shared receive queue, reconnects" no_srq_reconnect
run "tiny queues" tiny_queues
run "tiny queues, no shared receive queue" tiny_queues srq=0

finish
