#!/bin/bash
# SPDX-License-Identifier: MIT
# The example units are what the service manager understands.
# shellcheck source-path=SCRIPTDIR source=support.sh
. "${BASH_SOURCE[0]%/*}/support.sh"

need systemd-analyze command -v systemd-analyze

units=$RF_SRCDIR/examples
check "the service names a socket that exists" grep -q '^FileDescriptorName=frames$' "$units/ringfort-capture.socket"

# The program is not installed here: another takes its place.
mkdir "$scratch/units"
sed 's|/usr/local/bin/capture|/bin/true|' "$units/ringfort-capture.service" >"$scratch/units/ringfort-capture.service"
cp "$units/ringfort-capture.socket" "$scratch/units/"
check "systemd accepts both units" systemd-analyze verify "$scratch/units/ringfort-capture.socket" \
	"$scratch/units/ringfort-capture.service"
check "systemd has nothing to say about them" [ ! -s "$scratch/.output" ]
done_testing
