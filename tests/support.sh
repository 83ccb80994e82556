# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# For shell tests, which source it: TAP points, features, a scratch directory.
#
#	RF_SRCDIR, RF_BUILDDIR   the trees, absolute; set by make check
#	$scratch                 a directory of the test's own, removed at its end
#
#	ok NAME | not_ok NAME | skip NAME WHY
#	check NAME COMMAND…      a point: the command succeeds; its output is shown when it does not
#	same NAME LEFT RIGHT     a point: two lists (one word a line) have the same lines; differences are named
#	need FEATURE COMMAND…    unless the command succeeds, everything is skipped: or fails, where
#	                         RF_TEST_REQUIRE lists the feature as one that this machine has
#	done_testing             prints the plan; the last thing to call
set -u
: "${RF_SRCDIR:=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}"
: "${RF_BUILDDIR:=$RF_SRCDIR/build}"
points=0
failures=0
scratch=$(mktemp -d "${TMPDIR:-/tmp}/rf-shell.XXXXXX") || exit 99
trap 'rm -rf "$scratch"' EXIT

ok() {
	points=$((points + 1))
	echo "ok $points - $1"
}

not_ok() {
	points=$((points + 1))
	failures=$((failures + 1))
	echo "not ok $points - $1"
}

skip() {
	points=$((points + 1))
	echo "ok $points - $1 # SKIP $2"
}

check() {
	local name=$1
	shift
	if "$@" >"$scratch/.output" 2>&1; then
		ok "$name"
		return 0
	fi
	not_ok "$name"
	echo "# failed: $*"
	sed 's/^/# /' "$scratch/.output"
	return 1
}

same() {
	local differences
	differences=$(diff <(sort -u <<<"$2") <(sort -u <<<"$3") | sed -n 's/^< /# only on the left: /p; s/^> /# only on the right: /p')
	if [ -z "$differences" ]; then
		ok "$1"
		return 0
	fi
	not_ok "$1"
	echo "$differences"
	return 1
}

required() {
	case " ${RF_TEST_REQUIRE//,/ } " in *" $1 "*) return 0 ;; esac
	return 1
}

need() {
	local feature=$1
	shift
	"$@" >/dev/null 2>&1 && return 0
	if required "$feature"; then
		not_ok "needs $feature, which this machine should have"
	else
		skip "${0##*/}" "needs $feature"
	fi
	done_testing
}

done_testing() {
	echo "1..$points"
	exit $((failures != 0))
}
: "${RF_TEST_REQUIRE:=}"
