#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# IPsec between client and server, or for a part of the way:
#
#   namespace a            namespace b (router)                      namespace s
#   +-----------+          +------------------------------+          +-----------+
#   | patched   |          | patched                      |          |           |
#   | IPoIB     |          | IPoIB                  veth  |          |  veth     |
#   | 192.0.2.1 |          | 192.0.2.2      198.51.100.2  |          |  .1       |
#   +-----+-----+          +---+----------------------+---+          +----+------+
#         | ibdevsim0          | ibdevsim1            |   all offloads    |
#         +----- ibdevsim -----+                      +------- off -------+
#         '============================ transport ========================'
#         '====== tunnel ======'                      '====== tunnel ====='
#
# Nobody can complete a checksum in a packet that is encrypted. There is no cipher
# here, as that would show nothing else.

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

# ipsec_end SIDE LOCAL REMOTE INNER OUTER: at SIDE, between the addresses LOCAL and
# REMOTE, for what is between INNER, on this side, and OUTER
ipsec_end()
{
	local sa=(proto esp spi 1 mode "$mode" auth digest_null '""' enc cipher_null '""')
	local tmpl=(proto esp spi 1 mode "$mode")

	ip -n "${NS[$1]}" -batch - <<-END
		xfrm state add src $2 dst $3 ${sa[*]}
		xfrm state add src $3 dst $2 ${sa[*]}
		xfrm policy add src $4 dst $5 dir out tmpl src $2 dst $3 ${tmpl[*]}
		xfrm policy add src $5 dst $4 dir in tmpl src $3 dst $2 ${tmpl[*]}
		xfrm policy add src $5 dst $4 dir fwd tmpl src $3 dst $2 ${tmpl[*]}
	END
}

# ipsec_up MODE NEAR FAR: between these two, for what is between a and s
ipsec_up()
{
	local mode=$1 near=$2 far=$3 version

	for version in 4 6; do
		ipsec_end "$near" "${ADDR[$near$version]}" "${ADDR[$far$version]}" \
			"${ADDR[a$version]}" "${ADDR[s$version]}" &&
			ipsec_end "$far" "${ADDR[$far$version]}" "${ADDR[$near$version]}" \
				"${ADDR[s$version]}" "${ADDR[a$version]}" || return
	done
}

# ipsec_down SIDE...
ipsec_down()
{
	local side

	for side; do
		ip -n "${NS[$side]}" -batch - <<-END
			xfrm state flush
			xfrm policy flush
		END
	done
}

# encrypted SIDE: how many packets, in either direction
encrypted()
{
	ip -n "${NS[$1]}" -s xfrm state | awk '
		/lifetime current:/	{ getline; sub(".*, *", ""); sum += $1 }
		END			{ print sum + 0 }'
}

# Only a and s have keys, and look inside
transport()
{
	local version

	# What it has put together has no checksum
ask a ethtool -K "${DEV[a]}" gro off
ipsec_up transport a s || return
	for version in 4 6; do
		tcp a s $version -m
		tcp s a $version
		udp a s $version 10 1000,2000,20000,50000
		udp s a $version 10 1000,2000,20000,50000
	done
	snap
	grew a.tx_csum_marked -eq 0
	grew b.tx_csum_marked -eq 0
	no_csum_errors a b s
	expect "packets of IPsec" "$(encrypted a)" -ge $((4 * packets + 40))
	ipsec_down a s
}

# tunnel NEAR FAR MARKED: what leaves s, and arrives there, has a good checksum. If
# MARKED, it comes to the router without.
tunnel()
{
	local version

	ipsec_up tunnel "$1" "$2" || return
	for version in 4 6; do
		captured s "${DEV[s]}" $packets tcp a s $version -m
		grew b.rx_csum_marked "${@:3}"
		no_csum_errors a b s
		captured s "${DEV[s]}" 10 udp a s $version 10 1000,2000,20000,50000
		grew b.rx_csum_marked "${@:3}"
		no_csum_errors a b s
		to_client $packets tcp s a $version
		to_client 10 udp s a $version 10 1000,2000,20000,50000
	done
	expect "packets of IPsec" "$(encrypted "$2")" -ge $((4 * packets + 40))
	ipsec_down "$1" "$2"
}

plan 3 1

ipoib_up patched-patched
router_up || bail_out "cannot set up the router"
NS["r"]=${NS[b]}
packets=$(((DATA_MIB << 20) / 65520))
# What it has put together has no checksum
ask a ethtool -K "${DEV[a]}" gro off
ipsec_up transport a s || skip_all "no IPsec in this kernel"
ipsec_down a s

run "transport mode from client to server" transport
run "tunnel over IPoIB" tunnel a b -eq 0
run "tunnel behind IPoIB" tunnel r s -ge 10

finish
