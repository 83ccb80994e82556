#!/bin/bash
# SPDX-License-Identifier: MIT
# The ring algorithm, the accounting of slots, the handshake codec and the switching of tasks call nothing but memory and
# string functions: no system call, no clock, no allocation. What they call of the library is pure itself.
# shellcheck source=tests/support.sh
. "$(dirname "$0")/support.sh"

pure="ring slots slots-consumer wire codec terms switcher turn timers util/reason"
read -ra nm <<<"${NM:-nm}" # it may have options

object_of() {
	local dir=${1%/*} name=${1##*/} object
	[ "$dir" != "$1" ] || dir=.
	for object in "$RF_BUILDDIR/src/$dir/.libs/$name.o" "$RF_BUILDDIR/src/$dir/$name.o"; do
		[ -e "$object" ] && echo "$object" && return
	done
	return 1
}

# Of the C library, and what compilers and sanitizers add on their own.
is_allowed() {
	case $1 in
	memcpy | memmove | memset | memcmp | strlen | strnlen | strcmp | snprintf | vsnprintf) return 0 ;;
	strerrordesc_np | __errno_location | __tls_get_addr) return 0 ;;
	__mem*_chk | __str*_chk | __snprintf_chk | __vsnprintf_chk | __stack_chk_fail) return 0 ;;
	_GLOBAL_OFFSET_TABLE_ | __asan_* | __ubsan_* | __tsan_* | __sanitizer_*) return 0 ;;
	esac
	return 1
}

foreign_symbols() {
	local symbol
	"${nm[@]}" -u "$1" | awk '{ print $NF }' | while read -r symbol; do
		is_allowed "$symbol" || grep -qxF -e "$symbol" "$scratch/defined" || echo "$1 needs $symbol"
	done
}

calls_nothing_else() {
	local object foreign
	object=$(object_of "$1") || return 1
	foreign=$(foreign_symbols "$object")
	echo "$foreign"
	[ -z "$foreign" ]
}

need nm "${nm[@]}" --version
for name in $pure; do
	object=$(object_of "$name") && "${nm[@]}" --defined-only "$object" | awk '{ print $NF }'
done >"$scratch/defined"
for name in $pure; do
	check "$name.o calls memory and string functions only" calls_nothing_else "$name"
done
done_testing
