#!/bin/bash
# SPDX-License-Identifier: MIT
# A file of the library includes only its own layer and lower ones, and the pure ones nothing of the kernel's.
# shellcheck source=tests/support.sh
. "$(dirname "$0")/support.sh"

# The table of the design, by file name without directory and ending; public headers are below everything.
layer_of() {
	case $1 in
	ringfort/*) echo 0 ;;
	check | reason | fd | clock | kernel | version) echo 0 ;;
	region | memfd | blob | identity | address | generation | ring | ring-layout | slots | slots-consumer) echo 1 ;;
	bits | fd-terms) echo 1 ;;
	doorbell | fd-kind | fds | fence | path | socket | udp | udp-receive | udp-send | udp-socket | watch) echo 2 ;;
	wire | codec | terms | quota | channel | connect | handshake | listen | listener | options | tx | rx) echo 3 ;;
	admission | attach | membership | publisher | renewal | rx-slots | tx-slots) echo 3 ;;
	timers) echo 0 ;;
	switcher | task | turn) echo 4 ;;
	*) echo none ;;
	esac
}

is_pure() {
	case $1 in bits | ring | ring-layout | slots | slots-consumer | wire | codec | terms | fd-terms | check) return 0 ;;
	switcher | task | timers | turn) return 0 ;; esac
	return 1
}

# Headers of the C library that bring no system call with them; <sys/types.h> has types only.
is_pure_header() {
	case $1 in
	assert.h | errno.h | inttypes.h | limits.h | stdarg.h | stdatomic.h | stdbool.h | stddef.h | stdint.h | string.h | sys/types.h)
		return 0
		;;
	esac
	return 1
}

stem() {
	local name=${1##*/}
	echo "${name%.[ch]}"
}

upward_includes() {
	local own other include
	own=$(layer_of "$(stem "$1")")
	while read -r include; do
		case $include in
		ringfort/*) other=0 ;;
		*) other=$(layer_of "$(stem "$include")") ;;
		esac
		if [ "$other" = none ] || [ "$other" -gt "$own" ]; then
			echo "$1 (layer $own) includes $include (layer $other)"
		fi
	done < <(sed -n 's/^#[[:space:]]*include[[:space:]]*"\([^"]*\)".*/\1/p
		s/^#[[:space:]]*include[[:space:]]*<\(ringfort\/[^>]*\)>.*/\1/p' "$1")
}

system_includes() {
	local include
	while read -r include; do
		is_pure_header "$include" || echo "$1 includes <$include>"
	done < <(sed -n 's/^#[[:space:]]*include[[:space:]]*<\([^>]*\)>.*/\1/p' "$1" | grep -v '^ringfort/')
}

nothing() {
	[ -z "$1" ] || {
		echo "$1"
		false
	}
}

cd "$RF_SRCDIR" || exit 99
for file in src/*.[ch] src/util/*.[ch]; do
	name=$(stem "$file")
	if [ "$(layer_of "$name")" = none ]; then
		not_ok "$file has a layer"
		continue
	fi
	check "$file includes nothing above it" nothing "$(upward_includes "$file")"
	! is_pure "$name" || check "$file includes nothing of the kernel" nothing "$(system_includes "$file")"
done
done_testing
