#!/bin/bash
# SPDX-License-Identifier: MIT
# RF_TYPED makes the same functions in C11 and in C++17, and the compiler refuses types that cannot be elements.
# shellcheck source=tests/support.sh
. "$(dirname "$0")/support.sh"

library=$RF_BUILDDIR/.libs/libringfort.a
warnings=(-Wall -Wextra -Wpedantic -Wconversion -Werror)

# -x none: the library is not a source.
# shellcheck disable=SC2086
build() {
	$compiler ${RF_SANITIZER_CFLAGS:-} "${warnings[@]}" -D_GNU_SOURCE -I"$RF_SRCDIR/include" \
		-x "$language" "$RF_SRCDIR/tests/typed.c" -x none "$library" -pthread -o "$scratch/typed-$language"
}

# shellcheck disable=SC2086
compiles() {
	printf '#include <ringfort/typed.h>\n%s\n' "$1" |
		$compiler -D_GNU_SOURCE -I"$RF_SRCDIR/include" -x "$language" -fsyntax-only -
}

refuses() {
	! compiles "$1"
}

check_language() {
	language=$1
	compiler=$2
	if [ -e "$library" ] && check "typed.c compiles as $language" build; then
		check "samples arrive, in $language" timeout 60 "$scratch/typed-$language"
	fi
	check "a type of 1 MiB is an element in $language" compiles 'struct s { char c[1048576]; }; RF_TYPED(s, struct s);'
	check "a larger type is none in $language" refuses 'struct s { char c[1048577]; }; RF_TYPED(s, struct s);'
	check "a name of 63 characters is one in $language" compiles "RF_TYPED($long, int);"
	check "a longer name is none in $language" refuses "RF_TYPED(${long}x, int);"
}

long=$(printf 'a%.0s' {1..63})
check_language c "${CC:-cc} -std=c11"
if [ -n "${CXX:-}" ]; then
	check_language c++ "$CXX -std=c++17"
	check "a type with a destructor is no element" refuses 'struct s { int i; ~s() {} }; RF_TYPED(s, s);'
elif required cxx; then
	not_ok "needs cxx, which this machine should have"
else
	skip "typed.c compiles as c++" "needs cxx"
fi
done_testing
