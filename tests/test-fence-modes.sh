#!/bin/bash
# SPDX-License-Identifier: MIT
# The tests of how halves sleep and are woken, once more with the asymmetric fence.
# shellcheck source=tests/support.sh
. "$(dirname "$0")/support.sh"

export RF_TEST_FENCE=1
for program in test-ring-wakeup test-ring-threads test-ring-model test-doorbell test-kicks test-channel test-channel-end; do
	check "$program with the asymmetric fence" "$RF_BUILDDIR/tests/$program"
done
done_testing
