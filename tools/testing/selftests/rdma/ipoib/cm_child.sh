#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# Child interfaces, in another partition than their parents and with another network:
#
#     namespace a                     namespace b
#   +-----------------+             +-----------------+
#   | patched IPoIB   |             | patched IPoIB   |
#   |   192.0.2.1     |             |   192.0.2.2     |
#   | child, 0x8001   |             | child, 0x8001   |
#   |   198.51.100.1  |             |   198.51.100.2  |
#   +-------+---------+             +-------+---------+
#           | ibdevsim0                     | ibdevsim1
#           +---------- ibdevsim -----------+

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

PKEY=0x8001
ON=("scatter-gather: on" "tx-checksum-ipv4: on" "tx-checksum-ipv6: on"
    "rx-checksumming: on")
DATAGRAM=("scatter-gather: on" "tx-checksum-ipv4: off [requested on]"
	  "tx-checksum-ipv6: off [requested on]" "rx-checksumming: on")
declare -A PARENT PARENT_ADDR

# There are two ways to make one, and to get rid of it.

sysfs_add()
{
	# Wherever the parent is, it comes up in the initial namespace
	echo $PKEY >"${SYSFS[$1]}/class/net/${PARENT[$1]}/create_child" &&
		ip link set "${DEV[$1]}" netns "${NS[$1]}" && set_mode "$1" "$MODE"
}

sysfs_del()
{
	echo $PKEY >"${SYSFS[$1]}/class/net/${PARENT[$1]}/delete_child"
}

netlink_add()
{
	ip -n "${NS[$1]}" link add link "${PARENT[$1]}" name "${DEV[$1]}" type ipoib \
		pkey $PKEY mode "$MODE"
}

netlink_del()
{
	ip -n "${NS[$1]}" link del "${DEV[$1]}"
}

# children_up WAY-A WAY-B: from now on, they are what sides a and b have
children_up()
{
	local -A way=([a]=$1 [b]=$2)
	local side

	for side in a b; do
		"${way[$side]}_add" $side || fail "no child interface" || return
		if_config $side || return
	done
	for side in a b; do
		wait_for 10000 has_carrier $side || fail "no carrier" || return
	done
	warm_up || fail "no connectivity" || return
	snap
}

# Packets of that size, by a counter
marked()
{
	local from=$1 to=$2

	grew "$from.tx_csum_marked" "${@:3}"
	grew "$to.rx_csum_marked" -eq "$(delta "$from.tx_csum_marked")"
	no_csum_errors a b
}

# It takes a packet to open a new connection
replaced()
{
	ping_to a b 4 && conn_is a tx granted=0x0
}

connected()
{
	local side

	for side in a b; do
		features $side "${ON[@]}"
		expect "MTU of $side" "$(<"${SYSFS[$side]}/class/net/${DEV[$side]}/mtu")" \
			-eq 65520
		expect_conn $side tx offered=0x1 granted=0x1
		expect_conn $side rx offered=0x1 granted=0x1
	done
	tcp a b 4 -m && snap && marked a b -ge $packets
	tcp b a 6 && snap && marked b a -ge $packets

	# It has switches of its own
	set_feature b rx off
	wait_for 5000 replaced || fail "as before: $(conns a tx)"
	tcp a b 6 && snap && marked a b -eq 0
	on_parents parents_agreed
}

datagram()
{
	local side

	for side in a b; do
		features $side "${DATAGRAM[@]}"
	done
	tcp a b 4 && tcp b a 6 && udp a b 6 10 100,1400
	snap
	marked a b -eq 0
	marked b a -eq 0
	expect "connections" "$(count_conns a tx)" -eq 0
	on_parents parents_agreed
}

# check MODE WAY-A WAY-B: make them, test them, delete them
check()
{
	local MODE=$1

	children_up "${@:2}" && "$1" || CASE=fail
	[[ $CASE == pass ]] || show_state
	children_down "${@:2}"
}

# on_parents COMMAND...: with sides a and b as they were
on_parents()
{
	local -A DEV ADDR
	local key

	for key in "${!PARENT[@]}"; do
		DEV[$key]=${PARENT[$key]}
	done
	for key in "${!PARENT_ADDR[@]}"; do
		ADDR[$key]=${PARENT_ADDR[$key]}
	done
	"$@"
}

parents_agreed()
{
	snap
	features b "${ON[@]}"
	tcp a b 4 && snap && marked a b -ge $packets
}

children_down()
{
	"$1_del" a
	"$2_del" b
	# By sysfs it is done later
	wait_for 5000 no_children || fail "they are still there"
}

no_children()
{
	[[ ! -e ${SYSFS[a]}/class/net/${DEV[a]} && ! -e ${SYSFS[b]}/class/net/${DEV[b]} ]]
}

# Children come and go while the parents have something to do
under_traffic()
{
	local MODE=connected i

	STREAM=parent on_parents tcp_start a b 4 -r $(((DATA_MIB << 20) / 6)) || return
	for ((i = 0; i < 3; i++)); do
		children_up sysfs netlink || break
		tcp b a 4 -m
		children_down sysfs netlink
	done
	STREAM=parent tcp_hurry
	STREAM=parent tcp_finish
	on_parents snap
	no_csum_errors a b
}

sim || skip_all "needs partition $PKEY, but IPOIB_IF is set"
plan 5
packets=$(((DATA_MIB << 20) / 65520))

ipoib_up patched-patched
for key in "${!ADDR[@]}"; do
	PARENT_ADDR[$key]=${ADDR[$key]}
done
ADDR=([a4]=198.51.100.1 [b4]=198.51.100.2 [a6]=2001:db8:1::1 [b6]=2001:db8:1::2)
for side in a b; do
	PARENT[$side]=${DEV[$side]}
	DEV["$side"]+=.${PKEY#0x}
done
run "connected mode, made by sysfs and by netlink" check connected sysfs netlink
run "connected mode, made by netlink and by sysfs" check connected netlink sysfs
run "datagram mode, made by sysfs and by netlink" check datagram sysfs netlink
run "datagram mode, made by netlink and by sysfs" check datagram netlink sysfs
run "children come and go while the parent sends" under_traffic

finish
