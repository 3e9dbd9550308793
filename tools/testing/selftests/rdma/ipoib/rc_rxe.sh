#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# What all of IPoIB's offload rests on, by verbs alone: RC sends from many elements, and
# delivers what was sent whatever the wire does to packets, as a packet whose CRC does
# not match is refused and sent again:
#
#     namespace a                          namespace b
#   +----------------+                   +----------------+
#   | rc_sge         |  <-- messages --> | rc_sge         |
#   |   rxe_a        |                   |   rxe_b        |
#   |   veth-a       |                   |   veth-b       |
#   |   192.0.2.1/24 |                   |   192.0.2.2/24 |
#   +-------+--------+                   +-------+--------+
#           +--- netem: corrupt, lose, reorder --+
#
# On older kernels, such as 6.12, soft-RoCE knows the initial namespace only. Both ends are
# there then, and rules have what one sends to the other leave by its own interface.
#
# With RC_IF and RC_PEER_IF set, these two interfaces with RDMA devices are used; or
# those of IPOIB_IF and IPOIB_PEER_IF. Nothing can be corrupted there, so only the first
# case is run.
#
# IPoIB itself cannot run on soft-RoCE: it wants ports whose link layer is InfiniBand.

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

RC_SGE=$IPOIB_DIR/rc_sge
RC_IF=${RC_IF:-${IPOIB_IF:-}}
RC_PEER_IF=${RC_PEER_IF:-${IPOIB_PEER_IF:-}}

# RoCE packets with 4096 bytes of payload
MTU=4200
# ROCE_V2_UDP_DPORT, as /proc/net/udp shows it; and a routing table of that number
ROCE_PORT=12B7
TABLE=4791
# To have as many SGEs as the driver wants: the pages of 64 KB, and more
LEAST_SGE=16

INITIAL=''
declare -A SAID

real()
{
	[[ -n $RC_IF ]]
}

check_devices()
{
	local dev

	[[ -x $RC_SGE ]] ||
		skip_all "no rc_sge: it is built where libibverbs and librdmacm are, with headers"
	for dev in rdma tc; do
		command -v $dev >/dev/null || skip_all "no command $dev"
	done
	if real; then
		for dev in "$RC_IF" "$RC_PEER_IF"; do
			[[ -n $dev && -e /sys/class/net/$dev ]] ||
				skip_all "RC_IF or RC_PEER_IF: '$dev' is no interface"
		done
	else
		have_module rdma_rxe || skip_all "no module rdma_rxe"
		[[ ! -d /sys/module/rdma_rxe ]] || skip_all "rdma_rxe is in use: unload it"
	fi
	for dev in ib_uverbs rdma_ucm; do
		have_module $dev || skip_all "no module $dev"
	done
}

# Interfaces that vanish take their soft-RoCE with them
ipoib_down()
{
	local side module

	if real; then
		for side in "${!DEV[@]}"; do
			ip -n "${NS[$side]}" link set "${DEV[$side]}" netns 1
		done
	else
		ip -n "${NS[a]}" link del "${DEV[a]}" 2>/dev/null
	fi
	if [[ $INITIAL ]]; then
		# Whatever of it is there
		ip -n "$INITIAL" -force -batch - 2>/dev/null <<-END
			rule add pref 0 lookup local
			rule del pref 30
			rule del pref 20
			rule del pref 20
			rule del pref 10
			rule del pref 10
		END
		ip netns del "$INITIAL"
	fi
	for module in "${LOADED[@]}"; do
		unload "$module"
	done
}

# wire_up: the interfaces, in the namespaces of their sides
wire_up()
{
	if real; then
		DEV=([a]=$RC_IF [b]=$RC_PEER_IF)
		ip link set "$RC_IF" netns "${NS[a]}" &&
			ip link set "$RC_PEER_IF" netns "${NS[b]}"
		return
	fi
	DEV=([a]=veth-a [b]=veth-b)
	HCA=([a]=rxe_a [b]=rxe_b)
	ip link add veth-a mtu $MTU netns "${NS[a]}" type veth \
		peer name veth-b mtu $MTU netns "${NS[b]}"
}

# rxe_up: soft-RoCE at both ends. It must listen in these namespaces.
rxe_up()
{
	local side in

	for side in a b; do
		in=(ip netns exec "${NS[$side]}")
		"${in[@]}" rdma link add "${HCA[$side]}" type rxe netdev "${DEV[$side]}" &&
			"${in[@]}" grep -q ":$ROCE_PORT " /proc/net/udp || return
	done
}

# one_namespace: both ends in the initial one, which gets a name like others. What is
# for the address of an end goes over the wire, unless it has come by its interface.
one_namespace()
{
	ip -n "${NS[a]}" link del "${DEV[a]}"
	INITIAL=rc-initial
	ip netns attach $INITIAL 1 && NS=([a]=$INITIAL [b]=$INITIAL) && wire_up && rxe_up ||
		return
	ip -n $INITIAL -batch - <<-END
		rule add pref 10 to ${ADDR[a4]} iif ${DEV[a]} lookup local
		rule add pref 10 to ${ADDR[b4]} iif ${DEV[b]} lookup local
		rule add pref 20 to ${ADDR[a4]} lookup $TABLE
		rule add pref 20 to ${ADDR[b4]} lookup $TABLE
		rule add pref 30 lookup local
		rule del pref 0
	END
}

# addresses SIDE PEER: and where the other one is, so that nobody has to ask
addresses()
{
	local mac

	read -r mac < <(ip netns exec "${NS[$2]}" cat "/sys/class/net/${DEV[$2]}/address")
	ip -n "${NS[$1]}" -batch - <<-END || return
		address add ${ADDR[${1}4]}/24 dev ${DEV[$1]}
		link set ${DEV[$1]} up
	END
	real || ip -n "${NS[$1]}" neighbour add "${ADDR[${2}4]}" lladdr "$mac" \
		dev "${DEV[$1]}" nud permanent || return
	[[ ! $INITIAL ]] || ip -n "$INITIAL" route add "${ADDR[${2}4]}" dev "${DEV[$1]}" \
		src "${ADDR[${1}4]}" table $TABLE
}

rc_up()
{
	local side ns_a='' ns_b=''

	for side in ib_uverbs rdma_ucm; do
		load $side || bail_out "cannot load $side"
	done
	setup_ns ns_a ns_b || bail_out "no namespaces"
	NS=([a]=$ns_a [b]=$ns_b)
	wire_up || bail_out "no interfaces"
	if ! real; then
		load rdma_rxe || bail_out "cannot load rdma_rxe"
		rxe_up || one_namespace || bail_out "cannot set up soft-RoCE"
	fi
	addresses a b || bail_out "cannot set up ${DEV[a]}"
	addresses b a || bail_out "cannot set up ${DEV[b]}"
	for side in a b; do
		enter $side || bail_out "no shell in ${NS[$side]}"
	done
	for side in a b; do
		wait_for 10000 has_carrier $side || bail_out "no carrier on ${DEV[$side]}"
	done
	wait_for 10000 ping_to a b 4 || bail_out "no connectivity"
	[[ ! $INITIAL ]] || comment <<<"soft-RoCE knows no other than the initial namespace"
	snap
}

# netem [PARAMETER...]: what the wire does from now on, in both directions
netem()
{
	local side

	for side in a b; do
		tc -n "${NS[$side]}" qdisc del dev "${DEV[$side]}" root 2>/dev/null
		(($# == 0)) || tc -n "${NS[$side]}" qdisc add dev "${DEV[$side]}" root \
			netem limit 100000 "$@" || return
	done
}

# grown COUNTER: at both ends, since the last but one snap
grown()
{
	echo $(($(delta "a.hca_$1") + $(delta "b.hca_$1")))
}

# udp_in: the UDP packets that have come in, at both ends. What soft-RoCE refuses it does
# not count, but these do. In the initial namespace, so does what others get.
udp_in()
{
	local n

	n=$(delta b.UdpInDatagrams)
	[[ $INITIAL ]] || n=$((n + $(delta a.UdpInDatagrams)))
	echo "$n"
}

# exchange COUNT: so many in each direction, on one connection. What its ends said is in
# SAID.
exchange()
{
	local args=(-n "$1" -r "$PORT" -t $((120 * PATIENCE))) side

	PORT=$((PORT + 1))
	start b "$RC_SGE" -N "${NS[b]}" "${args[@]}" listen "${ADDR[b4]}" $PORT || return
	if ! start a "$RC_SGE" -N "${NS[a]}" "${args[@]}" connect "${ADDR[b4]}" $PORT; then
		kill "${PID[b]}"
		return 1
	fi
	for side in a b; do
		reap $side
		SAID[$side]=$REPLY
	done
}

# gave_up: soft-RoCE breaks a connection as soon as it cannot queue a packet, such as for
# want of memory. All that was delivered until then was right.
gave_up()
{
	! real && [[ ${SAID[*]} == *"local QP operation error"* && ${SAID[*]} != *"wrong from"* ]]
}

# messages COUNT: and each is what was sent
messages()
{
	local side i

	exchange "$1" || return
	for ((i = 0; i < 2; i++)); do
		gave_up || break
		comment <<<"on another connection, as: ${SAID[*]}"
		snap
		exchange "$1" || return
	done
	for side in a b; do
		[[ ${SAID[$side]} == *"messages=$1 "*" bad=0"* ]] ||
			fail "rc_sge of $side: ${SAID[$side]}"
	done
	snap
	[[ ${SAID[b]} =~ max_sge=([0-9]+) ]] && MAX_SGE=${BASH_REMATCH[1]}
}

# Nothing is refused, but what may come when its connection is gone already
clean()
{
	messages 200
	expect "elements" "$MAX_SGE" -ge $LEAST_SGE
	! real || return 0
	expect "packets refused" $(($(udp_in) - $(grown rcvd_pkts))) -le 2
}

# wire LEAST NETEM-PARAMETER...: while it does that; REFUSED packets
wire()
{
	netem "${@:2}" || fail "no netem" || return
	messages "$1"
	netem
	REFUSED=$(($(udp_in) - $(grown rcvd_pkts)))
	comment <<-END
		sent $(grown sent_pkts), came in $(udp_in), refused $REFUSED,
		out of order $(grown out_of_seq_request), duplicate $(grown duplicate_request),
		sent again $(grown completer_retry_err)
	END
}

# corrupted COUNT PERCENT LEAST: so many packets came with a wrong CRC
corrupted()
{
	wire "$1" corrupt "$2" || return
	expect "packets refused" "$REFUSED" -ge "$3"
	expect "sent again" "$(grown completer_retry_err)" -ge 1
}

# unreliable COUNTER NETEM-PARAMETER...: the wire does that, and COUNTER tells
unreliable()
{
	wire 200 "${@:2}" || return
	expect "$1" "$(grown "$1")" -ge 1
}

# The control: it is payload that such a wire corrupts, and UDP without a checksum lets
# it through, from first to last byte
udp_corrupted()
{
	local args=(-n 1000 -s 4000 -t $((60 * PATIENCE)) -v) line far=0 all=0

	netem corrupt "$1" || fail "no netem" || return
	PORT=$((PORT + 1))
	start receiver "$XFER" -N "${NS[b]}" "${args[@]}" udp-recv "${ADDR[b4]}" $PORT || return
	"$XFER" -N "${NS[a]}" -c "${args[@]}" udp-send "${ADDR[b4]}" $PORT
	netem
	# It comes last
	wait_for 5000 ping_to a b 4 || fail "no connectivity"
	kill -ALRM "${PID[receiver]}" 2>/dev/null
	reap receiver
	snap
	while read -r line; do
		[[ $line == "wrong byte "* ]] || continue
		all=$((all + 1))
		((${line##* } <= 1000)) || far=$((far + 1))
	done <<<"$REPLY"
	comment <<<"${REPLY##*$'\n'received}: $all wrong bytes, $far beyond 1000"
	expect "wrong bytes beyond 1000" "$far" -ge 10
}

# run_soft: same as run, for what needs a wire to break
run_soft()
{
	if real; then
		run "$1" skip "the wire between real devices is not ours to break"
	else
		run "$@"
	fi
}

plan 9

rc_up
run "clean wire" clean
run_soft "0.1 % of packets corrupted" corrupted 1000 0.1% 1
run_soft "1 % of packets corrupted" corrupted 200 1% 10
run_soft "5 % of packets corrupted" corrupted 200 5% 50
run_soft "UDP without checksums, 5 % corrupted: bad data" udp_corrupted 5%
run_soft "packets lost" unreliable completer_retry_err loss 1%
run_soft "packets twice" unreliable duplicate_request duplicate 5%
run_soft "packets out of order" unreliable out_of_seq_request delay 20ms reorder 98%
run_soft "all of it" unreliable completer_retry_err \
	corrupt 1% loss 1% duplicate 1% delay 20ms reorder 98%

finish
