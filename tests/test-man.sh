#!/bin/bash
# SPDX-License-Identifier: MIT
# The manual pages are clean mdoc, their examples compile and run, the programs shown are those of examples/, and the tests
# that ringfort-security(7) names exist.
# shellcheck source=tests/support.sh
. "$(dirname "$0")/support.sh"

pages=("$RF_SRCDIR"/man/*.[1-9])
security=$RF_SRCDIR/man/ringfort-security.7
library=$RF_BUILDDIR/.libs/libringfort.a

# A page is not known to mandoc's database before it is installed, nor are those of others where they are not installed;
# that ours exist is a point of its own, below.
lint() {
	! mandoc -Tlint -W style "$1" 2>&1 |
		grep -v -e 'STYLE: referenced manual not found: Xr ' -e '^mandoc: outdated mandoc.db ' \
			-e '^mandoc: .*mandoc.db: No such file'
}

names_of() {
	awk '/^\.Sh / { inside = $2 == "NAME" } inside && $1 == ".Nm" { print $2 }' "$1"
}

# Names with section, of all pages; and our own names that any page refers to.
there_are() {
	local page
	for page in "${pages[@]}"; do
		names_of "$page" | sed "s/\$/ ${page##*.}/"
	done
}

references() {
	sed -n 's/^\.Xr \(rf_[a-z_]*\|ringfort[a-z-]*\) \([0-9]\).*/\1 \2/p' "${pages[@]}"
}

every_reference_is_there() {
	local missing
	missing=$(comm -13 <(there_are | sort -u) <(references | sort -u))
	[ -z "$missing" ] || { echo "referred to, but not there: $missing"; return 1; }
}

sections_of() {
	sed -n 's/^\.Sh //p' "$1" |
		grep -Fx -e NAME -e SYNOPSIS -e DESCRIPTION -e OWNERSHIP -e THREADS -e 'RETURN VALUES' -e EXAMPLES -e ERRORS -e 'SEE ALSO'
}

has_all_sections() {
	local found
	found=$(sections_of "$1" | tr '\n' ' ')
	[ "$found" = 'NAME SYNOPSIS DESCRIPTION OWNERSHIP THREADS RETURN VALUES EXAMPLES ERRORS SEE ALSO ' ] ||
		{ echo "sections: $found"; return 1; }
}

# The words of CC and of the flags are arguments.
# shellcheck disable=SC2086
compile() {
	${CC:-cc} ${RF_SANITIZER_CFLAGS:-} -std=c11 -Wall -Wextra -Werror -I"$RF_SRCDIR/include" -c -o "${1%.c}.o" "$1"
}

# shellcheck disable=SC2086
link_program() {
	${CC:-cc} ${RF_SANITIZER_CFLAGS:-} -o "${1%.c}" "${1%.c}.o" "$library" -pthread
}

# The example that contains a text, without .c.
program_with() {
	local file
	file=$(grep -lF -- "$1" "$scratch"/*.c) && echo "${file%.c}"
}

# The example that is examples/NAME.c: it says the same in its second line.
program_of() {
	program_with "$(sed -n 2p "$RF_SRCDIR/examples/$1.c")"
}

pair_talks() {
	local sender receiver pid
	sender=$(program_of send) && receiver=$(program_of receive) || return 1
	timeout 20 "$sender" "$scratch/demo.sock" &
	pid=$!
	timeout 20 "$receiver" "$scratch/demo.sock" >"$scratch/received" || { kill "$pid"; return 1; }
	wait "$pid" || return 1
	diff "$scratch/received" <(seq -f 'hello %g' 0 9)
}

socketpair_talks() {
	local program
	program=$(program_with 'socketpair(AF_UNIX') || return 1
	[ "$(timeout 20 "$program")" = hello ]
}

# A file contains another one as it is.
is_shown_in() {
	local shown
	shown=$(cat "$1"; echo .)
	[[ $shown == *"$(cat "$2")"* ]]
}

tests_named() {
	grep -oE '\b[pmdc][0-9]+_[a-z0-9_]+' "$security" | sort -u
}

# Our own names of threats in tests: functions, and strings that are points of a shell test.
tests_that_exist() {
	grep -rhoE --include='*.c' --include='*.sh' --include='*.h' '\b[pmdc][0-9]+_[a-z0-9_]+' "$RF_SRCDIR/tests" | sort -u
}

every_named_test_exists() {
	local missing
	missing=$(comm -23 <(tests_named) <(tests_that_exist))
	[ -z "$missing" ] || { echo "named, but not there: $missing"; return 1; }
}

# A row begins with its number; one without a test says so.
every_row_has_a_test() {
	awk '
	function finish() { if (row && !tested) { print "row without a test: " row; bad = 1 } row = "" }
	/^\.It Sy (\\&)?[PMDC][0-9]+$/ { finish(); row = $3; sub(/^\\&/, "", row); tested = 0; pattern = tolower(row) "_" }
	/^\.(El|Sh|Ss)/ { finish() }
	row && index($0, " " pattern) { tested = 1 }
	row && /^Not covered by a test yet\.$/ { tested = 1 }
	END { finish(); exit bad }' "$security"
}

rows() {
	sed -n 's/^\.It Sy \(\\&\)\{0,1\}\([PMDC][0-9][0-9]*\)$/\2/p' "$security" | tr PMDC pmdc | sort -u
}

every_tested_threat_has_a_row() {
	local missing
	missing=$(comm -13 <(rows) <(tests_that_exist | sed 's/_.*//' | sort -u))
	[ -z "$missing" ] || { echo "tested, but without a row: $missing"; return 1; }
}

need mandoc command -v mandoc
for page in "${pages[@]}"; do
	check "${page##*/} is clean mdoc" lint "$page"
	case $page in *.3) check "${page##*/} has all sections" has_all_sections "$page" ;; esac
done
check "every page of ours that is referred to exists" every_reference_is_there

for file in $("$RF_SRCDIR/build-aux/man-examples" "$scratch" "${pages[@]}"); do
	name=${file##*/}
	check "example ${name%.c} compiles" compile "$file" || continue
	grep -q '^int main(' "$file" || continue
	if [ -e "$library" ]; then
		check "example ${name%.c} links" link_program "$file"
	else
		skip "example ${name%.c} links" "no static library was built"
	fi
done
if [ -e "$library" ]; then
	check "the two programs of ringfort(7) talk" pair_talks
	check "parent and child of rf_listen(3) talk" socketpair_talks
fi
for name in send receive; do
	program=$RF_SRCDIR/examples/$name.c
	check "README.md shows examples/$name.c" is_shown_in "$RF_SRCDIR/README.md" "$program"
	check "ringfort(7) shows examples/$name.c" cmp "$program" "$(program_of "$name").c"
done
check "every test that ringfort-security(7) names exists" every_named_test_exists
check "every threat in ringfort-security(7) has a test" every_row_has_a_test
check "every threat that has a test is in ringfort-security(7)" every_tested_threat_has_a_row
done_testing
