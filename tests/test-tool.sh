#!/bin/bash
# SPDX-License-Identifier: MIT
# ringfort send, recv and doctor as a user meets them: what arrives, what is said, how each ends.
# shellcheck source=tests/support.sh
. "$(dirname "$0")/support.sh"
# shellcheck source=tests/tool.sh
. "$RF_SRCDIR/tests/tool.sh"

peer=$RF_BUILDDIR/tests/tool-peer

bytes_arrive_as_they_are() {
	local size
	head -c 8000001 /dev/urandom >"$scratch/source"
	for size in 0 1 4097 8000001; do
		head -c "$size" "$scratch/source" >"$scratch/in"
		transfer --listen -- <"$scratch/in"
		ended "sender_listens_and_${size}_bytes_arrive" 0 0 cmp "$scratch/in" "$out"
		transfer -- --listen <"$scratch/in"
		ended "receiver_listens_and_${size}_bytes_arrive" 0 0 cmp "$scratch/in" "$out"
		transfer --listen -- < <(cat "$scratch/in")
		ended "a_pipe_of_${size}_bytes_arrives" 0 0 cmp "$scratch/in" "$out"
	done
	check nobody_says_anything_unasked is_empty "$scratch/recv.err"
	transfer -- --listen --size 5000 --stats <"$scratch/source"
	ended a_small_ring_is_enough 0 0 cmp "$scratch/source" "$out"
	check size_is_rounded_up recv_says "ring 8192 bytes"
}

bytes_arrive_however_they_wait() {
	local doorbell
	head -c 2000000 "$scratch/source" >"$scratch/in"
	for doorbell in auto eventfd socket; do
		transfer --listen --doorbell $doorbell --spin -- --doorbell $doorbell <"$scratch/in"
		ended "bytes_arrive_with_doorbell_${doorbell}_and_a_spinning_sender" 0 0 cmp "$scratch/in" "$out"
		transfer --doorbell $doorbell -- --listen --spin --stats --doorbell $doorbell <"$scratch/in"
		ended "bytes_arrive_with_doorbell_${doorbell}_and_a_spinning_receiver" 0 0 cmp "$scratch/in" "$out"
	done
	check stats_name_the_doorbell recv_says "doorbell socket"
	check stats_count_bytes recv_says "recv: 2000000 bytes, "
	check spinning_does_not_sleep recv_says ", 0 sleeps, "
}

input_is_published_at_once() {
	open_input
	start_send --listen <&"$input"
	start_recv
	printf 'one' >&"$input"
	check what_is_read_is_published_at_once until_true has_bytes "$out" 3
	printf 'two' >&"$input"
	check and_again until_true has_bytes "$out" 6
	signal TERM "$send"
	finish
	close_input
	ended sigterm_ends_the_stream_of_a_silent_input 143 0 grep -qx onetwo "$out"
}

records_keep_their_boundaries() {
	local sizes=(0 5 0 3 4096 200000 1 0) small=(3 0 1 12)
	records "${sizes[@]}" >"$scratch/in"
	transfer --listen --records --stats -- --records <"$scratch/in"
	ended records_keep_their_boundaries 0 0 cmp "$scratch/in" "$out"
	check records_are_counted send_says "send: 204105 bytes, 8 records"
	transfer --records -- --listen <"$scratch/in"
	ended a_receiver_without_records_concatenates 0 0 cmp "$out" <(
		for size in "${sizes[@]}"; do head -c "$size" "$scratch/source"; done)
	records "${small[@]}" >"$scratch/in"
	transfer --listen --records -- --records < <(dd if="$scratch/in" bs=1 status=none)
	ended records_that_trickle_are_put_together 0 0 cmp "$scratch/in" "$out"
	transfer --listen --records -- --records </dev/null
	ended no_records_are_fine 0 0 is_empty "$out"
}

# broken NAME INPUT WHAT-IS-SAID: the records before arrive, and the receiver learns that it is not all
broken() {
	transfer --listen --size 64K --records -- --records <"$2"
	ended "${1}_is_told" 1 3 send_says "$3"
	check "${1}_costs_nothing_before_it" cmp "$scratch/before" "$out"
}

broken_records_are_told() {
	records 7 300 >"$scratch/before"
	{ cat "$scratch/before" && printf '\3\0'; } >"$scratch/in"
	broken truncated_length "$scratch/in" "record 3 of the input is truncated: 2 of 4 bytes of its length"
	{ cat "$scratch/before" && le32 10 && printf abc; } >"$scratch/in"
	broken truncated_record "$scratch/in" "record 3 of the input is truncated: 3 of 10 bytes of its payload"
	{ cat "$scratch/before" && le32 10; } >"$scratch/in"
	broken missing_record "$scratch/in" "record 3 of the input is truncated: 0 of 10 bytes of its payload"
	{ cat "$scratch/before" && records 32761; } >"$scratch/in"
	broken too_long_record "$scratch/in" "record 3 of the input has 32761 bytes; at most 32760 fit"
	records 32760 >"$scratch/in"
	transfer --listen --size 64K --records -- --records <"$scratch/in"
	ended the_longest_record_fits 0 0 cmp "$scratch/in" "$out"
	printf '\377\377\377\377' >"$scratch/in"
	: >"$scratch/before"
	broken absurd_length "$scratch/in" "record 1 of the input has 4294967295 bytes"
}

death_is_told() {
	open_input
	start_send --listen <&"$input"
	start_recv
	printf 'partial' >&"$input"
	until_true has_bytes "$out" 7
	signal KILL "$send"
	finish
	ended killed_sender_is_told 137 3 recv_says "went without ending"
	check what_a_killed_sender_sent_is_written grep -qx partial "$out"
	start_send --listen <&"$input"
	start_recv
	printf 'x' >&"$input"
	until_true has_bytes "$out" 1
	signal KILL "$recv"
	finish
	close_input
	ended killed_receiver_is_told_while_the_input_is_silent 3 137 send_says "receiver went before the end"
}

signals_end_in_good_order() {
	local by status
	open_input
	for by in INT:130 TERM:143; do
		status=${by#*:} by=${by%:*}
		as_recv=(env --default-signal=INT)
		start_send --listen <&"$input"
		start_recv
		printf 'x' >&"$input"
		until_true has_bytes "$out" 1
		signal "$by" "$recv"
		finish
		as_recv=()
		ended "sig${by,,}_closes_a_receiver" 3 "$status" is_empty "$scratch/recv.err"
	done
	start_send --listen <&"$input"
	until_true [ -e "$address" ]
	signal TERM "$send"
	wait "$send"
	check sigterm_ends_a_listener [ $? = 143 ]
	check and_removes_its_socket is_gone "$address"
	close_input
}

reader_that_goes_ends_recv() {
	start_send --listen <"$scratch/source"
	"$tool" recv "$address" 2>"$scratch/recv.err" | head -c 10 >"$out"
	received=${PIPESTATUS[0]}
	wait "$send"
	sent=$?
	ended reader_that_goes_ends_recv_by_sigpipe 3 141 is_empty "$scratch/recv.err"
	start_send --listen <"$scratch/source"
	(trap '' PIPE && "$tool" recv "$address" 2>"$scratch/recv.err") | head -c 10 >"$out"
	received=${PIPESTATUS[0]}
	wait "$send"
	sent=$?
	pids=()
	ended reader_that_goes_is_told_where_sigpipe_is_ignored 3 1 recv_says "Broken pipe"
	out=/dev/full
	transfer --listen -- <"$scratch/source"
	ended full_disk_is_told 3 1 recv_says "cannot write standard output: No space left"
	out=$scratch/out
}

# What is sent fits into the ring: so the sender is done before anybody reads, and the pipe was full meanwhile.
nonblocking_descriptors_work() {
	local reader
	head -c 3000000 "$scratch/source" >"$scratch/in"
	rm -f "$scratch/fifo" && mkfifo "$scratch/fifo"
	exec {reader}<>"$scratch/fifo"
	"$peer" nonblock "$tool" send --listen "$address" < <(cat "$scratch/in") 2>"$scratch/send.err" >"$scratch/stdout" &
	send=$!
	"$peer" nonblock "$tool" recv "$address" >"$scratch/fifo" 2>"$scratch/recv.err" &
	recv=$!
	pids=("$send" "$recv")
	wait_for_sender
	head -c 3000000 <&"$reader" >"$out"
	received=0
	wait "$recv" || received=$?
	exec {reader}>&-
	pids=()
	ended nonblocking_descriptors_work 0 0 cmp "$scratch/in" "$out"
}

closed_descriptors_are_told() {
	start_recv --listen
	exits send_without_standard_input_fails 1 bash -c "exec \"$tool\" send \"$address\" <&-"
	check and_says_that says "Bad file descriptor"
	wait "$recv"
	check its_receiver_is_told [ $? = 3 ]
	pids=()
	start_send --listen <"$scratch/source"
	exits recv_without_standard_output_fails 1 bash -c "exec \"$tool\" recv \"$address\" >&-"
	wait "$send"
	check its_sender_is_told [ $? = 3 ]
	pids=()
}

bad_peers_are_told() {
	start_recv --listen --doorbell socket
	"$peer" breach "$address"
	wait "$recv"
	received=$?
	pids=()
	check a_breach_is_status_4 [ "$received" = 4 ]
	check a_breach_says_what_was_wrong recv_says "no kick"
	rm -f "$scratch/garbage"
	"$peer" garbage "$scratch/garbage" &
	pids=($!)
	exits noise_instead_of_a_handshake_is_status_4 4 "$tool" send "$scratch/garbage" --timeout 5
	wait "${pids[0]}"
	pids=()
	start_send --listen </dev/null
	exits two_senders_have_no_common_ground 5 "$tool" send "$address" --timeout 20
	signal TERM "$send"
	wait_for_sender
	check the_listener_waits_for_another_one [ "$sent" = 143 ]
	check and_says_whom_it_turned_away send_says "turned away"
	pids=()
}

exit_statuses_are_as_said() {
	exits recv_alone_times_out 6 "$tool" recv "$address" --timeout 0.1
	exits listening_alone_times_out 6 "$tool" send --listen "$address" --timeout 0.1
	check its_socket_is_removed is_gone "$address"
	exits address_without_directory_fails 1 "$tool" recv --listen "$scratch/none/socket"
	exits command_is_needed 2 "$tool"
	exits unknown_command_is_usage 2 "$tool" transmit
	exits address_is_needed 2 "$tool" send
	exits one_address_is_enough 2 "$tool" recv a b
	exits unknown_option_is_usage 2 "$tool" recv --lisen "$address"
	check usage_names_the_command says "ringfort recv: "
	exits no_address_is_meant_by_an_empty_one 2 "$tool" recv ""
	exits mode_is_for_listeners 2 "$tool" recv --mode 600 "$address"
	local option
	for option in --size=0 --size=2G --size=1X --size= --size=-1 --mode=9 --mode=01000 --timeout=x --timeout=-1 \
		--timeout=nan --doorbell=bell --uid=no-such-user --uid=-1 --uid=4294967295; do
		exits "${option}_is_usage" 2 "$tool" send --listen $option "$address"
	done
}

what_is_asked_for_is_printed() {
	local command
	for command in send recv doctor ""; do
		# shellcheck disable=SC2086 # no command is no word
		exits "${command:-ringfort}_has_help" 0 "$tool" $command --help
		check "which_is_on_stdout" grep -q '^Usage: ringfort' "$scratch/stdout"
		check "and_nothing_else" is_empty "$scratch/stderr"
	done
	exits version_is_there 0 "$tool" --version
	check version_is_the_library_s grep -qE '^ringfort [0-9]+\.[0-9]+\.[0-9]+$' "$scratch/stdout"
	exits full_disk_fails_help 1 bash -c "exec \"$tool\" --help >/dev/full"
}

recv_shows_progress() {
	open_input
	start_send --listen <&"$input"
	script -qefc "\"$tool\" recv \"$address\" >\"$out\"" /dev/null >"$scratch/terminal" </dev/null &
	recv=$!
	pids+=("$recv")
	check progress_is_shown_on_a_terminal until_true says_progress
	signal TERM "$send"
	finish
	close_input
}

says_progress() {
	printf 'x' >&"$input"
	grep -q 'records, .* MB/s' "$scratch/terminal"
}

doctor_lists_what_there_is() {
	exits doctor_finds_all_that_is_required 0 "$tool" doctor
	check doctor_lists_seals grep -qE '^ok +seals +FUTURE_WRITE' "$scratch/stdout"
	check doctor_tries_a_channel grep -qE '^(ok|warning) +channel ' "$scratch/stdout"
	check doctor_has_one_form_of_line eval "! grep -vE '^(ok     |warning|missing)  [^ ].{13}  [^ ]' '$scratch/stdout'"
	exits doctor_takes_no_arguments 2 "$tool" doctor patient
}

doctor_tells_what_is_missing() {
	# The leak sanitizer does not work under ptrace(2).
	local ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0
	export ASAN_OPTIONS
	exits doctor_fails_without_memfd 1 strace -f -o /dev/null -e inject=memfd_create:error=ENOSYS "$tool" doctor
	check and_says_so grep -qE '^missing +seals .* cannot work without' "$scratch/stdout"
	exits doctor_works_without_pidfd 0 strace -o /dev/null -e inject=pidfd_open:error=ENOSYS "$tool" doctor
	check and_says_what_happens_then grep -qE '^missing +pidfd +Linux 5.3; ' "$scratch/stdout"
}

# A library that says another release, put before the C library. Sanitizers want to come first themselves.
doctor_knows_kernels_that_break_seals() {
	local name=m13_doctor_warns_of_kernels_that_break_seals
	if [ -n "${RF_SANITIZER_CFLAGS:-}" ]; then
		skip "$name" "the tool has a sanitizer"
		return
	fi
	cat >"$scratch/release.c" <<-'END'
		#include <string.h>
		#include <sys/utsname.h>

		int uname(struct utsname *name)
		{
			memset(name, 0, sizeof(*name));
			strcpy(name->sysname, "Linux");
			strcpy(name->release, "5.17.0");
			return 0;
		}
	END
	${CC:-cc} -shared -fPIC -o "$scratch/release.so" "$scratch/release.c" || not_ok "a library for $name"
	LD_PRELOAD=$scratch/release.so "$tool" doctor >"$scratch/stdout" 2>&1
	check "$name" grep -qE '^warning +CVE-2022-2590' "$scratch/stdout"
	"$tool" doctor >"$scratch/stdout" 2>&1
	check and_not_of_others grep -qE '^ok +CVE-2022-2590' "$scratch/stdout"
}

doctor_knows_the_overflow_uid() {
	exits doctor_fails_as_the_overflow_user 1 unshare --user "$tool" doctor
	check and_warns_of_it grep -qE '^warning +user +[0-9]+ is the overflow uid' "$scratch/stdout"
}

# Two users, neither of them root.
other_users() {
	address=$scratch/others/socket
	mkdir -m 755 "$scratch/others" && chown 61000 "$scratch/others"
	as_send=(setpriv --reuid 61000 --regid 61000 --clear-groups)
	as_recv=(setpriv --reuid 61001 --regid 61001 --clear-groups)
	head -c 100000 "$scratch/source" >"$scratch/in"
	transfer --listen --uid 61001 --stats -- --uid 61000 <"$scratch/in"
	ended users_that_name_each_other_are_connected 0 0 cmp "$scratch/in" "$out"
	check and_use_the_socket_as_doorbell send_says "doorbell socket"
	start_send --listen --mode 666 <"$scratch/in"
	start_recv --uid 61000
	wait "$recv"
	received=$?
	signal TERM "$send"
	wait_for_sender
	ended listener_refuses_a_user_it_was_not_told_of 143 5 recv_says "61001"
	start_send --listen --uid 61001 <"$scratch/in"
	start_recv
	wait "$recv"
	received=$?
	signal TERM "$send"
	wait_for_sender
	ended client_refuses_a_user_it_was_not_told_of 143 5 recv_says "61000"
	pids=()
	as_send=()
	as_recv=()
	address=$scratch/run/socket
}

source_video() {
	ffmpeg -v error -f lavfi -i testsrc2=size=640x360:rate=25 -frames:v 100 -pix_fmt yuv420p -f yuv4mpegpipe - </dev/null
}

video_sum() {
	ffmpeg -v error -i - -f md5 -
}

# one_pipeline SEND-OPTION RECV-OPTION: the sum is in $out
one_pipeline() {
	source_video | "$tool" send "$1" "$address" &
	"$tool" recv "$2" "$address" | video_sum >"$out"
	statuses="${PIPESTATUS[*]}"
	wait $! && [ "$statuses" = "0 0" ] && [ "$(cat "$out")" = "$sum" ]
}

ffmpeg_pipelines_are_bit_exact() {
	sum=$(source_video | video_sum)
	check ffmpeg_pipeline_with_a_listening_sender one_pipeline --listen --quiet
	check ffmpeg_pipeline_with_a_listening_receiver one_pipeline --quiet --listen
	check the_sum_is_one grep -qE '^MD5=[0-9a-f]{32}$' "$out"
}

prepare
bytes_arrive_as_they_are
bytes_arrive_however_they_wait
input_is_published_at_once
records_keep_their_boundaries
broken_records_are_told
death_is_told
signals_end_in_good_order
reader_that_goes_ends_recv
nonblocking_descriptors_work
closed_descriptors_are_told
bad_peers_are_told
exit_statuses_are_as_said
what_is_asked_for_is_printed
optional script recv_shows_progress command -v script
doctor_lists_what_there_is
doctor_knows_kernels_that_break_seals
optional strace doctor_tells_what_is_missing strace -o /dev/null true
optional userns doctor_knows_the_overflow_uid unshare --user true
optional root other_users [ "$(id -u)" = 0 ]
optional ffmpeg ffmpeg_pipelines_are_bit_exact command -v ffmpeg
done_testing
