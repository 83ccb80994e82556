#!/bin/bash
# SPDX-License-Identifier: MIT
# ringfort-bench runs: every row that the machine can have gives a number, in tables and as JSON, which can be read and drawn
# again; options are understood, and mistakes are told.
# shellcheck source=tests/support.sh
. "$(dirname "$0")/support.sh"

bench=$RF_BUILDDIR/bench/ringfort-bench
peers=$scratch/peers
log=$scratch/log
mkdir "$peers" || exit 99

# exits NAME STATUS ARGUMENT…: its output goes to $scratch/stdout and $scratch/stderr
exits() {
	local name=$1 expected=$2 status=0
	shift 2
	timeout 100 "$bench" "$@" >"$scratch/stdout" 2>"$scratch/stderr" </dev/null || status=$?
	[ "$status" = "$expected" ] || echo "# status $status: $(head -n 3 "$scratch/stderr")"
	check "$name" [ "$status" = "$expected" ]
}

says() { grep -qF -e "$1" "$scratch/stderr"; }
prints() { grep -qF -e "$1" "$scratch/stdout"; }

# The transports that could not be measured, but for sizes that the machine's limits do not allow.
nothing_failed() {
	! grep -F 'not measured: ' "$scratch/stderr" | grep -vF 'mq_open of messages'
}

# In one state or the other, unless its only sample was dropped.
every_row_has_a_number() {
	awk '
	function value(key) { match($0, "\"" key "\": [^,}]*"); return substr($0, RSTART + length(key) + 4, RLENGTH - length(key) - 4) }
	/"test": "machine"/ { next }
	{
		row = value("test") value("transport") value("mode") value("wait") value("size_bytes") value("rate") value("n")
		all[row] = 1
		if (value("msgs_per_s") != "null" || value("p50" "_ns") != "null" || value("dropped") != "0") good[row] = 1
	}
	END {
		for (row in all) { n++; if (!(row in good)) { print "no number: " row; bad = 1 } }
		exit bad || n < 100
	}' "$scratch/smoke.json"
}

every_test_is_there() {
	local test
	for test in throughput round-trip frames fan-out scale switching; do
		grep -qF "{\"test\": \"$test\", " "$scratch/smoke.json" || { echo "no $test"; return 1; }
	done
}

every_line_has_the_keys() {
	local key lines
	lines=$(grep -vc '"test": "machine"' "$scratch/smoke.json")
	# The quotes: tests/test-man.sh takes words like these for names of threats.
	for key in test transport mode size_bytes state rounds msgs_per_s bytes_per_s p50'_ns' p99'_ns' p999'_ns' \
		kicks_per_msg syscalls_per_msg cpu_s; do
		[ "$(grep -c "\"$key\": " "$scratch/smoke.json")" -ge "$lines" ] || { echo "$key"; return 1; }
	done
}

# Descriptors, mappings and memory beyond the rings, with either doorbell. Sanitizers have memory of their own.
channels_cost_no_more_than_they_may() {
	[ "$(grep -E '^(descriptors|mappings|pages of)' "$scratch/stdout" | grep -c ' [0-9] *  reached')" = 8 ]
}

nothing_is_left() {
	! find /tmp -maxdepth 1 -name 'rf-bench.*' -newer "$peers" -user "$(id -un)" | grep .
}

a_smoke_run() {
	exits a_smoke_run_ends_well 0 --smoke --peers "$peers" --output "$scratch/smoke.json"
	check every_transport_could_be_measured nothing_failed
	check every_row_has_a_number every_row_has_a_number
	check every_test_is_there every_test_is_there
	check every_line_of_json_has_the_keys every_line_has_the_keys
	check it_prints_tables prints "Round trips, "
	if [ -n "${RF_SANITIZER_CFLAGS:-}" ]; then
		skip channels_cost_no_more_than_they_may "the benchmark has a sanitizer"
	else
		check channels_cost_no_more_than_they_may channels_cost_no_more_than_they_may
	fi
	check it_prints_what_switching_costs prints " 100000  in-any-order "
	check nothing_is_left nothing_is_left
}

what_was_saved() {
	exits a_saved_run_is_a_table 0 table "$scratch/smoke.json"
	check with_the_same_tables prints "Throughput, "
	echo '{"test": "something"}' >"$scratch/other.json"
	exits something_else_is_refused 1 table "$scratch/other.json"
	check and_that_is_told says "not what ringfort-bench wrote"
	exits a_file_that_is_not_there 1 table "$scratch/none.json"
	if ! command -v gnuplot >/dev/null; then
		skip figures_are_drawn "there is no gnuplot"
		return
	fi
	exits figures_are_drawn 0 plot "$scratch/smoke.json" "$scratch/figures"
	check there_is_a_figure grep -qs '</svg>' "$scratch"/figures/throughput-*.svg
	exits a_directory_that_cannot_be 1 plot "$scratch/smoke.json" "$scratch/smoke.json/figures"
}

# A peer that is none, and one that dies.
peers_are_started() {
	printf '#!/bin/sh\nexit 1\n' >"$peers/dying"
	# shellcheck disable=SC2016 # its own
	printf '#!/bin/bash\nhead -c 2000 /dev/zero >&"$3"\n' >"$peers/strange"
	chmod +x "$peers/dying" "$peers/strange"
	exits others_do_no_harm 0 --list --peers "$peers"
	check one_that_dies_is_told says "dying does not start"
	check one_that_is_none_is_told says "strange does not start: of another build"
	check ours_are_listed prints "ringfort-slots"
}

some_only() {
	exits one_test_of_one_transport 0 --smoke --json --peers "$peers" --tests round-trip --transports pipe
	check it_is_there prints '"transport": "pipe"'
	check no_other_test_is_there [ "$(grep -vc '"test": "round-trip"' "$scratch/stdout")" = 1 ]
	check no_other_transport_is_there [ "$(grep -vc '"transport": "pipe"' "$scratch/stdout")" = 1 ]
	exits details 0 --smoke --details --tests throughput --transports ringfort-stream --sizes 8,1500
	check details_have_lines [ "$(grep -c '^throughput ' "$scratch/stdout")" -ge 2 ]
	exits one_round_is_no_figure 0 --tests throughput --transports pipe --sizes 64 --rounds 1 --sample 1 --json
	check it_is_null prints '"msgs_per_s": null'
}

an_interrupt_ends_it() {
	local pid status=0
	"$bench" --tests throughput --transports pipe --rounds 100 --sample 1000 >"$log" 2>&1 &
	pid=$!
	sleep 0.5
	kill -TERM "$pid"
	wait "$pid" || status=$?
	check an_interrupt_ends_it [ "$status" = 143 ]
	check nothing_is_left_then nothing_is_left
}

mistakes_are_told() {
	local line
	while read -r line; do
		# shellcheck disable=SC2086 # words
		exits "usage: $line" 2 $line
	done <<-'END'
		--tests
		--tests latency
		--tests ,
		--transports ,
		--sizes 7
		--sizes 10
		--sizes 8388608
		--sizes ,
		--ring 65537
		--ring 100000
		--rounds 0
		--rounds x
		--sample 0
		--limit -1
		--channels 0
		--channels 20001
		--cpus 0
		--cpus 0,0
		--nothing
		something
		table
		plot x
	END
	exits a_processor_that_is_not_there 1 --cpus 0,1000
	exits an_output_that_cannot_be 1 --smoke --tests handshakes --transports ringfort-stream --output "$scratch/no/file"
	exits help 0 --help
	check help_helps prints "Usage: ringfort-bench"
	exits version 0 --version
}

need processors [ "$(nproc)" -ge 2 ]
a_smoke_run
what_was_saved
peers_are_started
some_only
an_interrupt_ends_it
mistakes_are_told
done_testing
