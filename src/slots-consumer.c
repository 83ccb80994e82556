/* SPDX-License-Identifier: MIT */
/* Which slots we hold, as a consumer: see slots.h. */
#include "slots.h"

#include "bits.h"
#include <errno.h>

static int breach(struct rf__slots_rx *rx, const char *what)
{
	rx->ring->breach = what;
	return -EPROTO;
}

static void drop(struct rf__slots_rx *rx, uint32_t id)
{
	rf__flip_bit(rx->held, id);
	rx->held_of[id >= rx->count]--;
}

static uint32_t saturated(uint64_t n)
{
	return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

/* Why flags and generation are not as they mostly are. RF__SLOTS_NEW_MEMORY; -EPROTO. */
static int refuse(struct rf__slots_rx *rx, uint64_t place)
{
	uint8_t generation = (uint8_t)(place >> RF__GENERATION_SHIFT);

	if (place & RF__SLOT_UNKNOWN)
		return breach(rx, "a descriptor has unknown flags");
	if ((int8_t)(generation - (uint8_t)rx->generation) > 0)
		return RF__SLOTS_NEW_MEMORY;
	return breach(rx, "a slot is in memory that was given up");
}

/* Is a descriptor as it must be? 0; RF__SLOTS_NEW_MEMORY; -EPROTO. */
RF__HOT int check(struct rf__slots_rx *rx, uint64_t place)
{
	uint64_t known = UINT16_MAX | RF__SLOT_FDS_FOLLOW | RF__SLOT_HAS_EXTRA;

	if (((uint32_t)place & ~known) != (uint32_t)(uint8_t)rx->generation << RF__GENERATION_SHIFT)
		return refuse(rx, place);
	if ((uint16_t)place >= rx->count)
		return breach(rx, "a slot does not exist");
	if (place >> RF__LEN_SHIFT > rx->slot_bytes)
		return breach(rx, "a message reaches beyond its slot");
	return 0;
}

/* Cut off: what was lent is not ours any more, whether it was seen or not. */
static bool is_cut(uint64_t closed)
{
	return closed == RF__CUT_STALLED || closed == RF__CUT_BUDGET;
}

/* Where there is something left of what was seen. 0; -EPIPE: cut off. */
static int look_for_cut(struct rf__slots_rx *rx)
{
	struct rf__ring_rx *ring = rx->ring;
	uint64_t closed = ring->closed;

	if (!rx->never_cut && !ring->final)
		closed = rf__load_relaxed(&ring->peer->closed);
	if (!is_cut(closed))
		return 0;
	ring->closed = (uint32_t)closed;
	ring->final = true;
	return -EPIPE;
}

/* Of a message whose descriptor says that there is one. It may be another one's, since we were cut
 * off. 0; -EPIPE; -EPROTO. */
static int take_extra(struct rf__slots_rx *rx, uint32_t number, struct rf_message *message)
{
	const unsigned char *base = rx->base[rx->generation & 1];
	const void *end = base + rf__slots_end_bytes(rx->count, rx->stride);
	const struct rf__slot_extra *extra = (const struct rf__slot_extra *)end + number;
	uint64_t offset = rf__load_acquire(&extra->offset); /* before closed is looked at */

	if (offset > rx->slot_bytes - message->len)
		return look_for_cut(rx) < 0 ? -EPIPE
					    : breach(rx, "a message reaches beyond its slot");
	message->data = base + number * rx->stride + offset;
	message->time_ns = rf__load_relaxed(&extra->time_ns);
	message->user[0] = rf__load_relaxed(&extra->user[0]);
	message->user[1] = rf__load_relaxed(&extra->user[1]);
	return 0;
}

/* Of a descriptor that was checked. */
RF__HOT void fill_message(
	struct rf__slots_rx *rx, uint64_t place, uint64_t tags, struct rf_message *message)
{
	*message = (struct rf_message){
		.data = rx->base[rx->generation & 1] + (uint16_t)place * rx->stride,
		.len = place >> RF__LEN_SHIFT,
		.id = (uint16_t)place + (rx->generation & 1 ? rx->count : 0),
		.tag = (uint32_t)tags,
		.missed = saturated(rx->missed + (tags >> 32)),
		.n_fds = place & RF__SLOT_FDS_FOLLOW ? UINT32_MAX : 0,
	};
}

/* The next descriptor. 1; RF__SLOTS_NEW_MEMORY; -EPIPE: cut off; -EPROTO. */
RF__HOT int take(struct rf__slots_rx *rx, struct rf_message *ret_message)
{
	struct rf__ring_rx *ring = rx->ring;
	const void *at = ring->at.data + (ring->at.position & ring->at.mask);
	const struct rf__descriptor *descriptor = at;
	uint64_t place = rf__load_relaxed(&descriptor->place), tags;
	uint32_t id;
	int r = check(rx, place);

	if (r)
		return r;
	tags = rf__load_relaxed(&descriptor->tags);
	fill_message(rx, place, tags, ret_message);
	id = (uint32_t)ret_message->id;
	if (rf__has_bit(rx->held, id))
		return breach(rx, "a slot was lent that is borrowed already");
	if (place & RF__SLOT_HAS_EXTRA)
		r = take_extra(rx, (uint16_t)place, ret_message);
	if (r)
		return r;
	rf__flip_bit(rx->held, id);
	rx->held_of[rx->generation & 1]++;
	rx->told = (uint32_t)(tags >> 32);
	rx->known += rx->told;
	rx->missed = 0;
	ring->at.position += RF__DESCRIPTOR_BYTES;
	return 1;
}

/* Nothing is left to be borrowed now. */
static int nothing(struct rf__slots_rx *rx)
{
	rf__ring_rx_flush(rx->ring);
	return rf__ring_rx_nothing(rx->ring);
}

/* Those before a breach or a cut are not handed out. */
static int forget(struct rf__slots_rx *rx, const struct rf_message *messages, int n, int error)
{
	while (n)
		drop(rx, (uint32_t)messages[--n].id);
	return error;
}

/* Looks at the tail. 0; -EPIPE: cut off; -EPROTO. */
static int look(struct rf__slots_rx *rx)
{
	if (rf__ring_rx_refresh(rx->ring) < 0)
		return -EPROTO;
	return is_cut(rx->ring->closed) ? -EPIPE : 0;
}

static int borrow_next(struct rf__slots_rx *rx, struct rf_message *ret_messages, int max)
{
	struct rf__ring_rx *ring = rx->ring;
	int n, r = ring->at.position == ring->at.tail ? look(rx) : look_for_cut(rx);

	if (r < 0)
		return r;
	for (n = 0; n < max && ring->at.position != ring->at.tail; n++) {
		r = take(rx, &ret_messages[n]);
		if (r < 0)
			return forget(rx, ret_messages, n, r);
		if (r != 1)
			return n ? n : r;
	}
	return n ? n : nothing(rx);
}

static int give_unseen(struct rf__slots_rx *rx, const struct rf_message *message)
{
	rx->missed = (uint64_t)message->missed + 1;
	rf__slots_rx_release(rx, message->id);
	if (!message->n_fds)
		return 0;
	if (rx->n_unseen == RF__FDS_MESSAGES)
		return breach(rx, "descriptors came for too many messages");
	rx->unseen[rx->n_unseen++] = message->id;
	return 0;
}

/* 1: *ret_message is the last one of those that were there; 0: nothing was. */
static int skip_to_newest(struct rf__slots_rx *rx, struct rf_message *ret_message)
{
	int n, r;

	for (n = 0; rx->ring->at.position != rx->ring->at.tail; n = 1) {
		if (n && give_unseen(rx, ret_message) < 0)
			return -EPROTO;
		r = take(rx, ret_message);
		if (r != 1)
			return r;
	}
	return n;
}

/* dropped after tail, as it was stored before: so what is newer than a tail that was not seen is not
 * taken for lost. */
static int borrow_newest(struct rf__slots_rx *rx, struct rf_message *ret_message)
{
	uint64_t dropped;
	struct rf_message newest;
	int r = look(rx);

	if (r < 0)
		return r;
	dropped = rf__load_seq_cst(&rx->ring->peer->dropped);
	r = skip_to_newest(rx, &newest);
	if (!r)
		return nothing(rx);
	if (r != 1)
		return r;
	if (rx->known != dropped && !rx->ring->final && !rx->passed) {
		rx->passed = true;
		return give_unseen(rx, &newest) < 0 ? -EPROTO : nothing(rx);
	}
	rx->passed = false;
	*ret_message = newest;
	return 1;
}

int rf__slots_rx_borrow(struct rf__slots_rx *rx, struct rf_message *ret_messages, unsigned max)
{
	if (!max || max > INT32_MAX)
		return -EINVAL;
	if (rx->ring->breach)
		return -EPROTO;
	return rx->latest ? borrow_newest(rx, ret_messages)
			  : borrow_next(rx, ret_messages, (int)max);
}

RF__HOT bool has(const struct rf__slots_rx *rx, uint64_t id)
{
	return id < 2 * (uint64_t)rx->count && rf__has_bit(rx->held, (uint32_t)id);
}

bool rf__slots_rx_has(const struct rf__slots_rx *rx, uint64_t id)
{
	return has(rx, id);
}

/* Before the head that shows it: pairs with take_return(). */
RF__HOT bool put_return(struct rf__slots_rx *rx, uint64_t id, uint64_t position)
{
	uint64_t at = (position & rx->ring->at.mask) / RF__DESCRIPTOR_BYTES;

	if (!has(rx, id))
		return false;
	drop(rx, (uint32_t)id);
	rf__store_relaxed(&rx->returns[at], id);
	return true;
}

/* Who may be cut off for giving nothing back, or for being waited for, tells at once. */
static void give(struct rf__slots_rx *rx, unsigned n)
{
	rf__ring_rx_give(rx->ring, n);
	if (!rx->never_cut)
		rf__ring_rx_flush(rx->ring);
}

unsigned rf__slots_rx_release_span(
	struct rf__slots_rx *rx, const struct rf_message *messages, unsigned n)
{
	uint64_t position = rx->ring->at.released;
	unsigned i;

	for (i = 0; i < n && put_return(rx, messages[i].id, position); i++)
		position += RF__DESCRIPTOR_BYTES;
	give(rx, i);
	return i;
}

int rf__slots_rx_release(struct rf__slots_rx *rx, uint64_t id)
{
	if (!put_return(rx, id, rx->ring->at.released))
		return -EINVAL;
	give(rx, 1);
	return 0;
}

uint64_t rf__slots_rx_untold(struct rf__slots_rx *rx)
{
	uint64_t dropped = rf__load_relaxed(&rx->ring->peer->dropped), n = rx->missed;

	if ((int64_t)(dropped - rx->known) > 0)
		n += dropped - rx->known;
	rx->known = dropped;
	rx->missed = 0;
	return n;
}

void rf__slots_rx_rewind(struct rf__slots_rx *rx, const struct rf_message *message)
{
	drop(rx, (uint32_t)message->id);
	rx->ring->at.position -= RF__DESCRIPTOR_BYTES;
	rx->missed = message->missed - rx->told;
	rx->known -= rx->told;
}

int rf__slots_rx_renew(struct rf__slots_rx *rx, const unsigned char *base)
{
	uint16_t next = (uint16_t)(rx->generation + 1);

	if (rx->held_of[next & 1])
		return breach(rx, "slots of memory that was given up are still borrowed");
	rx->generation = next;
	rx->base[next & 1] = base;
	return 0;
}
