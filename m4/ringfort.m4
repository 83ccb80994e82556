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

# C++ is wanted by a test, and for what in the benchmarks is written in it: CXX is empty where there is none.
AC_DEFUN([RF_CXX], [
	AC_LANG_PUSH([C++])
	AC_CACHE_CHECK([whether there is a C++ compiler], [rf_cv_cxx], [
		AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[#include <cstddef>]])], [rf_cv_cxx=yes], [rf_cv_cxx=no])])
	AS_IF([test $rf_cv_cxx = yes], [
		AX_APPEND_COMPILE_FLAGS([-std=gnu++17 -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow \
			-Wundef -Wvla -Wformat=2 $SANITIZER_CFLAGS], [RF_CXXFLAGS], [-Werror])],
		[CXX=])
	AC_LANG_POP([C++])
])

# RF_BENCH_PEER(NAME, CONDITIONAL, FOUND): the transport of another project, where FOUND is yes.
AC_DEFUN([RF_BENCH_PEER], [
	AM_CONDITIONAL([$2], [test "x$3" = xyes])
	AS_IF([test "x$3" = xyes], [AS_VAR_APPEND([bench_peers], [" $1"])])
])

# What is nowhere but in the benchmarks. What is not there is not built.
AC_DEFUN([RF_BENCH_PEERS], [
	bench_peers=
	PKG_CHECK_MODULES([ZMQ], [libzmq], [have_zmq=yes], [have_zmq=no])
	PKG_CHECK_MODULES([CK], [ck], [have_ck=yes], [have_ck=no])
	PKG_CHECK_MODULES([DPDK], [libdpdk >= 20.11], [have_dpdk=yes], [have_dpdk=no])
	PKG_CHECK_MODULES([GST], [gstreamer-1.0 gstreamer-app-1.0], [have_gst=yes], [have_gst=no])
	PKG_CHECK_VAR([GST_PLUGINS], [gstreamer-1.0], [pluginsdir])
	RF_CHECK_NNG
	RF_CHECK_ICEORYX
	RF_CHECK_BOOST
	# Headers of DPDK and iceoryx are no better than others' where we warn.
	DPDK_CFLAGS=`AS_ECHO(["$DPDK_CFLAGS"]) | sed 's/-I/-isystem /g'`
	RF_BENCH_PEER([zeromq-ipc], [HAVE_ZMQ], [$have_zmq])
	RF_BENCH_PEER([nng-ipc], [HAVE_NNG], [$have_nng])
	RF_BENCH_PEER([dbus], [HAVE_BENCH_DBUS], [$have_sd_bus])
	RF_BENCH_PEER([iceoryx], [HAVE_ICEORYX], [$have_iceoryx])
	RF_BENCH_PEER([ck-ring], [HAVE_CK], [$have_ck])
	RF_BENCH_PEER([boost-spsc], [HAVE_BOOST], [$have_boost])
	RF_BENCH_PEER([rte-ring], [HAVE_DPDK], [$have_dpdk])
	RF_BENCH_PEER([gst-shm], [HAVE_GST], [$have_gst])
	AS_IF([test -z "$bench_peers"], [bench_peers=" without transports of others"])
])

AC_DEFUN([RF_CHECK_NNG], [
	have_nng=no
	AC_CHECK_HEADER([nng/nng.h], [AC_CHECK_LIB([nng], [nng_pair0_open], [have_nng=yes])])
])

# Its headers are in a directory named for the version.
AC_DEFUN([RF_CHECK_ICEORYX], [
	AC_ARG_VAR([ICEORYX_CFLAGS], [where the headers of iceoryx 2 are])
	have_iceoryx=no
	AS_IF([test -z "$ICEORYX_CFLAGS"], [
		for rf_dir in /usr/include/iceoryx/v2.*; do
			AS_IF([test -d "$rf_dir"], [ICEORYX_CFLAGS="-isystem $rf_dir"])
		done])
	rf_save_CPPFLAGS=$CPPFLAGS
	CPPFLAGS="$CPPFLAGS $ICEORYX_CFLAGS"
	AC_CHECK_HEADER([iceoryx_binding_c/api.h],
		[AC_CHECK_LIB([iceoryx_binding_c], [iox_runtime_init], [have_iceoryx=yes])])
	CPPFLAGS=$rf_save_CPPFLAGS
])

AC_DEFUN([RF_CHECK_BOOST], [
	have_boost=no
	AS_IF([test -n "$CXX"], [
		AC_LANG_PUSH([C++])
		AC_CHECK_HEADER([boost/lockfree/spsc_queue.hpp], [have_boost=yes])
		AC_LANG_POP([C++])])
])
