#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# A router that rewrites addresses in packets without checksums:
#
#   namespace a            namespace b (router)                      namespace s
#   +-----------+          +------------------------------+          +-----------+
#   | patched   |          | patched       NAT            |          |           |
#   | IPoIB     |          | IPoIB                  veth  |          |  veth     |
#   | 192.0.2.1 |          | 192.0.2.2      198.51.100.2  |          |  .1       |
#   +-----+-----+          +---+----------------------+---+          +----+------+
#         | ibdevsim0          | ibdevsim1            |   all offloads    |
#         +----- ibdevsim -----+                      +------- off -------+
#
# What does not have its addresses translated finds nobody who listens, or no way back.

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

nat_up()
{
	ip netns exec "${NS[b]}" nft -f - <<-END
		table inet nat {
			chain prerouting {
				type nat hook prerouting priority dstnat
				meta l4proto != { tcp, udp } accept
				ip daddr ${ADDR[b4]} dnat ip to ${ADDR[s4]}
				ip6 daddr ${ADDR[b6]} dnat ip6 to ${ADDR[s6]}
				ip daddr ${ADDR[r4]} dnat ip to ${ADDR[a4]}
				ip6 daddr ${ADDR[r6]} dnat ip6 to ${ADDR[a6]}
			}
			chain postrouting {
				type nat hook postrouting priority srcnat
				masquerade
			}
		}
	END
}

# no_way SIDE ROUTER: to anything but its own network
no_way()
{
	ip -n "${NS[$1]}" -batch - <<-END || bail_out "cannot delete routes"
		route del default via ${ADDR[${2}4]}
		route del default via ${ADDR[${2}6]}
	END
}

check_tcp_udp()
{
	local version

	for version in 4 6; do
		"$1" $packets tcp "$2" "$3" $version
		"$1" 10 udp "$2" "$3" $version 10 1000,4096,20000,60000
	done
}

command -v nft >/dev/null || skip_all "no command nft"
plan 3 1

ipoib_up patched-patched
router_up || bail_out "cannot set up the router"
nat_up || bail_out "nft: no NAT"
packets=$(((DATA_MIB << 20) / 65520))

no_way s r
run "masquerade, to the server" check_tcp_udp to_server a s

no_way a b
# shellcheck disable=SC2034 # for tcp and udp
DIAL=([s4]=${ADDR[b4]} [s6]=${ADDR[b6]} [a4]=${ADDR[r4]} [a6]=${ADDR[r6]})
run "DNAT and masquerade, to the server" check_tcp_udp to_server a s
run "DNAT and masquerade, to the client" check_tcp_udp to_client s a

finish
