#!/bin/bash
# SPDX-License-Identifier: MIT
# What make install puts somewhere is enough to build, link and run a program, shared and static, and goes away again.
# shellcheck source=tests/support.sh
. "$(dirname "$0")/support.sh"

root=$scratch/root
program=$scratch/program.c

# As one that includes make: not part of the job server of the make that runs this test.
run_make() {
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -s -C "$RF_BUILDDIR" "$@" DESTDIR="$root"
}

value_of() {
	sed -n "s/^$1 = //p" "$RF_BUILDDIR/Makefile"
}

config() {
	PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_PATH=$root$pkgconfigdir "${PKG_CONFIG:-pkg-config}" "$@" ringfort
}

# The words of the variables are arguments.
# shellcheck disable=SC2086,SC2046
build_shared() {
	${CC:-cc} ${RF_SANITIZER_CFLAGS:-} -o "$scratch/shared" "$program" $(config --cflags --libs)
}

# shellcheck disable=SC2086,SC2046
build_static() {
	${CC:-cc} ${RF_SANITIZER_CFLAGS:-} -o "$scratch/static" "$program" $(config --cflags) \
		"$root$libdir/libringfort.a" $(config --static --libs-only-other)
}

run_shared() {
	[ "$(LD_LIBRARY_PATH=$root$libdir "$scratch/shared")" = "$version" ]
}

run_static() {
	[ "$("$scratch/static")" = "$version" ]
}

soname_is_0() {
	[ -e "$root$libdir/libringfort.so.0" ]
}

every_name_has_a_page() {
	local page name bad=0
	for page in "$RF_SRCDIR"/man/*.[1-9]; do
		while read -r name; do
			[ -s "$root$mandir/man${page##*.}/$name.${page##*.}" ] || { echo "$name"; bad=1; }
		done < <(awk '/^\.Sh / { inside = $2 == "NAME" } inside && $1 == ".Nm" { print $2 }' "$page")
	done
	return "$bad"
}

nothing_left() {
	! find "$root" ! -type d | grep .
}

expand() {
	local value
	value=$(value_of "$1")
	while [[ $value =~ \$\{([a-z_]+)\} ]]; do
		value=${value//"\${${BASH_REMATCH[1]}}"/$(value_of "${BASH_REMATCH[1]}")}
	done
	echo "$value"
}

cat >"$program" <<'END'
#include <ringfort/ringfort.h>
#include <stdio.h>

int main(void)
{
	struct rf_options options;

	rf_options_init(&options);
	rf_channel_close(NULL);
	return puts(rf_version()) < 0 || options.size != sizeof(options);
}
END
version=$(value_of VERSION)
libdir=$(expand libdir)
mandir=$(expand mandir)
pkgconfigdir=$(expand pkgconfigdir)

check "make install with DESTDIR" run_make install || done_testing
if [ "$(sed -n "s/^build_old_libs=//p" "$RF_BUILDDIR/libtool" | head -n 1)" = yes ]; then
	check "a program builds with the static library" build_static
	check "it runs" run_static
fi
if [ -e "$RF_BUILDDIR/.libs/libringfort.so" ]; then
	check "a program builds with the shared library" build_shared
	check "it runs" run_shared
	check "the library is libringfort.so.0" soname_is_0
fi
check "pkg-config knows the version" test "$(config --modversion)" = "$version"
check "every name of a manual page finds it" every_name_has_a_page
check "make uninstall" run_make uninstall
check "nothing is left" nothing_left
done_testing
