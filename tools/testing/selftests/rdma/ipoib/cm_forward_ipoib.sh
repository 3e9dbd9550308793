#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# A router with IPoIB on both sides, where one side may not have agreed to leave
# checksums out:
#
#   namespace a                  namespace b (router)                namespace s
#   +-------------+            +----------------------+            +-------------+
#   | patched     |            | patched IPoIB        |            | patched or  |
#   | IPoIB       |            |   192.0.2.2          |            | stock IPoIB |
#   |  192.0.2.1  |            |   198.51.100.2       |            | 198.51.100.1|
#   +------+------+            +----------+-----------+            +------+------+
#          | ibdevsim0                    | ibdevsim1                     | ibdevsim2
#          +--------------------------- ibdevsim -------------------------+

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

# tx_granted SIDE N: the peers of so many of its connections have agreed
tx_granted()
{
	(($(count_conns "$1" tx granted=0x1) == $2))
}

# hops FROM TO FIRST SECOND COMMAND...: what COMMAND sends leaves FROM (if FIRST is y)
# and the router (SECOND) without a checksum. The router computes one only if it came
# without and may not go without.
hops()
{
	local from=$1 to=$2 first=$3 second=$4 least=$5 name

	if [[ $second ]]; then
		"${@:6}" || return
		snap
		grew b.tx_csum_marked -ge "$least"
		grew "$to.rx_csum_marked" -eq "$(delta b.tx_csum_marked)"
	else
		captured "$to" "${DEV[$to]}" "${@:5}" || return
		grew b.tx_csum_marked -eq 0
	fi
	if [[ $first ]]; then
		grew b.rx_csum_marked -ge "$least"
		grew b.rx_csum_marked -eq "$(delta "$from.tx_csum_marked")"
	else
		grew b.rx_csum_marked -eq 0
	fi
	if [[ $first && ! $second ]]; then
		grew b.tx_csum_sw_peer -ge "$least"
	else
		grew b.tx_csum_sw_peer -eq 0
	fi
	for name in bad_mark no_mem; do
		grew "b.rx_csum_$name" -eq 0
	done
	no_csum_errors a b s
}

# check FROM TO FIRST SECOND
check()
{
	local version

	for version in 4 6; do
		hops "$@" $packets tcp "$1" "$2" $version -m
		hops "$@" 10 udp "$1" "$2" $version 10 1000,2000,20000,60000
	done
}

# rx_off SIDE A B S: so many connections of each are left that may go without
rx_off()
{
	local side

	set_feature "$1" rx off || return
	shift
	for side in a b s; do
		wait_for 5000 tx_granted $side "$1" ||
			bail_out "connections of $side: $(conns $side)"
		shift
	done
}

sim || skip_all "needs ibdevsim, but IPOIB_IF is set"
plan 8 1
packets=$(((DATA_MIB << 20) / 65520))

ipoib_up patched-patched hcas=3
router_up patched || bail_out "cannot set up the router"
run "all have agreed, to the server" check a s y y
run "all have agreed, to the client" check s a y y
rx_off s 1 1 1
run "the server has not agreed, to the server" check a s y ''
run "the server has not agreed, to the client" check s a y y
rx_off b 0 1 0
run "nor has the router, to the client" check s a '' ''
ipoib_down

if have_module ib_ipoib_stock; then
	ipoib_up patched-patched hcas=3
	load ib_ipoib_stock || bail_out "cannot load ib_ipoib_stock"
	router_up stock || bail_out "cannot set up the router"
	run "the server has the unmodified driver, to the server" check a s y ''
	run "the server has the unmodified driver, to the client" check s a '' ''
	set_feature a tx off
	run "the client sums, the server has the unmodified driver" check a s '' ''
else
	for ((i = 0; i < 3; i++)); do
		run "the server has the unmodified driver" skip "no module ib_ipoib_stock"
	done
fi

finish
