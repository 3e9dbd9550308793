#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# A router with a tunnel, on the side of IPoIB or behind it:
#
#   namespace a            namespace b (router)                      namespace s
#   +-----------+          +------------------------------+          +-----------+
#   | (tunnel)==|==========|==(tunnel)          (tunnel)==|==========|==(tunnel) |
#   | patched   |          | patched                      |          |           |
#   | IPoIB     |          | IPoIB                  veth  |          |  veth     |
#   | 192.0.2.1 |          | 192.0.2.2      198.51.100.2  |          |  .1       |
#   +-----+-----+          +---+----------------------+---+          +----+------+
#         | ibdevsim0          | ibdevsim1            |   all offloads    |
#         +----- ibdevsim -----+                      +------- off -------+
#
# On IPoIB, nobody may leave out the checksums inside of a tunnel, as nobody could
# tell that they are missing: there is one mark. Behind it, the router may send no
# packet into the tunnel whose checksum will not be completed.

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

# The far end of the tunnel: what a or s sends to here takes it, and what comes from here
ADDR+=([t4]=203.0.113.1 [t6]=2001:db8:2::1)
DEV["t"]=tunnel

# tunnel_up FAR VERSION TYPE [OPTION...]: between b and FAR, over IPvVERSION
tunnel_up()
{
	local far=$1 near=r other=a version=$2 type=$3
	shift 3

	[[ $far == s ]] || near=b other=s
	NS["t"]=${NS[$far]}
	ip -n "${NS[b]}" -batch - <<-END &&
		link add tunnel mtu 60000 type $type \
			local ${ADDR[$near$version]} remote ${ADDR[$far$version]} $*
		address add 203.0.113.2/24 dev tunnel
		address add 2001:db8:2::2/64 dev tunnel nodad
		link set tunnel up
	END
	ip -n "${NS[$far]}" -batch - <<-END
		link add tunnel mtu 60000 type $type \
			local ${ADDR[$far$version]} remote ${ADDR[$near$version]} $*
		address add ${ADDR[t4]}/24 dev tunnel
		address add ${ADDR[t6]}/64 dev tunnel nodad
		link set tunnel up
		route add ${ADDR[${other}4]} via 203.0.113.2 dev tunnel
		route add ${ADDR[${other}6]} via 2001:db8:2::2 dev tunnel
	END
	# What it has put together has no checksum
	ask b ethtool -K tunnel gro off && ask "$far" ethtool -K tunnel gro off
}

# sent MARKED COUNTER LEAST COMMAND...: what comes out is right, and by COUNTER, all
# (so many), some, or none of its packets had no checksum
sent()
{
	local marked=$1 counter=$2 least=$3

	captured "$to" "${DEV[$to]}" "${@:3}" || return
	case $marked in
	all)	grew "$counter" -ge "$least" ;;
	none)	grew "$counter" -eq 0 ;;
	esac
	grew b.rx_csum_marked -eq "$(delta a.tx_csum_marked)"
	grew a.rx_csum_marked -eq "$(delta b.tx_csum_marked)"
	no_csum_errors a b s
}

# traffic FROM TO MARKED COUNTER
traffic()
{
	local from=$1 to=$2
	shift 2

	sent "$@" $packets tcp "$from" "$to" 4
	# Big enough to be marked, and no fragments
	sent "$@" 10 udp "$from" "$to" 6 10 2000,20000,50000
}

# over_ipoib MARKED VERSION TYPE [OPTION...]: with MARKED, packets have a checksum
# outside, too. That can be left out if the one inside is there: what the router sends
# has come with it, and what the client sends has it only if GSO has made it.
over_ipoib()
{
	tunnel_up a "${@:2}" && wait_for 10000 ping_to s t 6 || return
	traffic s t "$1" b.tx_csum_marked
	traffic t s "${1/all/some}" a.tx_csum_marked
	tunnel_down a
}

# behind_ipoib VERSION TYPE [OPTION...]: marked packets go in
behind_ipoib()
{
	tunnel_up s "$@" && wait_for 10000 ping_to a t 6 || return
	traffic a t all b.rx_csum_marked
	traffic t a none b.tx_csum_marked
	tunnel_down s
}

tunnel_down()
{
	ip -n "${NS[b]}" link del tunnel
	ip -n "${NS[$1]}" link del tunnel
}

plan 8 1

ipoib_up patched-patched
router_up || bail_out "cannot set up the router"
packets=$(((DATA_MIB << 20) / 65520))

vxlan=(vxlan id 1 dstport 4789)
run "GRE over IPoIB" over_ipoib none 4 gre
run "GRE over IPoIB, IPv6" over_ipoib none 6 ip6gre
run "VXLAN over IPoIB" over_ipoib none 4 "${vxlan[@]}" noudpcsum
run "VXLAN over IPoIB, UDP checksums" over_ipoib all 4 "${vxlan[@]}" udpcsum
run "VXLAN over IPoIB, IPv6" over_ipoib all 6 "${vxlan[@]}"
run "GRE behind IPoIB" behind_ipoib 4 gre
run "VXLAN behind IPoIB, UDP checksums" behind_ipoib 4 "${vxlan[@]}" udpcsum
run "VXLAN behind IPoIB, IPv6" behind_ipoib 6 "${vxlan[@]}"

finish
