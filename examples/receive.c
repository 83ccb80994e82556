/* SPDX-License-Identifier: MIT */
/* Prints what send sends; waits for it if it is not there yet. */
#include <ringfort/ringfort.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	struct rf_channel *channel;
	struct rf_message message;
	int n;

	if (argc != 2) {
		fprintf(stderr, "usage: receive PATH\n");
		return 2;
	}
	if (rf_connect(argv[1], NULL, RF_FOREVER, &channel)) {
		fprintf(stderr, "receive: %s\n", rf_reason());
		return 1;
	}
	struct rf_rx *rx = rf_channel_rx(channel);
	while ((n = rf_rx_borrow(rx, RF_FOREVER, &message, 1)) > 0) {
		fwrite(message.data, 1, message.len, stdout);
		putchar('\n');
		rf_rx_release(rx, &message, 1);
	}
	if (n < 0)
		fprintf(stderr, "receive: %s\n", rf_channel_reason(channel));
	rf_channel_close(channel);
	return n < 0;
}
