#!/bin/bash
# SPDX-License-Identifier: MIT
# One process publishes video to three others: an encoder that must have every frame, a preview that wants the newest
# ones, a recorder that comes late. The preview is stopped and killed in mid-stream, and nobody else notices. As root
# they are four users that trust each other with nothing but the frames. Then capture itself is killed.
#
#	examples/demo.sh [BUILD-DIRECTORY]
set -euo pipefail
umask 022
export LC_ALL=C

source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
build=${1:-$source/build}
output=$build/demo
size=640x360
rate=30
all=240
declare -A uid=() pid=() status=()
scratch=$(mktemp -d "${TMPDIR:-/tmp}/ringfort-demo.XXXXXX")
address=$scratch/run/video.sock
sheet=$scratch/preview/sheet.png

cleanup() {
	[ ${#pid[@]} = 0 ] || kill -KILL "${pid[@]}" 2>/dev/null || true
	rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' HUP INT TERM

say() { printf '\n== %s\n' "$*"; }

die() {
	echo "demo: $*" >&2
	cat "$scratch"/*.log >&2 2>/dev/null || true
	exit 1
}

# Other users may not be able to reach the build tree: they get copies of the programs.
prepare() {
	local program
	mkdir -p "$output"
	rm -f "$output"/*
	chmod 711 "$scratch"
	mkdir "$scratch/bin" "$scratch/run" "$scratch/preview"
	for program in capture encode preview record; do
		[ -x "$build/examples/$program" ] || die "$program was not built (Debian: libpng-dev is needed)"
		cp "$build/examples/$program" "$scratch/bin/"
	done
}

choose_users() {
	local who n=61000
	for who in capture encode preview record; do
		uid[$who]=$(id -u)
		[ "$(id -u)" != 0 ] || uid[$who]=$((n++))
	done
	if [ "$(id -u)" != 0 ]; then
		echo "not root: all processes run as this user"
		return
	fi
	command -v setpriv >/dev/null || die "setpriv is missing (Debian: util-linux)"
	chown "${uid[capture]}" "$scratch/run"
	chown "${uid[preview]}" "$scratch/preview"
}

# run PROGRAM ARGUMENT…: as its user, in place of this shell
run() {
	local program=$scratch/bin/$1 user=${uid[$1]}
	shift
	[ "$(id -u)" = 0 ] || exec "$program" "$address" "$@"
	exec setpriv --reuid "$user" --regid "$user" --clear-groups "$program" "$address" "$@"
}

# start NAME OUTPUT PROGRAM ARGUMENT…: what it says goes into NAME.log. Users that cannot create a file in this tree get
# their output open.
start() {
	local name=$1 to=$2
	shift 2
	run "$@" --timeout 10 >"$to" 2>"$scratch/$name.log" &
	pid[$name]=$!
}

start_capture() {
	start capture /dev/null capture --block-uid "${uid[encode]}" --uid "${uid[preview]}" --uid "${uid[record]}" \
		--size $size --rate $rate --slots 128 "$@"
}

start_viewer() {
	start "$1" "$2" "${@:3}" --uid "${uid[capture]}"
}

# finish NAME…: sets their ${status[NAME]}
finish() {
	local name
	for name in "$@"; do
		status[$name]=0
		wait "${pid[$name]}" 2>/dev/null || status[$name]=$?
		unset "pid[$name]"
	done
}

signal() {
	kill -s "$1" "${pid[$2]}" 2>/dev/null || die "$2 ended by itself"
}

# until_true COMMAND…: for at most 10 seconds
until_true() {
	local tries=0
	until "$@"; do
		[ $((tries += 1)) -le 200 ] || die "waited too long: $*"
		sleep 0.05
	done
}

is_larger() { [ "$(stat -c %s "$1" 2>/dev/null || echo 0)" -gt "$2" ]; }

# said NAME PATTERN: the number in what it said at its end
said() { sed -n "s/^[a-z]*: $2.*/\\1/p" "$scratch/$1.log"; }
frames_of() { said "$1" '\([0-9]*\) frames of'; }
first_of() { said "$1" 'frame \([0-9]*\) to frame'; }
last_of() { said "$1" 'frame [0-9]* to frame \([0-9]*\)'; }
missed_of() { said "$1" 'frame .*, \([0-9]*\) missed'; }
waited_ms() { said capture 'waited \([0-9.]*\)'; }
waited_for_encode_ms() { said capture 'subscriber .*, block: .* waited for it \([0-9.]*\)'; }

word_at() {
	od -An -tu4 --endian=little -j "$2" -N 4 "$1" | tr -d ' '
}

# Sets $frames, after a walk through all of them: the last one is whole, and the header has their number.
count_frames() {
	local at=32 size
	size=$(stat -c %s "$1")
	frames=0
	[ "$(head -c 4 "$1")" = DKIF ] || die "$1 is not IVF"
	while [ "$at" -lt "$size" ]; do
		at=$((at + 12 + $(word_at "$1" "$at")))
		frames=$((frames + 1))
	done
	[ "$at" = "$size" ] || die "$1 ends within frame $frames"
	[ "$(word_at "$1" 24)" = "$frames" ] || die "the header of $1 has another number of frames"
	can_be_decoded "$1"
}

can_be_decoded() {
	command -v ffmpeg >/dev/null || return 0
	ffmpeg -v error -xerror -i "$1" -f null - </dev/null || die "ffmpeg cannot decode $1"
}

stream_to_three() {
	say "capture publishes $size at $rate fps; encode and preview watch; preview is stopped, record comes late," \
		"preview is killed, another one comes"
	start_capture --wait-for 2 --frames $all
	start_viewer encode "$output/video.ivf" encode -o - --hold 16
	start_viewer preview /dev/null preview -o "$sheet" --every 15 --hold 4
	until_true test -e "$sheet"
	signal STOP preview
	until_true is_larger "$output/video.ivf" 150000
	start_viewer record "$output/recorded.y4m" record -o - --newest --hold 48
	until_true is_larger "$output/recorded.y4m" $((60 * 640 * 360 * 3 / 2))
	signal KILL preview
	finish preview
	mv "$sheet" "$output/sheet-killed.png"
	start_viewer preview-2 /dev/null preview -o "$sheet" --every 15 --hold 4
	finish capture encode preview-2 record
	mv "$sheet" "$output/sheet.png"
	cat "$scratch"/{capture,encode,record,preview-2}.log
}

check_encode() {
	[ "${status[encode]}" = 0 ] || die "encode ended with status ${status[encode]}"
	count_frames "$output/video.ivf"
	[ "$frames" = $all ] || die "$frames frames were encoded of $all"
	echo "the encoder has all $all frames"
}

# What was recorded is compared with the test pattern as it is drawn without ringfort.
check_record() {
	local first
	[ "${status[record]}" = 0 ] || die "record ended with status ${status[record]}"
	first=$(first_of record)
	[ "$first" -gt 0 ] || die "the recorder did not come late"
	cmp "$output/recorded.y4m" <("$build/examples/pattern" $size $rate "$first" $((all - 1))) ||
		die "the recording is not what was sent"
	echo "the recorder's frames are bit-exact from its first one, number $first, to the last"
}

check_previews() {
	[ "${status[preview]}" = 137 ] || die "the first preview ended with status ${status[preview]}"
	[ "${status[preview-2]}" = 0 ] || die "the second preview ended with status ${status[preview-2]}"
	can_be_decoded "$output/sheet-killed.png"
	can_be_decoded "$output/sheet.png"
	echo "both contact sheets are whole; the second one ends with frame $(last_of preview-2)"
}

# If it waited for anybody, it was for the encoder, which may ask for that.
check_capture() {
	[ "${status[capture]}" = 0 ] || die "capture ended with status ${status[capture]}"
	[ "$(waited_ms)" = "$(waited_for_encode_ms)" ] || die "capture waited $(waited_ms) ms for its subscribers"
	echo "capture waited for the encoder alone ($(waited_ms) ms), and never for the preview that stood still"
}

row() { printf '%-10s %6s  %-11s %7s %7s  %s\n' "$@"; }

row_of() {
	local missed
	missed=$(missed_of "$1")
	row "$1" "${uid[${1%-2}]}" "$2" "$(frames_of "$1")" "${missed:--}" "${status[$1]}"
}

print_table() {
	say "who got what"
	row who uid policy frames missed status
	row_of capture -
	row_of encode block
	row preview "${uid[preview]}" latest - - "${status[preview]}, stopped and killed"
	row_of preview-2 latest
	row_of record disconnect
}

kill_in_mid_stream() {
	local file=$output/killed.ivf
	say "again, and capture is killed in mid-stream"
	start_capture
	start_viewer encode "$file" encode -o -
	until_true is_larger "$file" 50000
	signal KILL capture
	finish encode capture
	cat "$scratch/encode.log"
	[ "${status[encode]}" = 3 ] || die "encode ended with status ${status[encode]} instead of 3"
	count_frames "$file"
	[ "$frames" -gt 0 ] || die "no frame arrived"
	echo "the file is whole: $frames frames"
}

prepare
choose_users
stream_to_three
say "is it so?"
check_encode
check_record
check_previews
check_capture
print_table
kill_in_mid_stream
say "look at them"
ls -l "$output"
echo "ffplay $output/video.ivf"
