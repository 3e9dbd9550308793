#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# ibdevsim carries an IPoIB driver that nobody has changed, in both modes:
#
#     namespace a                     namespace b
#   +----------------+              +----------------+
#   | stock IPoIB    |              | stock IPoIB    |
#   +-------+--------+              +-------+--------+
#           | ibdevsim0                     | ibdevsim1
#           +---------- ibdevsim -----------+
#
# What fails here is no fault of the driver under test, unless it fails in
# cm_agreed.sh only.

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

check_ping()
{
	pings a b 4 56 5 && pings b a 4 "$1" 5 &&
		pings a b 6 56 5 && pings b a 6 "$1" 5
}

need_stock
plan 16 4

MODE=datagram ipoib_up stock-stock
for mode in datagram connected; do
	if [[ $mode == connected ]]; then
		set_mode a connected
		set_mode b connected
		warm_up || bail_out "no connectivity in connected mode"
	fi
	read -r mtu <"${SYSFS[a]}/class/net/${DEV[a]}/mtu"
	# The largest datagrams go in fragments
	sizes=0,1,2,3,1000,$((mtu - 48)),20000
	run "$mode mode: ping, small and of the MTU" check_ping $((mtu - 48))
	run "$mode mode: TCP over IPv4" tcp a b 4
	run "$mode mode: TCP over IPv6, sendfile()" tcp b a 6 -m
	run "$mode mode: UDP over IPv4" udp a b 4 21 "$sizes"
	run "$mode mode: UDP over IPv6" udp b a 6 21 "$sizes"
	run "$mode mode: multicast over IPv4" mcast a b 4 9 1,500,1400
	run "$mode mode: multicast over IPv6" mcast b a 6 9 1,500,1400
	snap
	run "$mode mode: no checksum errors" no_csum_errors a b
done

finish
