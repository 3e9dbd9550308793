#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# A peer that sends what nobody should send, on a connection where checksums may be left
# out. It is a, where rawmsg sends messages behind the encapsulation header of the
# driver, and ibdevsim cuts that off. b has to drop and count them, and to be well:
#
#     namespace a                     namespace b
#   +----------------+              +----------------+
#   | rawmsg         |              |                |
#   | patched IPoIB  |  anything -> | patched IPoIB  |
#   +-------+--------+              +-------+--------+
#           | ibdevsim0                     | ibdevsim1
#           +--- ibdevsim, with faults -----+
#
# Warnings are up to whoever reads the kernel log.

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

RAWMSG=$IPOIB_DIR/rawmsg

# As many as come
ALL=1000000000

# The halves of the encapsulation header: ethertype, and the mark and all the others of
# the reserved bits
IP=0800 IP6=86dd
MARK=8000 OTHERS=7fff BOTH=ffff

# Protocols, and headers of some: ports are 9, lengths 8
ICMP=01 TCP=06 UDP=11 DSTOPTS=3c FRAGMENT=2c
UDP_HDR=0009000900080000
TCP_HDR=0009000900000000000000005002000000000000
ZEROS=000000000000000000000000000000000000000000000000

# ip4 PROTOCOL [FIRST-BYTE [FRAGMENT]]: the header of a packet from a to b
ip4()
{
	echo "${2:-45}0000640000${3:-0000}40${1}0000c0000201c0000202"
}

# ip6 NEXT-HEADER
ip6()
{
	echo "600000000040${1}4020010db800000000000000000000000120010db8000000000000000000000002"
}

# What the neighbours are is settled. No message is about that.
fix_neighbours()
{
	local side peer how

	for side in a b; do
		peer=b
		[[ $side == a ]] || peer=a
		read -r LLADDR <"${SYSFS[$side]}/class/net/${DEV[$side]}/address"
		how="lladdr $LLADDR dev ${DEV[$peer]} nud permanent"
		ip -n "${NS[$peer]}" -batch - <<-END || return
			neighbour replace ${ADDR[${side}4]} $how
			neighbour replace ${ADDR[${side}6]} $how
		END
	done
}

# taken: how many messages b has taken up to now, whatever became of them
taken()
{
	local name value sum=0

	# Not those in sysfs, which have what the stack has dropped, too
	while read -r name value; do
		case ${name%:} in
		rx_packets|rx_dropped|rx_length_errors) sum=$((sum + value)) ;;
		esac
	done < <(values b)
	echo $sum
}

# raw RAWMSG-ARGUMENT...: have b take messages. How many of these have marks is in MARKS.
raw()
{
	local out before sent short errors=${NOW[b.rx_length_errors]}

	before=$(taken)
	knob a truncate rc $ALL $ALL 4
	out=$("$RAWMSG" -N "${NS[a]}" -i "${DEV[a]}" -d "$LLADDR" "$@" 2>&1)
	[[ $out =~ ^sent=([0-9]+)\ marked=([0-9]+)\ short=([0-9]+)$ ]] ||
		fail "rawmsg: $out" || return
	sent=${BASH_REMATCH[1]} MARKS=${BASH_REMATCH[2]} short=${BASH_REMATCH[3]}
	wait_for 20000 until_counter_is ">= $((before + sent))" taken
	# Answers are among these
	wait_for 5000 until_counter_is ">= $((errors + short))" value b rx_length_errors
	knob a truncate_rc 0
	snap
	grew b.rx_length_errors -eq "$short"
	grew b.rx_dropped -eq "$(delta b.rx_csum_bad_mark)"
}

# marks GOOD BAD: what b found out about those
marks()
{
	expect "marks sent" "$MARKS" -eq $(($1 + $2))
	grew b.rx_csum_marked -eq "$1"
	grew b.rx_csum_bad_mark -eq "$2"
	check_sane
}

too_short()
{
	local len

	raw "" 08 0800 080080
	marks 0 0
	# The UD QP of b
	for len in 0 1 2 3; do
		knob a truncate ud $len $ALL
		ask a "${PING[@]}" -b -c 1 -W 0.1 192.0.2.255 >/dev/null
	done
	until_grew b rx_length_errors 4
	knob a truncate_ud 0
	snap
	grew b.rx_length_errors -ge 4
	check_sane
}

# What has no TCP or UDP checksum. 0 is hop-by-hop options of IPv6, 0x33 the
# authentication header.
protocols()
{
	local proto messages=()

	for proto in 00 $ICMP 02 04 29 2f 32 33 3a 3b 84 88 ff; do
		messages+=("$IP$MARK$(ip4 "$proto")$ZEROS"
			   "$IP6$MARK$(ip6 "$proto")$ZEROS")
	done
	raw "${messages[@]}"
	marks 0 ${#messages[@]}
}

fragments()
{
	local header messages=() i

	for header in $UDP$UDP_HDR $TCP$TCP_HDR; do
		for i in 2000 0001 3fff 1fff; do
			messages+=("$IP$MARK$(ip4 "${header:0:2}" 45 $i)${header:2}$ZEROS")
		done
		for i in 0001 0008 fff8 fff9; do
			i=${header:0:2}00${i}00000001${header:2}
			messages+=("$IP6$MARK$(ip6 $FRAGMENT)$i")
		done
	done
	raw "${messages[@]}"
	marks 0 ${#messages[@]}
}

# All that is cut off before the end of the last header
cut_headers()
{
	local message messages=() i

	for message in "$(ip4 $UDP)$UDP_HDR" "$(ip4 $TCP)$TCP_HDR"; do
		for ((i = 0; i < ${#message}; i += 2)); do
			messages+=("$IP$MARK${message:0:i}")
		done
	done
	for message in "$(ip6 $UDP)$UDP_HDR" "$(ip6 $TCP)$TCP_HDR" \
		"$(ip6 $DSTOPTS)${UDP}00000000000000$UDP_HDR"; do
		for ((i = 0; i < ${#message}; i += 2)); do
			messages+=("$IP6$MARK${message:0:i}")
		done
	done
	raw "${messages[@]}"
	marks 0 ${#messages[@]}
}

# An IPv4 header that says it is longer than it is, up to the end of the packet and
# beyond. If it says it is shorter, that is for the IP layer to find.
header_length()
{
	local i long=() short=()

	for i in 6 7 8 9 a b c d e f; do
		long+=("$IP$MARK$(ip4 $UDP 4$i)$UDP_HDR" "$IP$MARK$(ip4 $TCP 4$i)$TCP_HDR")
	done
	for i in 0 1 2 3 4; do
		short+=("$IP$MARK$(ip4 $UDP 4$i)$UDP_HDR" "$IP$MARK$(ip4 $TCP 4$i)$TCP_HDR")
	done
	raw "${long[@]}" "${short[@]}"
	marks ${#short[@]} ${#long[@]}
}

# Of all that say there is a UDP packet one is right, and the other bits do not matter
ethertypes()
{
	raw -e "0000$BOTH$(ip4 $UDP)$UDP_HDR"
	marks 1 65535
}

# Up to the network stack
ethertypes_without_mark()
{
	raw -e "0000$OTHERS$(ip4 $UDP)$UDP_HDR"
	grew b.rx_packets -ge 65536
	marks 0 0
}

# Something of everything
RANDOM_MESSAGES=(
	"$IP$MARK$(ip4 $UDP)$UDP_HDR"
	"$IP$MARK$(ip4 $TCP)$TCP_HDR"
	"$IP$BOTH$(ip4 $UDP 46)01010100$UDP_HDR"
	"$IP$OTHERS$(ip4 $ICMP)0800f7ff00000000"
	"$IP$MARK$(ip4 $UDP 45 2000)$UDP_HDR"
	"$IP6$MARK$(ip6 $UDP)$UDP_HDR"
	"$IP6$MARK$(ip6 $TCP)$TCP_HDR"
	"$IP6$MARK$(ip6 00)${TCP}00050200000100$TCP_HDR"
	"$IP6$MARK$(ip6 $DSTOPTS)${UDP}00000000000000$UDP_HDR"
	"$IP6$MARK$(ip6 $FRAGMENT)${UDP}00000000000001$UDP_HDR"
	"$IP6$MARK$(ip6 $FRAGMENT)${UDP}00000100000001$UDP_HDR"
	"0806$OTHERS$ZEROS"
	"8100${MARK}00010800$(ip4 $UDP)$UDP_HDR"
	"$BOTH$BOTH$ZEROS$ZEROS"
)

# random N: of many that are accepted none does any harm
random()
{
	raw -r "$1" "${RANDOM_MESSAGES[@]}"
	grew b.rx_csum_marked -gt $(($1 / 20))
	grew b.rx_csum_bad_mark -gt $(($1 / 20))
	marks "$(delta b.rx_csum_marked)" "$(delta b.rx_csum_bad_mark)"
}

# random_reflected N: a hears all that on the connection that it opened. No mark counts.
random_reflected()
{
	knob b reflect $ALL
	raw -r "$1" "${RANDOM_MESSAGES[@]}"
	knob b reflect 0
	grew a.hca_reflected -gt $(($1 / 2))
	grew a.rx_packets -gt $(($1 / 2))
	grew a.rx_length_errors -gt 0
	grew a.rx_csum_marked -eq 0
	grew a.rx_csum_bad_mark -eq 0
	snap
	check_sane
}

# It is still heard while it is closed
closed_reflected()
{
	local i pid

	on a "${PING[@]}" -i 0.002 -s 9000 "${ADDR[b4]}" >/dev/null 2>&1 &
	pid=$!
	for ((i = 0; i < 2; i++)); do
		knob b reflect $ALL
		wait_for 5000 until_counter_is ">= 100" value a hca_reflected
		reconnect || break
		fix_neighbours
	done
	kill $pid
	wait $pid
	knob b reflect 0
	snap
	check_sane
}

# It takes a packet to open a new connection
replaced()
{
	ping_to a b 4 && conn_is a tx granted=0x0
}

# Where nothing was agreed on, no mark has a meaning
random_not_agreed()
{
	set_feature b rx off
	wait_for 10000 replaced || fail "as before: $(conns a tx)" || return
	raw -r "$1" "${RANDOM_MESSAGES[@]}"
	MARKS=0
	marks 0 0
}

sim || skip_all "needs ibdevsim, but IPOIB_IF is set"
plan 11 1

ipoib_up patched-patched
fix_neighbours || bail_out "cannot set neighbours"
run "messages of 0 to 3 bytes" too_short
run "marks on other protocols than TCP and UDP" protocols
run "marks on fragments" fragments
run "marks on headers cut off anywhere" cut_headers
run "marks on lying IPv4 header lengths" header_length
run "marks on every ethertype, all reserved bits" ethertypes
run "every ethertype, other reserved bits only" ethertypes_without_mark
run "100,000 random headers" random 100000
run "random headers, sent back to us" random_reflected 20000
run "what is sent back while the connection is closed" closed_reflected
run "random headers, nothing agreed on" random_not_agreed 10000

finish
