#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# What can go wrong below and beside the driver. Each time, connections are back within
# ten seconds, streams survive, counters tell what it was, and nothing is left over:
#
#     namespace a                     namespace b
#   +----------------+              +----------------+
#   | patched IPoIB  |    -> X ->   | patched IPoIB  |
#   +-------+--------+              +-------+--------+
#           | ibdevsim0                     | ibdevsim1
#           +--- ibdevsim, with faults -----+

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

# For as long as it takes
ALL=1000000
# Bytes per second of a stream: it lasts until it is told to hurry
RATE=$((200000 / PATIENCE))
ROUNDS=15

GRACE=/sys/module/ibdevsim/parameters/rnr_grace_us
KMEMLEAK=/sys/kernel/debug/kmemleak

# One connection each way, and nothing of older ones
only_one_each()
{
	local side what

	for side in a b; do
		for what in tx rx; do
			(($(count_conns $side $what) == 1)) &&
				conn_is $side $what offered=0x1 granted=0x1 || return
		done
	done
}

recovers()
{
	wait_for 10000 ping_to a b 4 && wait_for 10000 ping_to b a 6 ||
		fail "no connection within 10 seconds" || return
	wait_for 10000 only_one_each ||
		fail "there is, at a: $(conns a), at b: $(conns b)"
	snap
	check_sane
}

# stream COMMAND...: what breaks the connection, during a stream
stream()
{
	local conn

	conn=$(conns a tx)
	tcp_start a b 4 -r $RATE || return
	wait_for 10000 until_counter_is "> $(value b rx_packets)" value b rx_packets
	snap
	"$@"
	wait_for 10000 until_counter_is "> ${NOW[a.tx_csum_marked]}" value a tx_csum_marked ||
		fail "the stream stands still"
	tcp_hurry
	tcp_finish
	[[ $(conns a tx) != "$conn" ]] || fail "the connection is still '$conn'"
	snap
	no_csum_errors a b
}

# It is the end of the connection
lost()
{
	stream knob a "$1" rc 1 || return
	grew a.hca_retry_exc_err -eq 1
	[[ $1 != corrupt ]] || grew b.hca_rx_icrc_error -eq 1
	recovers
}

# The neighbour has to be asked for again. Nothing else notices.
lost_ud()
{
	local conn

	conn=$(conns a tx)
	snap
	knob a corrupt ud 1
	ip -n "${NS[a]}" neighbour flush dev "${DEV[a]}"
	wait_for 10000 ping_to a b 4 || fail "no answer within 10 seconds"
	snap
	grew b.hca_rx_icrc_error -eq 1
	[[ $(conns a tx) == "$conn" ]] || fail "there was '$conn', now '$(conns a tx)'"
	recovers
}

# A receive comes in time
rnr_in_time()
{
	local conn pid

	conn=$(conns a tx)
	snap
	echo $((3000000 * PATIENCE)) >"$GRACE"
	knob b starve 1
	on a "${PING[@]}" -c 1 -W $((20 * PATIENCE)) "${ADDR[b4]}" >/dev/null &
	pid=$!
	wait_for 10000 until_counter_is "> ${NOW[a.hca_rnr_wait]}" value a hca_rnr_wait ||
		fail "nothing waits for a receive"
	knob b starve 0
	wait $pid || fail "no answer"
	echo "$GRACE_US" >"$GRACE"
	snap
	grew a.hca_rnr_nak_retry_err -eq 0
	[[ $(conns a tx) == "$conn" ]] || fail "there was '$conn', now '$(conns a tx)'"
	recovers
}

starve()
{
	echo 1000 >"$GRACE"
	knob b starve 1
	wait_for 10000 until_counter_is "> ${NOW[a.hca_rnr_nak_retry_err]}" \
		value a hca_rnr_nak_retry_err || fail "no receive is missing"
	knob b starve 0
	echo "$GRACE_US" >"$GRACE"
}

# None does
rnr()
{
	stream starve || return
	grew a.hca_rnr_nak_retry_err -ge 1
	grew a.hca_retry_exc_err -eq 0
	recovers
}

# silence COUNT KIND...: nothing of this kind goes from one to the other any more
silence()
{
	local kind

	for kind in "${@:2}"; do
		knob a drop "$kind" "$1"
		knob b drop "$kind" "$1"
	done
}

# What b knew is gone, and nobody has told a
vanish()
{
	silence $ALL rc ud gsi
	ip -n "${NS[b]}" link set "${DEV[b]}" down
	ping_to a b 4 && fail "who has answered?"
	silence 0 rc ud gsi
	ip -n "${NS[b]}" link set "${DEV[b]}" up
}

# What b would have closed stays at a until it is stale, or the interface goes down
gone()
{
	stream vanish || return
	grew a.hca_retry_exc_err -ge 1
	reconnect || return
	recovers
}

pause()
{
	silence $ALL rc ud
	ping_to a b 4 && fail "who has answered?"
	ping_to b a 4 && fail "who has answered?"
	silence 0 rc ud
}

# Nobody has vanished, but nothing comes through for a while
cut_off()
{
	stream pause || return
	grew a.hca_retry_exc_err -ge 1
	recovers
}

# The connections are gone with it. What peers would close they do not reach: as above.
other_lid()
{
	local lid

	lid=$(<"/sys/class/infiniband/${HCA[$1]}/ports/1/lid")
	stream knob "$1" lid $((lid + 100)) || return
	ip -n "${NS[$1]}" link set "${DEV[$1]}" down
	ip -n "${NS[$1]}" link set "${DEV[$1]}" up
	recovers
}

# inject COUNT: so many allocations on the data path, which cannot wait, fail
inject()
{
	local dir

	for dir in "${INJECT[@]}"; do
		echo 1 >"$dir/ignore-gfp-wait"
		echo 0 >"$dir/verbose"
		echo "$1" >"$dir/times"
		[[ ! -e $dir/min-order ]] || echo 0 >"$dir/min-order"
		echo $(($1 ? 100 : 0)) >"$dir/probability"
	done
}

# TCP sends again what was lost that way
no_memory()
{
	local INJECT=(/sys/kernel/debug/"$1")

	[[ -d ${INJECT[0]} ]] || { skip "this kernel has no fault injection ($1)"; return; }
	if [[ $1 == failslab ]]; then
		# What else fails may be a shell
		echo 1 >/sys/kernel/slab/skbuff_head_cache/failslab &&
			echo Y >"${INJECT[0]}/cache-filter" || return
	fi
	tcp_start a b 4 -r $RATE || return
	wait_for 10000 test -s "$TMP/received" || fail "the stream does not flow"
	snap
	# Others are hit as well, and maybe first
	inject $ALL
	until_grew b rx_dropped 1
	inject 0
	tcp_hurry
	tcp_finish
	snap
	grew b.rx_dropped -ge 1
	no_csum_errors a b
	recovers
}

# Without an SRQ, there is no pool of pages that are used again.
no_pages()
{
	ipoib_down
	ipoib_up patched-patched srq=0
	no_memory fail_page_alloc
	ipoib_down
	ipoib_up patched-patched
	recovers
}

# qps SIDE: of its HCA
qps()
{
	local res

	res=$(rdma resource show "${HCA[$1]}")
	[[ $res =~ \ qp\ ([0-9]+) ]] && echo "${BASH_REMATCH[1]}"
}

as_many()
{
	[[ "$(qps a) $(qps b)" == "$1" ]]
}

# As many queue pairs, and about as much memory as before
no_leak()
{
	local before qps i

	qps="$(qps a) $(qps b)"
	before=$(kernel_memory)
	for ((i = 0; i < ROUNDS; i++)); do
		knob a drop rc 1
		ping_to a b 4 -W 0.05
		wait_for 10000 ping_to a b 4 ||
			fail "no connection within 10 seconds" || return
	done
	recovers
	wait_for 10000 as_many "$qps" || fail "queue pairs: there were $qps, now $(qps a) $(qps b)"
	# It comes with KASAN, which keeps for a while what has been freed
	[[ ! -e $KMEMLEAK ]] || return 0
	# A connection has more than 50 KB where it was opened
	wait_for 10000 memory_below $((before + ROUNDS * 50)) ||
		fail "kilobytes in use: before $before, now $(kernel_memory)"
}

# What the script has left over until here
kmemleak()
{
	[[ -e $KMEMLEAK ]] || { skip "this kernel has no kmemleak"; return; }
	ipoib_down
	echo scan >$KMEMLEAK
	sleep 6		# what is younger does not count
	echo scan >$KMEMLEAK
	[[ -z $(<$KMEMLEAK) ]] || { sleep 6; echo scan >$KMEMLEAK; }	# it may have moved
	[[ -z $(<$KMEMLEAK) ]] || fail "$(head -n 40 $KMEMLEAK)"
}

sim || skip_all "needs ibdevsim, but IPOIB_IF is set"
plan 12 1

[[ ! -e $KMEMLEAK ]] || echo clear >$KMEMLEAK
ipoib_up patched-patched
GRACE_US=$(<$GRACE)
run "lost messages" lost drop
run "corrupted messages" lost corrupt
run "corrupted UD message" lost_ud
run "receive posted late" rnr_in_time
run "no receive posted" rnr
run "nothing comes through for a while" cut_off
run "peer gone without a word, and back" gone
run "other LID of the receiver" other_lid b
run "no memory for pages" no_pages
run "no memory for packets" no_memory failslab
run "nothing is left of $ROUNDS connections" no_leak
run "no leak that kmemleak knows of" kmemleak

finish
