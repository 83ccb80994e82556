#!/bin/bash
# SPDX-License-Identifier: MIT
# One end of a socketpair handed over D-Bus, on a private bus.
# shellcheck source-path=SCRIPTDIR source=support.sh
. "${BASH_SOURCE[0]%/*}/support.sh"

need dbus getent passwd "$(id -u)" # the daemon wants to know who connects
need dbus test -x "$RF_BUILDDIR/examples/dbus" -a -x "$(command -v dbus-daemon)"

cat >"$scratch/bus.conf" <<END
<busconfig>
  <listen>unix:path=$scratch/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
    <allow own="*"/>
  </policy>
</busconfig>
END
export DBUS_SESSION_BUS_ADDRESS=unix:path=$scratch/bus
dbus=$RF_BUILDDIR/examples/dbus
daemon=
trap 'kill $daemon $service 2>/dev/null; rm -rf "$scratch"' EXIT
service=

dbus-daemon --config-file="$scratch/bus.conf" --nofork --nopidfile >"$scratch/daemon" 2>&1 &
daemon=$!
for ((i = 0; i < 100; i++)); do
	[ -S "$scratch/bus" ] && break
	sleep 0.1
done
check "a private bus runs" test -S "$scratch/bus" || sed 's/^/# /' "$scratch/daemon"

"$dbus" serve 2>"$scratch/served" &
service=$!
# The caller may come before the service has its name.
for ((i = 0; i < 50; i++)); do
	timeout 20 "$dbus" call >"$scratch/got" 2>"$scratch/called" && break
	sleep 0.1
done
check "the caller gets the numbers through the channel" diff <(seq 0 9) "$scratch/got" ||
	sed 's/^/# /' "$scratch/called" "$scratch/served"
wait "$service"
check "the service has sent them all" [ $? = 0 ]
service=
done_testing
