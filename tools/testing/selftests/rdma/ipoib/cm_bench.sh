#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# Goodput in connected mode, as ratios: what is compared is measured in turn, and
# the median of the ratios counts. Not run by default, as it takes minutes.
#
#     namespace a                        namespace b
#   +----------------------+           +----------------------+
#   | patched    veth-a    |-----------|   veth-b     patched |
#   +----+-----------------+           +-----------------+----+
#        | ibdevsim0                          ibdevsim1  |
#        +------------------ fabric ---------------------+
#        |                                               |
#   +----+-----------------+           +-----------------+----+
#   | stock                |           |               stock  |
#   +----------------------+           +----------------------+
#     namespace c                        namespace d
#
# PAIRS (default 5) and SECONDS_EACH (default 1) say how often and how long. The
# receiver throws away what it gets, without a copy: what is left is the cost of
# the stack, the driver, and checksums.

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

FLOOD=$IPOIB_DIR/flood
PAIRS=${PAIRS:-5}
SECONDS_EACH=${SECONDS_EACH:-1}
ADDR["c4"]=192.0.2.3
ADDR["d4"]=192.0.2.4
ADDR["c6"]=2001:db8::3
ADDR["d6"]=2001:db8::4
ADDR["v4"]=198.51.100.2		# of veth-b
SGES=''

# goodput FROM TO ADDRESS SIDE-OPTIONS...: in Mbit/s; options end with tcp or udp
goodput()
{
	local from=$1 to=$2 address=$3 proto=${*: -1}
	local options=("${@:4:$#-4}") file=()

	[[ $proto == udp ]] || file=("$TMP/data")
	PORT=$((PORT + 1))
	spawn sink "$to" "$FLOOD" "$proto-recv" "$address" $PORT || return
	on "$from" "$FLOOD" -l "$SECONDS_EACH" "${options[@]}" \
		"$proto-send" "$address" $PORT "${file[@]}" || fail "$from cannot send"
	reap sink
}

veth()		{ goodput a b "${ADDR[v4]}" "$@"; }
agreed_on()	{ set_feature a tx on >/dev/null && goodput a b "${ADDR[b4]}" "$@"; }
agreed_off()	{ set_feature a tx off >/dev/null && goodput a b "${ADDR[b4]}" "$@"; }
to_stock()	{ set_feature a tx on >/dev/null && goodput a d "${ADDR[d4]}" "$@"; }
stock()		{ goodput c d "${ADDR[d4]}" "$@"; }

# ratio LEAST WHAT AGAINST OPTION...: in hundredths
ratio()
{
	local least=$1 what=$2 against=$3 ratios=() x y i
	shift 3

	$against "$@" && $what "$@" || return	# for the caches
	for ((i = 0; i < PAIRS; i++)); do
		$against "$@" || return
		y=$REPLY
		$what "$@" || return
		x=$REPLY
		ratios+=("$(awk -v x="$x" -v y="$y" 'BEGIN { printf "%d", 100 * x / y }')")
		printf '# %-10s %8s  %-10s %8s Mbit/s: %3d %%\n' \
			"$what" "$x" "$against" "$y" "${ratios[-1]}"
	done
	x=$(printf '%s\n' "${ratios[@]}" | sort -n | sed -n "$((PAIRS / 2 + 1))p")
	echo "# median $x %, at least $least % are wanted"
	expect "median in percent" "$x" -ge "$least"
}

sge16()		{ with_sges 16 && agreed_on "$@"; }
sge32()		{ with_sges 32 && agreed_on "$@"; }
# With TCP's time stamps, a packet of sendfile() is then 15 whole pages and its headers.
sge16_mtu()	{ with_sges 16 && set_mtu 61492 && agreed_on "$@"; }

# with_sges N: HCAs that have so many for a send, and nothing but a and b on them
with_sges()
{
	[[ $1 != "$SGES" ]] || return 0
	ipoib_down
	SGES=$1
	ipoib_up patched-patched max_send_sge="$1"
	busywait 10000 ping_to a b 4
}

# A connection must not break under load: errors are not repaired, but break it
one_minute()
{
	local conn

	set_feature a tx on >/dev/null
	# Others may come to their end as nobody uses them
	conn=$(conns a tx | grep granted=0x1)
	snap
	SECONDS_EACH=60 agreed_on -m tcp || return
	echo "# $REPLY Mbit/s over 60 seconds"
	snap
	grew a.hca_rnr_nak_retry_err -eq 0
	grew a.hca_retry_exc_err -eq 0
	grew b.hca_resp_local_length_error -eq 0
	kept a "$conn"
}

bench_up()
{
	local side

	load ib_ipoib_stock || return
	# shellcheck disable=SC2034 # setup_ns wants to know whether they exist
	local ns_c='' ns_d=''
	setup_ns ns_c ns_d || return
	NS["c"]=$ns_c NS["d"]=$ns_d HCA["c"]=${HCA[a]} HCA["d"]=${HCA[b]}
	for side in c d; do
		get_if $side stock && if_up $side || return
	done

	ip link add veth-a netns "${NS[a]}" type veth peer name veth-b netns "${NS[b]}"
	ip -n "${NS[a]}" -batch - <<-END || return
		address add 198.51.100.1/24 dev veth-a
		link set veth-a mtu 65520 up
	END
	ip -n "${NS[b]}" -batch - <<-END || return
		address add ${ADDR[v4]}/24 dev veth-b
		link set veth-b mtu 65520 up
	END
	for side in a b; do
		on $side ethtool -K veth-$side tx off rx off gro off >/dev/null || return
	done
	busywait 10000 ping_to a d 4 && busywait 10000 ping_to c d 4
}

need_stock
plan 14 64

ipoib_up patched-patched
bench_up || bail_out "cannot set up the benchmark"
run "sendfile(), offload off, against veth without checksum offload" \
	ratio 50 agreed_off veth -m tcp
run "sendfile(), offload on against off" ratio 150 agreed_on agreed_off -m tcp
run "no connection breaks in a minute" one_minute
run "TCP, write(), to a stock peer, patched against stock" ratio 95 to_stock stock tcp
run "TCP, sendfile(), to a stock peer, patched against stock" \
	ratio 95 to_stock stock -m tcp
run "UDP of 65000 bytes to a stock peer, patched against stock" \
	ratio 95 to_stock stock udp
run "UDP of 8000 bytes to a stock peer, patched against stock" \
	ratio 95 to_stock stock -s 8000 udp
run "TCP, write(), offload off, patched against stock at both ends" \
	ratio 95 agreed_off stock tcp
run "TCP, sendfile(), offload off, patched against stock at both ends" \
	ratio 95 agreed_off stock -m tcp
run "UDP of 65000 bytes, offload off, patched against stock at both ends" \
	ratio 95 agreed_off stock udp
run "TCP, write(), 16 SGEs against 32" ratio 90 sge16 sge32 tcp
run "TCP, sendfile(), 16 SGEs and MTU 61492 against 32" ratio 90 sge16_mtu sge32 -m tcp
# It has 18 pieces, so that three of them are copied.
run "TCP, sendfile(), 16 SGEs against 32" ratio 90 sge16 sge32 -m tcp
run "UDP of 65000 bytes, 16 SGEs against 32" ratio 90 sge16 sge32 udp

finish
