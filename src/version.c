/* SPDX-License-Identifier: MIT */
/* Which release this is; configure.ac says. */
#include <ringfort/types.h>

const char *rf_version(void)
{
	return PACKAGE_VERSION;
}
