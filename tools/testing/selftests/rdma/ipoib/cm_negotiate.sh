#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# What two ends agree on, whatever either says in the private data of the CM, has
# switched off, or has not heard:
#
#     namespace a                     namespace b
#   +----------------+  REQ ---->   +----------------+
#   | patched IPoIB  |  <---- REP   | patched IPoIB  |
#   |                |  RTU ---->   |                |
#   +-------+--------+              +-------+--------+
#           | ibdevsim0                     | ibdevsim1
#           +-- ibdevsim: tamper and drop --+
#
# cm_stock_peer.sh has the unmodified driver at one end.

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

# IDs of these messages, as attributes of a MAD, and where in the MAD the second half
# of IPoIB's private data is
declare -A ID=([req]=0x10 [rep]=0x13 [rtu]=0x14) EXTENSION=([req]=172 [rep]=68)

# What this driver has there: magic, capabilities
MAGIC=49434d31
OURS=${MAGIC}00000001

# For as long as it takes
ALL=1000000
# Bytes per second of a stream: it lasts until it is told to hurry
RATE=100000

# traffic FROM TO VERSION...: TCP and UDP arrive; what is marked is what goes over
# these versions of IP
traffic()
{
	local from=$1 to=$2 versions
	shift 2
	versions=$#

	udp "$from" "$to" 4 5 4096 && udp "$from" "$to" 6 5 4096 || return
	snap
	grew "$from.tx_csum_marked" -eq $((5 * versions))
	grew "$to.rx_csum_marked" -eq $((5 * versions))
	tcp "$from" "$to" 6 -m || return
	snap
	if ((versions)); then
		grew "$from.tx_csum_marked" -ge $(((DATA_MIB << 20) / 65520))
	else
		grew "$from.tx_csum_marked" -eq 0
	fi
	grew "$to.rx_csum_marked" -eq "$(delta "$from.tx_csum_marked")"
	grew "$to.rx_csum_bad_mark" -eq 0
	no_csum_errors a b
}

# agreed FROM TO GRANTED [OFFERED]: both ends show it, and TO has seen OFFERED
agreed()
{
	expect_conn "$1" tx offered=0x1 granted="$3"
	expect_conn "$2" rx offered="${4:-0x1}" granted="$3"
}

# says SIDE req|rep HEX: what others read there instead, for 8 bytes
says()
{
	local mask bytes='' i

	printf -v mask %016x $((0x$3 ^ 0x$OURS))
	for ((i = 14; i >= 0; i -= 2)); do
		bytes+=${mask:i:2}
	done
	knob "$1" gsi_attr "${ID[$2]}"
	knob "$1" tamper gsi "${EXTENSION[$2]}" "0x$bytes" $ALL
}

# req HEX OFFERED GRANTED VERSION...: b asks for a connection with that. These versions
# of IP are marked then.
req()
{
	says b req "$1"
	reconnect || return
	knob b tamper_gsi 0
	agreed b a "$3" "$2"
	# The other direction is another matter
	agreed a b 0x1
	traffic b a "${@:4}"
}

# rep HEX GRANTED VERSION...: b answers with that. What it is worth is up to a.
rep()
{
	says b rep "$1"
	reconnect || return
	knob b tamper_gsi 0
	expect_conn a tx offered=0x1 granted="$2"
	traffic a b "${@:3}"
}

# What the receiver has switched off decides for one direction
receiver_off()
{
	set_feature a rx off
	reconnect || return
	agreed b a 0x0
	agreed a b 0x1
	traffic b a
	traffic a b 4 6
	set_feature a rx on
}

# What the sender has is its own affair
sender_off()
{
	reconnect || return
	set_feature a tx off
	set_feature b tx-checksum-ipv4 off
	agreed a b 0x1
	agreed b a 0x1
	traffic a b
	traffic b a 6
	set_feature a tx on
	set_feature b tx-checksum-ipv4 on
}

# drop SIDE req|rep|rtu: the next one, with all of them
drop()
{
	knob "$1" gsi_attr "${ID[$2]}"
	knob "$1" drop gsi 1
	reconnect || return
	expect "messages yet to drop" \
		"$(</sys/kernel/debug/ibdevsim/"${HCA[$1]}"/drop_gsi)" -eq 0
	agreed a b 0x1
	agreed b a 0x1
	expect "connections from a" "$(count_conns b rx)" -eq 1
}

# It comes when it is asked for again, after seconds
rep_lost()
{
	drop b rep && traffic a b 4 6
}

# Nothing waits for it but b's CM. That cannot close the connection yet.
rtu_lost()
{
	local file=/sys/kernel/debug/ibdevsim/${HCA[a]}/drop_gsi

	knob a gsi_attr "${ID[rtu]}"
	knob a drop gsi $ALL
	{ reconnect && agreed a b 0x1 && traffic a b 4 6; } || fail "no agreement without"
	set_feature b rx off
	wait_for 10000 ping_to a b 4
	agreed a b 0x0
	traffic a b
	expect "RTUs lost" $((ALL - $(<"$file"))) -ge 2
	knob a drop gsi 0
	set_feature b rx on
}

# A connection that is there when rx is off, or is asked for in the meantime, and
# was granted what it offered, is replaced. Pings ask for a new one at once.
race()
{
	local i pid

	tcp_start a b 4 -r $RATE || return
	on a "${PING[@]}" -i 0.002 "${ADDR[b4]}" >/dev/null &
	pid=$!
	for ((i = 0; i < 15; i++)); do
		set_feature b rx off
		set_feature b rx on
	done
	set_feature b rx off
	tcp_hurry
	tcp_finish

	expect_conn a tx offered=0x1 granted=0x0
	kill $pid
	wait $pid
	snap
	grew b.rx_csum_bad_mark -eq 0
	no_csum_errors a b
	traffic a b
	# Until the CM's TIMEWAIT is over
	wait_for 20000 conn_is b rx granted=0x0 || fail "an old connection stays"
	set_feature b rx on
}

plan 15 1

ipoib_up patched-patched
run_sim "REQ that offers more than we know" \
	req ${MAGIC}ffffffff 0xffffffff 0x1 4 6
run_sim "REQ that offers only what we do not know" \
	req ${MAGIC}fffffffe 0xfffffffe 0x0
run_sim "REQ with the magic and no capability" req ${MAGIC}00000000 0x0 0x0
run_sim "REQ with another magic" req 49434d3000000001 0x0 0x0
run_sim "REQ with junk" req 314d4349ffffffff 0x0 0x0
run_sim "REQ with a vendor's extension" req 2211000100000001 0x0 0x0
run_sim "REP that grants more than was offered" rep ${MAGIC}ffffffff 0x1 4 6
run_sim "REP that grants only what was not offered" rep ${MAGIC}fffffffe 0x0
run_sim "REP with another magic" rep 4943ad3100000001 0x0
run_sim "REP with a vendor's extension" rep 2211000100000001 0x0
run "receiver off" receiver_off
run "sender off, sender off for IPv4" sender_off
run_sim "lost REP" rep_lost
run_sim "lost RTUs" rtu_lost
run "REQs that race with the receiver switched off" race

finish
