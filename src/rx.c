/* SPDX-License-Identifier: MIT */
/* The receiving half: its ring, and a doorbell where the ring is empty. */
#include "channel.h"

static int check(const struct rf_rx *rx)
{
	return rx ? rf__half_check(&rx->half) : -EINVAL;
}

/* One look: of a peer that is gone, only what it has published by now is taken. */
static int look(struct rf_rx *rx, struct rf_message *ret_messages, unsigned max)
{
	int n;

	if (rf__link_flags(&rx->half.channel->link) & RF__GONE && !rx->ring.final)
		rf__ring_rx_finish(&rx->ring);
	n = rf__ring_rx_borrow(&rx->ring, ret_messages, max);
	rf__bell_kick_if_due(&rx->half.bell);
	return n;
}

static int borrow(
	struct rf_rx *rx, uint64_t deadline_ns, struct rf_message *ret_messages, unsigned max)
{
	struct rf__wait wait = {0};
	int r;

	while ((r = check(rx)) >= 0) {
		r = look(rx, ret_messages, max);
		if (r == -EPROTO)
			return rf__link_break(&rx->half.channel->link, rx->ring.breach);
		if (r != -EAGAIN) {
			if (wait.begun_ns)
				rf__bell_learn(&rx->half.bell, &wait);
			return r;
		}
		r = rf__bell_wait(&rx->half.bell, &wait, 0, deadline_ns);
		if (r < 0)
			return r;
	}
	return r;
}

static void count(struct rf_rx *rx, const struct rf_message *messages, unsigned n)
{
	uint64_t bytes = 0;
	unsigned i;

	for (i = 0; i < n; i++)
		bytes += messages[i].len;
	rf__count(&rx->half.bell.stats.records, n);
	rf__count(&rx->half.bell.stats.bytes, bytes);
}

int rf_rx_borrow(
	struct rf_rx *rx, uint64_t deadline_ns, struct rf_message *ret_messages, unsigned max)
{
	int n = borrow(rx, deadline_ns, ret_messages, max);

	if (n > 0)
		count(rx, ret_messages, (unsigned)n);
	return n;
}

int rf_rx_release(struct rf_rx *rx, const struct rf_message *messages, unsigned n)
{
	bool lent;
	unsigned i;
	int r = 0;

	if (!rx)
		return -EINVAL;
	if (!rf__generation_is_ours(&rx->half.channel->generation))
		return -EBADF;
	lent = rf__ring_rx_lent(&rx->ring);
	for (i = 0; i < n && r >= 0; i++)
		r = rf__ring_rx_release(&rx->ring, messages[i].id);
	if (!rx->half.channel->closed)
		rf__bell_kick_if_due(&rx->half.bell);
	else if (lent && !rf__ring_rx_lent(&rx->ring))
		rf__channel_unlease(rx->half.channel);
	return r;
}

/* Of a record all that does not fit stays the oldest; of a view the rest. */
static int shorten(struct rf_rx *rx, struct rf_message *message, size_t size)
{
	uint64_t unit = rx->ring.unit;
	size_t len = unit ? size - size % unit : 0;

	if (size >= message->len)
		return 0;
	rf__ring_rx_rewind(&rx->ring, message, len);
	return len ? 0 : -EMSGSIZE;
}

int rf_rx_copy(struct rf_rx *rx, uint64_t deadline_ns, void *buffer, size_t size,
	struct rf_message *ret_message)
{
	struct rf_message message;
	int n = check(rx);

	if (n < 0)
		return n;
	if (rf__ring_rx_lent(&rx->ring))
		return -EINVAL;
	n = borrow(rx, deadline_ns, &message, 1);
	if (n <= 0)
		return n;
	if (shorten(rx, &message, size) < 0)
		return -EMSGSIZE;
	rf__copy_out(buffer, message.data, message.len);
	count(rx, &message, 1);
	rf__count(&rx->half.bell.stats.bytes_copied, message.len);
	rf_rx_release(rx, &message, 1);
	message.data = buffer;
	*ret_message = message;
	return 1;
}

size_t rf_rx_element_bytes(const struct rf_rx *rx)
{
	return rx ? (size_t)rx->ring.unit : 0;
}
