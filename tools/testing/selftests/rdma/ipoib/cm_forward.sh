#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# A router between IPoIB, where checksums are left out, and a wire where nobody else
# completes them:
#
#   namespace a            namespace b (router)                      namespace s
#   +-----------+          +------------------------------+          +-----------+
#   | patched   |          | patched                      |          |           |
#   | IPoIB     |          | IPoIB                  veth  |          |  veth     |
#   | 192.0.2.1 |          | 192.0.2.2      198.51.100.2  |          |  .1       |
#   +-----+-----+          +---+----------------------+---+          +----+------+
#         | ibdevsim0          | ibdevsim1            |   all offloads    |
#         +----- ibdevsim -----+                      +------- off -------+
#
# rawcsum looks at what arrives at s, and goes by the bytes alone: if the router
# believed that the checksums of what it received are good, nobody would compute
# them, and the receiving socket would believe it, too.

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

set_mtu()
{
	ip -n "${NS[b]}" link set "$ROUTER_DEV" mtu "$1" &&
		ip -n "${NS[s]}" link set "${DEV[s]}" mtu "$1"
}

# through_ipvlan IF FAR: from the router to that side by an ipvlan on IF
through_ipvlan()
{
	local out version

	if ! out=$(ip -n "${NS[b]}" link add link "$1" name ipvlan type ipvlan mode l2 2>&1)
	then
		skip "no ipvlan on $1: $out"
		return
	fi
	ip -n "${NS[b]}" -batch - <<-END || return
		address add ${ADDR[${2}4]%.*}.3/32 dev ipvlan
		address add ${ADDR[${2}6]%:*}:3/128 dev ipvlan nodad
		link set ipvlan up
		route add ${ADDR[${2}4]} dev ipvlan
		route add ${ADDR[${2}6]} dev ipvlan
	END
	for version in 4 6; do
		to_server $packets tcp a s $version
		to_server 10 udp a s $version 10 4096,20000,60000
		to_client $packets tcp s a $version
	done
	ip -n "${NS[b]}" link del ipvlan
}

# What GRO has put together in the router, it has verified before
gro_to_client()
{
	ask b ethtool -K "$ROUTER_DEV" gro on || return
	tcp s a 4 && tcp s a 6
	snap
	grew b.tx_csum_marked -ge 1
	grew a.rx_csum_marked -eq "$(delta b.tx_csum_marked)"
	no_csum_errors a b s
}

plan 14 1

ipoib_up patched-patched
router_up || bail_out "cannot set up the router"
expect_conn a tx granted=0x1
expect_conn b tx granted=0x1

packets=$(((DATA_MIB << 20) / 65520))
for version in 4 6; do
	run "TCP over IPv$version to the server" to_server $packets tcp a s $version -m
	run "UDP over IPv$version to the server" \
		to_server 10 udp a s $version 10 1000,4096,20000,60000
	run "TCP over IPv$version to the client" to_client $packets tcp s a $version
	run "UDP over IPv$version to the client" \
		to_client 10 udp s a $version 10 1000,4096,20000,60000
done

run "ipvlan on the wire" through_ipvlan "$ROUTER_DEV" s
# Not with Linux 6.12: Ethernet only
run "ipvlan on IPoIB" through_ipvlan "${DEV[b]}" a

# GRO may put them together in the router, which then has to cut them up again
set_mtu 1500
packets=$(((DATA_MIB << 20) / 1500))
run "TCP over IPv4 to the server, MTU 1500" to_server $packets tcp a s 4
run "TCP over IPv6 to the server, MTU 1500" to_server $packets tcp a s 6
run "TCP over IPv4 to the client, MTU 1500" to_client $packets tcp s a 4
run "TCP to the client, with GRO in the router" gro_to_client

finish
