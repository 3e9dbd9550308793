# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
# shellcheck shell=bash
#
# Sourced by every script here: where things are, and how to say something.
#
# shellcheck disable=SC2034 # used by those who source this

set -euo pipefail
shopt -s inherit_errexit

ME=$(basename "$0")
REPO=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
SCRIPTS=$REPO/scripts
# An empty CACHE= or KDIR= on make's command line means "not given".
CACHE=$(realpath -m -- "${CACHE:-${HOME:?}/.cache/ipoib-csum}")
[[ -z ${KDIR:-} ]] || KDIR=$(realpath -m -- "$KDIR")
export CACHE KDIR=${KDIR:-}
[[ $CACHE != *[[:space:]:]* ]] || { echo "$ME: make cannot work in '$CACHE'" >&2; exit 1; }
PATH=$PATH:/usr/sbin:/sbin		# depmod and friends, for users other than root
export LC_ALL=C.UTF-8

LTS=6.12				# what is built and booted
OLD=6.1					# the series must still apply to it

# What is called, as need_packages wants it, so that those who need several ask once.
FETCHING=(git patch xz:xz-utils dpkg-deb:dpkg depmod:kmod :debian-archive-keyring)
BUILDING=(make gcc git rsync strip:binutils depmod:kmod :libelf1)
BUILDING_UM=(flex bison bc perl :libc6-dev)
BOOTING=(qemu-system-x86_64:qemu-system-x86 busybox cpio)
CHECKING=(git rsync perl sparse)
# The first clang that the newest kernel takes
LLVM=19
STATIC=(sparse :libelf-dev "clang-$LLVM" "ld.lld-$LLVM:lld-$LLVM" "llvm-ar-$LLVM:llvm-$LLVM"
	s390x-linux-gnu-gcc:gcc-s390x-linux-gnu spatch:coccinelle ocamlopt:ocaml-nox
	ocamlfind:ocaml-findlib sphinx-build:python3-sphinx :python3-yaml)
INSIDE=(make gcc :libc6-dev ip:iproute2 nft:nftables sysctl:procps ethtool ping:iputils-ping iperf3 socat
	dnsmasq:dnsmasq-base :libibverbs-dev :librdmacm-dev)

# Progress goes to stderr with the time since the first script started, so that
# stdout is the result and nobody wonders whether a long step is stuck.
export SAY_START=${SAY_START:-$(date +%s)}
say() { printf '[%4ds] %s\n' "$(($(date +%s) - SAY_START))" "$*" >&2; }
die() { printf '%s: %s\n' "$ME" "$*" >&2; exit 1; }

# usage: the comment block at the top of the calling script
usage() { sed -n '/^# Usage/,/^$/{/^$/q;s/^# \{0,1\}//;p}' "$0"; }

# run TEXT COMMAND...: a long step. What it prints is shown only when it fails; the file
# has no name, so that nothing is left of it whatever happens.
run() {
	local text=$1 log rc file
	shift
	file=$(mktemp)
	exec {log}<>"$file"
	rm -f "$file"
	say "$text"
	# Not "|| rc=$?": that would switch errexit off in a function, too.
	set +e
	(set -e; "$@") >&"$log" 2>&1
	rc=$?
	set -e
	if ((rc)); then
		tail -n 40 "/proc/self/fd/$log" >&2
		die "failed ($rc): $text"
	fi
	exec {log}>&-
}

FAILED=0

# result STATUS TEXT
result() {
	if (($1)); then
		echo "not ok $2"
		FAILED=1
	else
		echo "ok $2"
	fi
}

# once KEY FUNCTION...: what was found good is not looked at again until the key, which
# says everything that matters, changes. What the command says about a failure is
# shown as diagnostics. (errexit is off in the function.)
once() {
	local stamp out rc=0
	stamp=$CACHE/ok/$(sha256sum <<<"$1" | cut -c1-40)
	shift
	[[ ! -e $stamp ]] || return 0
	out=$("$@" 2>&1) || rc=$?
	if ((rc)); then
		tail -n 60 <<<"$out" | sed 's/^/# /'
		return 1
	fi
	mkdir -p "$CACHE/ok"
	touch "$stamp"
}

# locked NAME: one process at a time from here to the end of the script
locked() {
	local fd
	mkdir -p "$CACHE/lock"
	exec {fd}>"$CACHE/lock/$1"
	flock -n "$fd" && return
	say "waiting for another run ($1)"
	flock "$fd"
}

have_package() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

# refresh_apt: package lists are fetched once per run at most, and only if asked
refresh_apt() {
	[[ -z ${APT_FRESH:-} ]] || return 0
	export APT_FRESH=1
	[[ $EUID == 0 ]] || return 0
	run "fetching package lists (apt-get update)" apt-get update
}

# known_package NAME...: dies with one line if there is no such package
known_package() {
	local p
	for p; do
		[[ -z $(apt-cache show "$p" 2>/dev/null) ]] || continue
		refresh_apt
		[[ -n $(apt-cache show "$p" 2>/dev/null) ]] ||
			die "no package $p in this machine's package lists"
	done
}

# need_packages COMMAND[:PACKAGE] | :PACKAGE ...: installs what is missing
need_packages() {
	local want missing=()
	for want; do
		if [[ -n ${want%%:*} ]]; then
			type -P "${want%%:*}" >/dev/null || missing+=("${want#*:}")
		else
			have_package "${want#:}" || missing+=("${want#:}")
		fi
	done
	((${#missing[@]})) || return 0
	mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
	type -P apt-get >/dev/null ||
		die "missing, and no apt-get to install them with: ${missing[*]}"
	[[ $EUID == 0 ]] ||
		die "missing packages; as root: apt-get install ${missing[*]}"
	known_package "${missing[@]}"
	run "installing ${missing[*]}" \
		env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y --no-install-recommends "${missing[@]}"
}

# tgit ARGS...: git that neither the user's hooks nor a missing identity can
# disturb
tgit() {
	local id=()
	git config user.email >/dev/null ||
		id=(-c user.name=ipoib-csum -c user.email=ipoib-csum@localhost)
	git ${id[@]+"${id[@]}"} -c core.hooksPath=/dev/null -c commit.gpgSign=false -c tag.gpgSign=false \
		-c advice.detachedHead=false -c advice.mergeConflict=false \
		-c core.autocrlf=false -c core.fsync=none "$@"
}
