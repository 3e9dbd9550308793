#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# The risk that goes with the offload: what is corrupted where no CRC covers it, such as
# in the memory of an HCA, is delivered where checksums were left out, and nobody notices.
# Without the offload, the checksum of TCP or UDP does:
#
#     namespace a                     namespace b
#   +----------------+              +----------------+
#   | patched IPoIB  |    data ->   | patched IPoIB  |
#   +-------+--------+              +-------+--------+
#           | ibdevsim0                     | ibdevsim1
#           +--- ibdevsim, which tampers ---+
#
# It is like that with any NIC's checksum offload. "ethtool -K IF tx off rx off" is for
# who does not want to rely on the HCA.

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

# So many packets have one bit flipped there, among the data of TCP and UDP
PACKETS=3
OFFSET=2000
MASK=0x10

# connections GRANTED: what the one from a to b is to be like
connections()
{
	reconnect || return
	expect_conn a tx granted="$1"
}

# damage COMMAND...: while the HCA damages packets
damage()
{
	knob a tamper rc "$OFFSET" $MASK $PACKETS
	"$@"
	expect "packets yet to tamper with" \
		"$(</sys/kernel/debug/ibdevsim/"${HCA[a]}"/tamper_rc)" -eq 0
	knob a tamper rc 0 0 0
	snap
}

tcp_any()
{
	tcp_start a b "$1" && tcp_wait
}

# udp_any VERSION SIZE: five datagrams; in REPLY is how many arrive, and how many are bad
udp_any()
{
	local args=(-n 5 -s "$2" -v) to=${ADDR[b$1]}

	PORT=$((PORT + 1))
	start receiver "$XFER" -N "${NS[b]}" "${args[@]}" udp-recv "$to" $PORT || return
	"$XFER" -N "${NS[a]}" "${args[@]}" udp-send "$to" $PORT
	# It comes last
	wait_for 5000 ping_to a b "$1" || fail "no connectivity"
	kill -ALRM "${PID[receiver]}" 2>/dev/null
	reap receiver
}

# Flipped bits arrive, with nothing to tell. Packets may also have been sent twice.
tcp_corrupted()
{
	local wrong

	connections 0x1 || return
	damage tcp_any "$1" || return
	wrong=$(cmp -l "$TMP/data" "$TMP/received" | wc -l)
	expect "wrong bytes that the application got" "$wrong" -ge 1
	expect "wrong bytes that the application got" "$wrong" -le $PACKETS
	[[ $(sha256sum <"$TMP/received") != "$DATA_SUM" ]] || fail "SHA-256 is the same"
	no_csum_errors a b
	grew b.rx_csum_marked -ge 1
}

udp_corrupted()
{
	connections 0x1 || return
	damage udp_any "$1" 4000 || return
	[[ $REPLY == *"received 2 datagrams of 5, $PACKETS bad"* ]] || fail "UDP: $REPLY"
	no_csum_errors a b
	grew b.rx_csum_marked -eq 5
}

declare -A UDP_ERRORS=([4]=UdpInCsumErrors [6]=Udp6InCsumErrors)

# noticed GRANTED VERSION: the damage is counted, and made up for by TCP
noticed()
{
	connections "$1" || return
	damage tcp a b "$2"
	grew b.TcpInCsumErrors -eq $PACKETS
	grew b.rx_csum_marked -eq 0
	damage udp_any "$2" 4000
	[[ $REPLY == *"received 2 datagrams of 5, 0 bad"* ]] || fail "UDP: $REPLY"
	grew "b.${UDP_ERRORS[$2]}" -eq $PACKETS
}

sender_off()
{
	set_feature a tx off
	noticed 0x1 "$1"
	set_feature a tx on
}

receiver_off()
{
	set_feature b rx off
	noticed 0x0 "$1"
	set_feature b rx on
}

# What is below the limit has a checksum whatever was agreed on
small()
{
	local OFFSET=200

	connections 0x1 || return
	damage udp_any 4 $((CSUM_MIN - 29))
	[[ $REPLY == *"received 2 datagrams of 5, 0 bad"* ]] || fail "UDP: $REPLY"
	grew b.UdpInCsumErrors -eq $PACKETS
	grew b.rx_csum_marked -eq 0
}

sim || skip_all "needs ibdevsim, but IPOIB_IF is set"
plan 9 1

ipoib_up patched-patched
for v in 4 6; do
	run "agreed, TCP over IPv$v: corrupted data, unnoticed" tcp_corrupted $v
	run "agreed, UDP over IPv$v: corrupted data, unnoticed" udp_corrupted $v
	run "tx off, IPv$v: noticed, TCP data intact" sender_off $v
	run "rx off, IPv$v: noticed, TCP data intact" receiver_off $v
done
run "agreed, packets below the limit: noticed" small

finish
