/* SPDX-License-Identifier: MIT */
/* What an address string means: a path, or a descriptor that is there already. */
#ifndef RF_ADDRESS_H
#define RF_ADDRESS_H

#include "util/reason.h"
#include <sys/socket.h>
#include <sys/un.h>

enum rf__address_kind { RF__ADDRESS_PATH, RF__ADDRESS_FD };

struct rf__address {
	enum rf__address_kind kind;
	int fd;                  /* FD: its number, which may or may not be open; else -1 */
	struct sockaddr_un name; /* PATH: for bind(2) and connect(2); terminated; else all zero */
	socklen_t name_len;      /* PATH: with the terminating zero; else 0 */
};

/* Understands
 *
 *	fd:N        the descriptor N, in decimal digits and nothing else
 *	unix:PATH   a path, whatever it looks like
 *	PATH        a path that begins neither with "fd:" nor with "unix:" nor with "@"
 *
 * so that a file called "fd:3" is "unix:fd:3" or "./fd:3". A bare "@NAME" is an abstract name
 * elsewhere, and will be here: until then it is refused, not taken for a file of that name. The
 * string is only parsed; nothing is looked up or opened.
 *
 * 0; -EINVAL: NULL, empty, an empty path, no number after "fd:" or one above INT_MAX, "@NAME";
 * -ENAMETOOLONG: the path does not fit into sun_path with a zero behind it. */
int rf__address_parse(const char *text, struct rf__address *ret_address, struct rf__reason *reason);

#endif
