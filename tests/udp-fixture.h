/* SPDX-License-Identifier: MIT */
/* UDP sockets for tests: addresses, sockets on the loopback, datagrams whose content says what they
 * are. */
#ifndef RF_TESTS_UDP_FIXTURE_H
#define RF_TESTS_UDP_FIXTURE_H

#include "support.h"
#include "udp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#define SOON_MS 10000

static inline union rf__udp_address v4_at(const char *text, uint16_t port)
{
	union rf__udp_address address = {.v4 = {.sin_family = AF_INET, .sin_port = htons(port)}};

	assert_int_equal(inet_pton(AF_INET, text, &address.v4.sin_addr), 1);
	return address;
}

static inline union rf__udp_address v6_at(const char *text, uint16_t port)
{
	union rf__udp_address address = {.v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)}};

	assert_int_equal(inet_pton(AF_INET6, text, &address.v6.sin6_addr), 1);
	return address;
}

static inline uint16_t port_of(const union rf__udp_address *address)
{
	return ntohs(address->v4.sin_port);
}

static inline bool is_printed(const union rf__udp_address *address, const char *text)
{
	char printed[RF__UDP_TEXT_BYTES];

	rf__udp_print(address, printed);
	return !strcmp(printed, text);
}

static inline struct rf__udp *open_with(const struct rf__udp_options *options)
{
	struct rf__reason reason = {""};
	struct rf__udp *udp = NULL;
	int r = rf__udp_open(options, &udp, &reason);

	if (r)
		fail_msg("%s", reason.text);
	return udp;
}

static inline struct rf__udp *open_at(union rf__udp_address name, uint32_t flags)
{
	return open_with(&(struct rf__udp_options){.bind = name, .flags = flags});
}

static inline struct rf__udp *open_to(union rf__udp_address peer, uint32_t flags)
{
	return open_with(&(struct rf__udp_options){.peer = peer, .flags = flags});
}

/* Skips what follows in the test where there is no IPv6. */
static inline void need_v6(void)
{
	struct rf__udp_options options = {.bind = v6_at("::1", 0)};
	struct rf__udp *udp = NULL;
	bool has = rf__udp_open(&options, &udp, NULL) == 0;

	rf__udp_close(udp);
	rf_test_need("ipv6", has);
}

static inline struct rf__udp_stats stats_of(const struct rf__udp *udp)
{
	struct rf__udp_stats stats;

	rf__udp_get_stats(udp, &stats);
	return stats;
}

/* Byte i of the datagram with that number. */
static inline unsigned char byte_of(unsigned number, size_t i)
{
	return (unsigned char)(number * 31 + i * 7 + (i >> 8));
}

static inline void fill(void *data, size_t len, unsigned number)
{
	unsigned char *bytes = data;
	size_t i;

	for (i = 0; i < len; i++)
		bytes[i] = byte_of(number, i);
}

static inline bool is_filled(const void *data, size_t len, unsigned number)
{
	const unsigned char *bytes = data;
	size_t i;

	for (i = 0; i < len; i++)
		if (bytes[i] != byte_of(number, i))
			return false;
	return true;
}

/* All of the list, which the loopback takes at once. */
static inline void send_all(struct rf__udp *udp, struct rf__udp_out *list, unsigned n)
{
	int why = 1;

	assert_int_equal(rf__udp_send(udp, list, n, &why), n);
	assert_int_equal(why, 0);
}

static inline int send_bytes(
	struct rf__udp *udp, const union rf__udp_address *to, size_t len, unsigned number)
{
	unsigned char data[2048];
	struct iovec part = {data, len};
	struct rf__udp_out out = {.parts = &part, .n_parts = 1, .to = to, .error = 1};

	fill(data, len, number);
	send_all(udp, &out, 1);
	return out.error;
}

/* Receives at least one, and waits for it. */
static inline int receive(struct rf__udp *udp, struct rf__udp_in *list, unsigned n)
{
	struct pollfd poll_fd = {.fd = rf__udp_fd(udp), .events = POLLIN};
	int got = rf__udp_receive(udp, list, n);

	while (got == -EAGAIN && poll(&poll_fd, 1, SOON_MS) == 1)
		got = rf__udp_receive(udp, list, n);
	return got;
}

/* One datagram of that length and number; room for a byte more. */
static inline struct rf__udp_in receive_bytes(struct rf__udp *udp, size_t len, unsigned number)
{
	static unsigned char data[65536];
	struct rf__udp_in in = {.data = data, .size = len + 1};

	assert_int_equal(receive(udp, &in, 1), 1);
	assert_int_equal(in.len, len);
	assert_int_equal(in.cut, 0);
	assert_true(is_filled(data, len, number));
	return in;
}

#endif
