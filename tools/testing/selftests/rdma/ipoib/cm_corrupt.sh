#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# What is corrupted before it gets to IPoIB is not vouched for by anybody there:
#
#   namespace a            namespace b (router)                      namespace s
#   +-----------+          +------------------------------+          +-----------+
#   | patched   |          | patched             corrupts |          |           |
#   | IPoIB     | <=====   | IPoIB  <======  ifb <= veth  |  <=====  |  veth     |
#   | 192.0.2.1 |          | 192.0.2.2      198.51.100.2  |          |  .1       |
#   +-----+-----+          +---+----------------------+---+          +----+------+
#         | ibdevsim0          | ibdevsim1            |   all offloads    |
#         +----- ibdevsim -----+                      +------- off -------+
#
# On Linux 6.12, netem corrupts the linear part of a packet only. On the veth of s that
# would be the headers; what has come over the wire is linear, so it is done there.

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

# Not ARP, which has no checksum
corrupt_up()
{
	local redirect="action mirred egress redirect dev ifb"

	ip -n "${NS[b]}" -batch - <<-END || return
		link add ifb mtu 65520 type ifb
		link set ifb up
	END
	tc -n "${NS[b]}" -batch - <<-END && corrupt 0%
		qdisc add dev $ROUTER_DEV ingress
		filter add dev $ROUTER_DEV ingress pref 1 protocol ip matchall $redirect
		filter add dev $ROUTER_DEV ingress pref 2 protocol ipv6 matchall $redirect
	END
}

# corrupt PERCENT: flip one bit in so many packets
corrupt()
{
	tc -n "${NS[b]}" qdisc replace dev ifb root netem limit 100000 corrupt "$1"
}

# The router has got nothing marked, and has to pass on what it got
not_marked()
{
	grew b.tx_csum_marked -eq 0
	grew b.tx_csum_sw_peer -eq 0
	grew b.rx_csum_marked -eq 0
}

# In the end everything has come, and is intact
check_tcp()
{
	# 500 packets, where nearly all is data
	ip -n "${NS[s]}" link set "${DEV[s]}" mtu 2000 && corrupt 2% || return
	tcp s a "$1"
	corrupt 0%
	snap
	grew a.TcpInCsumErrors -ge 1
	not_marked
}

# Nearly nothing comes, and that is intact: a bit in a header may do no harm
check_udp()
{
	local counter=$2

	ip -n "${NS[s]}" link set "${DEV[s]}" mtu 9000
	corrupt 100% || return
	PORT=$((PORT + 1))
	start receiver "$XFER" -N "${NS[a]}" -n 40 -s 1200,4096,8192 \
		udp-recv "${ADDR[a$1]}" $PORT || return
	"$XFER" -N "${NS[s]}" -n 40 -s 1200,4096,8192 udp-send "${ADDR[a$1]}" $PORT
	corrupt 0%
	# It comes last
	wait_for 5000 ping_to s a "$1" || fail "no connectivity"
	kill -ALRM "${PID[receiver]}"
	reap receiver
	[[ $REPLY == "received "*" of 40, 0 bad" ]] || fail "UDP: $REPLY"
	snap
	grew "a.$counter" -ge 30
	not_marked
}

plan 4 1

ipoib_up patched-patched
router_up || bail_out "cannot set up the router"
corrupt_up || bail_out "cannot corrupt packets: no ifb, mirred or netem"
expect_conn b tx granted=0x1
run "TCP over IPv4" check_tcp 4
run "TCP over IPv6" check_tcp 6
run "UDP over IPv4" check_udp 4 UdpInCsumErrors
run "UDP over IPv6" check_udp 6 Udp6InCsumErrors

finish
