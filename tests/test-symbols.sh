#!/bin/bash
# SPDX-License-Identifier: MIT
# Headers, symbol map, exports and manual pages name the same functions.
# shellcheck source=tests/support.sh
. "$(dirname "$0")/support.sh"
read -ra nm <<<"${NM:-nm}" # it may have options

# One function a line, whatever the line breaks in between.
declared() {
	cat "$RF_SRCDIR"/include/ringfort/*.h | tr '\n' ' ' | grep -oP "$1[^;{(]*?\b\Krf_[a-z]\w*(?=\()" | sort -u
}

mapped() {
	sed -n '/^global:/,/^local:/s/^[[:space:]]*\([A-Za-z_][A-Za-z0-9_]*\);.*/\1/p' "$RF_SRCDIR/src/ringfort.map"
}

exported() {
	"${nm[@]}" -D --defined-only "$1" | awk '$2 != "A" { sub(/@.*/, "", $NF); print $NF }'
}

# Names of NAME sections, and functions of SYNOPSIS sections, of the pages on functions.
named() {
	awk '/^\.Sh / { inside = $2 == "NAME" } inside && $1 == ".Nm" && $2 ~ /^rf_/ { print $2 }' "$RF_SRCDIR"/man/*.3 | sort -u
}

shown() {
	awk '/^\.Sh / { inside = $2 == "SYNOPSIS" }
		inside && ($1 == ".Fn" || $1 == ".Fo") { gsub(/"/, ""); sub(/^\*/, "", $2); print $2 }' \
		"$RF_SRCDIR"/man/*.3 | grep '^rf_' | sort -u
}

only_rf() {
	! grep -v '^rf_[a-z]' <<<"$1"
}

library=$RF_BUILDDIR/.libs/libringfort.so
functions=$(declared RF_EXPORT)
inlines=$(declared 'static inline ')
same "headers and map name the same functions" "$functions" "$(mapped)"
if [ -e "$library" ]; then
	exports=$(exported "$library" | grep -v '^RINGFORT_')
	same "headers and library export the same functions" "$functions" "$exports"
	check "the library exports nothing but rf_ names" only_rf "$exports"
else
	skip "headers and library export the same functions" "no shared library was built"
fi
documented=$(printf '%s\n' "$functions" "$inlines")
same "every function has a page with its name" "$documented" "$(named)"
same "every function is in the synopsis of a page" "$documented" "$(shown)"
done_testing
