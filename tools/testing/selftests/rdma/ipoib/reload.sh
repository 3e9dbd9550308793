#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# Unloads and loads driver and HCAs under traffic, again and again:
#
#     namespace a                     namespace b
#   +----------------+  TCP, ICMP   +----------------+
#   | patched IPoIB  | <==========> | patched IPoIB  |
#   +-------+--------+              +-------+--------+
#           | ibdevsim0                     | ibdevsim1
#           +---------- ibdevsim -----------+
#
# Warnings are up to whoever reads the kernel log.

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

ROUNDS=${ROUNDS:-20}

# Both kinds, in both directions. They go on by themselves when the interfaces come
# back. Not as fast as possible: what unloads and loads wants to run, too.
traffic_start()
{
	local from to

	for from in a b; do
		to=b
		[[ $from == a ]] || to=a
		on $from ping -q -i 0.005 -s 16000 "${ADDR[${to}4]}" &>/dev/null &
		start "tcp_$from" "$XFER" -N "${NS[$to]}" -t 1000 \
			tcp-recv "${ADDR[${to}4]}" 5000 /dev/null || return
		"$XFER" -N "${NS[$from]}" -t 1000 -r 10000000 \
			tcp-send "${ADDR[${to}4]}" 5000 /dev/zero &>/dev/null &
	done
}

rx_more_than()
{
	local packets

	read -r packets <"${SYSFS[$1]}/class/net/${DEV[$1]}/statistics/rx_packets" &&
		((packets > $2))
}

# Packets go in both directions
traffic_flows()
{
	local side

	for side in a b; do
		wait_for 10000 rx_more_than $side 30 || fail "$side receives nothing"
	done
}

# interfaces_up: what if_up does, as far as new interfaces need it, in no time
interfaces_up()
{
	local side dir gid address pids=()

	for side in a b; do
		read -r gid <"/sys/class/infiniband/${HCA[$side]}/ports/1/gids/0"
		for dir in /sys/class/net/*; do
			read -r address <"$dir/address"
			# shellcheck disable=SC2004 # no arithmetic
			[[ ${address//:/} != *"${gid//:/}" ]] || DEV[$side]=${dir##*/}
		done
	done
	ip -batch - <<-END || return
		link set ${DEV[a]} netns ${NS[a]}
		link set ${DEV[b]} netns ${NS[b]}
	END
	for side in a b; do
		set_mode $side connected || return
		ip -n "${NS[$side]}" -batch - <<-END &
			address add ${ADDR[${side}4]}/24 broadcast + dev ${DEV[$side]}
			link set ${DEV[$side]} up
		END
		pids+=($!)
	done
	wait "${pids[0]}" && wait "${pids[1]}"
}

# reload MODULE...: unload them in this order, while packets are on their way, and
# load them again
reload()
{
	local module users

	traffic_flows || return
	for module; do
		read -r users <"/sys/module/$module/refcnt"
		expect "users of $module" "$users" -eq 0
	done
	rmmod "$@" && modprobe -a ibdevsim ib_ipoib || fail "cannot reload" || return
	interfaces_up || fail "cannot bring up the interfaces"
}

# rounds N: whichever module goes first, HCAs or driver
rounds()
{
	local i

	for ((i = 0; i < $1; i += 2)); do
		reload ib_ipoib ibdevsim && reload ibdevsim ib_ipoib || return
	done
	traffic_flows
}

no_leak()
{
	local before

	before=$(kernel_memory)
	rounds $((ROUNDS - 2)) || return
	# A round has megabytes of receive buffers. What is freed may take a while.
	wait_for 10000 memory_below $((before + ROUNDS * 200)) ||
		fail "kilobytes in use: before $before, now $(kernel_memory)"
}

sim || skip_all "needs ibdevsim, but IPOIB_IF is set"
plan 2 1

ipoib_up patched-patched
traffic_start || bail_out "no traffic"
run "driver first, HCAs first" rounds 2
run "$((ROUNDS - 2)) times more, no memory is lost" no_leak

finish
