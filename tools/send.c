/* SPDX-License-Identifier: MIT */
/* Standard input into a channel: what is read goes straight into reserved room of the ring, and is
 * published at once. */
#include "session.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define CHUNK_MOST ((size_t)256 << 10)
#define HEADER     8 /* of a record in the ring */
#define OWED_MS    10

static const char about[] = "Usage: ringfort send [OPTION]... ADDRESS\n"
			    "Moves standard input into a channel, to `ringfort recv` or any other "
			    "program that receives.\n\n";

struct send {
	struct cli cli;
	struct session session;
	struct rf_tx *tx;
	int channel_fd;
	size_t record_most;      /* the largest that fits into the ring */
	struct rf_buffer buffer; /* the reservation, while it is open */
	bool open;
	uint64_t kicks_owed;     /* failed when we last looked */
	unsigned char length[4]; /* of the next record */
	size_t length_got;       /* how much of that was read */
	uint64_t records;        /* sent */
};

/* The ring */

static int reserve(struct send *s, size_t len)
{
	int r = rf_tx_reserve(s->tx, len, RF_FOREVER, &s->buffer);

	if (r < 0)
		return session_failed(&s->session, r);
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

/* A kick that failed for lack of memory is made again by rf_channel_process(): until then not to
 * sleep for long. */
static int poll_timeout(struct send *s)
{
	uint64_t before = s->kicks_owed;

	s->kicks_owed = session_stats(&s->session).kicks_owed;
	return s->kicks_owed != before ? OWED_MS : -1;
}

/* Waits until there is input or its end; meanwhile a peer that goes is noticed, and a stop. */
static int wait_for_input(struct send *s)
{
	struct pollfd fds[2] = {
		{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = s->channel_fd, .events = POLLIN}};
	int n, r = 0;

	while (!session_stopped()) {
		n = poll(fds, 2, poll_timeout(s));
		if (n < 0 && errno != EINTR)
			return session_io_failed(&s->session, "wait for standard input", errno);
		if (n == 0 || (n > 0 && fds[1].revents))
			r = rf_channel_process(s->session.channel);
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
			"record %" PRIu64 " of the input has %zu bytes; at most %zu fit into the "
			"ring (see --size)",
			s->records + 1, len, s->record_most);
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
	s->tx = rf_channel_tx(s->session.channel);
	s->channel_fd = rf_channel_fd(s->session.channel);
	if (s->channel_fd < 0)
		return session_failed(&s->session, s->channel_fd);
	s->record_most = session_stats(&s->session).ring_bytes / 2 - HEADER;
	if (s->record_most > RF_RECORD_MAX)
		s->record_most = RF_RECORD_MAX;
	return STATUS_MORE;
}

/* Only what was sent as it was meant to be is ended: else the receiver would take a part for the
 * whole. */
static int finish(struct send *s, int status)
{
	int r = 0;

	if (s->open)
		rf_tx_cancel(s->tx, &s->buffer);
	if (s->session.channel && status == STATUS_OK)
		r = rf_tx_end(rf_channel_tx(s->session.channel));
	if (r < 0)
		status = session_failed(&s->session, r);
	return session_close(&s->session, status);
}

int command_send(int argc, char **argv)
{
	struct send s = {.channel_fd = -1};
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
