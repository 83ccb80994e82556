/* SPDX-License-Identifier: MIT */
/* What huge pages bring: two channels between two processes, one with RF_OPTION_HUGE, both
 * populated. The sender fills records, the receiver sums them up, and its processor time is what
 * counts; rounds alternate between the channels, each first in every other pair, and medians are
 * compared. */
#include <ringfort/ringfort.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RING_BYTES  ((size_t)16 << 20)
#define ROUND_BYTES ((size_t)64 << 20)
#define ROUNDS_MOST 1001

enum { SMALL, HUGE, KINDS };

static const size_t sizes[] = {65536, 1048576};

_Noreturn static void die(const char *what)
{
	fprintf(stderr, "pages: %s: %s\n", what, rf_reason());
	exit(1);
}

static struct rf_options options_of(int kind, uint32_t direction)
{
	struct rf_options options;

	rf_options_init(&options);
	options.direction = direction;
	options.ring_bytes = RING_BYTES;
	options.wait = RF_WAIT_SLEEP;
	options.flags = RF_OPTION_POPULATE | (kind == HUGE ? (uint32_t)RF_OPTION_HUGE : 0u);
	return options;
}

static struct rf_channel *open_end(int sock, int kind, uint32_t direction)
{
	struct rf_options options = options_of(kind, direction);
	struct rf_listener *listener;
	struct rf_channel *channel;
	char address[16];

	snprintf(address, sizeof(address), "fd:%d", sock);
	if (direction == RF_SEND) {
		if (rf_connect(address, &options, RF_FOREVER, &channel))
			die("rf_connect");
		return channel;
	}
	if (rf_listen(address, &options, &listener) || rf_accept(listener, RF_FOREVER, &channel))
		die("rf_accept");
	rf_listener_close(listener);
	return channel;
}

static void send_round(struct rf_tx *tx, size_t len)
{
	struct rf_buffer buffer;
	uint64_t *word;
	size_t sent, i;

	for (sent = 0; sent < ROUND_BYTES; sent += len) {
		if (rf_tx_reserve(tx, len - 8, RF_FOREVER, &buffer))
			exit(0);
		for (word = buffer.data, i = 0; i < buffer.len / 8; i++)
			word[i] = sent + i;
		rf_tx_commit(tx, &buffer);
		rf_tx_publish(tx);
	}
}

static uint64_t sum_of(const struct rf_message *message)
{
	const uint64_t *word = message->data;
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < message->len / 8; i++)
		sum += word[i];
	return sum;
}

static uint64_t receive_round(struct rf_rx *rx, size_t len)
{
	struct rf_message message;
	uint64_t sum = 0;
	size_t got;

	for (got = 0; got < ROUND_BYTES; got += len) {
		if (rf_rx_borrow(rx, RF_FOREVER, &message, 1) != 1)
			die("rf_rx_borrow");
		sum += sum_of(&message);
		rf_rx_release(rx, &message, 1);
	}
	return sum;
}

/* Processor time: others on the machine disturb it least. */
static double used_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* GB per second of processor time in the median round with records of that length; *ret_ratio: of the pairs of rounds. */
static void measure(struct rf_channel *channels[KINDS], size_t len, unsigned rounds,
	double ret_rate[KINDS], double *ret_ratio)
{
	static double rate[KINDS][ROUNDS_MOST], ratio[ROUNDS_MOST];
	double begun;
	unsigned i, k, kind;

	for (i = 0; i < rounds; i++) {
		for (k = 0; k < KINDS; k++) {
			kind = k ^ (i & 1);
			begun = used_s();
			if (!receive_round(rf_channel_rx(channels[kind]), len))
				die("the records are empty");
			rate[kind][i] = (double)ROUND_BYTES / 1e9 / (used_s() - begun);
		}
		ratio[i] = rate[HUGE][i] / rate[SMALL][i];
	}
	for (k = 0; k < KINDS; k++) {
		qsort(rate[k], rounds, sizeof(double), compare);
		ret_rate[k] = rate[k][rounds / 2];
	}
	qsort(ratio, rounds, sizeof(double), compare);
	*ret_ratio = ratio[rounds / 2];
}

static void send_all(int socks[KINDS], unsigned rounds)
{
	struct rf_channel *channels[KINDS];
	unsigned s, i, k;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (k = 0; k < KINDS; k++)
		channels[k] = open_end(socks[k], (int)k, RF_SEND);
	for (s = 0; s < sizeof(sizes) / sizeof(*sizes); s++)
		for (i = 0; i < rounds; i++)
			for (k = 0; k < KINDS; k++)
				send_round(rf_channel_tx(channels[k ^ (i & 1)]), sizes[s]);
	exit(0);
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 201, s, k;
	struct rf_channel *channels[KINDS];
	int socks[KINDS][2];
	double rate[KINDS], ratio;

	if (argc > 2 || rounds < 1 || rounds > ROUNDS_MOST) {
		fprintf(stderr, "usage: pages [ROUNDS]\n");
		return 2;
	}
	for (k = 0; k < KINDS; k++)
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks[k]))
			return 1;
	if (fork() == 0) {
		close(socks[SMALL][0]);
		close(socks[HUGE][0]);
		send_all((int[]){socks[SMALL][1], socks[HUGE][1]}, rounds);
	}
	for (k = 0; k < KINDS; k++) {
		close(socks[k][1]);
		channels[k] = open_end(socks[k][0], (int)k, RF_RECEIVE);
	}
	puts("record bytes  small GB/s  huge GB/s  gain in %, median of pairs");
	for (s = 0; s < sizeof(sizes) / sizeof(*sizes); s++) {
		measure(channels, sizes[s], rounds, rate, &ratio);
		printf("%12zu  %10.2f  %9.2f  %+8.2f\n", sizes[s], rate[SMALL], rate[HUGE],
			(ratio - 1) * 100);
	}
	for (k = 0; k < KINDS; k++)
		rf_channel_close(channels[k]);
	wait(NULL);
	return 0;
}
