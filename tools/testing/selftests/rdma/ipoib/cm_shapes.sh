#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# All the ways in which packets come into being, and all kinds of them:
#
#     namespace a                     namespace b
#   +----------------+              +----------------+
#   | patched IPoIB  |              | patched IPoIB  |
#   |   tc counts    |              |                |
#   +-------+--------+              +-------+--------+
#           | ibdevsim0                     | ibdevsim1
#           +---------- ibdevsim -----------+

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

PACKETS=$(((1 << 20) / 65520))
SIZES=100,2000,9000,60000

check_tcp()
{
	check_marks a b "$2" tcp a b "$1" "${@:3}"
	grew a.tx_repacked -eq 0
}

# check_udp IPVERSION MARKED SIZES [XFER-OPTION...]: of 40 datagrams
check_udp()
{
	check_marks a b "$2" udp a b "$1" 40 "${@:3}"
	grew a.tx_csum_marked -eq "$2"
}

# has_proto NAME MODULE
has_proto()
{
	modprobe -q "$2"
	grep -q "^$1 " /proc/net/protocols
}

check_udplite()
{
	has_proto UDP-Lite ipv6 || { skip "a kernel without UDP-Lite"; return; }
	check_marks a b 0 udp a b "$1" 12 $SIZES -p udplite
	grew b.UdpLiteInCsumErrors -eq 0
	grew b.UdpLite6InCsumErrors -eq 0
}

check_sctp()
{
	has_proto SCTP sctp || { skip "a kernel without SCTP"; return; }
	check_marks a b 0 tcp a b "$1" -p sctp
}

# seen RULE: how many packets that tc rule of a has seen
seen()
{
	[[ $(ask a tc -s filter show dev "${DEV[a]}" ingress pref "$1") =~ \
		bytes\ ([0-9]+)\ pkt ]] && echo "${BASH_REMATCH[1]}"
}

# watch RULE PROTOCOL MATCH...: have a tc rule of a count packets
watch()
{
	ask a tc filter add dev "${DEV[a]}" ingress pref "$1" protocol "$2" "${@:3}" action ok
}

# A multicast router learns who joins and leaves
check_igmp()
{
	local routers=224.0.0.22 hello=("${PING[@]}" -c 1 -W 0.3 -I "${DEV[b]}" 224.0.0.22)
	local report=(u32 match ip protocol 2 0xff match u8) listen=(-t $((60 * PATIENCE)))

	# The first record of a report, behind an IP header with the Router Alert option
	watch 1 ip "${report[@]}" 4 0xff at 32 && watch 2 ip "${report[@]}" 3 0xff at 32 ||
		fail "tc" || return
	start router "$XFER" "${listen[@]}" -N "${NS[a]}" -i "${DEV[a]}" \
		udp-recv $routers 9 || return
	wait_for 10000 ask b "${hello[@]}" || fail "no multicast"

	start member "$XFER" "${listen[@]}" -N "${NS[b]}" -i "${DEV[b]}" \
		udp-recv 239.1.2.4 9 || return
	wait_for 10000 until_counter_is ">= 1" seen 1 || fail "nobody joins"
	expect "before, reports of leaving" "$(seen 2)" -eq 0
	kill "${PID[member]}"
	reap member
	wait_for 10000 until_counter_is ">= 1" seen 2 || fail "nobody leaves"
	kill "${PID[router]}"
	reap router
	snap
	no_csum_errors a b
}

# Not always by asking: who is asked knows who asks
found()
{
	ip -n "${NS[a]}" neigh flush dev "${DEV[a]}"
	ip -n "${NS[a]}" -6 neigh flush dev "${DEV[a]}"
	warm_up && (($(seen 3) >= 1 && $(seen 4) >= 1))
}

# Neighbours are found again, and the connection is still the same
check_arp()
{
	local conn address

	conn=$(conns a tx)
	read -r address <"${SYSFS[b]}/class/net/${DEV[b]}/address"
	watch 3 arp matchall && watch 4 ipv6 \
		u32 match ip6 protocol 58 0xff match u8 136 0xff at 40 || fail "tc" || return
	wait_for 10000 found ||
		fail "ARP packets: $(seen 3), neighbour advertisements: $(seen 4)" || return
	[[ $(ip -n "${NS[a]}" neigh show "${ADDR[b4]}") == *"lladdr $address"* ]] ||
		fail "$(ip -n "${NS[a]}" neigh)"
	[[ $(conns a tx) == "$conn" ]] || fail "there was '$conn', now '$(conns a tx)'"
	snap
	no_csum_errors a b
}

# stat SIDE NAME: a counter of its stack
stat()
{
	local value

	read -r _ value _ < <(ask "$1" nstat -asz "$2" | grep -w "$2") && echo "$value"
}

route_has_mtu()
{
	[[ $(ip -n "${NS[a]}" route get "${ADDR[b$1]}") == *" mtu $mtu"* ]]
}

# The driver tells the stack that packets for this neighbour must be smaller
check_pmtu()
{
	local version=$1 name=$2 mtu=$((4096 - 4)) before

	before=$(stat a "$name")
	"$XFER" -N "${NS[a]}" -s 60000 udp-send "${ADDR[b$version]}" 9
	wait_for 5000 route_has_mtu "$version" ||
		fail "$(ip -n "${NS[a]}" route get "${ADDR[b$version]}")"
	wait_for 5000 until_counter_is "> $before" stat a "$name" || fail "no ICMP message"
	udp a b "$version" 10 100,2000,9000,60000,$((mtu - 8))
	tcp a b "$version" -w sendfile
	snap
	grew a.tx_csum_sw_ud -ge $(((DATA_MIB << 20) / mtu))
	grew a.tx_csum_marked -eq 0
	grew a.tx_csum_dropped -eq 0
	no_csum_errors a b
}

plan 31 1

ipoib_up patched-patched
ask a tc qdisc add dev "${DEV[a]}" ingress || bail_out "no tc"

for version in 4 6; do
	for way in write more zerocopy sendfile splice; do
		run "TCP over IPv$version, $way" check_tcp $version $PACKETS -w $way
	done
	run "UDP over IPv$version, pieces with MSG_MORE" \
		check_udp $version 0 $SIZES -w more
	run "UDP over IPv$version, MSG_ZEROCOPY" \
		check_udp $version 40 2000,60000 -w nocopy
	run "UDP over IPv$version, UDP_SEGMENT, 1400 bytes" \
		check_udp $version 40 1400 -g 40
	run "UDP over IPv$version, UDP_SEGMENT, 9000 bytes" \
		check_udp $version 40 9000 -g 7
	run "UDP-Lite over IPv$version" check_udplite $version
	run "SCTP over IPv$version" check_sctp $version
done
run "TCP over IPv4 with options" check_tcp 4 $PACKETS -o
run "TCP over IPv6 with extension headers" check_tcp 6 0 -o
run "UDP over IPv4 with options" check_udp 4 30 $SIZES -o
run "UDP over IPv6 with extension headers" check_udp 6 0 $SIZES -o
run "UDP over IPv4 without checksums" check_udp 4 0 $SIZES -c
run "IGMP" check_igmp
run "ARP and neighbour discovery" check_arp

{ to_ud_neighbour && warm_up; } || bail_out "no connectivity by UD"
# What may have been learned about the way to b
ip -n "${NS[a]}" -4 route flush cache
ip -n "${NS[a]}" -6 route flush cache
snap
run_sim "path MTU to a neighbour without connected mode, IPv4" \
	check_pmtu 4 IcmpOutDestUnreachs
run_sim "path MTU to a neighbour without connected mode, IPv6" \
	check_pmtu 6 Icmp6OutPktTooBigs

finish
