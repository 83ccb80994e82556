/* SPDX-License-Identifier: MIT */
/* RF_TYPED as C and as C++: test-typed.sh builds this as both. A parent sends samples to a
 * child. */
#include <ringfort/ringfort.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct sample {
	uint64_t number;
	float values[3];
};

RF_TYPED(sample, struct sample);
RF_TYPED(letter, char);

static void fill_options(struct rf_options *options)
{
	rf_options_init(options);
	sample_options(options);
}

/* 0: all samples came in order; else the line that says what did not. */
static int receive(const char *address)
{
	const struct sample *samples = NULL;
	const char *letters = NULL;
	struct rf_channel *channel;
	struct rf_options options;
	struct rf_message message;
	uint64_t expected = 0;
	size_t i, n = 0;
	int r;

	fill_options(&options);
	if (rf_connect(address, &options, RF_FOREVER, &channel) < 0)
		return __LINE__;
	if (letter_borrow(rf_channel_rx(channel), 0, &message, &letters, &n) != -EINVAL)
		return __LINE__;
	while ((r = sample_borrow(rf_channel_rx(channel), RF_FOREVER, &message, &samples, &n)) >
		0) {
		for (i = 0; i < n; i++)
			if (samples[i].number != expected++)
				return __LINE__;
		rf_rx_release(rf_channel_rx(channel), &message, 1);
	}
	rf_channel_close(channel);
	return r < 0 || expected != 10000 ? __LINE__ : 0;
}

static int send_samples(struct rf_tx *tx)
{
	struct sample *samples = NULL;
	struct rf_buffer buffer;
	uint64_t number = 0;
	int i;

	while (number < 10000) {
		if (sample_reserve(tx, 10, RF_FOREVER, &buffer, &samples) < 0)
			return __LINE__;
		for (i = 0; i < 10; i++)
			samples[i].number = number++;
		if (rf_tx_commit(tx, &buffer) < 0 || rf_tx_publish(tx) < 0)
			return __LINE__;
	}
	return rf_tx_end(tx) < 0 ? __LINE__ : 0;
}

static int serve(const char *address)
{
	struct rf_listener *listener;
	struct rf_channel *channel;
	struct rf_options options;
	int line;

	fill_options(&options);
	if (rf_listen(address, &options, &listener) < 0)
		return __LINE__;
	if (rf_accept(listener, RF_FOREVER, &channel) < 0)
		return __LINE__;
	line = send_samples(rf_channel_tx(channel));
	rf_channel_close(channel);
	rf_listener_close(listener);
	return line;
}

int main(void)
{
	int socks[2], status = 0, line;
	char address[16];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0)
		return 1;
	pid = fork();
	snprintf(address, sizeof(address), "fd:%d", socks[pid == 0]);
	close(socks[pid != 0]);
	line = pid ? serve(address) : receive(address);
	if (line)
		fprintf(stderr, "%s: line %d\n", pid ? "sender" : "receiver", line);
	if (pid && (waitpid(pid, &status, 0) != pid || status))
		return 1;
	return line != 0;
}
