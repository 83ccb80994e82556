/* SPDX-License-Identifier: MIT */
/* Descriptors beside the data: attached to reservations, taken from messages. See fds.h. */
#include "attach.h"

#include "socket.h"
#include "tx.h"
#include "util/clock.h"
#include "util/fd.h"

/* Attaching */

/* Messages with descriptors that are sent, and lent as far as is known or about to be. */
static unsigned count_out(struct rf_tx *tx)
{
	const struct rf__slots *slots = tx->slots;
	const struct rf__slot *slot;
	unsigned n = tx->consumer.with_fds;
	uint32_t i;

	for (i = slots->ready.first; i != slots->ready.end; i++) {
		slot = &slots->slots[slots->ready.ids[i & slots->ready.mask]];
		n += slot->n_fds && !rf__fds_find(tx->fds, rf__slots_id(slots, slot));
	}
	return n;
}

/* Looks how many are out, at the peer only when it matters. */
static int refresh_out(struct rf_tx *tx)
{
	struct rf__link *link;
	int r;

	if (!tx->fds || tx->publisher)
		return 0;
	if (!tx->slots)
		rf__fds_settle(tx->fds, tx->ring.head);
	else
		tx->fds->n_out = count_out(tx);
	if (rf__fds_waiting(tx->fds) + tx->fds->n_out < RF__FDS_MESSAGES)
		return 0;
	link = &tx->half.channel->link;
	r = tx->slots ? rf__slots_collect(tx->slots, &tx->consumer)
		      : rf__ring_tx_refresh(&tx->ring);
	if (r < 0)
		return rf__link_break(link, tx->ring.breach);
	if (!tx->slots)
		rf__fds_settle(tx->fds, tx->ring.head);
	else
		tx->fds->n_out = count_out(tx);
	return 0;
}

bool rf__attached_may_fly(struct rf_channel *channel, unsigned waiting, unsigned n)
{
	unsigned unread;

	if (!channel->charge)
		return true;
	unread = rf__socket_unread(channel->link.sock);
	return rf__charge_fly(channel->charge, unread * RF_FDS_MAX + waiting, n);
}

/* Somebody else's may have to land: nobody tells when. */
static int take_off(struct rf_tx *tx, unsigned n, uint64_t *ret_until_ns)
{
	unsigned i, waiting = 0;

	for (i = 0; tx->fds && i < RF__FDS_MESSAGES; i++)
		waiting += tx->fds->waiting[i].n;
	if (tx->publisher || rf__attached_may_fly(tx->half.channel, waiting, n))
		return 0;
	*ret_until_ns = rf__later(rf__now(), RF__TX_RETRY_NS);
	return -EAGAIN;
}

/* Before a set is attached to an open reservation. */
static int prepare(struct rf_tx *tx, unsigned n, uint64_t *ret_until_ns)
{
	int r = refresh_out(tx);

	return r < 0 || !n || n > RF_FDS_MAX ? r : take_off(tx, n, ret_until_ns);
}

static int attach_to_slot(
	struct rf_tx *tx, uint64_t id, const int *fds, unsigned n, uint64_t *ret_until_ns)
{
	struct rf__slot *slot = rf__slots_find(tx->slots, id);
	int r = slot ? prepare(tx, n, ret_until_ns) : -EINVAL;

	if (r >= 0)
		r = rf__fds_attach(&tx->fds, &tx->fd_terms, id, fds, n, ret_until_ns);
	if (r >= 0)
		slot->n_fds = n;
	return r;
}

static int attach_to_record(
	struct rf_tx *tx, uint64_t id, const int *fds, unsigned n, uint64_t *ret_until_ns)
{
	int r = -EINVAL;

	if (!tx->ring.at.unit && rf__ring_tx_is_open(&tx->ring, id))
		r = prepare(tx, n, ret_until_ns);
	if (r >= 0)
		r = rf__fds_attach(&tx->fds, &tx->fd_terms, id, fds, n, ret_until_ns);
	tx->half.bell.fds = tx->fds;
	return r < 0 ? r : rf__ring_tx_mark(&tx->ring, id);
}

/* So much room there is once the oldest one that is out has been given back. */
static size_t room_after_next(const struct rf_tx *tx)
{
	const struct rf__ring_tx *ring = &tx->ring;
	uint64_t from = tx->slots ? ring->head + RF__DESCRIPTOR_BYTES : tx->fds->out[0];
	uint64_t room = ring->capacity - (ring->at.reserved - from);

	return (size_t)(tx->slots ? room : room - RF__HEADER);
}

/* What is committed is published, or it never comes back. */
static int wait_for_return(struct rf_tx *tx, struct rf__wait *wait, uint64_t deadline_ns)
{
	int r;

	if (tx->publisher)
		return -EINVAL;
	if (!deadline_ns)
		return -EAGAIN;
	r = rf__tx_publish(tx);
	if (r == -EAGAIN)
		return rf__tx_nap(tx, wait, rf__later(rf__now(), RF__TX_RETRY_NS), deadline_ns);
	if (r >= 0)
		r = refresh_out(tx);
	if (r < 0)
		return r;
	if (rf__fds_waiting(tx->fds) + tx->fds->n_out < RF__FDS_MESSAGES)
		return 0;
	if (!tx->fds->n_out)
		return -EINVAL;
	return rf__bell_wait(&tx->half.bell, wait, room_after_next(tx), deadline_ns);
}

/* For the agreed rate, or for others' descriptors to land. */
static int wait_for_time(
	struct rf_tx *tx, struct rf__wait *wait, uint64_t until_ns, uint64_t deadline_ns)
{
	int r = deadline_ns ? rf__tx_publish(tx) : 0;

	return r < 0 && r != -EAGAIN ? r : rf__tx_nap(tx, wait, until_ns, deadline_ns);
}

int rf_tx_attach(struct rf_tx *tx, const struct rf_buffer *buffer, const int *fds, unsigned n,
	uint64_t deadline_ns)
{
	struct rf__wait wait = {0};
	uint64_t until = 0;
	int r;

	while ((r = rf__tx_check(tx)) >= 0) {
		if (rf__tx_is_gone(tx))
			return -EPIPE;
		r = tx->slots ? attach_to_slot(tx, buffer->id, fds, n, &until)
			      : attach_to_record(tx, buffer->id, fds, n, &until);
		if (r != -EAGAIN) {
			if (wait.begun_ns)
				rf__bell_learn(&tx->half.bell, &wait, false);
			return r;
		}
		r = until == RF_FOREVER ? wait_for_return(tx, &wait, deadline_ns)
					: wait_for_time(tx, &wait, until, deadline_ns);
		if (r < 0)
			return r;
	}
	return r;
}

/* Sending */

/* In the order in which the messages are going to be lent. */
static int send_slots(struct rf_tx *tx)
{
	const struct rf__slot_queue *ready = &tx->slots->ready;
	struct rf__fd_set *set;
	uint32_t i;
	int r;

	for (i = ready->first; i != ready->end; i++) {
		set = rf__fds_find(tx->fds,
			rf__slots_id(tx->slots, &tx->slots->slots[ready->ids[i & ready->mask]]));
		if (!set)
			continue;
		r = rf__fds_send(&tx->half.channel->link, 'd', set->fds, set->n);
		if (r < 0)
			return r;
		rf__count(&tx->half.bell.stats.fds, set->n);
		rf__fd_set_close(set);
	}
	return 0;
}

int rf__attached_send(struct rf_tx *tx)
{
	return tx->slots ? send_slots(tx) : rf__fds_publish(&tx->half.bell, tx->fds);
}

void rf__attached_drop(struct rf_tx *tx, uint64_t id)
{
	rf__fd_set_close(rf__fds_find(tx->fds, id));
}

static bool is_open(struct rf_tx *tx, uint64_t id)
{
	return tx->slots ? rf__slots_find(tx->slots, id) != NULL
			 : rf__ring_tx_is_open(&tx->ring, id);
}

void rf__attached_drop_open(struct rf_tx *tx)
{
	unsigned i;

	for (i = 0; tx->fds && i < RF__FDS_MESSAGES; i++)
		if (tx->fds->waiting[i].n && is_open(tx, tx->fds->waiting[i].id))
			rf__fd_set_close(&tx->fds->waiting[i]);
}

void rf__attached_settle(struct rf_tx *tx)
{
	const struct rf__slot *slot;
	unsigned i;

	for (i = 0; tx->fds && i < RF__FDS_MESSAGES; i++) {
		slot = &tx->slots->slots[(uint32_t)tx->fds->waiting[i].id];
		if (slot->state != RF__SLOT_OPEN && slot->state != RF__SLOT_COMMITTED)
			rf__fd_set_close(&tx->fds->waiting[i]);
	}
}

void rf__attached_free(struct rf_tx *tx)
{
	rf__fds_tx_free(tx->fds);
	tx->fds = tx->half.bell.fds = NULL;
}

/* Taking */

int rf__attached_keep(struct rf_rx *rx, struct rf_message *messages, unsigned n)
{
	unsigned i;
	int found;

	for (i = 0; i < n; i++) {
		if (!messages[i].n_fds)
			continue;
		found = rf__fds_keep(&rx->half.channel->link, messages[i].id);
		if (found < 0)
			return found;
		messages[i].n_fds = (uint32_t)found;
		rf__count(&rx->half.bell.stats.fds, messages[i].n_fds);
	}
	return 0;
}

int rf__attached_skip(struct rf_rx *rx)
{
	struct rf__link *link = &rx->half.channel->link;
	uint64_t id;

	while (rx->slots->n_unseen) {
		id = rx->slots->unseen[--rx->slots->n_unseen];
		if (rf__fds_keep(link, id) < 0)
			return -EPROTO;
		rf__fds_drop(link, id);
	}
	return 0;
}

static bool is_borrowed(const struct rf_rx *rx, uint64_t id)
{
	return rx->slots ? rf__slots_rx_has(rx->slots, id) : rf__ring_rx_has(&rx->ring, id);
}

int rf_rx_take_fds(struct rf_rx *rx, const struct rf_message *message, int *ret_fds, unsigned max)
{
	if (!rx)
		return -EINVAL;
	if (!rf__generation_is_ours(&rx->half.channel->generation))
		return -EBADF;
	if (!is_borrowed(rx, message->id))
		return -EINVAL;
	return rf__fds_take(&rx->half.channel->link, message->id, ret_fds, max);
}
