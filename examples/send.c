/* SPDX-License-Identifier: MIT */
/* Sends ten messages to the one process that connects. */
#include <ringfort/ringfort.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	struct rf_listener *listener;
	struct rf_channel *channel;
	struct rf_buffer buffer;
	int r = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: send PATH\n");
		return 2;
	}
	if (rf_listen(argv[1], NULL, &listener) || rf_accept(listener, RF_FOREVER, &channel)) {
		fprintf(stderr, "send: %s\n", rf_reason());
		return 1;
	}
	struct rf_tx *tx = rf_channel_tx(channel);
	for (int i = 0; i < 10 && !r; i++) {
		r = rf_tx_reserve(tx, 64, RF_FOREVER, &buffer);
		if (r)
			break;
		buffer.len = (size_t)snprintf(buffer.data, buffer.len, "hello %d", i);
		rf_tx_commit(tx, &buffer);
		r = rf_tx_publish(tx);
	}
	if (!r)
		r = rf_tx_end(tx);
	if (r)
		fprintf(stderr, "send: %s\n", rf_channel_reason(channel));
	rf_channel_close(channel);
	rf_listener_close(listener);
	return r != 0;
}
