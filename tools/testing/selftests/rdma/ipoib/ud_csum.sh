#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# A connected mode interface sends by its UD QP what goes to a group, and to a
# neighbour without connected mode. The stack leaves checksums out there, too, and
# the HCA may be able to compute none, or those of IPv4:
#
#     namespace a                     namespace b
#   +-----------------+             +-----------------+
#   | patched IPoIB   |             | patched IPoIB   |
#   +-------+---------+             +-------+---------+
#           | ibdevsim0                     | ibdevsim1
#           +---------- ibdevsim -----------+

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

# Datagrams of these sizes fit into an UD message and are not small
SIZES=100,1100,1400

# check_ud IPVERSION COUNT COMMAND...: everything arrives. At least COUNT checksums
# were left to us, and computed here unless the HCA can.
check_ud()
{
	local version=$1 count=$2
	shift 2

	"$@" || return
	snap
	if ((ud_csum && version == 4)); then
		grew a.tx_csum_sw_ud -eq 0
	else
		grew a.tx_csum_sw_ud -ge "$count"
	fi
	grew a.tx_csum_marked -eq 0
	grew a.tx_csum_dropped -eq 0
	no_csum_errors a b
}

connected_features()
{
	features a "tx-checksum-ipv4: on" "tx-checksum-ipv6: on" "rx-checksumming: on"
}

# What the HCA can do
datagram_features()
{
	local ipv4="off [requested on]"

	((!ud_csum)) || ipv4=on
	set_mode a datagram || return
	features a "tx-checksum-ipv4: $ipv4" "tx-checksum-ipv6: off [requested on]" \
		"rx-checksumming: on"
}

# The neighbour still takes connections, and grants what it did
to_datagram()
{
	local version=$1

	expect_conn a tx granted=0x1
	check_marks a b 30 udp a b "$version" 40 100,1400,4000,60000
	check_marks a b $(((DATA_MIB << 20) / 4096)) tcp a b "$version" -m
}

# But it does not make any. In datagram mode nothing is left to the driver that the HCA
# cannot do.
from_datagram()
{
	local version=$1

	udp b a "$version" 40 100,1400,4000,60000
	tcp b a "$version" -m
	snap
	grew b.tx_csum_sw_ud -eq 0
	grew b.tx_csum_marked -eq 0
	grew a.rx_csum_marked -eq 0
	no_csum_errors a b
	expect "connections from b" "$(count_conns b tx)" -eq 0
}

cases()
{
	local what="HCA without UD checksums:" version

	((!ud_csum)) || what=${what/out/}
	run_sim "$what features in connected mode" connected_features
	for version in 4 6; do
		run_sim "$what multicast over IPv$version" \
			check_ud $version 10 mcast a b $version 10 $SIZES
	done
	run_sim "$what broadcast" check_ud 4 10 bcast a b 10 $SIZES

	{ set_mode b datagram && warm_up; } || bail_out "no connectivity, b in datagram mode"
	snap
	for version in 4 6; do
		run_sim "$what IPv$version to an interface in datagram mode" \
			to_datagram $version
		run_sim "$what IPv$version from an interface in datagram mode" \
			from_datagram $version
	done
	set_mode b connected || bail_out "b does not return to connected mode"

	{ to_ud_neighbour && warm_up; } || bail_out "no connectivity by UD"
	snap
	for version in 4 6; do
		run_sim "$what UDP over IPv$version to UD only" \
			check_ud $version 10 udp a b $version 10 $SIZES
		# None bigger than the MTU of the neighbour
		run_sim "$what TCP over IPv$version to UD only" \
			check_ud $version $(((DATA_MIB << 20) / 4096)) tcp a b $version -m
	done
	run_sim "$what features in datagram mode" datagram_features
}

plan 26 1

ud_csum=0
ipoib_up patched-patched
cases

ud_csum=1
if sim; then
	ipoib_down
	ipoib_up patched-patched ud_csum=1
fi
cases

finish
