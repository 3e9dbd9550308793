#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# One end does not want to leave checksums out, from the beginning or at any time:
#
#     namespace a                     namespace b
#   +-----------------+             +-----------------+
#   | patched IPoIB   |             | patched IPoIB   |
#   | ethtool -K: tx  |             | ethtool -K: rx  |
#   +-------+---------+             +-------+---------+
#           | ibdevsim0                     | ibdevsim1
#           +---------- ibdevsim -----------+

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

# Bytes per second of a stream: a few packets. 4 MiB last long enough for anything.
RATE=$((400000 / PATIENCE))

# What is marked from a to b: a condition of test
check_marked()
{
	tcp a b 4 -m && udp a b 6 10 2000,60000 || return
	snap
	grew a.tx_csum_marked "$@" || return
	grew b.rx_csum_marked -eq "$(delta a.tx_csum_marked)"
	grew b.rx_csum_bad_mark -eq 0
	no_csum_errors a b
}

# Each direction has its own connection, and its own answer
rx_off_from_the_start()
{
	set_feature b rx off && reconnect || return
	features b "rx-checksumming: off"
	expect_conn a tx offered=0x1 granted=0x0
	expect_conn b rx offered=0x1 granted=0x0
	expect_conn b tx offered=0x1 granted=0x1
	expect_conn a rx offered=0x1 granted=0x1
	check_marked -eq 0 || return
	grew a.tx_csum_sw_peer -ge $(((DATA_MIB << 20) / 65520))

	tcp b a 6 || return
	snap
	grew b.tx_csum_marked -ge $(((DATA_MIB << 20) / 65520))
	grew a.rx_csum_marked -eq "$(delta b.tx_csum_marked)"
	no_csum_errors a b
}

# Live connections stay as they are, new ones are granted
rx_on_again()
{
	set_feature b rx on || return
	expect_conn a tx granted=0x0
	reconnect || return
	expect_conn a tx offered=0x1 granted=0x1
	expect_conn b rx offered=0x1 granted=0x1
	check_marked -ge $(((DATA_MIB << 20) / 65520))
}

# The agreement stays as it is, the stack computes all checksums
tx_off()
{
	set_feature a tx off || return
	features a "tx-checksum-ipv4: off" "tx-checksum-ipv6: off"
	expect_conn a tx granted=0x1
	check_marked -eq 0
	grew a.tx_csum_sw_peer -eq 0
	grew a.tx_csum_sw_small -eq 0
}

more_than()
{
	(($(value "$1" "$2") > $3))
}

# grows SIDE NAME [N]: within ten seconds, by more than N
grows()
{
	wait_for 10000 more_than "$1" "$2" $(($(value "$1" "$2") + ${3:-0}))
}

# In the middle of a stream, and back, on the same connection
tx_off_at_once()
{
	local conn marked

	set_feature a tx on || return
	conn=$(conns a tx)
	tcp_start a b 4 -r $RATE || return
	grows a tx_csum_marked || fail "nothing is marked at first"

	set_feature a tx off
	# A packet may have been on its way through the driver
	grows a tx_packets 1
	marked=$(value a tx_csum_marked)
	grows a tx_packets 3 || fail "the stream stands still"
	expect "with tx off, marked packets" "$(value a tx_csum_marked)" -eq "$marked"

	set_feature a tx on
	grows a tx_csum_marked || fail "nothing is marked with tx on again"
	tcp_hurry
	tcp_finish
	snap
	no_csum_errors a b
	[[ $(conns a tx) == "$conn" ]] || fail "there was '$conn', now '$(conns a tx)'"
}

# In the middle of a stream: the connection is replaced, the stream goes on
rx_off_replaces()
{
	local qpn marked

	qpn=$(conns a tx)
	qpn=${qpn#*qpn=}
	qpn=${qpn%% *}
	tcp_start a b "$1" -r $RATE || return
	grows b rx_csum_marked || fail "nothing is marked at first"

	set_feature b rx off
	expect_conn a tx offered=0x1 granted=0x0
	# The old one is still there, for what is on its way
	expect "new connections" "$(count_conns b rx offered=0x1 granted=0x0)" -eq 1
	[[ $(conns a tx) != *"qpn=$qpn "* ]] || fail "the same connection: $(conns a tx)"
	# The other direction is another matter
	expect_conn b tx offered=0x1 granted=0x1

	marked=$(value a tx_csum_marked)
	tcp_hurry
	tcp_finish
	expect "with rx off, marked packets" "$(value a tx_csum_marked)" -eq "$marked"
	# Until the CM's TIMEWAIT is over
	wait_for 20000 conn_is b rx granted=0x0 ||
		fail "the old connection stays: $(conns b rx)"
	snap
	grew a.tx_csum_sw_peer -gt 0
	no_csum_errors a b
}

plan 7 4

ipoib_up patched-patched
run "receiver off before connecting" rx_off_from_the_start
run "receiver on again: for new connections" rx_on_again
run "sender off" tx_off
run "sender off and on during a TCP stream" tx_off_at_once
run "receiver off during a TCP stream, IPv4" rx_off_replaces 4
run "receiver on again" rx_on_again
run "receiver off during a TCP stream, IPv6" rx_off_replaces 6

finish
