/* SPDX-License-Identifier: MIT */
/* The other process of tests/test-channel.c and others: connects and plays a role.
 *
 *	peer ADDRESS ROLE [DOORBELL WAIT]
 *
 * echo: sends every record back with its tag, ends when the stream ends; sink: takes numbers from
 * 0 on until the end; stay: waits for what comes, without end; source: sends numbers without end.
 * Exit status: 0, or where it went wrong; 32: the peer was gone (-EPIPE). */
#include <errno.h>
#include <ringfort/ringfort.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

#define TIMEOUT_S 30
#define GONE      32

static uint64_t deadline(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return ((uint64_t)t.tv_sec + TIMEOUT_S) * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static int verdict(int r, int otherwise)
{
	return r == -EPIPE ? GONE : otherwise;
}

static int send_back(struct rf_tx *tx, const struct rf_message *message)
{
	struct rf_buffer buffer;
	int r = rf_tx_reserve(tx, message->len, deadline(), &buffer);

	if (r < 0)
		return r;
	if (message->len)
		memcpy(buffer.data, message->data, message->len);
	buffer.tag = message->tag;
	r = rf_tx_commit(tx, &buffer);
	return r < 0 ? r : rf_tx_publish(tx);
}

static int echo(struct rf_channel *channel)
{
	struct rf_rx *rx = rf_channel_rx(channel);
	struct rf_tx *tx = rf_channel_tx(channel);
	struct rf_message message;
	int r;

	while ((r = rf_rx_borrow(rx, deadline(), &message, 1)) > 0) {
		r = send_back(tx, &message);
		if (r < 0)
			return verdict(r, 10);
		rf_rx_release(rx, &message, 1);
	}
	return r ? verdict(r, 11) : rf_tx_end(tx) ? 12 : 0;
}

static int sink(struct rf_channel *channel)
{
	struct rf_rx *rx = rf_channel_rx(channel);
	struct rf_message message;
	uint64_t expected = 0, number;
	int r;

	while ((r = rf_rx_copy(rx, deadline(), &number, sizeof(number), &message)) > 0)
		if (message.len != sizeof(number) || number != expected++)
			return 20;
	return r ? verdict(r, 21) : 0;
}

static int stay(struct rf_channel *channel)
{
	struct rf_message message;
	int r = rf_rx_borrow(rf_channel_rx(channel), RF_FOREVER, &message, 1);

	return r < 0 ? verdict(r, 30) : 31;
}

static int source(struct rf_channel *channel)
{
	uint64_t number;
	struct iovec part = {.iov_base = &number, .iov_len = sizeof(number)};
	int r = 0;

	for (number = 0; r >= 0; number++)
		r = rf_tx_send(rf_channel_tx(channel), &part, 1, deadline());
	return verdict(r, 40);
}

static int play(const char *role, struct rf_channel *channel)
{
	if (!strcmp(role, "echo"))
		return echo(channel);
	if (!strcmp(role, "sink"))
		return sink(channel);
	if (!strcmp(role, "stay"))
		return stay(channel);
	return strcmp(role, "source") ? 2 : source(channel);
}

int main(int argc, char *argv[])
{
	struct rf_options options;
	struct rf_channel *channel;
	int result;

	rf_options_init(&options);
	options.flags = getenv("RF_TEST_FENCE") ? RF_OPTION_FENCE : 0;
	if (argc < 3)
		return 2;
	if (argc > 4) {
		options.doorbell = (uint32_t)atoi(argv[3]);
		options.wait = (uint32_t)atoi(argv[4]);
	}
	if (rf_connect(argv[1], &options, deadline(), &channel) < 0)
		return 3;
	result = play(argv[2], channel);
	rf_channel_close(channel);
	return result;
}
