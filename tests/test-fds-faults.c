/* SPDX-License-Identifier: MIT */
/* Every system call that passing descriptors makes fails at each of its occurrences: an error of its own
 * or none, nothing leaks, and what does not break the channel can be done again. */
#include "faults.h"
#include "fds-fixture.h"

#define ROUNDS 2

/* As far as the one that is struck has come. */
struct life {
	int sent, taken; /* the first error of either side */
	unsigned messages;
};

static void live(struct ends *ends, struct life *life)
{
	struct rf_rx *rx = rf_channel_rx(ends->server);
	struct rf_message message;
	unsigned i;
	int fds[2], n;

	for (i = 0; i < ROUNDS && life->sent >= 0 && life->taken >= 0; i++) {
		life->sent = send_numbered(rf_channel_tx(ends->client), i, 2, 0);
		if (life->sent < 0)
			break;
		life->taken = rf_rx_borrow(rx, 0, &message, 1);
		if (life->taken != 1)
			break;
		n = rf_rx_take_fds(rx, &message, fds, 2);
		life->messages += n == 2 && message.n_fds == 2;
		while (n > 0)
			close(fds[--n]);
		rf_rx_release(rx, &message, 1);
	}
}

/* What cannot be told is no descriptor that was agreed on; what the kernel lacks may be there later;
 * a peer that takes no message has broken the protocol. */
static bool is_fine(int r, const struct fault *fault)
{
	return r >= 0 || r == -fault->error || r == -EPERM || r == -EAGAIN || r == -EPROTO ||
	       r == -EBADF || r == -EPIPE;
}

/* true: the fault struck. */
static bool strike(const struct fault *fault, uint32_t doorbell, uint32_t shape)
{
	struct life life = {0, 0, 0};
	struct ends ends;
	bool hit;

	open_fds(&ends, doorbell, shape, RF_FD_MEMFD);
	faults_arm(fault);
	live(&ends, &life);
	hit = faults_disarm();
	if (!is_fine(life.sent, fault) || !is_fine(life.taken, fault))
		fail_msg("%s fails with %s at %ld: %d, %d, %s", fault->call,
			strerrorname_np(fault->error), fault->after, life.sent, life.taken,
			rf_channel_reason(ends.server));
	if (life.taken == -EPROTO)
		assert_string_not_equal(rf_channel_reason(ends.server), "");
	if (!hit)
		assert_int_equal(life.messages, ROUNDS);
	if (life.sent == -EAGAIN)
		assert_int_equal(rf_tx_publish(rf_channel_tx(ends.client)), 0);
	ends_close(&ends);
	return hit;
}

static void strike_everywhere(const struct fault_call *call, uint32_t doorbell, uint32_t shape)
{
	struct fault fault = {.call = call->name};
	unsigned i;

	for (i = 0; i < FAULT_ERRORS && call->errors[i]; i++) {
		fault.error = call->errors[i];
		for (fault.after = 0; strike(&fault, doorbell, shape); fault.after++)
			;
	}
}

static void each_call_that_fails_has_an_error_and_leaks_nothing(void **state)
{
	static const char *const calls[] = {
		"fcntl", "ioctl", "readlink", "recvmsg", "recv", "sendmsg", "send", "shutdown"};
	const struct fault_call *call;
	struct leaks leaks;
	unsigned i;

	(void)state;
	for (call = fault_calls; call->name; call++) {
		for (i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
			if (strcmp(call->name, calls[i]) != 0)
				continue;
			leaks = leaks_begin();
			strike_everywhere(call, RF_DOORBELL_EVENTFD, RF_BYTES);
			strike_everywhere(call, RF_DOORBELL_SOCKET, RF_SLOTS);
			assert_no_leaks(&leaks);
		}
	}
}

#define FACT(name) cmocka_unit_test_setup_teardown(name, leaks_setup, leaks_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FACT(each_call_that_fails_has_an_error_and_leaks_nothing),
	};

	return cmocka_run_group_tests_name("fds-faults", tests, NULL, NULL);
}
