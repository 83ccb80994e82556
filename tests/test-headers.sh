#!/bin/bash
# SPDX-License-Identifier: MIT
# Every public header compiles alone, as C11 and as C++17, and what is to be inlined is; ringfort.h includes all
# of them, and all are installed.
# shellcheck source=tests/support.sh
. "$(dirname "$0")/support.sh"

warnings=(-Wall -Wextra -Wpedantic -Werror)

# Twice, because the second time must change nothing.
alone() {
	local header=$1
	shift
	printf '#include <ringfort/%s>\n#include <ringfort/%s>\n' "$header" "$header" >"$scratch/alone.$1"
	shift
	"$@" "${warnings[@]}" -I"$RF_SRCDIR/include" -fsyntax-only "$source"
}

headers=$(cd "$RF_SRCDIR/include/ringfort" && ls -- *.h)
for header in $headers; do
	source=$scratch/alone.c
	# shellcheck disable=SC2086 # CC may have options
	check "$header compiles alone as C11" alone "$header" c ${CC:-cc} -std=c11
	source=$scratch/alone.cc
	if [ -n "${CXX:-}" ]; then
		# shellcheck disable=SC2086
		check "$header compiles alone as C++17" alone "$header" cc $CXX -std=c++17
	elif required cxx; then
		not_ok "$header compiles alone as C++17: no compiler, which this machine should have"
	else
		skip "$header compiles alone as C++17" "needs cxx"
	fi
done

# With each compiler that is there: the object without inlining has no loads of its own.
inlines() {
	printf '#include <ringfort/ringfort.h>\nint commit(struct rf_tx *tx, struct rf_buffer *b) { return rf_tx_commit(tx, b); }\n' \
		>"$scratch/inline.c"
	"$@" -O2 -I"$RF_SRCDIR/include" -S -o "$scratch/inlined.s" "$scratch/inline.c" &&
		"$@" -O2 -DRF_NO_INLINE -I"$RF_SRCDIR/include" -S -o "$scratch/called.s" "$scratch/inline.c" &&
		(($(wc -l <"$scratch/inlined.s") > $(wc -l <"$scratch/called.s") + 10))
}

# shellcheck disable=SC2086
check "${CC:-cc} inlines calls for single messages" inlines ${CC:-cc}
if command -v clang >/dev/null; then
	check "clang inlines calls for single messages" inlines clang
else
	skip "clang inlines calls for single messages" "needs clang"
fi

included=$(sed -n 's/^#include <ringfort\/\(.*\)>/\1/p' "$RF_SRCDIR/include/ringfort/ringfort.h")
same "ringfort.h includes every other header" "$(grep -vx ringfort.h <<<"$headers")" "$included"
installed=$(sed -n 's/^\tinclude\/ringfort\/\([a-z-]*\.h\).*/\1/p' "$RF_SRCDIR/Makefile.am")
same "every header is installed" "$headers" "$installed"
done_testing
