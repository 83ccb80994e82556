# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# For tests of ringfort send and recv, which source it after tests/support.sh: starting and ending them,
# and points about what they wrote and said.

# Who runs what: other users cannot reach the build tree, so they get copies.
: "${scratch:?}"
as_send=()
as_recv=()
bin=$scratch/bin
tool=$bin/ringfort
address=$scratch/run/socket
out=$scratch/out
pids=()
sent=
received=

# Whatever ends this script: nobody that it started stays.
cleanup() {
	[ ${#pids[@]} = 0 ] || kill -KILL "${pids[@]}" 2>/dev/null
	rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 99' HUP INT TERM

# What libtool has built is a script; the program and its library are beside it.
prepare() {
	chmod 711 "$scratch"
	mkdir -m 755 "$bin" "$scratch/run" || exit 99
	if [ -x "$RF_BUILDDIR/tools/.libs/ringfort" ]; then
		cp "$RF_BUILDDIR/tools/.libs/ringfort" "$RF_BUILDDIR"/.libs/libringfort.so.? "$bin/" || exit 99
		export LD_LIBRARY_PATH=$bin
	else
		cp "$RF_BUILDDIR/tools/ringfort" "$bin/" || exit 99
	fi
}

# The commands are simple ones, so that $! is the program itself.
start_send() {
	"${as_send[@]}" "$tool" send "$address" --timeout 20 "$@" <&0 2>"$scratch/send.err" &
	send=$!
	pids+=("$send")
}

start_recv() {
	: >"$out"
	"${as_recv[@]}" "$tool" recv "$address" --timeout 20 "$@" >"$out" 2>"$scratch/recv.err" &
	recv=$!
	pids+=("$recv")
}

# Their exit statuses, in $sent and $received.
finish() {
	received=0
	sent=0
	wait "$recv" 2>/dev/null || received=$?
	wait "$send" 2>/dev/null || sent=$?
	pids=()
}

wait_for_sender() {
	wait "$send" 2>/dev/null
	sent=$?
}

# signal NAME PID: only to a child that still runs
signal() {
	jobs -pr | grep -qx "$2" && kill -s "$1" "$2"
}

# transfer SEND-OPTION… -- RECV-OPTION…
transfer() {
	local options=()
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	shift
	start_send "${options[@]}"
	start_recv "$@"
	finish
}

# A point about the last transfer: these exit statuses, and then what the command says.
ended() {
	local name=$1 statuses="$2 $3"
	shift 3
	if [ "$sent $received" != "$statuses" ]; then
		not_ok "$name"
		echo "# send and recv ended with $sent and $received instead of $statuses"
	elif [ $# = 0 ]; then
		ok "$name"
		return 0
	else
		check "$name" "$@" && return 0
	fi
	sed 's/^/# /' "$scratch/send.err" "$scratch/recv.err"
	return 1
}

# exits NAME STATUS COMMAND…: its output goes to $scratch/stdout and $scratch/stderr
exits() {
	local name=$1 expected=$2 status=0
	shift 2
	"$@" >"$scratch/stdout" 2>"$scratch/stderr" </dev/null || status=$?
	[ "$status" = "$expected" ] || echo "# status $status: $(head -n 3 "$scratch/stderr")"
	check "$name" [ "$status" = "$expected" ]
}

send_says() { grep -qF -e "$1" "$scratch/send.err"; }
recv_says() { grep -qF -e "$1" "$scratch/recv.err"; }
says() { grep -qF -e "$1" "$scratch/stderr"; }
is_empty() { [ ! -s "$1" ]; }
is_gone() { [ ! -e "$1" ]; }
has_bytes() { [ "$(stat -c %s "$1" 2>/dev/null || echo 0)" -ge "$2" ]; }

# until_true COMMAND…: for at most 10 seconds
until_true() {
	local tries=0
	until "$@"; do
		[ $((tries += 1)) -le 1000 ] || return 1
		sleep 0.01
	done
}

# An input that says something only when told to: the descriptor $input, to be closed.
open_input() {
	rm -f "$scratch/fifo"
	mkfifo "$scratch/fifo"
	exec {input}<>"$scratch/fifo"
}

close_input() {
	exec {input}>&-
}

le32() {
	local i
	for i in 0 8 16 24; do printf '%b' "\\x$(printf %02x $(($1 >> i & 255)))"; done
}

# records SIZE…: with their lengths before them
records() {
	local size
	for size in "$@"; do
		le32 "$size"
		head -c "$size" "$scratch/source"
	done
}

# optional FEATURE FUNCTION COMMAND…: skipped where the command fails, unless this machine should have the feature
optional() {
	local feature=$1 function=$2
	shift 2
	if "$@" >/dev/null 2>&1; then
		"$function"
	elif required "$feature"; then
		not_ok "needs $feature, which this machine should have"
	else
		skip "$function" "needs $feature"
	fi
}
