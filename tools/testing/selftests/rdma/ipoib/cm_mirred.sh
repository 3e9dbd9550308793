#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# Packets that tc takes from one IPoIB interface to another, past the stack:
#
#   namespace a               namespace b                        namespace s
#   +-------------+         +-----------------------------+     +-------------+
#   | patched     |         | patched         patched     |     | patched     |
#   | IPoIB       | ======> | IPoIB  ==tc==>  IPoIB       | ==> | IPoIB       |
#   |  192.0.2.1  |         |  192.0.2.2      (side y)    |     |  192.0.2.3  |
#   +------+------+         +----+----------------+-------+     +------+------+
#          | ibdevsim0           | ibdevsim1      | ibdevsim3          | ibdevsim2
#          +---------------------+-- ibdevsim ----+--------------------+
#
# a takes the hardware address of b for that of s. At the ingress of b, tc replaces the
# destination in the pseudo header, which is zero for what has come in, by the hardware
# address of s. s answers directly.

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

ADDR+=([s4]=192.0.2.3 [s6]=2001:db8::3)

third_host_up()
{
	# shellcheck disable=SC2034 # for setup_ns
	local ns_s=''

	setup_ns ns_s || return
	NS["s"]=$ns_s NS["y"]=${NS[b]}
	# shellcheck disable=SC2034 # for lib.sh
	HCA["s"]=ibdevsim2 HCA["y"]=ibdevsim3
	SHELL_PID["y"]=${SHELL_PID[b]} SHELL_IN["y"]=${SHELL_IN[b]}
	SHELL_OUT["y"]=${SHELL_OUT[b]} SYSFS["y"]=${SYSFS[b]}
	SIDES+=(s y)
	for side in s y; do
		get_if "$side" patched || return
	done
	if_up s && ip link set "${DEV[y]}" netns "${NS[b]}" && set_mode y connected &&
		ip -n "${NS[b]}" link set "${DEV[y]}" up || return
	wait_for 10000 has_carrier s && wait_for 10000 has_carrier y &&
		wait_for 10000 ping_to a s 4 && wait_for 10000 ping_to a s 6
}

# take redirect|mirror HWADDR: what comes to b and is for s, to HWADDR from y
take()
{
	local word munge='' actions i

	IFS=: read -ra word <<<"$2"
	for ((i = 0; i < 20; i += 4)); do
		munge+=" munge offset $((i - 24)) u32 set 0x${word[i]}${word[i + 1]}"
		munge+="${word[i + 2]}${word[i + 3]}"
	done
	tc -n "${NS[b]}" filter del dev "${DEV[b]}" ingress
	actions="action pedit$munge pipe action mirred egress $1 dev ${DEV[y]}"
	tc -n "${NS[b]}" -batch - <<-END || fail "tc: no rules"
		filter add dev ${DEV[b]} ingress pref 1 protocol ip \
			u32 match ip dst ${ADDR[s4]}/32 $actions
		filter add dev ${DEV[b]} ingress pref 2 protocol ipv6 \
			u32 match ip6 dst ${ADDR[s6]}/128 $actions
	END
}

# check redirect|mirror: all have agreed
check()
{
	local version

	take "$1" "$HWADDR" || return
	for version in 4 6; do
		tcp a s $version -m
		udp a s $version 10 2000,20000,60000
		snap
		grew a.tx_csum_marked -ge $((packets + 10))
		grew b.rx_csum_marked -eq "$(delta a.tx_csum_marked)"
		grew y.tx_csum_marked -eq "$(delta b.rx_csum_marked)"
		grew s.rx_csum_marked -eq "$(delta y.tx_csum_marked)"
		no_csum_errors a s
	done
}

# It takes a packet to open a new connection
replaced()
{
	ping_to a s 4 && conn_is y tx granted=0x0
}

# s has not: each gets its checksum at the last hop
not_agreed()
{
	local version

	take redirect "$HWADDR" && set_feature s rx off || return
	wait_for 5000 replaced || fail "as before: $(conns y tx)" || return
	snap
	for version in 4 6; do
		captured s "${DEV[s]}" $packets tcp a s $version -m
		grew a.tx_csum_marked -ge $packets
		grew y.tx_csum_marked -eq 0
		grew y.tx_csum_sw_peer -eq "$(delta a.tx_csum_marked)"
		no_csum_errors a s
	done
	set_feature s rx on
}

# Nobody has this address: dropped, and no harm done
to_nobody()
{
	take redirect "00:00:00:00:$(printf '00:%.0s' {1..15})00"
	ping_to a s 4 && fail "somebody answers"
	"$XFER" -N "${NS[a]}" -n 20 -s 4096 udp-send "${ADDR[s4]}" 9
	until_grew b rx_csum_marked 20
	snap
	grew b.rx_csum_marked -eq 20
	grew s.rx_csum_marked -eq 0
	take redirect "$HWADDR" && tcp a s 4
}

sim || skip_all "needs four HCAs, but IPOIB_IF is set"
command -v tc >/dev/null || skip_all "no command tc"
plan 4 1
packets=$(((DATA_MIB << 20) / 65520))

ipoib_up patched-patched hcas=4
third_host_up || bail_out "cannot set up the third host"
tc -n "${NS[b]}" qdisc add dev "${DEV[b]}" ingress || skip_all "tc: no ingress qdisc"
HWADDR=$(<"${SYSFS[s]}/class/net/${DEV[s]}/address")
for version in 4 6; do
	ip -n "${NS[a]}" neigh replace "${ADDR[s$version]}" dev "${DEV[a]}" nud permanent \
		lladdr "$(<"${SYSFS[b]}/class/net/${DEV[b]}/address")"
done
run "redirected" check redirect
run "mirrored" check mirror
run "redirected to nobody" to_nobody
run "redirected to a peer that has not agreed" not_agreed

finish
