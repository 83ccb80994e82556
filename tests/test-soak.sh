#!/bin/bash
# SPDX-License-Identifier: MIT
# A share of what make soak does: for 20 seconds each way of being woken, every word verified.
# shellcheck source=tests/support.sh
. "$(dirname "$0")/support.sh"

seconds=20
[ -z "${RF_TEST_QUICK-}" ] || seconds=1

soak() {
	local output
	output=$("$RF_BUILDDIR/tests/soak" --seconds "$seconds" "$@") || { echo "$output"; return 1; }
	echo "# $output" >&3
}

exec 3>&1
check "eventfds: what arrives is what was sent" soak --doorbell eventfd
check "sockets: what arrives is what was sent" soak --doorbell socket
check "without spinning: what arrives is what was sent" soak --doorbell eventfd --wait sleep
done_testing
