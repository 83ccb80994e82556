/* SPDX-License-Identifier: MIT */
/* The receiving half: its ring or slots, and a doorbell where there is nothing. */
#include "rx.h"

#include "attach.h"

static int check(const struct rf_rx *rx)
{
	return rx ? rf__half_check(&rx->half) : -EINVAL;
}

/* How many of n: fewer where the next one cannot be given back. */
static unsigned release(struct rf_rx *rx, const struct rf_message *messages, unsigned n)
{
	struct rf__link *link = &rx->half.channel->link;
	unsigned done, i;

	if (rx->slots)
		done = rf__slots_rx_release_span(rx->slots, messages, n);
	else
		done = rf__ring_rx_release(&rx->ring, messages, n);
	for (i = 0; link->fds && i < done; i++)
		rf__fds_drop(link, messages[i].id);
	return done;
}

/* For whoever reads the figures. */
static void note_held(struct rf_rx *rx)
{
	if (rx->slots)
		__atomic_store_n(&rx->half.bell.stats.held,
			(uint64_t)rx->slots->held_of[0] + rx->slots->held_of[1], __ATOMIC_RELAXED);
}

/* Where descriptors are not what they should be, nothing is handed out. */
static int take_fds(struct rf_rx *rx, struct rf_message *messages, int n, uint64_t taken)
{
	int r = rf__attached_keep(rx, messages, (unsigned)n);

	if (r >= 0)
		return n;
	if (!rx->slots)
		rf__ring_rx_forget(&rx->ring, taken);
	else
		release(rx, messages, (unsigned)n);
	return r;
}

static void note_cut(struct rf_rx *rx, uint64_t closed)
{
	if (closed == RF__CUT_STALLED)
		rf__link_set(&rx->half.channel->link, RF__CUT_FOR_STALL);
	if (closed == RF__CUT_BUDGET)
		rf__link_set(&rx->half.channel->link, RF__CUT_FOR_WAITS);
}

void rf__rx_look_for_cut(struct rf_rx *rx)
{
	note_cut(rx, rf__load_seq_cst(&rx->ring.peer->closed));
}

/* One look: of a peer that is gone, only what it has published by now is taken. */
static int look(struct rf_rx *rx, struct rf_message *ret_messages, unsigned max)
{
	uint64_t taken = rx->ring.at.taken;
	int n;

	if (rf__link_flags(&rx->half.channel->link) & RF__GONE && !rx->ring.final)
		rf__ring_rx_finish(&rx->ring);
	n = rx->slots ? rf__rx_slots_borrow(rx, ret_messages, max)
		      : rf__ring_rx_borrow(&rx->ring, ret_messages, max);
	rf__bell_kick_if_due(&rx->half.bell);
	if (n > 0)
		return take_fds(rx, ret_messages, n, taken);
	if (rx->slots && (!n || n == -EPIPE))
		rf__count(&rx->half.bell.stats.missed, rf__slots_rx_untold(rx->slots));
	if (n == -EPIPE)
		note_cut(rx, rx->ring.closed);
	return n;
}

/* With the last of n that were found. */
static bool found_several(const struct rf_rx *rx, const struct rf_message *last, int n)
{
	return n >= RF__SEVERAL || rf__ring_rx_has_several(&rx->ring, rx->slots ? 0 : last->len);
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
				rf__bell_learn(&rx->half.bell, &wait,
					r > 0 && found_several(rx, &ret_messages[r - 1], r));
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
	uint64_t bytes = 0, missed = 0;
	unsigned i;

	for (i = 0; i < n; i++) {
		bytes += messages[i].len;
		missed += messages[i].missed;
	}
	if (missed)
		rf__count(&rx->half.bell.stats.missed, missed);
	rf__count(&rx->ring.at.records, n);
	rf__count(&rx->ring.at.bytes, bytes);
	note_held(rx);
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
	unsigned done;
	bool lent;

	if (!rx)
		return -EINVAL;
	if (!rf__generation_is_ours(&rx->half.channel->generation))
		return -EBADF;
	lent = rf__rx_lent(rx);
	done = release(rx, messages, n);
	note_held(rx);
	if (!rx->half.channel->closed)
		rf__bell_kick_if_due(&rx->half.bell);
	else if (lent && !rf__rx_lent(rx))
		rf__channel_unlease(rx->half.channel);
	return done < n ? -EINVAL : 0;
}

/* Of a record all that does not fit stays the oldest; of a view the rest; a slot is given back to
 * be borrowed again. */
static int shorten(struct rf_rx *rx, struct rf_message *message, size_t size)
{
	uint64_t unit = rx->ring.unit;
	size_t len = unit ? size - size % unit : 0;

	if (size >= message->len)
		return 0;
	if (rx->slots) {
		rf__slots_rx_rewind(rx->slots, message);
		return -EMSGSIZE;
	}
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
	if (!rx->slots && rf__ring_rx_lent(&rx->ring))
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
	message.n_fds = 0;
	*ret_message = message;
	return 1;
}

size_t rf_rx_element_bytes(const struct rf_rx *rx)
{
	return rx && !rx->slots ? (size_t)rx->ring.unit : 0;
}
