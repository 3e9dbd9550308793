#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# Inside of scripts/vm -u debug: has anything been allocated that nothing points to any
# more? One line of TAP says so.

leaks=/sys/kernel/debug/kmemleak

[[ -e $leaks ]] || { echo "not ok 1 this kernel has no kmemleak, or it gave up"; exit; }
echo scan >$leaks
sleep 6			# what is younger does not count
echo scan >$leaks
[[ -z $(<$leaks) ]] || { sleep 6; echo scan >$leaks; }	# it may have moved
if [[ -n $(<$leaks) ]]; then
	head -n 200 $leaks | sed 's/^/# /'
	printf 'not '
fi
echo "ok 1 no leak that kmemleak knows of"
