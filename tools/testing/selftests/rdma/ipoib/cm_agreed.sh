#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# Two ends that agree to leave checksums out in connected mode:
#
#     namespace a                     namespace b
#   +----------------+              +----------------+
#   | patched IPoIB  |              | patched IPoIB  |
#   +-------+--------+              +-------+--------+
#           | ibdevsim0                     | ibdevsim1
#           +---------- ibdevsim -----------+

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

ON=("scatter-gather: on" "tx-checksum-ipv4: on" "tx-checksum-ipv6: on"
    "rx-checksumming: on")

# Headers are of 28 bytes with IPv4, 48 with IPv6: packets of 1024 bytes are marked
declare -A SMALL=([4]=995 [6]=975) BIG=([4]=996 [6]=976)

connected_features()
{
	features a "${ON[@]}" && features b "${ON[@]}" || return
	expect "MTU" "$(<"${SYSFS[a]}/class/net/${DEV[a]}/mtu")" -eq 65520
}

agreed()
{
	local side

	for side in a b; do
		expect_conn $side tx offered=0x1 granted=0x1 || return
		expect_conn $side rx offered=0x1 granted=0x1 || return
	done
}

# What FROM left out is what TO took without; nothing was computed; no error
check_counters()
{
	local from=$1 to=$2 name

	snap
	grew "$from.tx_csum_marked" -ge "$3" || return
	grew "$to.rx_csum_marked" -eq "$(delta "$from.tx_csum_marked")"
	for name in sw_peer sw_other sw_ud dropped; do
		grew "$from.tx_csum_$name" -eq 0
	done
	grew "$to.rx_csum_bad_mark" -eq 0
	grew "$to.rx_csum_no_mem" -eq 0
	no_csum_errors a b
}

check_tcp()
{
	local from=$1 to=$2 version=$3

	tcp "$from" "$to" "$version" "${@:4}" || return
	# There are at least that many packets with data, none bigger than the MTU
	check_counters "$from" "$to" $(((DATA_MIB << 20) / 65520))
}

# Ten datagrams of these sizes: either $3, all, are marked, or none is, and then all
# are summed. A packet socket of the receiver sees good checksums, or none and the
# notice that these are not ready.
check_udp()
{
	local version=$1 marked=$3

	start reader "$RAWCSUM" -N "${NS[b]}" -p $((PORT + 1)) "${DEV[b]}" || return
	udp a b "$version" 10 "$2"
	kill "${PID[reader]}"
	reap reader || fail "rawcsum: $REPLY" || return
	saw b 10 "$marked"

	check_counters a b "$marked"
	grew a.tx_csum_marked -eq "$marked"
	# There may be the last word of a TCP connection
	grew a.tx_csum_sw_small -ge $((10 - marked))
}

# Does not matter for them: they have no such checksum
check_ping()
{
	local version

	for version in 4 6; do
		pings a b "$version" 56 3 && pings a b "$version" 65000 3 || return
	done
	check_counters a b 0
	grew a.tx_csum_marked -eq 0
}

datagram_mode()
{
	set_mode a datagram && set_mode b datagram || return
	features a "tx-checksum-ipv4: off [requested on]" \
		"tx-checksum-ipv6: off [requested on]" "rx-checksumming: on" || return
	warm_up || fail "no connectivity" || return
	# Not more than fits without fragmentation: the stack sums fragments itself
	udp a b 4 10 100,1400 && udp a b 6 10 100,1400 && tcp a b 4 || return
	snap
	grew a.tx_csum_marked -eq 0
	no_csum_errors a b
}

# There and back again
connected_again()
{
	set_mode a connected && set_mode b connected || return
	connected_features || return
	warm_up && agreed || return
	snap
	check_tcp a b 4
}

# What was switched off stays off, and what was not stays on
state_survives()
{
	set_feature a tx-checksum-ipv6 off rx off || return
	set_mode a datagram || return
	features a "tx-checksum-ipv6: off" "rx-checksumming: off"
	set_mode a connected || return
	features a "tx-checksum-ipv4: on" "tx-checksum-ipv6: off" "rx-checksumming: off"

	# Also what is asked for while it cannot be had
	set_mode a datagram || return
	set_feature a rx on || return
	set_feature a tx-checksum-ipv6 on
	features a "tx-checksum-ipv6: off [requested on]" "rx-checksumming: on"
	set_mode a connected || return
	features a "${ON[@]}"
}

plan 16

ipoib_up patched-patched
run "features in connected mode" connected_features
run "both connections are agreed on" agreed
for version in 4 6; do
	run "TCP over IPv$version, write()" check_tcp a b $version
	run "TCP over IPv$version, sendfile()" check_tcp a b $version -m
	run "TCP over IPv$version, the other way" check_tcp b a $version
	run "UDP over IPv$version, packets of up to 1023 bytes" \
		check_udp $version "${SMALL[$version]},1,500,900" 0
	run "UDP over IPv$version, packets of 1024 bytes and more" \
		check_udp $version "${BIG[$version]},4096,20000,50000,65000" 10
done
run "ping" check_ping
run "features survive mode switches" state_survives
# ud_csum.sh has others
run_sim "datagram mode, an HCA without UD checksums" datagram_mode
run_sim "connected mode again" connected_again

finish
