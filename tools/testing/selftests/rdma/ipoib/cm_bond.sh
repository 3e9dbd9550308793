#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# An active-backup bond of two interfaces, and a peer that has to follow:
#
#     namespace a                                     namespace b
#   +----------------------------------+            +----------------+
#   |        bond, 192.0.2.1           |            |   192.0.2.2    |
#   | patched IPoIB     patched IPoIB  |            | patched IPoIB  |
#   +------+------------------+--------+            +-------+--------+
#          | ibdevsim0        | ibdevsim2                   | ibdevsim1
#          +------------------+-- ibdevsim -----------------+

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

# Slaves are sides x and y. To the rest of lib.sh, a is the bond.
bond_up()
{
	local side

	DEV["x"]=${DEV[a]} HCA["x"]=ibdevsim0 HCA["y"]=ibdevsim2
	get_if y patched || return
	SIDES+=(x y)
	for side in x y; do
		NS["$side"]=${NS[a]}
		SHELL_PID["$side"]=${SHELL_PID[a]} SHELL_IN["$side"]=${SHELL_IN[a]}
		SHELL_OUT["$side"]=${SHELL_OUT[a]} SYSFS["$side"]=${SYSFS[a]}
	done
	# shellcheck disable=SC2034 # for lib.sh
	DEV["a"]=bond HCA["a"]=''
	ip link set "${DEV[y]}" netns "${NS[a]}" && set_mode y connected || return
	ip -n "${NS[a]}" -batch - <<-END || fail "no such bond can be made" || return
		address flush dev ${DEV[x]}
		link set ${DEV[x]} down
		link add bond type bond mode active-backup miimon 50 fail_over_mac active
		link set ${DEV[x]} master bond
		link set ${DEV[y]} master bond
		link set bond mtu 65520 up
		address add ${ADDR[a4]}/24 dev bond
		address add ${ADDR[a6]}/64 dev bond nodad
	END
	for side in x y; do
		wait_for 10000 has_carrier $side || fail "no carrier on ${DEV[$side]}" || return
	done
	# Whichever has been faster
	wait_for 10000 slave x || fail "no active slave" || return
	warm_up || fail "no connectivity: $(ip -n "${NS[a]}" neigh; ip -n "${NS[b]}" neigh)" ||
		return
	snap
}

# active SLAVE: is it the one?
active()
{
	[[ $(<"${SYSFS[a]}/class/net/bond/bonding/active_slave") == "${DEV[$1]}" ]]
}

# slave SLAVE: have it be the active one, as an administrator does
slave()
{
	echo "${DEV[$1]}" >"${SYSFS[a]}/class/net/bond/bonding/active_slave" &&
		active "$1"
}

# port_down SLAVE: have the other one be it, as its port is down
port_down()
{
	local other=x

	[[ $1 == x ]] && other=y
	knob x port_up 1
	knob y port_up 1
	wait_for 10000 has_carrier x && wait_for 10000 has_carrier y || return
	knob $other port_up 0
	wait_for 10000 active "$1"
}

# Bonding claims that it can compute any checksum, and leaves that to its slaves
features_through_bond()
{
	features a "tx-checksumming: on" "tx-checksum-ip-generic: on" "scatter-gather: on"
	expect "MTU" "$(<"${SYSFS[a]}/class/net/bond/mtu")" -eq 65520
}

# traffic SLAVE LEAST: in both directions by that slave alone, where so many packets
# of each transfer have no checksum
traffic()
{
	local version

	wait_for 10000 warm_up || fail "no connectivity" || return
	expect_conn "$1" tx granted=0x1
	snap
	for version in 4 6; do
		tcp a b $version -m
		udp a b $version 10 2000,60000
		snap
		grew "$1.tx_csum_marked" -ge "$2"
		grew b.rx_csum_marked -eq "$(delta "$1.tx_csum_marked")"
		tcp b a $version
		snap
		grew b.tx_csum_marked -ge $packets
		grew "$1.rx_csum_marked" -eq "$(delta b.tx_csum_marked)"
	done
	no_csum_errors a b
}

either_slave()
{
	slave x && traffic x $((packets + 10)) && slave y && traffic y $((packets + 10))
}

# One slave can leave checksums out, the other one may not
differing_slaves()
{
	slave y && set_feature y tx off || return
	features_through_bond
	wait_for 10000 warm_up || fail "no connectivity" || return
	snap
	tcp a b 4 -m && tcp a b 6 && udp a b 4 10 2000,60000 && snap || return
	grew y.tx_csum_marked -eq 0
	grew b.rx_csum_marked -eq 0
	no_csum_errors a b
	set_feature y tx on
}

# failover HOW: again and again, under traffic. Each time something gets through.
failover()
{
	local i to

	streams_start $(((DATA_MIB << 20) / (10 * PATIENCE))) || return
	for ((i = 0; i < 4; i++)); do
		to=x
		((i % 2)) || to=y
		"$1" $to || fail "no failover to ${DEV[$to]}"
		snap
		wait_for 10000 grows $to rx_csum_marked || fail "b does not follow to ${DEV[$to]}"
		wait_for 10000 grows $to tx_csum_marked || fail "nothing leaves by ${DEV[$to]}"
	done
	streams_finish
	snap
	no_csum_errors a b
	traffic x $((packets + 10))
}

# grows SIDE NAME: since the last snap
grows()
{
	(($(value "$1" "$2") > NOW[$1.$2]))
}

sim || skip_all "needs a third HCA, but IPOIB_IF is set"
have_module bonding || skip_all "no module bonding"
plan 5
packets=$(((DATA_MIB << 20) / 65520))

ipoib_up patched-patched hcas=3
bond_up || bail_out "no bond"
run "features through the bond" features_through_bond
run "both slaves" either_slave
run "slaves that differ" differing_slaves
run "failover by the administrator, under traffic" failover slave
run "failover as ports go down, under traffic" failover port_down

finish
