# SPDX-License-Identifier: MIT
# The probes of configure.ac. They fill RF_CPPFLAGS, RF_CFLAGS and RF_LDFLAGS, never CFLAGS, which is the user's.

# Positions are 64 bits and are loaded by one instruction; targets that would take a lock for it are refused.
AC_DEFUN([RF_REQUIRE_ATOMIC_64], [
	AC_CACHE_CHECK([whether 64-bit atomic loads need no lock], [rf_cv_atomic_64], [
		AC_COMPILE_IFELSE([AC_LANG_PROGRAM([],
			[[_Static_assert(__atomic_always_lock_free(8, 0), "takes a lock");]])],
			[rf_cv_atomic_64=yes], [rf_cv_atomic_64=no])])
	AS_IF([test $rf_cv_atomic_64 = no],
		[AC_MSG_ERROR([this target cannot load 64 bits in one instruction without a lock])])
])

# The one list of warnings; what a compiler does not know is left out.
AC_DEFUN([RF_WARNINGS], [
	AX_APPEND_COMPILE_FLAGS([-std=gnu11 -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow \
		-Wundef -Wvla -Wcast-align=strict -Wmissing-prototypes -Wformat=2],
		[RF_CFLAGS], [-Werror])
])

# --with-sanitizer=address,undefined or =thread
AC_DEFUN([RF_SANITIZER], [
	AC_ARG_WITH([sanitizer],
		[AS_HELP_STRING([--with-sanitizer=LIST],
			[instrument with address,undefined or with thread @<:@no@:>@])],
		[], [with_sanitizer=no])
	SANITIZER_CFLAGS=
	AS_CASE([$with_sanitizer],
		[no], [],
		[yes | ''], [AC_MSG_ERROR([--with-sanitizer needs a value])],
		[SANITIZER_CFLAGS="-fsanitize=$with_sanitizer -fno-sanitize-recover=all -fno-omit-frame-pointer"
		AC_MSG_CHECKING([whether $SANITIZER_CFLAGS works])
		rf_save_CFLAGS=$CFLAGS
		CFLAGS="$CFLAGS $SANITIZER_CFLAGS"
		AC_LINK_IFELSE([AC_LANG_PROGRAM()], [AC_MSG_RESULT([yes])],
			[AC_MSG_RESULT([no])
			AC_MSG_ERROR([the compiler cannot sanitize $with_sanitizer])])
		CFLAGS=$rf_save_CFLAGS
		AS_VAR_APPEND([RF_CFLAGS], [" $SANITIZER_CFLAGS"])
		AS_VAR_APPEND([RF_LDFLAGS], [" $SANITIZER_CFLAGS"])])
	AC_SUBST([SANITIZER_CFLAGS])
])

# Sanitizers bring their own checks and symbols: neither fortified functions nor -z defs go with them.
AC_DEFUN([RF_HARDENING], [
	AX_APPEND_COMPILE_FLAGS([-fvisibility=hidden -fstack-protector-strong -fstack-clash-protection \
		-fcf-protection], [RF_CFLAGS], [-Werror])
	AX_APPEND_LINK_FLAGS([-Wl,-z,relro -Wl,-z,now], [RF_LDFLAGS])
	AS_IF([test "x$with_sanitizer" = xno], [
		AX_APPEND_LINK_FLAGS([-Wl,-z,defs], [RF_LDFLAGS])
		RF_FORTIFY])
])

# Fortified functions need an optimiser, and a compiler that was not told a level already.
AC_DEFUN([RF_FORTIFY], [
	AC_CACHE_CHECK([whether to add -D_FORTIFY_SOURCE=2], [rf_cv_fortify], [
		AC_COMPILE_IFELSE([AC_LANG_SOURCE([[
			#if !defined(__OPTIMIZE__) || defined(_FORTIFY_SOURCE)
			#error not here
			#endif
			int optimised;]])],
			[rf_cv_fortify=yes], [rf_cv_fortify=no])])
	AS_IF([test $rf_cv_fortify = yes], [AS_VAR_APPEND([RF_CPPFLAGS], [" -D_FORTIFY_SOURCE=2"])])
])
