#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# Packets of every size at which something changes on their way:
#
#     namespace a                     namespace b
#   +----------------+              +----------------+
#   | patched IPoIB  |              | patched IPoIB  |
#   |  MTU as needed |              |  MTU as needed |
#   +-------+--------+              +-------+--------+
#           | ibdevsim0                     | ibdevsim1
#           +---------- ibdevsim -----------+

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

# The IP and UDP headers, and the largest IP packet and what UDP may put into it
declare -A HEADERS=([4]=28 [6]=48) LARGEST=([4]=65507 [6]=65527)
MTU=65520

# payloads IPVERSION LENGTH...: what makes UDP packets of these lengths
payloads()
{
	local version=$1 length list=''

	for length in "${@:2}"; do
		list+=,$((length - HEADERS[$version]))
	done
	echo "${list#,}"
}

# Below 256 bytes, encapsulation header and all, the receiver copies a message
check_small()
{
	check_marks a b 0 udp a b "$1" 32 \
		"0,1,255,256,257,$(payloads "$1" 251 252 253)"
}

check_min()
{
	check_marks a b 20 udp a b "$1" 30 "$(payloads "$1" 1023 1024 1025)"
	grew a.tx_csum_marked -eq 20
	grew a.tx_csum_sw_small -eq 10
}

# The head of a receive buffer is of 4084 bytes, encapsulation header and all
check_big()
{
	check_marks a b 40 udp a b "$1" 40 \
		"4083,4084,4085,65000,$(payloads "$1" 4079 4080 4081 $MTU)"
	grew a.tx_csum_marked -eq 40
}

# They are summed by the stack
check_fragments()
{
	check_marks a b 0 udp a b "$1" 10 "$2"
	# Otherwise they were none
	grew a.hca_tx_msgs -ge 20
}

check_tcp_mtu()
{
	check_marks a b $(((DATA_MIB << 20) / $2)) tcp a b "$1" -w sendfile
}

# They have no such checksum
check_ping()
{
	local version size

	for version in 4 6; do
		for size in 0 224 1000 $((MTU - HEADERS[$version])) 65507; do
			pings a b $version "$size" 3 || return
		done
	done
	snap
	grew a.tx_csum_marked -eq 0
	grew b.tx_csum_marked -eq 0
	no_csum_errors a b
}

plan 18 1

ipoib_up patched-patched
for version in 4 6; do
	run "UDP over IPv$version, up to 257 bytes" check_small $version
	run "UDP over IPv$version, IP packets of 1023 to 1025 bytes" check_min $version
	run "UDP over IPv$version, from 4083 bytes to an IP packet of $MTU" \
		check_big $version
	run_sim "UDP over IPv$version, more than fits into $MTU bytes" \
		check_fragments $version \
		"$((MTU - HEADERS[$version] + 1)),${LARGEST[$version]}"
done
run "ping, up to 65507 bytes" check_ping

for mtu in 9000 2044 1500; do
	set_mtu $mtu || bail_out "cannot set the MTU"
	for version in 4 6; do
		run "TCP over IPv$version, MTU $mtu" check_tcp_mtu $version $mtu
	done
done
for version in 4 6; do
	run_sim "UDP over IPv$version, up to ${LARGEST[$version]} bytes, MTU 1500" \
		check_fragments $version "1500,9000,${LARGEST[$version]},1473"
done
set_mtu $MTU || bail_out "cannot set the MTU"
run "TCP over IPv4, MTU $MTU again" check_tcp_mtu 4 $MTU

finish
