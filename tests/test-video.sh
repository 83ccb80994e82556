#!/bin/bash
# SPDX-License-Identifier: MIT
# capture and its viewers as processes: what arrives, in whose eyes (those of ffmpeg), and how each end fails. Then all of
# them at once, as in the demo.
# shellcheck source=tests/support.sh
. "$(dirname "$0")/support.sh"

# Who runs what: other users cannot reach the build tree, so they get copies.
as_capture=()
as_encode=()
as_preview=()
as_record=()
bin=$scratch/bin
address=$scratch/run/video.sock
video=$scratch/video
pids=()
frame=$((64 * 48 * 3 / 2 + 6)) # as Y4M, of the captures that are timed
sent=
received=

# Whatever ends this script: nobody that it started stays.
cleanup() {
	[ ${#pids[@]} = 0 ] || kill -KILL "${pids[@]}" 2>/dev/null
	rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 99' HUP INT TERM

prepare() {
	chmod 711 "$scratch"
	mkdir -m 755 "$bin" "$scratch/run" && mkdir "$video"
	cp "$RF_BUILDDIR"/examples/{capture,encode,pattern,record,send,receive} "$bin/" || exit 99
	! has_preview || cp "$RF_BUILDDIR/examples/preview" "$bin/" || exit 99
}

has_preview() { [ -x "$RF_BUILDDIR/examples/preview" ]; }

# The commands are simple ones, so that $! is the program itself.
start_capture() {
	"${as_capture[@]}" "$bin/capture" "$address" --timeout 20 "$@" <&0 2>"$scratch/capture.err" &
	capture=$!
	pids+=("$capture")
}

start_encode() {
	"${as_encode[@]}" "$bin/encode" "$address" --timeout 20 "$@" >"$scratch/out" 2>"$scratch/encode.err" &
	encode=$!
	pids+=("$encode")
}

# start_record FILE OPTION…, start_preview FILE OPTION…
start_record() {
	"${as_record[@]}" "$bin/record" "$address" --timeout 20 -o - "${@:2}" >"$1" 2>"$scratch/record.err" &
	record=$!
	pids+=("$record")
}

start_preview() {
	"${as_preview[@]}" "$bin/preview" "$address" --timeout 20 -o "$@" 2>"$scratch/preview.err" &
	preview=$!
	pids+=("$preview")
}

# status_of PID: sets $status
status_of() {
	status=0
	wait "$1" 2>/dev/null || status=$?
}

# Their exit statuses, in $sent and $received.
finish() {
	status_of "$encode"
	received=$status
	status_of "$capture"
	sent=$status
	pids=()
}

# signal NAME PID: only to a child that still runs
signal() {
	jobs -pr | grep -qx "$2" && kill -s "$1" "$2"
}

# transfer CAPTURE-OPTION… -- ENCODE-OPTION…
transfer() {
	local options=()
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	shift
	start_capture "${options[@]}"
	start_encode "$@"
	finish
}

# A point about the last transfer: these exit statuses, and then what the command says.
ended() {
	local name=$1 statuses="$2 $3"
	shift 3
	if [ "$sent $received" != "$statuses" ]; then
		not_ok "$name"
		echo "# capture and encode ended with $sent and $received instead of $statuses"
	elif [ $# = 0 ]; then
		ok "$name"
		return 0
	else
		check "$name" "$@" && return 0
	fi
	sed 's/^/# /' "$scratch/capture.err" "$scratch/encode.err"
	return 1
}

capture_says() { grep -qF -e "$1" "$scratch/capture.err"; }
encode_says() { grep -qF -e "$1" "$scratch/encode.err"; }
record_says() { grep -qF -e "$1" "$scratch/record.err"; }
both_say() { capture_says "$1" && encode_says "$1"; }

# make_source FILE WxH FRAMES
make_source() {
	ffmpeg -v error -y -f lavfi -i testsrc2=size=640x360:rate=25 -frames:v "$3" \
		-vf "scale=${2/x/:}" -pix_fmt yuv420p -f yuv4mpegpipe "$1" </dev/null
}

samples() { tail -n +2 "$1" | md5sum; }
same_samples() { [ -s "$2" ] && [ "$(samples "$1")" = "$(samples "$2")" ]; }

decoded_frames() {
	ffprobe -v error -count_frames -show_entries stream=nb_read_frames -of csv=p=0 "$1" </dev/null
}

word_at() { od -An -tu4 --endian=little -j "$2" -N 4 "$1" | tr -d ' '; }

# Decodes without a complaint, as many frames as the header says, and more than none.
is_whole_ivf() {
	local complaints frames
	complaints=$(ffmpeg -v warning -xerror -i "$1" -f null - </dev/null 2>&1) || return 1
	frames=$(decoded_frames "$1")
	echo "$frames frames decoded, $(word_at "$1" 24) in the header; $complaints"
	[ -z "$complaints" ] && [ "$frames" -gt 0 ] && [ "$frames" = "$(word_at "$1" 24)" ]
}

# As many frames, each with a luma PSNR above 30 dB against the one with the same number: so their order is right.
frames_match() {
	rm -f "$scratch/psnr"
	ffmpeg -v error -i "$1" -i "$2" -lavfi \
		"[0:v]settb=1/25,setpts=N[a];[1:v]settb=1/25,setpts=N[b];[a][b]psnr=stats_file=$scratch/psnr" \
		-f null - </dev/null || return 1
	awk -v frames="$3" '
		{ sub(/.*psnr_y:/, ""); if ($1 != "inf" && $1 + 0 <= 30) { print "frame " NR ": " $1; bad++ } }
		END { if (NR != frames) print NR " frames"; exit bad || NR != frames }' "$scratch/psnr"
}

frames_differ() { ! frames_match "$@"; }

# until_true COMMAND…: for at most 10 seconds
until_true() {
	local tries=0
	until "$@"; do
		[ $((tries += 1)) -le 500 ] || return 1
		sleep 0.02
	done
}

# said NAME PATTERN: the number in what it said at its end
said() { sed -n "s/^$1: $2.*/\\1/p" "$scratch/$1.err"; }
frames_of() { said "$1" '\([0-9]*\) frames of'; }
first_of() { said "$1" 'frame \([0-9]*\) to frame'; }
last_of() { said "$1" 'frame [0-9]* to frame \([0-9]*\)'; }
missed_of() { said "$1" 'frame .*, \([0-9]*\) missed'; }

# is_pattern FILE WxH RATE FIRST LAST: as it is drawn without ringfort
is_pattern() { cmp "$1" <("$bin/pattern" "$2" "$3" "$4" "$5"); }

is_larger() { [ "$(stat -c %s "$1" 2>/dev/null || echo 0)" -gt "$2" ]; }

raw_path_is_bit_exact() {
	local size
	for size in 1920x1080:6 35x17:20 1x1:20 2x3:20 641x359:8; do
		make_source "$video/source.y4m" "${size%:*}" "${size#*:}"
		transfer -i "$video/source.y4m" --fast -- --raw -o "$video/raw.y4m"
		ended "raw_path_is_bit_exact_from_a_file_${size%:*}" 0 0 \
			same_samples "$video/source.y4m" "$video/raw.y4m"
		# shellcheck disable=SC2094 # raw.y4m is another file
		transfer -i - --fast -- --raw -o - < <(cat "$video/source.y4m")
		ended "raw_path_is_bit_exact_from_a_pipe_to_stdout_${size%:*}" 0 0 \
			same_samples "$video/source.y4m" "$scratch/out"
	done
}

raw_path_is_bit_exact_however_it_waits() {
	local doorbell how
	make_source "$video/source.y4m" 160x90 100
	for doorbell in auto eventfd socket; do
		for how in adaptive spin sleep; do
			transfer -i "$video/source.y4m" --fast --doorbell $doorbell --wait $how -- \
				--raw -o "$video/raw.y4m" --doorbell $doorbell --wait $how
			ended "raw_path_is_bit_exact_with_${doorbell}_and_$how" 0 0 \
				same_samples "$video/source.y4m" "$video/raw.y4m"
		done
	done
}

pattern_is_the_same_every_time() {
	transfer --size 321x181 --rate 50 --frames 40 --fast -- --raw -o "$video/pattern.y4m"
	ended pattern_arrives 0 0 both_say "40 frames of 321x181"
	check pattern_is_the_same_every_time is_pattern "$video/pattern.y4m" 321x181 50 0 39
}

ringfort_copies_nothing() {
	transfer --frames 3 --fast -- --raw -o "$video/raw.y4m"
	ended ringfort_copies_nothing 0 0 both_say "bytes copied by ringfort: 0"
}

pace_is_kept() {
	local start_ms=${EPOCHREALTIME//[.,]/}
	transfer --size 64x64 --rate 50 --frames 26 -- --raw -o "$video/raw.y4m"
	ended pace_is_kept 0 0 [ $((${EPOCHREALTIME//[.,]/} - start_ms)) -ge 500000 ]
}

vp8_keeps_every_frame() {
	local size
	for size in 1920x1080:8 640x360:50 35x17:25; do
		make_source "$video/source.y4m" "${size%:*}" "${size#*:}"
		transfer -i "$video/source.y4m" --fast -- -o "$video/out.ivf"
		ended "vp8_is_whole_${size%:*}" 0 0 is_whole_ivf "$video/out.ivf"
		check "vp8_keeps_every_frame_in_order_above_30_dB_${size%:*}" \
			frames_match "$video/out.ivf" "$video/source.y4m" "${size#*:}"
	done
	make_source "$video/source.y4m" 640x360 50
	ffmpeg -v error -y -i "$video/source.y4m" -vf trim=start_frame=1 \
		-f yuv4mpegpipe "$video/late.y4m" </dev/null
	check psnr_takes_a_file_for_itself frames_match "$video/source.y4m" "$video/source.y4m" 50
	check psnr_notices_frames_in_another_order frames_differ "$video/late.y4m" "$video/source.y4m" 49
	transfer --size 320x180 --frames 60 --fast -- --raw -o "$video/source.y4m"
	transfer --size 320x180 --frames 60 --fast -- -o - --bitrate 2000 --cpu-used 4
	ended vp8_of_the_pattern_matches_it 0 0 frames_match "$scratch/out" "$video/source.y4m" 60
	check vp8_on_stdout_has_its_count is_whole_ivf "$scratch/out"
}

killed_capture_leaves_a_whole_file() {
	start_capture --size 320x180 --rate 100
	start_encode -o "$video/killed.ivf"
	until_true is_larger "$video/killed.ivf" 20000
	signal KILL "$capture"
	finish
	ended killed_capture_leaves_a_whole_file 137 3 is_whole_ivf "$video/killed.ivf"
	check killed_capture_is_told encode_says "broke off"
}

killed_capture_leaves_whole_raw_frames() {
	local header frame=$((321 * 181 + 2 * 161 * 91 + 6))
	start_capture --size 321x181 --fast
	start_encode --raw -o "$video/killed.y4m"
	until_true is_larger "$video/killed.y4m" $((10 * frame))
	signal KILL "$capture"
	finish
	header=$(head -n 1 "$video/killed.y4m" | wc -c)
	ended killed_capture_leaves_whole_raw_frames 137 3 \
		[ $((($(stat -c %s "$video/killed.y4m") - header) % frame)) = 0 ]
}

# The capture goes on without it, and with the next one. A file longer than it had is not enough for that: the frames
# have to be newer.
killed_encode_is_replaced() {
	start_capture --size 320x180 --rate 100
	start_encode --raw -o "$video/left.y4m"
	until_true is_larger "$video/left.y4m" 1000000
	signal KILL "$encode"
	status_of "$encode"
	check killed_encode_is_killed [ "$status" = 137 ]
	start_encode --raw -o "$video/next.y4m"
	until_true is_larger "$video/next.y4m" 1000000
	signal TERM "$capture"
	finish
	ended killed_encode_is_replaced 0 0 is_pattern "$video/next.y4m" 320x180 100 "$(first_of encode)" \
		"$(last_of encode)"
	check the_next_encode_sees_later_frames [ "$(first_of encode)" -gt 10 ]
	check capture_says_who_came_and_went capture_says "2 subscribers came, 1 went"
}

signals_end_both_in_good_order() {
	start_capture --size 320x180 --rate 100
	start_encode --raw -o "$video/stopped.y4m"
	until_true is_larger "$video/stopped.y4m" 100000
	signal TERM "$capture"
	finish
	ended sigterm_ends_the_stream_in_good_order 0 0 capture_says "until stopped"
	start_capture --size 320x180 --rate 100
	start_encode --raw -o "$video/ended.y4m"
	until_true is_larger "$video/ended.y4m" 100000
	signal TERM "$encode"
	status_of "$encode"
	signal TERM "$capture"
	wait "$capture"
	sent=$? received=$status pids=()
	ended sigterm_ends_encode_in_good_order 0 0 encode_says ", stopped"
}

sigterm_ends_a_capture_whose_input_says_nothing() {
	local input
	mkfifo "$video/fifo"
	exec {input}<>"$video/fifo"
	start_capture -i - <&"$input"
	start_encode --raw -o "$video/quiet.y4m"
	printf 'YUV4MPEG2 W2 H2 F25:1\nFRAME\n123456FRAME\n12' >&"$input"
	until_true is_larger "$video/quiet.y4m" 30
	signal TERM "$capture"
	finish
	exec {input}>&-
	ended sigterm_ends_a_capture_whose_input_says_nothing 0 0 encode_says "1 frames of 2x2"
}

bad_input_is_told() {
	make_source "$video/source.y4m" 64x48 10
	head -c -100 "$video/source.y4m" >"$video/short.y4m"
	transfer -i "$video/short.y4m" --fast -- --raw -o "$video/raw.y4m"
	ended truncated_input_is_told 1 0 capture_says "ends within frame 10"
	check truncated_input_is_sent_up_to_its_last_whole_frame encode_says "9 frames of 64x48"
	{ cat "$video/source.y4m" && echo noise; } >"$video/noise.y4m"
	transfer -i "$video/noise.y4m" --fast -- --raw -o "$video/raw.y4m"
	ended noise_after_a_frame_is_told 1 0 capture_says "no frame 11 where it should begin"
	check noise_after_a_frame_costs_no_frame same_samples "$video/source.y4m" "$video/raw.y4m"
}

full_disk_is_told() {
	transfer --frames 3 --fast -- --raw -o /dev/full
	check full_disk_ends_encode [ "$received" = 1 ]
	check full_disk_is_told encode_says "cannot write /dev/full: No space left on device"
}

# refused_input NAME TEXT WHY: capture does not even listen
refused_input() {
	local status=0
	printf '%s' "$2" | "$bin/capture" "$address" -i - --timeout 1 2>"$scratch/capture.err" || status=$?
	check "$1" [ "$status" = 1 ] && check "${1}_and_says_why" capture_says "$3"
}

capture_refuses_other_video() {
	local start=$'YUV4MPEG2 W16 H16 F25:1'
	refused_input capture_refuses_444 "$start C444"$'\n' "only 4:2:0"
	refused_input capture_refuses_10_bits "$start C420p10"$'\n' "only 4:2:0"
	refused_input capture_refuses_huge_sizes $'YUV4MPEG2 W99999 H16\n' "width and height"
	refused_input capture_refuses_frames_beyond_its_ring $'YUV4MPEG2 W16384 H16384\n' "need more memory"
	refused_input capture_refuses_what_is_not_y4m $'RIFF....AVI \n' "not a Y4M stream"
	refused_input capture_refuses_nothing "" "not a Y4M stream"
}

# exits NAME STATUS COMMAND…
exits() {
	local name=$1 expected=$2 status=0
	shift 2
	"$@" >"$scratch/out" 2>"$scratch/encode.err" || status=$?
	check "$name" [ "$status" = "$expected" ]
}

exit_statuses_are_as_said() {
	exits encode_without_capture_times_out 6 "$bin/encode" "$address" --raw -o /dev/null --timeout 1
	exits capture_without_encode_times_out 6 "$bin/capture" "$address" --timeout 1
	exits encode_wants_an_output 2 "$bin/encode" "$address"
	exits capture_wants_an_address 2 "$bin/capture"
	exits numbers_are_checked 2 "$bin/capture" "$address" --frames 1x
	exits sizes_are_checked 2 "$bin/capture" "$address" --size 640
	exits help_is_there 0 "$bin/encode" --help
	exits version_is_there 0 "$bin/capture" --version
}

# What send sends are no frames.
encode_rejects_what_is_no_video() {
	"$bin/send" "$address" 2>"$scratch/capture.err" &
	capture=$!
	pids=("$capture")
	start_encode --raw -o "$video/none.y4m"
	finish
	check encode_rejects_what_is_no_video [ "$received" = 4 ]
	check encode_says_that_it_is_no_video encode_says "a message is not a frame"
	check encode_writes_no_file_then [ ! -e "$video/none.y4m" ]
}

receive_prints_what_send_sends() {
	"$bin/send" "$address" &
	pids=($!)
	"$bin/receive" "$address" >"$scratch/out"
	wait "${pids[0]}"
	pids=()
	check receive_prints_what_send_sends cmp "$scratch/out" <(seq -f 'hello %g' 0 9)
}

many_encodes_have_the_same() {
	local n encodes=() statuses=
	start_capture --size 64x48 --rate 50 --frames 100 --fast --slots 64 --wait-for 12
	for n in {1..12}; do
		start_encode --raw -o "$video/many.$n" --hold 4
		encodes+=("$encode")
	done
	for n in {1..12}; do
		status_of "${encodes[n - 1]}"
		is_pattern "$video/many.$n" 64x48 50 0 99 >/dev/null || status="$status differs"
		statuses+="$status "
	done
	status_of "$capture"
	pids=()
	check many_encodes_have_the_same [ "$status $statuses" = "0 0 0 0 0 0 0 0 0 0 0 0 0 " ]
}

# Something else than the time tells how far the capture has come: an encode that has every frame.
start_timed_capture() {
	start_capture --size 64x48 --rate 500 --slots 64 --wait-for 1
	start_encode --raw -o "$video/timed.y4m" --hold 16
	until_true is_larger "$video/timed.y4m" 0
}

# Nothing but more frames, as many as that.
let_pass() { until_true is_larger "$video/timed.y4m" $(($(stat -c %s "$video/timed.y4m") + $1 * frame)); }

timed_capture_is_unharmed() {
	signal TERM "$capture"
	finish
	ended "$1" 0 0 is_pattern "$video/timed.y4m" 64x48 500 0 "$(last_of encode)"
}

# It may hold all that is sent while it is there, so it misses nothing however busy this machine is.
record_is_bit_exact_from_its_first_frame() {
	start_capture --size 64x48 --rate 100 --frames 150 --slots 256
	start_encode --raw -o "$video/timed.y4m" --hold 16
	until_true is_larger "$video/timed.y4m" $((20 * frame))
	start_record "$video/late.y4m" --hold 150
	finish
	ended encode_is_bit_exact_beside_record 0 0 is_pattern "$video/timed.y4m" 64x48 100 0 149
	status_of "$record"
	check record_ends_well [ "$status" = 0 ]
	check record_is_bit_exact_from_its_first_frame \
		is_pattern "$video/late.y4m" 64x48 100 "$(first_of record)" 149
}

record_tells_gaps() {
	start_timed_capture
	start_record "$video/gaps.y4m" --hold 4
	until_true is_larger "$video/gaps.y4m" 0
	signal STOP "$record"
	let_pass 50
	signal CONT "$record"
	let_pass 50
	timed_capture_is_unharmed encode_is_bit_exact_while_record_misses_frames
	status_of "$record"
	check record_with_gaps_has_a_status_of_its_own [ "$status" = 7 ]
	check record_tells_gaps [ "$(missed_of record)" -gt 10 ]
	check record_counts_every_frame [ "$(($(frames_of record) + $(missed_of record)))" = \
		"$(($(last_of record) - $(first_of record) + 1))" ]
}

# No more than it was sent, and no part of a frame.
has_whole_frames() {
	local bytes=$(($(stat -c %s "$1") - $(head -n 1 "$1" | wc -c)))
	[ $((bytes % frame)) = 0 ] && [ $((bytes / frame)) -le "$(frames_of record)" ] && [ "$bytes" -gt 0 ]
}

# Its second without a sign of life passes.
stalled_record_is_cut_off() {
	start_timed_capture
	start_record "$video/stalled.y4m" --hold 4
	until_true is_larger "$video/stalled.y4m" 0
	signal STOP "$record"
	let_pass 750
	signal CONT "$record"
	status_of "$record"
	check stalled_record_is_cut_off [ "$status" = 3 ]
	check stalled_record_is_told_why record_says "nothing was given back for too long"
	timed_capture_is_unharmed encode_is_bit_exact_while_record_stalls
	check capture_says_that_it_cut_one_off capture_says "1 were cut off"
	check stalled_record_leaves_whole_frames has_whole_frames "$video/stalled.y4m"
}

preview_goes_on_with_the_newest() {
	start_timed_capture
	start_preview "$video/sheet.png" --every 1
	until_true test -e "$video/sheet.png"
	signal STOP "$preview"
	let_pass 100
	signal CONT "$preview"
	let_pass 100
	timed_capture_is_unharmed encode_is_bit_exact_beside_preview
	status_of "$preview"
	check stopped_preview_goes_on [ "$status" = 0 ]
	check preview_is_told_what_it_missed [ "$(missed_of preview)" -ge 50 ]
	check preview_goes_on_with_the_newest [ "$(last_of preview)" -gt $(($(last_of encode) - 60)) ]
	check sheet_has_16_cells [ "$(ffprobe -v error -show_entries stream=width,height -of csv=p=0 \
		"$video/sheet.png")" = 256,192 ]
	check sheet_is_whole ffmpeg -v error -xerror -i "$video/sheet.png" -f null -
}

# Four users, none of them root.
become_users() {
	address=$scratch/others/video.sock
	mkdir -m 755 "$scratch/others" "$scratch/sheets"
	chown 61000 "$scratch/others" && chown 61002 "$scratch/sheets"
	as_capture=(setpriv --reuid 61000 --regid 61000 --clear-groups)
	as_encode=(setpriv --reuid 61001 --regid 61001 --clear-groups)
	as_preview=(setpriv --reuid 61002 --regid 61002 --clear-groups)
	as_record=(setpriv --reuid 61003 --regid 61003 --clear-groups)
}

other_users() {
	transfer --frames 20 --fast --block-uid 61001 -- --raw -o - --uid 61000
	ended users_that_name_each_other_pass_video 0 0 both_say "20 frames of 640x360"
	start_capture --frames 20 --fast --mode 666
	start_encode --raw -o - --uid 61000
	wait "$encode"
	signal TERM "$capture"
	finish
	ended capture_refuses_a_user_it_was_not_told_of 0 5 encode_says "cannot connect"
	check capture_says_whom_it_refused capture_says "61001"
	start_capture --frames 20 --fast --uid 61001
	start_encode --raw -o - --uid 61000
	wait "$encode"
	signal TERM "$capture"
	finish
	ended capture_waits_only_for_whom_it_was_told 0 5 encode_says "cannot connect"
	start_capture --frames 20 --fast --block-uid 61001
	start_encode --raw -o -
	wait "$encode"
	signal TERM "$capture"
	finish
	ended encode_refuses_a_user_it_was_not_told_of 0 5 encode_says "61000"
}

waits_for_encode_only() {
	local all encode
	all=$(said capture 'waited \([0-9.]*\)')
	encode=$(said capture 'subscriber .*, block: .* waited for it \([0-9.]*\)')
	echo "waited $all ms, for encode $encode ms"
	[ -n "$all" ] && [ "$all" = "$encode" ]
}

# The demo: an encoder that has every frame, a preview that is stopped and killed, a recorder that comes late, another
# preview. The recorder may hold a second's frames, so that it misses none however busy this machine is.
three_strangers() {
	local name=$1 sheets=$2 frame=$((320 * 180 * 3 / 2 + 6)) first
	shift 2
	start_capture --size 320x180 --rate 50 --frames 150 --slots 128 --wait-for 2 "$@"
	start_encode --raw -o - --hold 16 --uid 61000
	start_preview "$sheets/sheet.png" --every 5 --hold 4 --uid 61000
	until_true test -e "$sheets/sheet.png"
	signal STOP "$preview"
	until_true is_larger "$scratch/out" $((60 * frame))
	start_record "$video/record.y4m" --newest --hold 48 --uid 61000
	until_true is_larger "$video/record.y4m" $((60 * frame))
	signal KILL "$preview"
	status_of "$preview"
	check "${name}_preview_is_killed_while_it_stands_still" [ "$status" = 137 ]
	check "${name}_killed_preview_leaves_a_whole_sheet" ffmpeg -v error -xerror -i "$sheets/sheet.png" -f null -
	start_preview "$sheets/second.png" --every 5 --hold 4 --uid 61000
	finish
	status_of "$record"
	first=$(first_of record)
	ended "${name}_encode_has_every_frame" 0 0 is_pattern "$scratch/out" 320x180 50 0 149
	check "${name}_record_ends_well" [ "$status" = 0 ]
	check "${name}_record_is_bit_exact_from_its_first_frame" \
		is_pattern "$video/record.y4m" 320x180 50 "$first" 149
	check "${name}_record_came_late" [ "$first" -gt 0 ]
	check "${name}_capture_never_waits_for_the_preview" waits_for_encode_only
	check "${name}_one_preview_went_and_another_came" capture_says "4 subscribers came, 1 went, 0 were cut off"
	status_of "$preview"
	check "${name}_second_preview_ends_well" [ "$status" = 0 ]
	check "${name}_second_preview_leaves_a_whole_sheet" ffmpeg -v error -xerror -i "$sheets/second.png" -f null -
}

need ffmpeg command -v ffmpeg
need ffmpeg command -v ffprobe
prepare
raw_path_is_bit_exact
raw_path_is_bit_exact_however_it_waits
pattern_is_the_same_every_time
ringfort_copies_nothing
pace_is_kept
if "$bin/encode" --help | grep -q 'without libvpx'; then
	if required vpx; then
		not_ok "needs vpx, which this machine should have"
	else
		skip vp8_keeps_every_frame "needs vpx"
	fi
else
	vp8_keeps_every_frame
	killed_capture_leaves_a_whole_file
fi
killed_capture_leaves_whole_raw_frames
killed_encode_is_replaced
signals_end_both_in_good_order
sigterm_ends_a_capture_whose_input_says_nothing
bad_input_is_told
full_disk_is_told
capture_refuses_other_video
exit_statuses_are_as_said
encode_rejects_what_is_no_video
receive_prints_what_send_sends
many_encodes_have_the_same
record_is_bit_exact_from_its_first_frame
record_tells_gaps
stalled_record_is_cut_off
if has_preview; then
	preview_goes_on_with_the_newest
	mkdir "$scratch/own" && three_strangers one_user "$scratch/own"
elif required png; then
	not_ok "needs png, which this machine should have"
else
	skip preview "needs png"
fi
if [ "$(id -u)" = 0 ]; then
	become_users
	other_users
	if has_preview; then
		three_strangers four_users "$scratch/sheets" \
			--block-uid 61001 --uid 61002 --uid 61003 --renew
		check killed_preview_has_no_view_of_what_follows capture_says "memory renewed 1 times"
	fi
else
	skip other_users "needs root"
fi
done_testing
