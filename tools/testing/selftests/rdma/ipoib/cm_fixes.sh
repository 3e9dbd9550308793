#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# What was wrong in the driver once, one case for each fix, and peers that do what
# they should not do:
#
#     namespace a                     namespace b
#   +----------------+              +----------------+
#   | patched IPoIB  |              | patched IPoIB  |
#   +-------+--------+              +-------+--------+
#           | ibdevsim0                     | ibdevsim1
#           +--- ibdevsim, with faults -----+

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

# Bytes per second of a stream: a packet or two. 1 MiB lasts long enough for anything.
RATE=$((100000 / PATIENCE))

# A fault is for all messages of the time, as neighbour discovery has some, too
ALL=1000000

# a hears its own packets on the connection that it opened. They are delivered,
# for what they are worth, and no mark on them counts.
reflect()
{
	knob b reflect 20
	pings a b 4 56 10
	udp a b 4 10 4096
	until_grew a rx_packets 30
	snap
	grew b.rx_csum_marked -eq 10
	grew a.rx_csum_marked -eq 0
	grew a.rx_csum_bad_mark -eq 0
	# And the answers to the pings
	grew a.rx_packets -ge 30
	check_sane
}

too_short()
{
	local len

	for len in 0 1 2 3; do
		knob a truncate rc $len $ALL
		ask a "${PING[@]}" -c 3 -i 0.01 -W 0.1 "${ADDR[b4]}" >/dev/null &&
			fail "pings cut to $len bytes are answered"
	done
	until_grew b rx_length_errors 12
	knob a truncate rc $len 0
	snap
	grew b.rx_length_errors -ge 12
	check_sane
}

sg_off_and_on()
{
	set_feature a sg off && reconnect || return
	tcp a b 4 -m
	snap
	grew a.tx_frags -eq 0

	set_feature a sg on || return
	features a "scatter-gather: on"
	tcp a b 4 -m
	tcp a b 6 -m
	snap
	grew a.tx_frags -ge $(((DATA_MIB << 20) / 65520))
	grew a.tx_repacked -eq 0
	check_sane
}

# The HCA of b has less than it takes for 64 KB: a is told, and heeds it
small_buffers()
{
	local mtu=$((8 * $(getconf PAGESIZE) - 16))

	expect "MTU of a" "$(<"${SYSFS[a]}/class/net/${DEV[a]}/mtu")" -eq 65520
	expect "MTU of b" "$(<"${SYSFS[b]}/class/net/${DEV[b]}/mtu")" -eq $mtu
	expect_conn b rx mtu=$mtu
	expect_conn a tx mtu=$mtu
	expect_conn a rx mtu=65520
	expect_conn b tx mtu=65520
	check_sane
}

route_has_mtu()
{
	[[ $(ip -n "${NS[a]}" route get "$1") == *" mtu $2 "* ]]
}

# And a does not believe that it can take still less
small_buffers_pmtu()
{
	local mtu=$((8 * $(getconf PAGESIZE) - 16)) version

	for version in 4 6; do
		"$XFER" -N "${NS[a]}" -s 60000 udp-send "${ADDR[b$version]}" 9
		udp a b $version 10 60000
		wait_for 5000 route_has_mtu "${ADDR[b$version]}" $mtu ||
			fail "$(ip -n "${NS[a]}" route get "${ADDR[b$version]}")"
	done
	check_sane
}

# With an HCA that computes checksums for UD, and says so if it is asked to for RC
ud_then_rc()
{
	local i

	# Several times, as some other UD send may come in between
	for ((i = 0; i < 5; i++)); do
		"$XFER" -N "${NS[a]}" -s 1400 -i "${DEV[a]}" udp-send 239.1.2.3 9
		"$XFER" -N "${NS[a]}" -s 4096 udp-send "${ADDR[b4]}" 9
	done
	until_grew b rx_csum_marked 5
	snap
	grew a.tx_csum_marked -eq 5
	grew a.hca_rc_ip_csum -eq 0
	check_sane
}

# Nothing to complete in an ICMP packet
bad_mark()
{
	local version

	for version in 4 6; do
		knob a tamper rc 2 0x80 $ALL
		ask a "${PING[@]}" -$version -c 3 -i 0.01 -W 0.1 \
			"${ADDR[b$version]}" >/dev/null && fail "marked pings are answered"
		until_grew b rx_csum_bad_mark 3
		knob a tamper rc 2 0x80 0
		snap
		grew b.rx_csum_bad_mark -ge 3
		grew b.rx_csum_marked -eq 0
		grew b.rx_dropped -eq "$(delta b.rx_csum_bad_mark)"
	done
	check_sane
}

# All the others have no meaning yet
other_bits()
{
	knob a tamper rc 2 0x7f $ALL
	pings a b 4 1000 3
	udp a b 4 10 4096
	knob a tamper rc 3 0xff $ALL
	pings a b 6 1000 3
	udp a b 6 10 4096
	knob a tamper rc 3 0xff 0
	snap
	grew b.rx_csum_bad_mark -eq 0
	grew b.rx_csum_marked -eq 20
	no_csum_errors a b
	check_sane
}

# Where nothing was agreed on, the mark has no meaning, either
not_agreed()
{
	set_feature b rx off && reconnect || return
	expect_conn b rx granted=0x0 || return
	knob a tamper rc 2 0x80 $ALL
	pings a b 4 1000 3
	udp a b 6 10 4096
	knob a tamper rc 2 0x80 0
	snap
	grew b.rx_csum_bad_mark -eq 0
	grew b.rx_csum_marked -eq 0
	no_csum_errors a b
	check_sane
	set_feature b rx on && reconnect
}

# A packet that nobody vouches for, and has no checksum. What is there instead is right for
# one of 65536.
lost_mark_udp()
{
	knob a tamper rc 2 0x80 $ALL
	"$XFER" -N "${NS[a]}" -n 10 -s 4096 udp-send "${ADDR[b4]}" 9
	"$XFER" -N "${NS[a]}" -n 10 -s 4096 udp-send "${ADDR[b6]}" 9
	until_grew b UdpInCsumErrors 10
	until_grew b Udp6InCsumErrors 10
	knob a tamper rc 2 0x80 0
	snap
	grew b.UdpInCsumErrors -ge 9
	grew b.UdpInCsumErrors -le 10
	grew b.Udp6InCsumErrors -ge 9
	grew b.Udp6InCsumErrors -le 10
	grew b.rx_csum_marked -eq 0
	check_sane
}

# TCP sends it again
lost_mark_tcp()
{
	tcp_start a b "$1" -r $RATE || return
	until_grew b rx_csum_marked 1 || fail "the stream does not flow"
	knob a tamper rc 2 0x80 3
	tcp_hurry
	tcp_finish
	knob a tamper rc 2 0x80 0
	snap
	grew b.TcpInCsumErrors -ge 1
	grew b.TcpInCsumErrors -le 3
	check_sane
}

plan 12 1

ipoib_up patched-patched
run_sim "peer sends back on a connection that we opened" reflect
run_sim "messages of 0 to 3 bytes" too_short
run "connection made with scatter/gather off" sg_off_and_on
run_sim "mark on ICMP packets" bad_mark
run_sim "other bits of the reserved field" other_bits
run_sim "mark on a connection without agreement" not_agreed
run_sim "UDP packets that lost their mark" lost_mark_udp
run_sim "TCP packets over IPv4 that lost their mark" lost_mark_tcp 4
run_sim "TCP packets over IPv6 that lost their mark" lost_mark_tcp 6

if sim; then
	ipoib_down
	ipoib_up patched-patched max_srq_sge=16,8
fi
run_sim "receive buffers of less than 64 KB" small_buffers
run_sim "path MTU to receive buffers of less than 64 KB" small_buffers_pmtu

if sim; then
	ipoib_down
	ipoib_up patched-patched ud_csum=1
fi
run_sim "UD sends leave nothing behind for RC sends" ud_then_rc

finish
