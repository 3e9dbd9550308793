#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# The private data of the CM, as it leaves, byte for byte:
#
#     namespace a                     namespace b
#   +----------------+  REQ ---->   +----------------+
#   | patched IPoIB  |  <---- REP   | patched or     |
#   |                |              | stock IPoIB    |
#   +-------+--------+              +-------+--------+
#           | ibdevsim0                     | ibdevsim1: small buffers
#           +---------- ibdevsim -----------+
#
#   offset  0	QPN of the interface, as in its address
#           4	receive buffer
#           8	"ICM1"
#          12	capabilities
#          16	zeros
#
# A kprobe has a look at all MADs that are sent.

# shellcheck source=/dev/null
source "$(dirname "$(readlink -f "$0")")/lib.sh"

TRACING=/sys/kernel/tracing/instances/ipoib
PROBES=/sys/kernel/tracing/kprobe_events

# A buffer of 65520 bytes of IP and 4 of encapsulation, and one of 4 pages less the 12
# bytes that the driver keeps free
FULL=0000fff4
SMALL=00003ff4

ICM1=49434d31
NOTHING=0000000000000000

# Of the buffer that is the first argument, the MAD is the second word. The IDs of the
# messages are attributes of MADs. Each has the GUID of the HCA and the private data in
# places of its own.
probe_up()
{
	# shellcheck disable=SC2016 # it is the kernel that expands it
	local mad='+8($arg1)'

	modprobe ib_cm
	mkdir "$TRACING" && echo "p:ipoib/mad ib_post_send_mad" \
		"class=+1($mad):u8 id=+16($mad):x8[2]" \
		"req=+40($mad):x8[8] req_data=+164($mad):x8[64]" \
		"rep=+52($mad):x8[8] rep_data=+60($mad):x8[64]" >>$PROBES &&
		echo "class == 7" >"$TRACING/events/ipoib/mad/filter" &&
		echo 1 >"$TRACING/events/ipoib/mad/enable"
}

# probe_down: and keep the exit status
probe_down()
{
	local status=$?

	echo 0 >"$TRACING/events/ipoib/mad/enable"
	rmdir "$TRACING"
	echo "-:ipoib/mad" >>$PROBES
	return $status
}

# sent req|rep: each such message since the last reconnection, as the GUID and the
# private data
declare -A ID=([req]=10 [rep]=13)
sent()
{
	sed -nE "s/.* id=\{0x0,0x${ID[$1]}\}.* $1=\{(.*)\} $1_data=\{([^}]*)\}.*/\1 \2/p" \
		"$TRACING/trace" | sed -E 's/0x([0-9a-f])\>/0\1/g; s/0x//g; s/,//g'
}

# guid SIDE: of its HCA
guid()
{
	local guid hca=${HCA[$1]:-}

	# That of a real interface is the only one there
	[[ $hca ]] || hca=$(ls "${SYSFS[$1]}/class/net/${DEV[$1]}/device/infiniband")
	read -r guid <"/sys/class/infiniband/$hca/node_guid" && echo "${guid//:/}"
}

# golden SIDE req|rep HEX: it has sent that behind its QPN, and zeros, and nothing else
golden()
{
	local address want zeros guid data of seen=0

	of=$(guid "$1")
	read -r address <"${SYSFS[$1]}/class/net/${DEV[$1]}/address"
	address=${address//:/}
	printf -v zeros %096d 0
	want=00${address:2:6}$3$zeros
	while read -r guid data; do
		[[ $guid == "$of" && $data == 00${address:2:6}* ]] || continue
		seen=$((seen + 1))
		[[ $data == "$want" ]] || fail "$2 of $1: $data, expected $want"
	done < <(sent "$2")
	expect "$2 that $1 has sent" $seen -ge 1
}

again()
{
	: >"$TRACING/trace"
	reconnect
}

agreed()
{
	again || return
	golden a req $FULL${ICM1}00000001
	golden b rep $SMALL${ICM1}00000001
	golden b req $SMALL${ICM1}00000001
	golden a rep $FULL${ICM1}00000001
}

# It is for the receiver to say no
receiver_off()
{
	set_feature b rx off
	again || return
	golden a req $FULL${ICM1}00000001
	golden b rep $SMALL${ICM1}00000000
	golden b req $SMALL${ICM1}00000001
	golden a rep $FULL${ICM1}00000001
	set_feature b rx on
}

# A sender may change its mind
sender_off()
{
	set_feature a tx off
	again || return
	golden a req $FULL${ICM1}00000001
	golden b rep $SMALL${ICM1}00000001
	set_feature a tx on
}

# What it did not ask for it does not get, but it may see that there is something. What
# it sends is what all have sent up to now.
unmodified()
{
	again || return
	golden a req $FULL${ICM1}00000001
	golden b rep $FULL$NOTHING
	golden b req $FULL$NOTHING
	golden a rep $FULL${ICM1}00000000
}

[[ -e $PROBES ]] || skip_all "this kernel has no kprobe events, or no tracefs"
plan 4 1

trap 'probe_down; cleanup' EXIT
probe_up || bail_out "no probe"
if ! sim || (($(getconf PAGESIZE) > 4096)); then
	SMALL=$FULL
fi
ipoib_up patched-patched max_srq_sge=32,4
run "agreed" agreed
run "receiver off" receiver_off
run "sender off" sender_off
if sim; then
	ipoib_down
	ipoib_up patched-stock
fi
run_sim "unmodified driver" unmodified

finish
