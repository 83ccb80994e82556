#!/bin/bash
# SPDX-License-Identifier: MIT
# The receiving end of a channel inside foreign event loops: each gets every record of a sender that
# sends in bursts, sleeps while it is silent, is not woken for nothing, and notices the end, and a
# sender that goes without one.
# shellcheck source-path=SCRIPTDIR source=support.sh
. "${BASH_SOURCE[0]%/*}/support.sh"

records=20000
mkfifo "$scratch/input" && exec 8<>"$scratch/input" # an input without end
receiver=

trap '[ -z "$receiver" ] || kill "$receiver" 2>/dev/null; rm -rf "$scratch"' EXIT

# How often the receiver went to sleep so far.
sleeps() {
	awk '/^voluntary_ctxt_switches/ { print $2 }' "/proc/$receiver/status"
}

# Once it has taken all there is, it sleeps on: half a second, of which the scheduler gets nothing.
sleeps_through_silence() {
	local i before after
	read -r -t 20 -u "${sender[0]}" line && [ "$line" = silent ] || return 1
	for ((i = 0; i < 20; i++)); do
		before=$(sleeps)
		sleep 0.5
		after=$(sleeps)
		[ "$before" = "$after" ] && return 0
	done
	echo "$before sleeps, then $after"
	return 1
}

# receive LOOP HOW: a whole stream; sets status, idle (the wake-ups for nothing) and quiet.
receive() {
	coproc sender { exec "$RF_BUILDDIR/tests/bursts" "$scratch/s" "$records" "$2"; }
	local pid=$!
	"$RF_BUILDDIR/examples/$1" "$scratch/s" <&8 >"$scratch/printed" 2>"$scratch/told" &
	receiver=$!
	sleeps_through_silence >"$scratch/sleeps"
	quiet=$?
	echo >&"${sender[1]}"
	wait "$receiver"
	status=$?
	receiver=
	wait "$pid"
	got=$(sed -n 's/ records.*//p' "$scratch/printed")
	idle=$(sed -n 's/.* woken \([0-9]*\) times.*/\1/p' "$scratch/printed")
}

show() {
	sed 's/^/# /' "$scratch/printed" "$scratch/told" "$scratch/sleeps"
}

# A burst may be taken to its end between its kick and the wake-up, so some find nothing.
is_rare() {
	[ "$1" -le $((records / 200)) ]
}

try_loop() {
	receive "$1" end
	check "$1 gets every record and the end" [ "$status $got" = "0 $records" ] || show
	check "$1 sleeps while the sender is silent" [ "$quiet" = 0 ] || show
	check "$1 is not woken for nothing" is_rare "${idle:-$records}" || show
	receive "$1" gone
	check "$1 gets every record of a sender that goes without an end" [ "$status $got" = "1 $records" ] || show
	check "$1 says that it is gone" grep -q 'the peer is gone' "$scratch/told" || show
}

for loop in poll glib libuv; do
	if [ -x "$RF_BUILDDIR/examples/$loop" ]; then
		try_loop "$loop"
	elif required "$loop"; then
		not_ok "examples/$loop was not built, although its library is here"
	else
		skip "$loop" "needs $loop"
	fi
done
done_testing
