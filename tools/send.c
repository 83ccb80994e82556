/* SPDX-License-Identifier: MIT */
/* Standard input into a channel or to subscribers: what is read goes straight into reserved room of
 * the ring, or a slot, and is published at once. */
#include "session.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define CHUNK_MOST ((size_t)256 << 10)
#define HEADER     8 /* of a record in the ring */

static const char about[] = "Usage: ringfort send [OPTION]... ADDRESS\n"
			    "Moves standard input into a channel, to `ringfort recv` or any other "
			    "program that receives,\nor publishes it for any number of them.\n\n";

struct send {
	struct cli cli;
	struct session session;
	struct rf_tx *tx;
	int fd;                  /* of the channel or publisher */
	bool slots;              /* instead of a ring */
	size_t record_most;      /* the largest that fits */
	struct rf_buffer buffer; /* the reservation, while it is open */
	bool open;
	unsigned char length[4]; /* of the next record */
	size_t length_got;       /* how much of that was read */
	uint64_t records;        /* sent */
};

/* The ring */

static int reserve(struct send *s, size_t len)
{
	int r = rf_tx_reserve(s->tx, len, s->session.reserve_until_ns, &s->buffer);

	if (r < 0)
		return session_failed(&s->session, r);
	s->session.reserve_until_ns = RF_FOREVER;
	s->open = true;
	return STATUS_MORE;
}

/* Sends the first len bytes of what was reserved. */
static int publish(struct send *s, size_t len)
{
	int r;

	s->buffer.len = len;
	s->open = false;
	r = rf_tx_commit(s->tx, &s->buffer);
	if (!r)
		r = rf_tx_publish(s->tx);
	if (r < 0)
		return session_failed(&s->session, r);
	s->records++;
	session_progress(&s->session);
	return STATUS_MORE;
}

/* The input */

/* Waits until there is input or its end; meanwhile a peer that goes is noticed, and a stop. */
static int wait_for_input(struct send *s)
{
	struct pollfd fds[2] = {
		{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = s->fd, .events = POLLIN}};
	int n, r = 0;

	while (!session_stopped()) {
		n = poll(fds, 2, session_sleep_ms(&s->session));
		if (n < 0 && errno != EINTR)
			return session_io_failed(&s->session, "wait for standard input", errno);
		if (n == 0 || (n > 0 && fds[1].revents))
			r = session_process(&s->session);
		if (r < 0)
			return session_failed(&s->session, r);
		if (n > 0 && fds[0].revents)
			return STATUS_MORE;
	}
	return STATUS_OK;
}

/* One read of what there is, as soon as there is any; 0 bytes: the end of the input. */
static int read_some(struct send *s, struct iovec *parts, int n_parts, size_t *ret_n)
{
	ssize_t n;
	int status;

	do {
		status = wait_for_input(s);
		if (status != STATUS_MORE)
			return status;
		n = readv(STDIN_FILENO, parts, n_parts);
	} while (n < 0 && (errno == EAGAIN || errno == EINTR));
	if (n < 0)
		return session_io_failed(&s->session, "read standard input", errno);
	*ret_n = (size_t)n;
	return STATUS_MORE;
}

/* Without --records: each read is a record. */

static size_t chunk_bytes(const struct send *s)
{
	size_t quarter = s->record_most / 2;

	if (s->slots)
		return s->record_most;
	return quarter < CHUNK_MOST ? quarter : CHUNK_MOST;
}

static int send_chunks(struct send *s)
{
	size_t chunk = chunk_bytes(s), n = 0;
	struct iovec part;
	int status = STATUS_MORE;

	while (status == STATUS_MORE) {
		status = reserve(s, chunk);
		if (status != STATUS_MORE)
			return status;
		part = (struct iovec){.iov_base = s->buffer.data, .iov_len = chunk};
		status = read_some(s, &part, 1, &n);
		if (status == STATUS_MORE)
			status = n ? publish(s, n) : STATUS_OK;
	}
	return status;
}

/* With --records */

static int truncated(struct send *s, size_t got, const char *what, size_t len)
{
	cli_say(&s->cli, "record %" PRIu64 " of the input is truncated: %zu of %zu bytes of its %s",
		s->records + 1, got, len, what);
	return STATUS_FAILED;
}

/* The rest of the length, of which a part may have come with the record before. OK: the end. */
static int read_length(struct send *s)
{
	struct iovec part;
	size_t n;
	int status;

	while (s->length_got < sizeof(s->length)) {
		part.iov_base = s->length + s->length_got;
		part.iov_len = sizeof(s->length) - s->length_got;
		status = read_some(s, &part, 1, &n);
		if (status != STATUS_MORE)
			return status;
		if (!n)
			return s->length_got ? truncated(s, s->length_got, "length", 4) : STATUS_OK;
		s->length_got += n;
	}
	return STATUS_MORE;
}

static size_t decode_length(const unsigned char *bytes)
{
	return (size_t)bytes[0] | (size_t)bytes[1] << 8 | (size_t)bytes[2] << 16 |
	       (size_t)bytes[3] << 24;
}

/* Reads the payload, and with it the length of the next record if that is there. */
static int read_payload(struct send *s, size_t len)
{
	size_t got = 0, n;
	int status;

	while (got < len) {
		struct iovec parts[2] = {
			{.iov_base = (unsigned char *)s->buffer.data + got, .iov_len = len - got},
			{.iov_base = s->length, .iov_len = sizeof(s->length)}};

		status = read_some(s, parts, 2, &n);
		if (status != STATUS_MORE)
			return status;
		if (!n)
			return truncated(s, got, "payload", len);
		got += n;
	}
	s->length_got = got - len;
	return STATUS_MORE;
}

static int send_record(struct send *s)
{
	size_t len = decode_length(s->length);
	int status;

	if (len > s->record_most) {
		cli_say(&s->cli,
			"record %" PRIu64 " of the input has %zu bytes; at most %zu fit into %s",
			s->records + 1, len, s->record_most,
			s->slots ? "a slot (see --slot-size)" : "the ring (see --size)");
		return STATUS_FAILED;
	}
	status = reserve(s, len);
	if (status == STATUS_MORE)
		status = read_payload(s, len);
	return status == STATUS_MORE ? publish(s, len) : status;
}

static int send_records(struct send *s)
{
	int status = STATUS_MORE;

	while (status == STATUS_MORE) {
		status = read_length(s);
		if (status == STATUS_MORE)
			status = send_record(s);
	}
	return status;
}

/* All of it */

static int start(struct send *s)
{
	struct rf_half_stats half = session_stats(&s->session);

	s->tx = session_tx(&s->session);
	s->fd = session_fd(&s->session);
	if (s->fd < 0)
		return session_failed(&s->session, s->fd);
	s->slots = half.slots != 0;
	s->record_most = s->slots ? half.slot_bytes : half.ring_bytes / 2 - HEADER;
	if (!s->slots && s->record_most > RF_RECORD_MAX)
		s->record_most = RF_RECORD_MAX;
	return STATUS_MORE;
}

/* Only what was sent as it was meant to be is ended: else the receiver would take a part for the
 * whole. */
static int finish(struct send *s, int status)
{
	struct rf_tx *tx = session_tx(&s->session);
	int r = 0;

	if (s->open)
		rf_tx_cancel(tx, &s->buffer);
	if (tx && status == STATUS_OK)
		r = rf_tx_end(tx);
	if (r < 0)
		status = session_failed(&s->session, r);
	return session_close(&s->session, status);
}

int command_send(int argc, char **argv)
{
	struct send s = {.fd = -1};
	int status = cli_parse(&s.cli, RF_SEND, argc, argv, about);

	if (status != STATUS_MORE)
		return status;
	status = session_open(&s.session, &s.cli);
	if (status == STATUS_MORE)
		status = start(&s);
	if (status == STATUS_MORE)
		status = s.cli.records ? send_records(&s) : send_chunks(&s);
	return finish(&s, status);
}
