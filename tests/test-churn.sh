#!/bin/bash
# SPDX-License-Identifier: MIT
# A share of what make churn does: a publisher among subscribers that are stopped, killed, or break the protocol.
# shellcheck source=tests/support.sh
. "$(dirname "$0")/support.sh"

seconds=9
[ -z "${RF_TEST_QUICK-}" ] || seconds=3

churn() {
	local output
	output=$("$RF_BUILDDIR/tests/churn" --seconds "$seconds" 2>&1) || { echo "$output"; return 1; }
	tail -n 5 <<<"$output" | sed 's/^/# /' >&3
}

exec 3>&1
check "a crowd harms neither the publisher nor honest subscribers" churn
done_testing
