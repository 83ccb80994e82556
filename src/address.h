/* SPDX-License-Identifier: MIT */
/* What an address string means: a path, an abstract name, or a descriptor that is there already. */
#ifndef RF_ADDRESS_H
#define RF_ADDRESS_H

#include "util/reason.h"
#include <sys/socket.h>
#include <sys/un.h>

enum rf__address_kind { RF__ADDRESS_PATH, RF__ADDRESS_ABSTRACT, RF__ADDRESS_FD };

/* name and name_len are for bind(2) and connect(2): a path is terminated, and the zero counts; an
 * abstract name has a zero in front instead. Both are all zero for a descriptor. */
struct rf__address {
	enum rf__address_kind kind;
	int fd; /* FD: its number, which may or may not be open; else -1 */
	struct sockaddr_un name;
	socklen_t name_len;
	char text[sizeof(((struct sockaddr_un *)0)->sun_path) + 1]; /* for messages; FD: empty */
};

/* Understands
 *
 *	@NAME           an abstract name: no file, no lock, no mode; whoever comes first has it
 *	fd:N            the descriptor N, in decimal digits and nothing else
 *	fd:listen       the one socket that a service manager handed over
 *	fd:listen:NAME  the one of that name
 *	unix:PATH       a path, whatever it looks like
 *	PATH            a path that begins neither with "@" nor with "fd:" nor with "unix:"
 *
 * so that a file called "fd:3" is "unix:fd:3" or "./fd:3". A service manager says with LISTEN_PID,
 * LISTEN_FDS and LISTEN_FDNAMES in the environment what it handed over (sd_listen_fds(3)): that is
 * looked up, and left as it is. Nothing is opened.
 *
 * 0; -EINVAL: NULL, empty, an empty path or name, neither a number nor "listen" after "fd:", a
 * number above INT_MAX, more than one socket that fits; -ENOENT: none was handed over to this
 * process, or none of that name; -ENAMETOOLONG: it does not fit into sun_path. */
int rf__address_parse(const char *text, struct rf__address *ret_address, struct rf__reason *reason);

#endif
