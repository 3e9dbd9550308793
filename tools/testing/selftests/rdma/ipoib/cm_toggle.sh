#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# What can be switched is, again and again, under four TCP streams:
#
#     namespace a                     namespace b
#   +----------------+  IPv4, IPv6  +----------------+
#   | patched IPoIB  | <==========> | patched IPoIB  |
#   +-------+--------+              +-------+--------+
#           | ibdevsim0                     | ibdevsim1
#           +---------- ibdevsim -----------+
#
# SECONDS_EACH, 2 by default, is how long that goes on. All streams survive, and in the
# end everything is as it was in the beginning.

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

SECONDS_EACH=${SECONDS_EACH:-2}
# shellcheck disable=SC2034 # for tcp_start
XFER_TIMEOUT=$((SECONDS_EACH + 60 * PATIENCE))
ON=("scatter-gather: on" "tx-checksum-ipv4: on" "tx-checksum-ipv6: on"
    "rx-checksumming: on")

# The toggles. Each is called with off, then on, and so forth. It is the same traffic in
# both directions, so one side will do.

# (ethtool is content if nothing changes)
feature()
{
	local -A name=([tx]=tx-checksumming [rx]=rx-checksumming [sg]=scatter-gather)

	set_feature "$1" "$2" "$3" && features "$1" "${name[$2]}: $3"
}

mode()
{
	local -A mode=([off]=datagram [on]=connected)

	set_mode "$1" "${mode[$2]}"
}

modes()
{
	mode a "$1" && mode b "$1"
}

mtu()
{
	local -A mtu=([off]=1500 [on]=65520)

	ask "$1" ip link set "${DEV[$1]}" mtu "${mtu[$2]}"
}

link()
{
	local -A state=([off]=down [on]=up)

	ask "$1" ip link set "${DEV[$1]}" "${state[$2]}"
}

# To where it came from, and back. It loses its addresses.
namespace()
{
	if [[ $2 == off ]]; then
		ask "$1" ip link set "${DEV[$1]}" netns 1
	else
		if_up "$1"
	fi
}

port()
{
	local -A up=([off]=0 [on]=1)

	knob "$1" port_up "${up[$2]}"
}

lid()
{
	local -A plus=([off]=100 [on]=0)

	knob "$1" lid $((LID + plus[$2]))
}

# One after the other, on either side
everything()
{
	local i=$((n / 2)) side=a

	(((i + i / 4) % 2 == 0)) || side=b
	case $((i % 4)) in
	0)	feature $side rx "$1" ;;
	1)	mode $side "$1" ;;
	2)	mtu $side "$1" ;;
	3)	link $side "$1" ;;
	esac
}

# Connections as after a fresh start, and features, and what they are for
settled()
{
	local side

	for side in a b; do
		wait_for 10000 has_carrier $side || fail "no carrier on $side" || return
	done
	warm_up || fail "no connectivity" || return
	for side in a b; do
		features $side "${ON[@]}"
		expect "MTU of $side" "$(<"${SYSFS[$side]}/class/net/${DEV[$side]}/mtu")" \
			-eq 65520
		expect_conn $side tx mtu=65520 offered=0x1 granted=0x1
		expect "connections opened by $side" "$(count_conns $side tx)" -eq 1
	done
	[[ $CASE == pass ]] || return
	# A packet that was too long for datagram mode may have left its MTU there
	for side in a b; do
		ip -n "${NS[$side]}" -4 route flush cache
		ip -n "${NS[$side]}" -6 route flush cache
	done
	udp a b 4 10 2000,60000
	udp b a 6 10 2000,60000
	snap
	for side in a b; do
		grew $side.tx_csum_marked -eq 10
		grew $side.rx_csum_marked -eq 10
		grew $side.tx_repacked -eq 0
	done
}

# check TOGGLE...
check()
{
	local n=0 end side tainted now

	read -r tainted </proc/sys/kernel/tainted
	# They must not come to their end before we do
	streams_start $(((DATA_MIB << 20) / (2 * SECONDS_EACH + 6))) || return
	end=$((SECONDS + SECONDS_EACH))
	while ((SECONDS <= end)); do
		"$@" off || fail "cannot switch off"
		n=$((n + 1))
		sleep 0.2
		"$@" on || fail "cannot switch on"
		n=$((n + 1))
		sleep 0.2
	done
	streams_finish
	snap
	no_csum_errors a b
	for side in a b; do
		grew $side.rx_csum_bad_mark -eq 0
		grew $side.tx_repacked -eq 0
		sim || continue
		grew $side.hca_cq_overflow -eq 0
		grew $side.hca_rc_ip_csum -eq 0
	done
	# What has been granted nothing is not replaced
	[[ $* != *rx && $1 != everything ]] || reconnect
	settled
	read -r now </proc/sys/kernel/tainted
	expect "kernel taint" "$now" -eq "$tainted"
	echo "# toggled $n times"
}

plan 11 4

ipoib_up patched-patched
for feature in tx rx sg; do
	run "ethtool -K $feature" check feature a $feature
done
run "mode, one side" check mode a
run "mode, both sides" check modes
run "MTU" check mtu a
run "interface down and up" check link a
run "other network namespace" check namespace a
run_sim "port down and up" check port a
LID_FILE=/sys/kernel/debug/ibdevsim/${HCA[a]:-}/lid
if [[ -e $LID_FILE ]]; then
	LID=$(<"/sys/class/infiniband/${HCA[a]}/ports/1/lid")
	run "LID" check lid a
else
	run "LID" skip "no $LID_FILE"
fi
run "everything" check everything

finish
