#!/bin/bash
# SPDX-License-Identifier: MIT
# capture and encode as two processes: what arrives, in whose eyes (those of ffmpeg), and how each end fails.
# shellcheck source=tests/support.sh
. "$(dirname "$0")/support.sh"

# Who runs what: other users cannot reach the build tree, so they get copies.
as_capture=()
as_encode=()
bin=$scratch/bin
address=$scratch/run/video.sock
video=$scratch/video
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

prepare() {
	chmod 711 "$scratch"
	mkdir -m 755 "$bin" "$scratch/run" && mkdir "$video"
	cp "$RF_BUILDDIR"/examples/{capture,encode,send,receive} "$bin/" || exit 99
}

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

# Their exit statuses, in $sent and $received.
finish() {
	received=0
	sent=0
	wait "$encode" 2>/dev/null || received=$?
	wait "$capture" 2>/dev/null || sent=$?
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
	transfer --size 321x181 --rate 50 --frames 40 --fast -- --raw -o "$video/again.y4m"
	ended pattern_is_the_same_every_time 0 0 cmp "$video/pattern.y4m" "$video/again.y4m"
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
	check killed_capture_is_told encode_says "went in mid-stream"
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

killed_encode_ends_capture() {
	start_capture --size 320x180 --rate 100
	start_encode --raw -o "$video/left.y4m"
	until_true is_larger "$video/left.y4m" 100000
	signal KILL "$encode"
	finish
	ended killed_encode_ends_capture 3 137 capture_says "went in mid-stream"
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
	finish
	ended sigterm_ends_encode_in_good_order 3 0 encode_says ", stopped"
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
	refused_input capture_refuses_frames_beyond_its_ring $'YUV4MPEG2 W16384 H16384\n' "needs a larger ring"
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

# send is no capture: its records have other tags and are no header.
encode_rejects_what_is_no_video() {
	"$bin/send" "$address" 2>"$scratch/capture.err" &
	capture=$!
	pids=("$capture")
	start_encode --raw -o "$video/none.y4m"
	finish
	check encode_rejects_what_is_no_video [ "$received" = 4 ]
	check encode_says_that_it_is_no_video encode_says "does not begin with a header"
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

# Two users, neither of them root.
other_users() {
	address=$scratch/others/video.sock
	mkdir -m 755 "$scratch/others" && chown 61000 "$scratch/others"
	as_capture=(setpriv --reuid 61000 --regid 61000 --clear-groups)
	as_encode=(setpriv --reuid 61001 --regid 61001 --clear-groups)
	transfer --frames 20 --fast --uid 61001 -- --raw -o - --uid 61000
	ended users_that_name_each_other_pass_video 0 0 both_say "20 frames of 640x360"
	start_capture --frames 20 --fast --mode 666
	start_encode --raw -o - --uid 61000
	wait "$encode"
	signal TERM "$capture"
	finish
	ended capture_refuses_a_user_it_was_not_told_of 0 5 encode_says "cannot connect"
	check capture_says_whom_it_refused capture_says "61001"
	start_capture --frames 20 --fast --uid 61001
	start_encode --raw -o -
	wait "$encode"
	signal TERM "$capture"
	finish
	ended encode_refuses_a_user_it_was_not_told_of 0 5 encode_says "61000"
	as_capture=()
	as_encode=()
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
killed_encode_ends_capture
signals_end_both_in_good_order
sigterm_ends_a_capture_whose_input_says_nothing
bad_input_is_told
full_disk_is_told
capture_refuses_other_video
exit_statuses_are_as_said
encode_rejects_what_is_no_video
receive_prints_what_send_sends
if [ "$(id -u)" = 0 ]; then
	other_users
else
	skip other_users "needs root"
fi
done_testing
