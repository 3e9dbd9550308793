#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# A peer that has never heard of leaving checksums out, and need not:
#
#     namespace a                     namespace b
#   +----------------+              +----------------+
#   | patched IPoIB  |              | stock IPoIB    |
#   +-------+--------+              +-------+--------+
#           | ibdevsim0                     | ibdevsim1
#           +---------- ibdevsim -----------+

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

nothing_agreed()
{
	expect_conn a tx offered=0x1 granted=0x0 &&
		expect_conn a rx offered=0x0 granted=0x0
}

# The stack leaves the checksums to the driver, and that computes them all
check_patched_sends()
{
	local name

	"$@" || return
	snap
	grew a.tx_csum_marked -eq 0
	grew a.tx_csum_sw_peer -ge "$packets"
	for name in sw_other sw_ud dropped; do
		grew "a.tx_csum_$name" -eq 0
	done
	no_csum_errors a b
}

check_stock_sends()
{
	"$@" || return
	snap
	grew a.rx_csum_marked -eq 0
	grew a.rx_csum_bad_mark -eq 0
	grew a.rx_packets -ge "$packets"
	no_csum_errors a b
}

SIZES=100,1500,4096,50000,65000

need_stock
plan 28

ipoib_up patched-stock
run "nothing is agreed on, in either direction" nothing_agreed
for version in 4 6; do
	packets=$(((DATA_MIB << 20) / 65520))
	run "patched sends, TCP over IPv$version, write()" \
		check_patched_sends tcp a b $version
	run "patched sends, TCP over IPv$version, sendfile()" \
		check_patched_sends tcp a b $version -m
	run "stock sends, TCP over IPv$version, write()" \
		check_stock_sends tcp b a $version
	run "stock sends, TCP over IPv$version, sendfile()" \
		check_stock_sends tcp b a $version -m
	for way in more zerocopy; do
		run "patched sends, TCP over IPv$version, $way" \
			check_patched_sends tcp a b $version -w $way
		run "stock sends, TCP over IPv$version, $way" \
			check_stock_sends tcp b a $version -w $way
	done
	packets=10
	run "patched sends, UDP over IPv$version" \
		check_patched_sends udp a b $version $packets $SIZES
	run "stock sends, UDP over IPv$version" \
		check_stock_sends udp b a $version $packets $SIZES
	run "patched sends, UDP over IPv$version, MSG_ZEROCOPY" \
		check_patched_sends udp a b $version $packets $SIZES -w zerocopy
	run "patched sends, UDP over IPv$version, UDP_SEGMENT" \
		check_patched_sends udp a b $version $packets 1400 -g 7
done
run "patched sends, UDP over IPv4 with options" \
	check_patched_sends udp a b 4 "$packets" $SIZES -o
run "stock sends, UDP over IPv4 without checksums" \
	check_stock_sends udp b a 4 "$packets" $SIZES -c
run "stock sends, UDP over IPv6 with extension headers" \
	check_stock_sends udp b a 6 "$packets" $SIZES -o

finish
