# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
# shellcheck shell=bash
#
# What the tests of IP over InfiniBand have in common. Most run on
#
#     namespace ${NS[a]}              namespace ${NS[b]}
#   +----------------------+        +----------------------+
#   | ${DEV[a]}             |        | ${DEV[b]}             |
#   |   192.0.2.1/24       |        |   192.0.2.2/24       |
#   |   2001:db8::1/64     |        |   2001:db8::2/64     |
#   +----------+-----------+        +----------+-----------+
#              | ${HCA[a]}                     | ${HCA[b]}
#              +----------- fabric ------------+
#
# where the HCAs are those of ibdevsim, a simulated one, and each interface is
# that of the driver under test (ib_ipoib, "patched") or of an unmodified one that
# was built as a second module (ib_ipoib_stock, "stock").
#
# With IPOIB_IF and IPOIB_PEER_IF set, these two interfaces are used instead, as
# sides a and b. They lose their addresses. Cases that need ibdevsim or the stock
# driver are skipped.
#
# A script calls, in this order: plan, ipoib_up, run for each case, finish.

IPOIB_DIR=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
XFER=$IPOIB_DIR/xfer
RAWCSUM=$IPOIB_DIR/rawcsum
RAWSEND=$IPOIB_DIR/rawsend

for file in ../../net/lib.sh ../../kselftest/ktap_helpers.sh; do
	if [[ ! -e $IPOIB_DIR/$file ]]; then
		echo "1..0 # SKIP this runs in a kernel tree only: no $file"
		exit 4
	fi
	# shellcheck source=/dev/null
	source "$IPOIB_DIR/$file"
done

# busywait's clock, without a process for each look at it
timestamp_ms()
{
	echo $((${EPOCHREALTIME/[.,]/} / 1000))
}

declare -A NS DEV HCA ADDR DIAL KIND FD PID NOW OLD SAVED
declare -A SHELL_PID SHELL_IN SHELL_OUT SYSFS
ADDR=([a4]=192.0.2.1 [a6]=2001:db8::1 [b4]=192.0.2.2 [b6]=2001:db8::2
      [s4]=198.51.100.1 [s6]=2001:db8:1::1 [r4]=198.51.100.2 [r6]=2001:db8:1::2)
# Where to send what is for a side, if not to its address: DIAL[SIDE4], DIAL[SIDE6]
DIAL=()
KIND=([patched]=ipoib [stock]=ipoib_stock)

# -U, as the first and the last who wants time stamps has the kernel patch its code,
# which takes a while, and which not every emulator gets right while packets arrive
PING=(ping -U -n -q)

# "No checksum error" is that none of these grows.
CSUM_ERRORS=(TcpInCsumErrors UdpInCsumErrors Udp6InCsumErrors
	     IcmpInCsumErrors Icmp6InCsumErrors)

# What waits gives up after so many times as long: kselftest says "yes" where everything
# is emulated, or looked after by debugging
PATIENCE=1
[[ ${KSFT_MACHINE_SLOW:-} != yes ]] || PATIENCE=5

# Where nothing else is asked for: two dozen packets of the biggest size
DATA_MIB=2
# Seconds that a stream, or some datagrams, may take
XFER_TIMEOUT=$((20 * PATIENCE))
UDP_TIMEOUT=$((30 * PATIENCE))
SIDES=(a b)
XFER_OPTIONS=()

# IP packets below have checksums
CSUM_MIN=1024
LOADED=()
PORT=5000

##############################################################################
# Beginning and end

# skip_all REASON: nothing can be tested here
skip_all()
{
	ktap_skip_all "$*"
	exit "$KSFT_SKIP"
}

# sim: do we have ibdevsim, with all its knobs?
sim()
{
	[[ -z ${IPOIB_IF:-} ]]
}

# have_module NAME
have_module()
{
	[[ -d /sys/module/$1 ]] || modinfo "$1" &>/dev/null
}

# Fails with one line for what is missing.
check_requirements()
{
	local cmd

	((EUID == 0)) || skip_all "must be run as root"
	for cmd in ip ethtool ping sha256sum sysctl modprobe; do
		command -v "$cmd" >/dev/null || skip_all "no command $cmd"
	done
	for cmd in "$XFER" "$RAWCSUM" "$RAWSEND"; do
		[[ -x $cmd ]] || skip_all "$cmd is not built: run make in $IPOIB_DIR"
	done
	check_devices
}

# A script that is not about IPoIB has another check_devices, and another ipoib_down.
check_devices()
{
	local cmd

	if sim; then
		have_module ibdevsim ||
			skip_all "no module ibdevsim, and IPOIB_IF is not set"
		[[ ! -d /sys/module/ibdevsim ]] ||
			skip_all "ibdevsim is in use: unload it"
		have_module ib_ipoib || skip_all "no module ib_ipoib"
	else
		for cmd in "$IPOIB_IF" "${IPOIB_PEER_IF:-}"; do
			[[ -n $cmd && -e /sys/class/net/$cmd/mode ]] ||
				skip_all "IPOIB_IF or IPOIB_PEER_IF: '$cmd' is no IPoIB interface"
		done
	fi
}

# need_stock: skip the script unless there is an unmodified driver to load
need_stock()
{
	sim || skip_all "needs ibdevsim, but IPOIB_IF is set"
	have_module ib_ipoib_stock ||
		skip_all "no module ib_ipoib_stock (the unmodified driver, built under that name)"
}

# plan N [MIB]: how many cases there are, and the size of the file that tcp sends.
# First checks whether they can be run.
plan()
{
	DATA_MIB=${2:-$DATA_MIB}
	check_requirements
	TMP=$(mktemp -d -p /dev/shm ipoib.XXXXXX) || exit "$KSFT_FAIL"
	trap cleanup EXIT
	trap 'exit $KSFT_FAIL' INT TERM HUP
	ktap_print_header
	ktap_set_plan "$1"
	head -c "${DATA_MIB}M" /dev/urandom >"$TMP/data"
	DATA_SUM=$(sha256sum <"$TMP/data")
}

cleanup()
{
	local status=$?

	trap - EXIT INT TERM HUP
	CASE=pass
	ipoib_down
	[[ $CASE == pass ]] || status=$KSFT_FAIL
	cleanup_all_ns
	rm -rf "$TMP"
	exit "$status"
}

# finish: totals and exit status
finish()
{
	if ((KTAP_CNT_SKIP == KSFT_NUM_TESTS)); then
		ktap_print_totals
		exit "$KSFT_SKIP"
	fi
	ktap_finished
}

# bail_out REASON: the rest of the script makes no sense any more
bail_out()
{
	show_state
	ktap_exit_fail_msg "$*"
}

##############################################################################
# Cases

# comment: what is read from stdin, as comments
comment()
{
	sed 's/^/# /'
}

# fail MESSAGE: the case that is running has failed. It may go on.
fail()
{
	comment <<<"$*"
	CASE=fail
	return 1
}

# skip MESSAGE: the case that is running cannot run here. It must return now.
skip()
{
	comment <<<"$*"
	CASE=skip
	return 0
}

# run DESCRIPTION COMMAND...: one case. It passes if COMMAND returns 0, and did
# not call fail or skip.
run()
{
	local description=$1
	shift

	CASE=pass
	"$@" || CASE=fail
	case $CASE in
	pass)	ktap_test_pass "$description" ;;
	skip)	ktap_test_skip "$description" ;;
	fail)	show_state
		ktap_test_fail "$description"
		# What it has left is not the fault of the next one
		snap ;;
	esac
}

# run_sim: same, for cases that need ibdevsim
run_sim()
{
	if sim; then
		run "$@"
	else
		run "$1" skip "needs ibdevsim, but IPOIB_IF is set"
	fi
}

# expect WHAT VALUE OPERATOR VALUE: compare integers, with an operator of test
expect()
{
	test "$2" "$3" "$4" || fail "$1 $2, expected $3 $4"
}

##############################################################################
# Modules, namespaces, interfaces

# load MODULE [PARAM...]: unless it is loaded
load()
{
	[[ ! -d /sys/module/$1 ]] || return 0
	modprobe "$@" || return
	LOADED=("$1" "${LOADED[@]}")
}

# unload MODULE: that load() has loaded
unload()
{
	local module rest=()

	for module in "${LOADED[@]}"; do
		[[ $module == "$1" ]] || rest+=("$module")
	done
	LOADED=("${rest[@]}")
	# Somebody may be looking at it just now
	wait_for 5000 rmmod "$1" || fail "cannot unload $1"
}

# wait_for MS COMMAND...: until it succeeds, which it mostly does at once
wait_for()
{
	"${@:2}" &>/dev/null || busywait $(($1 * PATIENCE)) "${@:2}" &>/dev/null
}

# on SIDE COMMAND...: run in the namespace of that side
on()
{
	ip netns exec "${NS[$1]}" "${@:2}"
}

# enter SIDE: have a shell in its namespace. Its working directory is its sysfs, so that
# we get there as $SYSFS. Through /proc/PID we see what a new process could see.
enter()
{
	local side=$1 fifo=$TMP/shell_$1 in out

	[[ ! ${SHELL_PID[$side]:-} ]] || return 0
	mkfifo "$fifo" || return
	# shellcheck disable=SC2016 # expanded in there
	exec {out}< <(exec ip netns exec "${NS[$side]}" bash -c '
		cd /sys
		while read -r command; do
			eval "$command" </dev/null 2>&1
			echo "status $?"
		done' <"$fifo")
	SHELL_PID[$side]=$!
	exec {in}>"$fifo"
	SHELL_IN[$side]=$in
	SHELL_OUT[$side]=$out
	SYSFS[$side]=/proc/${SHELL_PID[$side]}/cwd
	ask "$side" sysctl -qw net.ipv6.conf.all.keep_addr_on_down=1 \
		net.ipv4.icmp_echo_ignore_broadcasts=0
}

# ask SIDE COMMAND...: as on, by that shell. To start ip, which mounts a sysfs and
# starts the command, takes longer than most commands do.
ask()
{
	local line

	{ printf '%q ' "${@:2}" && echo; } >&"${SHELL_IN[$1]}"
	while IFS= read -r line <&"${SHELL_OUT[$1]}"; do
		[[ $line != "status "* ]] || return "${line#status }"
		echo "$line"
	done
	return 1
}

# find_if HCA KIND: the interface of that rtnl kind on port 1 of an HCA
find_if()
{
	local gid name address

	read -r gid <"/sys/class/infiniband/$1/ports/1/gids/0" || return
	while read -r name _ address _; do
		address=${address//:/}
		if [[ $name != *@* && ${address:8} == "${gid//:/}" ]]; then
			echo "$name"
			return
		fi
	done < <(ip -br link show type "$2")
	return 1
}

# get_if SIDE DRIVER: the interface of its HCA is that of the side, once it is there
get_if()
{
	DEV[$1]=$(busywait $((5000 * PATIENCE)) find_if "${HCA[$1]}" "${KIND[$2]}")
}

has_carrier()
{
	local carrier

	read -r carrier <"${SYSFS[$1]}/class/net/${DEV[$1]}/carrier" && ((carrier))
}

# if_up SIDE: move its interface to its namespace and bring it up
if_up()
{
	enter "$1" && ip link set "${DEV[$1]}" netns "${NS[$1]}" &&
		set_mode "$1" "${MODE:-connected}" && if_config "$1"
}

# if_config SIDE: as far as that does not matter
if_config()
{
	local side=$1 dev=${DEV[$1]}

	ip -n "${NS[$side]}" -batch - <<-END
		address add ${ADDR[${side}4]}/24 broadcast + dev $dev
		address add ${ADDR[${side}6]}/64 dev $dev nodad
		link set $dev up
	END
}

# ipoib_up DRIVERS [PARAM...]: make the topology above. DRIVERS is that of a and
# that of b, such as "patched-stock", a PARAM is one of ibdevsim's. MODE=datagram
# is heeded.
ipoib_up()
{
	local -A driver=([a]=${1%-*} [b]=${1#*-})
	local side
	shift

	if sim; then
		load ibdevsim rnr_grace_us=$((500000 * PATIENCE)) "$@" ||
			bail_out "cannot load ibdevsim $*"
		# In this order: debugfs directories may have the same name
		load ib_ipoib || bail_out "cannot load ib_ipoib"
		if [[ ${driver[*]} == *stock* ]]; then
			load ib_ipoib_stock || bail_out "cannot load ib_ipoib_stock"
		fi
		HCA=([a]=ibdevsim0 [b]=ibdevsim1)
		if command -v udevadm >/dev/null; then
			udevadm settle 2>/dev/null	# it may rename them
		fi
		for side in a b; do
			get_if "$side" "${driver[$side]}" ||
				bail_out "no ${driver[$side]} interface on ${HCA[$side]}"
		done
	else
		DEV=([a]=$IPOIB_IF [b]=$IPOIB_PEER_IF)
		for side in a b; do
			SAVED[$side]=$(</sys/class/net/"${DEV[$side]}"/mode)
		done
	fi

	if [[ ! ${NS[a]:-} ]]; then
		# shellcheck disable=SC2034 # setup_ns wants to know whether they exist
		local ns_a='' ns_b=''
		setup_ns ns_a ns_b || bail_out "no namespaces"
		NS=([a]=$ns_a [b]=$ns_b)
	fi
	for side in a b; do
		if_up "$side" || bail_out "cannot bring up ${DEV[$side]}"
	done
	for side in a b; do
		wait_for 10000 has_carrier "$side" ||
			bail_out "no carrier on ${DEV[$side]}"
	done
	warm_up || bail_out "no connectivity between ${DEV[a]} and ${DEV[b]}"
	snap
	for side in a b; do
		[[ ${driver[$side]} != patched ]] || need_patched "$side"
	done
}

# need_patched SIDE: is the driver there the one that these tests are about?
need_patched()
{
	[[ ! ${NOW[$1.tx_csum_marked]:-} ]] || return 0
	while ((KTAP_TESTNO <= KSFT_NUM_TESTS)); do
		run "${DEV[$1]}" skip "this ib_ipoib cannot leave out checksums"
	done
	finish
}

# ipoib_down: undo ipoib_up, but for the namespaces
ipoib_down()
{
	local side module

	for side in "${!SAVED[@]}"; do
		[[ ${SHELL_PID[$side]:-} ]] || continue
		set_feature "$side" tx on rx on sg on
		ip -n "${NS[$side]}" link set "${DEV[$side]}" down
		set_mode "$side" "${SAVED[$side]}"
		ip -n "${NS[$side]}" link set "${DEV[$side]}" netns 1
	done
	# Interfaces that vanish need not be moved back first
	for module in "${LOADED[@]}"; do
		unload "$module"
	done
	DEV=() HCA=() SAVED=()
}

# set_mode SIDE connected|datagram
set_mode()
{
	echo "$2" >"${SYSFS[$1]}/class/net/${DEV[$1]}/mode"
}

# set_mtu MTU: of both sides
set_mtu()
{
	ip -n "${NS[a]}" link set "${DEV[a]}" mtu "$1" &&
		ip -n "${NS[b]}" link set "${DEV[b]}" mtu "$1"
}

# set_feature SIDE FEATURE on|off ...
set_feature()
{
	ask "$1" ethtool -K "${DEV[$1]}" "${@:2}" >/dev/null
}

# to_ud_neighbour: a takes b for a driver without connected mode. The first byte of
# its address, with which it should have told us, says so.
to_ud_neighbour()
{
	local address

	read -r address <"${SYSFS[b]}/class/net/${DEV[b]}/address" &&
		ip -n "${NS[a]}" -batch - <<-END
			neigh replace ${ADDR[b4]} lladdr 00${address:2} dev ${DEV[a]}
			neigh replace ${ADDR[b6]} lladdr 00${address:2} dev ${DEV[a]}
		END
}

# reconnect: throw away all connections, and open new ones
reconnect()
{
	ip -n "${NS[a]}" link set "${DEV[a]}" down
	wait_for 5000 no_conn a
	wait_for 5000 no_conn b
	ip -n "${NS[a]}" link set "${DEV[a]}" up
	wait_for 10000 has_carrier a || fail "no carrier" || return
	warm_up || fail "no connectivity" || return
	snap
}

##############################################################################
# What can be seen

# values SIDE: counters of an interface and its namespace, "NAME VALUE" per line
values()
{
	local proc=/proc/${SHELL_PID[$1]}/net lines line i names numbers

	ask "$1" ethtool -S "${DEV[$1]}"
	read -r line <"${SYSFS[$1]}/class/net/${DEV[$1]}/statistics/rx_length_errors"
	echo "rx_length_errors $line"
	mapfile -t lines <"$proc/snmp6"
	for line in "${lines[@]}"; do
		[[ $line != *InCsumErrors* ]] || echo "$line"
	done
	# A line with names, one with numbers
	mapfile -t lines <"$proc/snmp"
	while ((${#lines[@]})); do
		read -ra names <<<"${lines[0]}"
		read -ra numbers <<<"${lines[1]}"
		for i in "${!names[@]}"; do
			[[ ${names[i]} != InCsumErrors && ${names[i]} != InDatagrams ]] ||
				echo "${names[0]%:}${names[i]} ${numbers[i]}"
		done
		lines=("${lines[@]:2}")
	done
}

# hca_values SIDE: the same for the HCA
hca_values()
{
	local file value

	[[ -n ${HCA[$1]:-} ]] || return 0
	for file in /sys/class/infiniband/"${HCA[$1]}"/ports/1/hw_counters/*; do
		read -r value <"$file" && echo "hca_${file##*/} $value"
	done
}

# value SIDE NAME
value()
{
	local name value found=''

	# To the end: ask must not be cut short
	while read -r name value; do
		[[ ${name%:} != "$2" ]] || found=$value
	done < <(values "$1"; hca_values "$1")
	[[ $found ]] && echo "$found"
}

# snap: take down the counters of all SIDES. delta SIDE.NAME is then by how much one
# has grown since the last time. ipoib_up and reconnect do it in the end.
snap()
{
	local side name value

	for side in "${SIDES[@]}"; do
		[[ ${DEV[$side]:-} ]] || continue
		while read -r name value _; do
			name=$side.${name%:}
			[[ $value =~ ^[0-9]+$ ]] || continue
			OLD[$name]=${NOW[$name]:-0}
			NOW[$name]=$value
		done < <(values "$side"; hca_values "$side")
	done
}

delta()
{
	echo $((NOW[$1] - OLD[$1]))
}

# until_grew SIDE NAME N: wait until it has, by N since then, for what is on its way
until_grew()
{
	wait_for 5000 until_counter_is ">= $((NOW[$1.$2] + $3))" value "$1" "$2"
}

# grew SIDE.NAME OPERATOR VALUE: is that by how much it has grown?
grew()
{
	[[ -n ${NOW[$1]:-} ]] || fail "no counter $1" || return
	expect "$1 grew by" $((NOW[$1] - OLD[$1])) "$2" "$3"
}

# no_csum_errors [SIDE...]
no_csum_errors()
{
	local side name ret=0

	for side in "${@:-b}"; do
		for name in "${CSUM_ERRORS[@]}"; do
			grew "$side.$name" -eq 0 || ret=1
		done
	done
	return $ret
}

# no_hca_errors: the connections of both sides have not broken
no_hca_errors()
{
	local side name

	sim || return 0
	for side in a b; do
		for name in rnr_nak_retry_err retry_exc_err resp_local_length_error; do
			grew "$side.hca_$name" -eq 0
		done
	done
}

# features SIDE LINE...: ethtool -k shows all these lines
features()
{
	local side=$1 line shown ret=0
	shift

	shown=$(ask "$side" ethtool -k "${DEV[$side]}")
	shown=$'\n'${shown//$'\t'/}$'\n'
	for line; do
		[[ $shown != *$'\n'"$line"$'\n'* ]] || continue
		shown=${shown#*$'\n'"${line%%:*}":}
		fail "${DEV[$side]}: expected '$line', shown is '${shown%%$'\n'*}'"
		ret=1
	done
	return $ret
}

# conns SIDE [tx|rx]: its connections, as debugfs shows them
conns()
{
	local file=/sys/kernel/debug/ipoib/${DEV[$1]}_cm line

	[[ -e $file ]] || return 0
	while read -r line; do
		[[ $line != "${2:-}"* ]] || echo "$line"
	done <"$file"
}

no_conn()
{
	[[ -z $(conns "$1") ]]
}

# count_conns SIDE tx|rx WORD...: how many have all these words
count_conns()
{
	local line word count=0

	while read -r line; do
		for word in "${@:3}"; do
			[[ " $line " == *" $word "* ]] || continue 2
		done
		count=$((count + 1))
	done < <(conns "$1" "$2")
	echo $count
}

# conn_is SIDE tx|rx WORD...: there is a connection, and each has all these words
conn_is()
{
	local count

	count=$(count_conns "$@")
	((count > 0 && count == $(count_conns "$1" "$2")))
}

# expect_conn: same, waits for it, and fails
expect_conn()
{
	wait_for 5000 conn_is "$@" ||
		fail "connections of $1, expected $2 ${*:3}, but there is: $(conns "$1")"
}

# kept SIDE CONNECTIONS: they are still there. Others may have come.
kept()
{
	local now line

	now=$(conns "$1")
	while read -r line; do
		[[ $'\n'$now$'\n' == *$'\n'"$line"$'\n'* ]] ||
			fail "there was '$line', now '$now'" || return
	done <<<"$2"
}

# knob SIDE NAME VALUE: set one of ibdevsim's; or, where KIND is rc, ud or gsi,
# knob SIDE drop|corrupt KIND COUNT
# knob SIDE truncate KIND LENGTH COUNT [OFFSET]
# knob SIDE tamper KIND OFFSET MASK COUNT
knob()
{
	local dir=/sys/kernel/debug/ibdevsim/${HCA[$1]}

	case $2 in
	drop|corrupt)
		echo "$4" >"$dir/$2_$3" ;;
	truncate)
		echo "${6:-0}" >"$dir/truncate_offset"
		echo "$4" >"$dir/truncate_length"
		echo "$5" >"$dir/truncate_$3" ;;
	tamper)	echo "$4" >"$dir/tamper_offset"
		echo "$5" >"$dir/tamper_mask"
		echo "$6" >"$dir/tamper_$3" ;;
	*)	echo "$3" >"$dir/$2" ;;
	esac
}

# kernel_memory: kilobytes that the kernel has allocated, and user space cannot have
kernel_memory()
{
	sync
	echo 2 >/proc/sys/vm/drop_caches
	awk '/^(SUnreclaim|Percpu|VmallocUsed|KernelStack):/ { sum += $2 } END { print sum }' \
		/proc/meminfo
}

# memory_below KB: to wait for, as what is freed may take a while
memory_below()
{
	(($(kernel_memory) < $1))
}

# show_state: for whoever has to find out why a case failed
show_state()
{
	local side

	for side in a b; do
		[[ ${DEV[$side]:-} && ${SHELL_PID[$side]:-} ]] || continue
		echo "side $side: ${DEV[$side]}"
		conns "$side"
		{ values "$side"; hca_values "$side"; } |
			awk '$2 + 0 > 0 { printf "%s=%s ", $1, $2 } END { print "" }'
	done 2>&1 | comment
}

##############################################################################
# Traffic

# ping_to FROM TO 4|6 [PING-OPTION...]: FROM and TO are sides
ping_to()
{
	ask "$1" "${PING[@]}" "-$3" -c 1 -W 1 "${@:4}" "${ADDR[$2$3]}" >/dev/null
}

# pings FROM TO 4|6 SIZE COUNT: all of them are answered
pings()
{
	local out i

	# One at a time: of several, ping does not wait for the last one
	for ((i = 0; i < $5; i++)); do
		out=$(ask "$1" "${PING[@]}" "-$3" -s "$4" -c 1 -W $((2 * PATIENCE)) \
			"${ADDR[$2$3]}") || fail "$out" || return
	done
}

# warm_up: have neighbours resolved and connections opened, in both directions
warm_up()
{
	wait_for 10000 ping_to a b 4 && wait_for 10000 ping_to a b 6
}

# start NAME COMMAND...: run in the background, return once it says "ready"
start()
{
	local name=$1 fd line
	shift

	exec {fd}< <(exec "$@" 2>&1)
	PID[$name]=$!
	FD[$name]=$fd
	read -r -t $((20 * PATIENCE)) line <&"$fd"
	[[ $line == ready ]] || fail "$1: $line"
}

# spawn NAME SIDE COMMAND...: same, in the namespace of that side
spawn()
{
	start "$1" ip netns exec "${NS[$2]}" "${@:3}"
}

# reap NAME: wait for it; its output is in REPLY, its status is returned
reap()
{
	local fd=${FD[$1]}

	read -r -d '' -u "$fd" REPLY	# all of it
	exec {fd}<&-
	wait "${PID[$1]}"
}

# tcp_start FROM TO 4|6 [XFER-OPTION...]: start sending the file. With STREAM set, it
# is one of several at a time, here and below.
tcp_start()
{
	local from=$1 to=$2 address=${ADDR[$2$3]} dial=${DIAL[$2$3]:-${ADDR[$2$3]}}
	local name=${STREAM:-}
	shift 3

	PORT=$((PORT + 1))
	start "receiver$name" "$XFER" -N "${NS[$to]}" -t "$XFER_TIMEOUT" "$@" \
		tcp-recv "$address" $PORT "$TMP/received$name" || return
	"$XFER" -N "${NS[$from]}" -t "$XFER_TIMEOUT" "$@" \
		tcp-send "$dial" $PORT "$TMP/data" 2>"$TMP/errors$name" &
	PID["sender$name"]=$!
}

# tcp_hurry: from now on at any rate, if it has not come to its end yet
tcp_hurry()
{
	kill -USR1 "${PID[sender${STREAM:-}]}" 2>/dev/null
}

# tcp_wait: for the end, whatever came
tcp_wait()
{
	local name=${STREAM:-}

	if ! wait "${PID[sender$name]}"; then
		kill "${PID[receiver$name]}"
		reap "receiver$name"
		fail "TCP: $(<"$TMP/errors$name")"
		return
	fi
	reap "receiver$name" || fail "TCP receiver: $REPLY"
}

# tcp_finish: same; what came is what was sent
tcp_finish()
{
	tcp_wait || return
	[[ $(sha256sum <"$TMP/received${STREAM:-}") == "$DATA_SUM" ]] || fail "TCP: data differ"
}

# tcp FROM TO 4|6 [XFER-OPTION...]: send the file, such as with -w sendfile
tcp()
{
	tcp_start "$@" && tcp_finish
}

# streams_start RATE: four TCP streams, of no more than so many bytes per second each
streams_start()
{
	local i

	STREAM=1 tcp_start a b 4 -r "$1" && STREAM=2 tcp_start b a 4 -r "$1" -m &&
		STREAM=3 tcp_start a b 6 -r "$1" -m && STREAM=4 tcp_start b a 6 -r "$1" ||
		return
	for i in 1 2 3 4; do
		wait_for 10000 test -s "$TMP/received$i" || fail "stream $i does not flow"
	done
}

# streams_finish: all have survived
streams_finish()
{
	local i

	for i in 1 2 3 4; do
		STREAM=$i tcp_hurry
	done
	for i in 1 2 3 4; do
		STREAM=$i tcp_finish
	done
}

# udp_to ADDRESS DIAL FROM TO COUNT SIZE,... [COMMAND...]: send datagrams to DIAL, where
# they reach who listens at ADDRESS. All arrive, and are intact. COMMAND is run while
# the receiver is waiting.
udp_to()
{
	local address=$1 dial=$2 from=$3 to=$4
	local args=(-t "$UDP_TIMEOUT" -n "$5" -s "$6" "${XFER_OPTIONS[@]}")
	shift 6

	PORT=$((PORT + 1))
	start receiver "$XFER" "${args[@]}" -N "${NS[$to]}" -i "${DEV[$to]:-}" \
		udp-recv "$address" $PORT || return
	"$@"
	"$XFER" "${args[@]}" -N "${NS[$from]}" -i "${DEV[$from]:-}" \
		udp-send "$dial" $PORT 2>"$TMP/errors" || fail "UDP: $(<"$TMP/errors")"
	reap receiver || fail "UDP: $REPLY"
}

# udp FROM TO 4|6 COUNT SIZE,... [XFER-OPTION...]
udp()
{
	local XFER_OPTIONS=("${@:6}")

	udp_to "${ADDR[$2$3]}" "${DIAL[$2$3]:-${ADDR[$2$3]}}" "$1" "$2" "$4" "$5"
}

# mcast FROM TO 4|6 COUNT SIZE,...: to a multicast group
mcast()
{
	local group=239.1.2.3

	[[ $3 == 4 ]] || group=ff15::1:2:3
	# It takes a while until the sender knows the group and the receiver has
	# joined it. From then on that answers.
	udp_to "$group" "$group" "$1" "$2" "$4" "$5" wait_for 10000 \
		ask "$1" "${PING[@]}" "-$3" -c 1 -W 0.3 -I "${DEV[$1]}" $group
}

# bcast FROM TO COUNT SIZE,...: to the broadcast address, over IPv4
bcast()
{
	udp_to 192.0.2.255 192.0.2.255 "$1" "$2" "$3" "$4"
}

##############################################################################
# A router
#
#   namespace a            namespace b (router)                      namespace s
#   +-----------+          +------------------------------+          +-----------+
#   | IPoIB     |          | IPoIB            $ROUTER_DEV  |          |           |
#   | 192.0.2.1 |          | 192.0.2.2      198.51.100.2  |          |  .1       |
#   +-----+-----+          +---+----------------------+---+          +----+------+
#         +------ fabric ------+                      +------- wire ------+
#
# The wire is a veth pair where all offloads are off, so that nobody else completes
# what the router should, or vouches for it; or the fabric again. s is called the
# server in the tests, and a the client.

# router_up [DRIVER]: what of this ipoib_up has not made. With DRIVER, s has an IPoIB
# interface of that driver, on a third HCA, and the router uses its only one for both.
router_up()
{
	# shellcheck disable=SC2034 # for setup_ns
	local side ns_s=''

	if [[ ! ${NS[s]:-} ]]; then
		setup_ns ns_s || return
		NS["s"]=$ns_s
		SIDES+=(s)
	fi
	if [[ ${1:-} ]]; then
		HCA["s"]=ibdevsim2
		get_if s "$1" && if_up s || return
		ROUTER_DEV=${DEV[b]}
		# The way past the router would be shorter
		for side in a s; do
			ask $side sysctl -qw net.ipv6.conf."${DEV[$side]}".accept_redirects=0
		done
	else
		DEV["s"]=veth-s
		ROUTER_DEV=veth-r
		veth_up || return
	fi
	ask b sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
		net.ipv4.conf.all.send_redirects=0 \
		net.ipv4.conf."$ROUTER_DEV".send_redirects=0
	ip -n "${NS[b]}" -batch - <<-END || return
		address add ${ADDR[r4]}/24 dev $ROUTER_DEV
		address add ${ADDR[r6]}/64 dev $ROUTER_DEV nodad
	END
	ip -n "${NS[s]}" -batch - <<-END || return
		route add default via ${ADDR[r4]}
		route add default via ${ADDR[r6]}
	END
	ip -n "${NS[a]}" -batch - <<-END || return
		route add default via ${ADDR[b4]}
		route add default via ${ADDR[b6]}
	END
	wait_for 10000 ping_to a s 4 && wait_for 10000 ping_to a s 6 && snap
}

# veth_up: the wire between router and server
veth_up()
{
	local off=(tx off rx off tso off gso off gro off sg off)

	ip link add "$ROUTER_DEV" mtu 65520 netns "${NS[b]}" type veth \
		peer name "${DEV[s]}" mtu 65520 netns "${NS[s]}" && enter s || return
	ask b ethtool -K "$ROUTER_DEV" "${off[@]}" >/dev/null &&
		ask s ethtool -K "${DEV[s]}" "${off[@]}" >/dev/null || return
	ip -n "${NS[b]}" link set "$ROUTER_DEV" up
	ip -n "${NS[s]}" -batch - <<-END
		address add ${ADDR[s4]}/24 dev ${DEV[s]}
		address add ${ADDR[s6]}/64 dev ${DEV[s]} nodad
		link set ${DEV[s]} up
	END
}

# captured SIDE IF LEAST COMMAND...: while COMMAND, which is tcp or udp, runs, at least
# so many of its packets come in on this interface, and all have a checksum that is
# right by the bytes alone. Snaps.
captured()
{
	local side=$1 dev=$2 least=$3 good ret=0
	shift 3

	start wire "$RAWCSUM" -N "${NS[$side]}" -p $((PORT + 1)) "$dev" || return
	"$@" || ret=1
	snap
	kill "${PID[wire]}"
	reap wire || fail "rawcsum: $REPLY" || return
	[[ $REPLY == *" bad=0 notready=0 lost=0" ]] || fail "$dev of $side: $REPLY" || ret=1
	good=${REPLY#good=}
	expect "packets on $dev of $side" "${good%% *}" -ge "$least" || ret=1
	return $ret
}

# to_server LEAST COMMAND...: from a to s. At least so many packets reach the router
# marked, and every one reaches s with a checksum.
to_server()
{
	captured s "${DEV[s]}" "$@" || return
	grew b.rx_csum_marked -ge "$1"
	grew b.rx_csum_marked -eq "$(delta a.tx_csum_marked)"
	no_csum_errors a b s
}

# to_client LEAST COMMAND...: from s to a. They come with a checksum, and keep it.
to_client()
{
	captured a "${DEV[a]}" "$@" || return
	grew b.tx_csum_marked -eq 0
	grew b.tx_csum_sw_peer -eq 0
	no_csum_errors a b s
}

# saw WHO COUNT BLANK: in REPLY, rawcsum says that of COUNT packets BLANK had no checksum
# yet. What is there instead is right for one of 65536.
saw()
{
	local good=$(($2 - $3)) by_chance=''

	(($3 == 0)) || by_chance="good=$((good + 1)) bad=$(($3 - 1)) notready=$3 lost=0"
	[[ $REPLY == "good=$good bad=$3 notready=$3 lost=0" || $REPLY == "$by_chance" ]] ||
		fail "a packet socket of $1: $REPLY, expected $3 of $2 without a checksum"
}

# check_sane: later traffic, on the same connections, without anything to remark
check_sane()
{
	local conn

	conn=$(conns a tx)
	tcp a b 4
	tcp b a 6 -m
	snap
	no_csum_errors a b
	grew a.rx_length_errors -eq 0
	grew b.rx_length_errors -eq 0
	grew a.rx_csum_bad_mark -eq 0
	grew b.rx_csum_bad_mark -eq 0
	grew b.rx_csum_marked -eq "$(delta a.tx_csum_marked)"
	grew a.rx_csum_marked -eq "$(delta b.tx_csum_marked)"
	no_hca_errors
	[[ $(conns a tx) == "$conn" ]] || fail "there was '$conn', now '$(conns a tx)'"
}


# check_marks FROM TO LEAST COMMAND...: COMMAND is a transfer from FROM to TO. At least
# LEAST plain packets of 1024 bytes or more arrive, all of them marked, and no others.
# With LEAST 0, none is marked. Not for TCP over UD, where GRO is at work.
check_marks()
{
	local from=$1 to=$2 least=$3 marked bad

	start reader "$RAWCSUM" -b $CSUM_MIN -N "${NS[$to]}" -p $((PORT + 1)) \
		"${DEV[$to]}" || return
	"${@:4}"
	kill "${PID[reader]}"
	reap reader || fail "rawcsum: $REPLY" || return
	snap

	marked=${REPLY#*big=}
	if ((least)); then
		expect "packets of $CSUM_MIN bytes or more" "$marked" -ge "$least"
	else
		marked=0
	fi
	[[ $REPLY == *" notready=$marked lost=0 "* ]] ||
		fail "a packet socket: $REPLY, expected notready=$marked"
	# One of 65536 has the right checksum by chance
	bad=${REPLY#*bad=}
	expect "bad checksums" "${bad%% *}" -le "$marked"
	grew "$from.tx_csum_marked" -eq "$marked"
	grew "$to.rx_csum_marked" -eq "$marked"
	grew "$to.tx_csum_marked" -eq 0
	grew "$from.tx_csum_dropped" -eq 0
	grew "$to.rx_csum_bad_mark" -eq 0
	no_csum_errors "$from" "$to"
}
