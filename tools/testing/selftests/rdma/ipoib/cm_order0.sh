#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# Memory is there in single pages only. In connected mode, no packet needs more:
#
#     namespace a                     namespace b
#   +-----------------+             +------------------+
#   | patched IPoIB   |             | patched IPoIB    |
#   |                 |             | (control: stock) |
#   +-------+---------+             +-------+----------+
#           | ibdevsim0                     | ibdevsim1
#           +---------- ibdevsim -----------+
#
# Each allocation of more than a page (of MIN_ORDER or above) fails that may not wait:
# fault injection of the kernel. ORDER0_MIB (default 32) is sent over TCP in each case.
# The peer that has not agreed to leave checksums out is one with "rx off": an unmodified
# one would itself have no memory to receive anything.

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

FAIL=/sys/kernel/debug/fail_page_alloc
TRACE=/sys/kernel/tracing
MIN_FREE=/proc/sys/vm/min_free_kbytes
ORDER0_MIB=${ORDER0_MIB:-32}
MIN_ORDER=1
# shellcheck disable=SC2034 # for lib.sh
XFER_TIMEOUT=$((120 * PATIENCE))

# pressure on|off
pressure()
{
	local probability=0

	[[ $1 == off ]] || probability=100
	echo "$MIN_ORDER" >$FAIL/min-order
	echo Y >$FAIL/ignore-gfp-wait
	echo 0 >$FAIL/verbose
	echo -1 >$FAIL/times
	echo $probability >$FAIL/probability
}

# under_pressure COMMAND...
under_pressure()
{
	local ret=0

	pressure on
	"$@" || ret=$?
	pressure off
	return $ret
}

# Nothing was lost for want of memory, at either end
check_tcp()
{
	under_pressure tcp a b "$@" || return
	snap
	grew a.tx_dropped -eq 0
	grew a.tx_csum_dropped -eq 0
	grew b.rx_dropped -eq 0
	no_csum_errors a b
}

check_udp()
{
	under_pressure udp a b "$1" 200 65000 || return
	snap
	grew a.tx_dropped -eq 0
	grew b.rx_dropped -eq 0
	no_csum_errors a b
}

# Nothing is short but SGEs: packets of sendfile() are repacked, and stay intact
check_plenty()
{
	tcp a b 4 -w sendfile && tcp a b 4 -w zerocopy || return
	snap
	grew a.tx_repacked -ge 1
	grew a.tx_dropped -eq 0
	grew b.rx_dropped -eq 0
	no_csum_errors a b
}

# 16 KB in one piece are what 4 SGEs need, and all that there is. 61000 bytes are not a
# multiple of that.
check_chunks()
{
	local MIN_ORDER=3

	under_pressure tcp a b 4 -w sendfile && under_pressure udp a b 4 200 61000 || return
	snap
	grew a.tx_repacked -ge 200
	grew a.tx_dropped -eq 0
	grew b.rx_dropped -eq 0
	no_csum_errors a b
}

# 4 SGEs, and single pages only: such a packet is dropped, and counted
check_too_small()
{
	! under_pressure on a ping -q -c 3 -i 0.2 -W 1 -s 61000 "${ADDR[b4]}" >/dev/null ||
		fail "there is an answer"
	snap
	grew a.tx_dropped -ge 3
	grew a.tx_repacked -eq 0
	ping_to a b 4 || fail "no answer without pressure"
	snap
}

# Neighbours are found by datagrams, again and again: their old buffers are in use for
# a while.
check_neighbours()
{
	under_pressure ask_around
	snap
	grew a.rx_dropped -eq 0
	grew b.rx_dropped -eq 0
}

ask_around()
{
	local i

	for ((i = 0; i < 50; i++)); do
		ip -n "${NS[a]}" neigh flush dev "${DEV[a]}"
		ping_to a b 4 || { fail "no answer over IPv4"; return; }
		ping_to a b 6 || { fail "no answer over IPv6"; return; }
	done
}

# What allocations of more than a page are there in the driver's data path, or above
# it, that are not only a first try? (That one has __GFP_NORETRY.)
check_trace()
{
	local event=$TRACE/events/kmem/mm_page_alloc found lost was

	[[ -e $event/trigger ]] || { skip "no event kmem:mm_page_alloc"; return; }
	echo "stacktrace if order > 0" >$event/trigger || { skip "no stack traces"; return; }
	echo "order > 0" >$event/filter
	was=$(sed 's/ .*//' $TRACE/buffer_size_kb)	# "1408", or "7 (expanded: 1408)"
	echo 16384 >$TRACE/buffer_size_kb
	echo >$TRACE/trace
	echo 1 >$event/enable
	"$@"
	echo 0 >$event/enable
	lost=$(awk '/^overrun:/ { n += $2 } END { print n + 0 }' $TRACE/per_cpu/cpu*/stats)
	echo "!stacktrace if order > 0" >$event/trigger
	echo 0 >$event/filter
	# Each event on one line, with its stack
	found=$(awk '/mm_page_alloc:/ { if (event) print event; event = $0; next }
		     /=>/ && event { event = event $0 } END { print event }' $TRACE/trace |
		grep 'ipoib_' | grep -v __GFP_NORETRY)
	echo >$TRACE/trace
	echo "$was" >$TRACE/buffer_size_kb
	[[ -z $found ]] || fail "$(head -c 3000 <<<"$found")"
	expect "lost events" "$lost" -eq 0
}

all_ways()
{
	local way

	for way in write sendfile zerocopy; do
		tcp a b 4 -w $way
	done
	udp a b 4 10 65000
}

# What is wanted are big allocations that fail, but no shortage of pages
reserve()
{
	WAS_FREE=$(<$MIN_FREE)
	echo 65536 >$MIN_FREE
	echo 3 >/proc/sys/vm/drop_caches
}

# unreserve: whatever was going on, and keep the exit status
unreserve()
{
	local status=$?

	pressure off
	echo "$WAS_FREE" >$MIN_FREE
	return $status
}

stock_tx_dropped()
{
	cat "${SYSFS[b]}/class/net/${DEV[b]}/statistics/tx_dropped"
}

# The unmodified driver, as a control: it loses packets, and may not get on at all
stock_drops()
{
	local before out

	before=$(stock_tx_dropped)
	out=$(XFER_TIMEOUT=8 under_pressure tcp b a 4 -m) || echo "# $out"
	echo "# dropped by the unmodified sender: $(($(stock_tx_dropped) - before))"
	expect "dropped by the unmodified sender" "$(stock_tx_dropped)" -gt "$before"
	snap
}

[[ -e $FAIL/probability ]] || skip_all "this kernel has no fail_page_alloc"
sim || skip_all "needs ibdevsim, but IPOIB_IF is set"
need_stock
plan 35 "$ORDER0_MIB"
reserve
trap 'unreserve; cleanup' EXIT

for sge in 16 18 30; do
	ipoib_up patched-patched max_send_sge=$sge
	for agreed in 1 0; do
		what="$sge SGEs, agreed"
		if ((!agreed)); then
			what="$sge SGEs, not agreed"
			set_feature b rx off && reconnect
		fi
		expect_conn a tx granted=0x$agreed
		for way in write sendfile zerocopy; do
			run "$what: TCP, $way" check_tcp 4 -w $way
		done
		run "$what: UDP" check_udp 4
		run "$what: no bigger allocation" check_trace all_ways
	done
	ipoib_down
done

ipoib_up patched-patched max_send_sge=16
run "16 SGEs, enough memory" check_plenty
ipoib_down

ipoib_up patched-patched max_send_sge=4
run "4 SGEs, chunks of 16 KB" check_chunks
run "4 SGEs, single pages" check_too_small
ipoib_down

ipoib_up patched-patched
run "neighbours" check_neighbours
ipoib_down

ipoib_up patched-stock max_send_sge=16
run "the unmodified driver, as a control" stock_drops

finish
