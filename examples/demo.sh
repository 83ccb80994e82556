#!/bin/bash
# SPDX-License-Identifier: MIT
# Two processes pass video through a sealed ring; as root, they are two users that trust each other with nothing else.
# The second time one of them is killed in mid-stream.
#
#	examples/demo.sh [BUILD-DIRECTORY]
set -euo pipefail
umask 022
export LC_ALL=C

source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
build=${1:-$source/build}
output=$build/demo
capture_uid=$(id -u)
encode_uid=$capture_uid
as_capture=()
as_encode=()
pids=()
scratch=$(mktemp -d "${TMPDIR:-/tmp}/ringfort-demo.XXXXXX")
address=$scratch/run/video.sock

cleanup() {
	[ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null || true
	rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' HUP INT TERM

say() { printf '\n== %s\n' "$*"; }

die() {
	echo "demo: $*" >&2
	exit 1
}

# Other users may not be able to reach the build tree: they get copies of the two programs.
prepare() {
	mkdir -p "$output"
	chmod 711 "$scratch"
	mkdir "$scratch/bin" "$scratch/run"
	cp "$build/examples/capture" "$build/examples/encode" "$scratch/bin/"
}

choose_users() {
	if [ "$capture_uid" != 0 ]; then
		echo "not root: both processes run as this user"
		return
	fi
	command -v setpriv >/dev/null || die "setpriv is missing (Debian: util-linux)"
	capture_uid=61000
	encode_uid=61001
	as_capture=(setpriv --reuid "$capture_uid" --regid "$capture_uid" --clear-groups)
	as_encode=(setpriv --reuid "$encode_uid" --regid "$encode_uid" --clear-groups)
	chown "$capture_uid" "$scratch/run"
}

# The commands are simple ones, so that $! is the program itself. encode gets its output open: its user cannot
# create a file in this tree.
start_capture() {
	"${as_capture[@]}" "$scratch/bin/capture" "$address" --uid "$encode_uid" --timeout 10 \
		--size 1280x720 --rate 30 "$@" &
	capture=$!
	pids+=("$capture")
}

start_encode() {
	"${as_encode[@]}" "$scratch/bin/encode" "$address" --uid "$capture_uid" -o - >"$1" &
	encode=$!
	pids+=("$encode")
}

# Their exit statuses, in $captured and $encoded.
finish() {
	captured=0
	encoded=0
	wait "$encode" 2>/dev/null || encoded=$?
	wait "$capture" 2>/dev/null || captured=$?
	pids=()
}

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
	command -v ffmpeg >/dev/null || return 0
	ffmpeg -v error -xerror -i "$1" -f null - </dev/null || die "ffmpeg cannot decode $1"
}

stream_to_the_end() {
	local file=$output/video.ivf
	say "capture (uid $capture_uid) sends 1280x720 at 30 fps, encode (uid $encode_uid) makes VP8 of it"
	start_capture --frames 120
	start_encode "$file"
	finish
	[ "$captured" = 0 ] || die "capture ended with status $captured"
	[ "$encoded" = 0 ] || die "encode ended with status $encoded"
	count_frames "$file"
	[ "$frames" = 120 ] || die "$frames frames arrived of 120"
}

kill_in_mid_stream() {
	local file=$output/killed.ivf tries=0
	say "again, and capture is killed in mid-stream"
	start_capture
	start_encode "$file"
	until [ "$(stat -c %s "$file")" -gt 100000 ] || [ $((tries += 1)) -gt 100 ]; do sleep 0.1; done
	kill -KILL "$capture" 2>/dev/null || die "capture ended by itself"
	finish
	[ "$encoded" = 3 ] || die "encode ended with status $encoded instead of 3"
	count_frames "$file"
	[ "$frames" -gt 0 ] || die "no frame arrived"
}

prepare
choose_users
stream_to_the_end
kill_in_mid_stream
say "both files are whole: 120 and $frames frames"
ls -l "$output"/video.ivf "$output"/killed.ivf
echo "watch them with: ffplay $output/video.ivf"
