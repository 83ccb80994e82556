#!/bin/bash
# SPDX-License-Identifier: MIT
# ringfort send --publish and its receivers as a user meets them: who gets what, who is told what, how each ends.
# shellcheck source=tests/support.sh
. "$(dirname "$0")/support.sh"
# shellcheck source=tests/tool.sh
. "$RF_SRCDIR/tests/tool.sh"

declare -A receivers

# publish OPTION…: its input is ours
publish() {
	start_send --publish "$@" <&0
	until_true [ -e "$address" ]
}

# listen_to NAME OPTION…: a receiver, which writes NAME.out and NAME.err
listen_to() {
	local name=$1
	shift
	: >"$scratch/$name.out"
	"${as_recv[@]}" "$tool" recv "$address" --timeout 20 "$@" >"$scratch/$name.out" 2>"$scratch/$name.err" &
	receivers[$name]=$!
	pids+=("$!")
}

# left NAME STATUS: a point about how that receiver ended
left() {
	local status=0
	wait "${receivers[$1]}" 2>/dev/null || status=$?
	check "$1_ends_with_$2" [ "$status" = "$2" ] || sed 's/^/# /' "$scratch/$1.err" "$scratch/send.err"
}

publisher_left() {
	wait_for_sender
	pids=()
	check "publisher_of_${1}_ends_with_$2" [ "$sent" = "$2" ] || sed 's/^/# /' "$scratch/send.err"
}

got() { cmp "$scratch/in" "$scratch/$1.out"; }
holds() { [ "$(cat "$scratch/$1.out")" = "$2" ]; }
ends_in() { [[ "$(cat "$scratch/$1.out")" = *"$2" ]]; }
told() { grep -qF -e "$2" "$scratch/$1.err"; }
is_stopped() { grep -q '^State:[[:space:]]*T' "/proc/$1/status"; }

# say TEXT: one message of an open input, and the receiver `witness` has it
said=
say() {
	printf %s "$1" >&"$input"
	said+=$1
	until_true holds witness "$said"
}

open_publishing() {
	open_input
	said=
	publish "$@" <&"$input"
	listen_to witness --lag block
}

end_publishing() {
	signal TERM "$send"
	publisher_left "$1" 143
	close_input
	left witness 0
}

all_get_everything() {
	head -c 3000000 /dev/urandom >"$scratch/in"
	publish --wait-for 3 --slots 32 --stats <"$scratch/in"
	listen_to one --lag block
	listen_to two --lag block --hold 5 --stats
	listen_to three --lag block --spin
	publisher_left everybody 0
	for name in one two three; do
		left $name 0
		check "${name}_has_it_all" got $name
	done
	check publisher_counts_receivers send_says ", 3 receivers, "
	check publisher_counts_bytes send_says "send: 3000000 bytes, "
	check receiver_tells_of_slots told two "32 slots of 262144 bytes, 5 at a time, 0 missed"
	check nothing_is_said_unasked is_empty "$scratch/one.err"
	check socket_is_removed is_gone "$address"
}

records_are_messages() {
	head -c 300000 /dev/urandom >"$scratch/source"
	records 0 1 0 4096 77 >"$scratch/in"
	publish --wait-for 2 --records --slot-size 4K <"$scratch/in"
	listen_to one --lag block --records
	listen_to two --lag block
	publisher_left records 0
	left one 0
	left two 0
	check records_keep_their_boundaries got one
	check and_are_concatenated_where_nobody_asks [ "$(stat -c %s "$scratch/two.out")" = 4174 ]
	records 3 4097 >"$scratch/in"
	publish --wait-for 1 --records --slot-size 4K <"$scratch/in"
	listen_to one --lag block
	publisher_left a_long_record 1
	left one 3
	check long_record_is_told send_says "record 2 of the input has 4097 bytes; at most 4096 fit into a slot (see --slot-size)"
	check and_that_the_stream_did_not_end told one "went without ending the stream"
}

late_ones_begin_where_they_ask() {
	open_publishing --slots 64
	say a && say b && say c
	listen_to newest --lag drop
	check newest_message_is_there_for_who_comes_late until_true holds newest c
	listen_to oldest --lag block --oldest
	check older_ones_for_who_asks until_true holds oldest abc
	say d
	end_publishing late_ones
	left newest 0
	left oldest 0
	check both_go_on holds newest cd
	check both_go_on_from_the_oldest holds oldest abcd
}

# stopped_listener NAME OPTION…: one that has the first message and is stopped while 20 more come
stopped_listener() {
	local i name=$1
	listen_to "$@"
	until_true holds "$name" "$said"
	signal STOP "${receivers[$name]}"
	until_true is_stopped "${receivers[$name]}"
	for i in 1 2 3 4 5 6 7 8 9; do say $i; done
}

slow_ones_are_told_what_they_missed() {
	local name
	for name in drop latest; do
		open_publishing --slots 32
		say first
		stopped_listener $name --lag $name --hold 3
		signal CONT "${receivers[$name]}"
		until_true ends_in $name "$([ $name = latest ] && echo 9 || echo first123)"
		say x
		until_true ends_in $name x
		end_publishing $name
		left $name 0
		check "${name}_is_told_that_it_missed_something" told $name " messages were missed"
	done
	check drop_has_what_it_had_room_for holds drop first123x
	check latest_has_the_newest ends_in latest 9x
	check witness_missed_nothing is_empty "$scratch/witness.err"
}

quiet_ones_are_not_told() {
	open_publishing
	say first
	stopped_listener quiet --lag drop -q
	signal CONT "${receivers[quiet]}"
	end_publishing quiet
	left quiet 0
	check quiet_is_quiet is_empty "$scratch/quiet.err"
}

stalled_ones_are_cut_off() {
	local i
	open_publishing --stats
	say first
	stopped_listener stalled --lag disconnect
	for i in {1..200}; do
		say .
		sleep 0.01
	done
	signal CONT "${receivers[stalled]}"
	left stalled 3
	check stalled_is_told_that_it_was_cut_off told stalled "the sender went without ending the stream: "
	end_publishing stalled
	check publisher_tells_of_it send_says ", 1 cut off, "
}

dead_ones_are_not_missed() {
	open_publishing --stats
	listen_to dead --lag block
	say first
	until_true holds dead first
	signal KILL "${receivers[dead]}"
	left dead 137
	say second
	signal KILL "$send"
	publisher_left the_dead 137
	close_input
	left witness 3
	check death_of_the_publisher_is_told told witness "went without ending the stream: the peer is gone"
	rm -f "$address"
}

slots_work_without_publishing() {
	head -c 2000000 /dev/urandom >"$scratch/in"
	transfer --listen --slots 5 --slot-size 8K --stats -- --hold 2 <"$scratch/in"
	ended slots_work_where_the_sender_listens 0 0 cmp "$scratch/in" "$out"
	check slots_are_told send_says "5 slots of 8192 bytes, 2 at a time"
	transfer --slot-size 8K -- --listen <"$scratch/in"
	ended slots_work_where_the_receiver_listens 0 0 cmp "$scratch/in" "$out"
}

what_cannot_be_is_refused() {
	start_send --listen <"$scratch/in"
	exits a_channel_has_no_lag 5 "$tool" recv "$address" --timeout 20 --lag latest
	signal TERM "$send"
	wait_for_sender
	exits nobody_subscribes 6 "$tool" send --publish "$address" --wait-for 2 --timeout 0.1
	check and_that_is_told says "0 of 2 receivers came in time"
	open_publishing --slots 8
	say x
	exits holding_all_is_refused 5 "$tool" recv "$address" --timeout 20 --hold 8
	end_publishing refused_ones
	open_input
	publish --wait-for 2 <&"$input"
	signal TERM "$send"
	publisher_left nobody 143
	close_input
	check socket_of_one_that_waits_is_removed is_gone "$address"
	local line
	while read -r line; do
		# shellcheck disable=SC2086 # words
		exits "usage: $line" 2 "$tool" $line "$address"
	done <<-'END'
		send --lag drop
		send --hold 3
		recv --publish
		recv --slots 4
		recv --lag never
		recv --listen --lag drop
		recv --hold 0
		send --slots 1
		send --publish --size 1M
		send --wait-for 1
		send --block-uid 0
		send --publish --wait-for x
		send --slot-size 2G
	END
}

# Two users, neither of them root.
only_who_may_blocks() {
	address=$scratch/others/socket
	mkdir -m 755 "$scratch/others" && chown 61000 "$scratch/others"
	as_send=(setpriv --reuid 61000 --regid 61000 --clear-groups)
	as_recv=(setpriv --reuid 61001 --regid 61001 --clear-groups)
	open_input
	publish --uid 61001 <&"$input"
	listen_to blocker --uid 61000 --lag block
	left blocker 5
	listen_to dropper --uid 61000 --lag drop
	printf x >&"$input"
	check p8_a_stranger_may_drop until_true holds dropper x
	signal TERM "$send"
	publisher_left strangers 143
	left dropper 0
	publish --block-uid 61001 --wait-for 1 <&"$input"
	listen_to blocker --uid 61000 --lag block
	printf x >&"$input"
	check p8_a_stranger_blocks_where_it_was_granted until_true holds blocker x
	signal TERM "$send"
	publisher_left blockers 143
	left blocker 0
	close_input
	as_send=()
	as_recv=()
	address=$scratch/run/socket
}

prepare
all_get_everything
records_are_messages
late_ones_begin_where_they_ask
slow_ones_are_told_what_they_missed
quiet_ones_are_not_told
stalled_ones_are_cut_off
dead_ones_are_not_missed
slots_work_without_publishing
what_cannot_be_is_refused
optional root only_who_may_blocks [ "$(id -u)" = 0 ]
done_testing
