/* SPDX-License-Identifier: MIT */
/* The sender of tests/test-loops.sh: listens, sends records in bursts with pauses between them; in
 * the middle it says "silent" and goes on when it reads a line, or the end of its input.
 *
 *	bursts ADDRESS RECORDS end|gone
 *
 * gone: closes without ending the stream. */
#include <ringfort/ringfort.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BURST_MOST 300

static void pause_ms(long ms)
{
	const struct timespec pause = {.tv_nsec = ms * 1000000};

	nanosleep(&pause, NULL);
}

static void be_silent(void)
{
	char line[16];

	puts("silent");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		fclose(stdin);
}

static int send_burst(struct rf_tx *tx, unsigned n)
{
	struct rf_buffer buffer;
	int r = 0;

	for (; n && !r; n--) {
		r = rf_tx_reserve(tx, 16 + n % 64, RF_FOREVER, &buffer);
		if (!r)
			r = rf_tx_commit(tx, &buffer);
	}
	return r ? r : rf_tx_publish(tx);
}

static int send_all(struct rf_tx *tx, unsigned records)
{
	unsigned sent = 0, n, silent = 0;
	int r = 0;

	while (sent < records && !r) {
		n = 1 + (unsigned)rand() % BURST_MOST;
		n = n < records - sent ? n : records - sent;
		r = send_burst(tx, n);
		sent += n;
		if (!silent && sent >= records / 2) {
			be_silent();
			silent = 1;
		}
		if (sent % 3 == 0)
			pause_ms(1);
	}
	return r;
}

int main(int argc, char *argv[])
{
	struct rf_options options;
	struct rf_listener *listener;
	struct rf_channel *channel;
	int r;

	if (argc != 4)
		return 2;
	rf_options_init(&options);
	options.direction = RF_SEND;
	options.ring_bytes = 65536;
	if (rf_listen(argv[1], &options, &listener) || rf_accept(listener, RF_FOREVER, &channel)) {
		fprintf(stderr, "bursts: %s\n", rf_reason());
		return 1;
	}
	r = send_all(rf_channel_tx(channel), (unsigned)atoi(argv[2]));
	if (!r && !strcmp(argv[3], "end"))
		r = rf_tx_end(rf_channel_tx(channel));
	rf_channel_close(channel);
	rf_listener_close(listener);
	return r != 0;
}
