#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# Programs that read and write packets by a packet socket, and go by the bytes alone:
#
#     namespace a                     namespace b
#   +----------------+              +----------------+
#   | rawsend, for   |              | xfer           |
#   | virtual hosts  |              |                |
#   | rawcsum -o     |              | rawcsum        |
#   +----------------+              +----------------+
#   | patched IPoIB  |              | patched IPoIB  |
#   +-------+--------+              +-------+--------+
#           | ibdevsim0                     | ibdevsim1
#           +---------- ibdevsim -----------+

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

# IP headers, and with that of UDP
declare -A IP_HEADER=([4]=20 [6]=40) HEADERS=([4]=28 [6]=48)

# check_readers IPVERSION SIZE,... MARKED: what readers at both ends see of ten
# datagrams. The one at the sender sees them before the driver does, small or not, as
# with any interface that computes checksums.
check_readers()
{
	local version=$1 marked=$3 reader=("$RAWCSUM" -p $((PORT + 1)))

	start out "${reader[@]}" -o -N "${NS[a]}" "${DEV[a]}" || return
	start in "${reader[@]}" -N "${NS[b]}" "${DEV[b]}" || return
	udp a b "$version" 10 "$2"
	kill "${PID[out]}" "${PID[in]}"
	reap out
	saw "the sender" 10 10
	reap in
	saw "the receiver" 10 "$marked"
	snap
	grew a.tx_csum_marked -eq "$marked"
	grew a.tx_csum_sw_small -eq $((10 - marked))
	no_csum_errors a b
}

# raw IPVERSION SIZE [RAWSEND-OPTION...]: ten datagrams through a packet socket. All
# arrive, and are intact.
raw()
{
	local from=${ADDR[a$1]} to=${ADDR[b$1]} args=(-n 10 -s "$2") lladdr

	lladdr=$(ip -n "${NS[a]}" neigh show "$to" dev "${DEV[a]}")
	lladdr=${lladdr#*lladdr }
	PORT=$((PORT + 1))
	start receiver "$XFER" -t "$UDP_TIMEOUT" "${args[@]}" -N "${NS[b]}" \
		udp-recv "$to" $PORT || return
	"$RAWSEND" "${args[@]}" "${@:3}" -N "${NS[a]}" "${DEV[a]}" "${lladdr%% *}" \
		"$from" "$to" $PORT 2>"$TMP/errors" || fail "rawsend: $(<"$TMP/errors")"
	reap receiver || fail "UDP: $REPLY"
}

# check_raw COUNTER IPVERSION SIZE [RAWSEND-OPTION...]: and a counter, none for those
# that have left nothing to the driver, says what became of their checksums. Odd ones
# may be computed above the driver, or by it.
check_raw()
{
	local name

	raw "${@:2}"
	snap
	for name in marked sw_peer sw_small sw_other sw_ud dropped; do
		if [[ $name == "$1" ]]; then
			grew "a.tx_csum_$name" -eq 10
		elif [[ $1 != odd || $name != sw_other ]]; then
			grew "a.tx_csum_$name" -eq 0
		fi
	done
	grew b.rx_csum_marked -eq "$(delta a.tx_csum_marked)"
	grew b.rx_csum_bad_mark -eq 0
	no_csum_errors a b
}

check_odd()
{
	local version=$1 ip=${IP_HEADER[$1]} size=$2 place others=0

	# In the payload; where that of TCP is; at an odd address; the last bytes
	for place in $((ip + 8)),4 "$ip,16" $((ip + 9)),6 "$ip,$(((size + 6) & ~1))"; do
		check_raw odd "$version" "$size" -c "$place"
		others=$((others + $(delta a.tx_csum_sw_other)))
	done
	expect "odd ones computed by the driver" $others -ge 10
}

# Whatever is written into the reserved field, only the driver makes marks
check_reserved()
{
	check_raw none "$1" 2000 -r 0xffff
	check_raw sw_small "$1" 100 -r 0xffff -c "${IP_HEADER[$1]},6"
}

has_lease()
{
	[[ $(ip -n "${NS[a]}" -4 -br address show dev "${DEV[a]}") == *192.0.2.200* ]]
}

# A DHCP client that knows InfiniBand, with nothing but its network of its host. (The
# clients of ISC and of busybox do not, and that of dhcpcd 9.4 cannot open its socket.)
check_dhcp()
{
	local networkd=/lib/systemd/systemd-networkd

	if [[ ! -x $networkd ]] || ! command -v dnsmasq >/dev/null; then
		skip "needs systemd-networkd and dnsmasq"
		return
	fi
	on b dnsmasq -k -C /dev/null --port=0 --leasefile-ro --pid-file= -u root \
		-i "${DEV[b]}" --dhcp-range=192.0.2.200,192.0.2.200 &>"$TMP/dnsmasq" &
	PID["server"]=$!
	# It does not ask udev where /sys is read-only
	# shellcheck disable=SC2016 # expanded in there
	on a bash -c '
		for dir in /run/systemd /run/dbus; do
			mkdir -p $dir && mount -t tmpfs none $dir || exit
		done
		mkdir -p /run/systemd/{network,netif/{links,leases,lldp}} &&
			chown -R systemd-network: /run/systemd/netif &&
			mount -o remount,ro,bind /sys || exit
		printf "%s\n" "[Match]" "Name=$1" "[Network]" DHCP=ipv4 \
			>/run/systemd/network/ipoib.network
		exec "$2"' bash "${DEV[a]}" $networkd &>"$TMP/networkd" &
	PID["client"]=$!
	wait_for 20000 has_lease || fail "no lease: $(tail "$TMP/dnsmasq" "$TMP/networkd")"
	wait_for 10000 ping_to a b 4 -I 192.0.2.200 || fail "no connectivity with it"
	kill "${PID[server]}" "${PID[client]}" 2>/dev/null
	wait "${PID[server]}" "${PID[client]}"
	snap
	no_csum_errors a b
}

plan 14 1

ipoib_up patched-patched
for version in 4 6; do
	min=$((CSUM_MIN - HEADERS[$version]))
	udp=${IP_HEADER[$version]},6
	run "readers, UDP over IPv$version, small packets" \
		check_readers $version $((min - 1)),1,300 0
	run "readers, UDP over IPv$version, others" \
		check_readers $version $min,4096,20000,60000,65000 10
	run "a vnet header asks for a UDP checksum over IPv$version" \
		check_raw marked $version 20000 -c "$udp"
	run "a vnet header asks for a UDP checksum over IPv$version, small packets" \
		check_raw sw_small $version $((min - 1)) -c "$udp"
	run "a vnet header asks for odd checksums over IPv$version" check_odd $version 2000
	run "a mark that is not the driver's, IPv$version" check_reserved $version
done

to_ud_neighbour
run "a vnet header asks for a UDP checksum, to a neighbour without connected mode" \
	check_raw sw_ud 4 1400 -c 20,6

# The client does away with other addresses
run "DHCP" check_dhcp

finish
