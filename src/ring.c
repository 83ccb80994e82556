/* SPDX-License-Identifier: MIT */
/* The position algorithm: see ring.h. */
#include "ring.h"

#include <errno.h>

const uint64_t rf__no_generation;

#ifdef RF_TESTING
uint64_t (*rf__access_hook)(enum rf__op op, const void *where, uint64_t value);
#endif

static int tx_breach(struct rf__ring_tx *tx, const char *what)
{
	if (!tx->breach)
		tx->breach = what;
	return -EPROTO;
}

static int rx_breach(struct rf__ring_rx *rx, const char *what)
{
	if (!rx->breach)
		rx->breach = what;
	return -EPROTO;
}

/* Records are whole words. */
static bool is_whole(uint64_t unit, uint64_t bytes)
{
	return unit ? !(bytes % unit) : !(bytes % 8);
}

/* Pairs with rf__move(). */
static void ask_at(uint64_t *want, uint64_t position, bool asymmetric)
{
	if (asymmetric)
		rf__store_relaxed(want, position);
	else
		rf__store_seq_cst(want, position);
}

/* The producer */

void rf__ring_tx_init(struct rf__ring_tx *tx, struct rf__producer_words *own,
	const struct rf__consumer_words *peer, unsigned char *data, uint64_t capacity)
{
	memset(tx, 0, sizeof(*tx));
	tx->own = own;
	tx->peer = peer;
	tx->capacity = capacity;
	tx->at.generation = &rf__no_generation;
	tx->at.ours = RF__SHUT;
	tx->at.data = data;
	tx->at.mask = capacity - 1;
	tx->at.tail = own ? &own->tail : NULL;
	tx->at.data_want = own ? &peer->data_want : NULL;
}

/* Pairs with give_back(): what the consumer read before it stored head has been read. */
int rf__ring_tx_refresh(struct rf__ring_tx *tx)
{
	uint64_t head = rf__load_seq_cst(&tx->peer->head);

	if (head - tx->head > tx->at.published - tx->head)
		return tx_breach(tx, "the consumer's head is beyond what was published");
	if (!is_whole(tx->at.unit, head - tx->head))
		return tx_breach(tx, tx->at.unit ? "the consumer's head is not at an element"
						 : "the consumer's head is not at a record");
	tx->head = head;
	return 0;
}

static uint64_t tx_room(const struct rf__ring_tx *tx)
{
	return tx->capacity - (tx->at.reserved - tx->head);
}

/* What a reservation of len bytes takes of the ring. */
static uint64_t taken_by(const struct rf__ring_tx *tx, size_t len)
{
	return tx->at.unit ? len : rf__record_bytes(len);
}

static struct rf__reservation *waiting_at(struct rf__ring_tx *tx, uint32_t index)
{
	return tx->waiting ? &tx->waiting[index % RF_RESERVED_MAX] : &tx->only;
}

/* All that is open has the same length, and stands in no list. */
static bool is_run(const struct rf__tx_cursor *at)
{
	return at->each && at->reserved != at->committed;
}

static unsigned count_waiting(const struct rf__ring_tx *tx)
{
	if (is_run(&tx->at))
		return (unsigned)((tx->at.reserved - tx->at.committed) / tx->at.each);
	return tx->waiting_end - tx->waiting_first;
}

static void wait_in_list(struct rf__ring_tx *tx, uint64_t position, size_t len)
{
	*waiting_at(tx, tx->waiting_end++) = (struct rf__reservation){
		.position = position,
		.len = (uint32_t)len,
	};
}

/* Enters a run in the list: what follows is not so simple. */
static void list(struct rf__ring_tx *tx)
{
	uint64_t position;

	if (is_run(&tx->at))
		for (position = tx->at.committed; position != tx->at.reserved;
			position += tx->at.each)
			wait_in_list(tx, position, (size_t)tx->at.each_len);
	tx->at.each = 0;
}

/* Looks after the peer when so many of the same size have been reserved, and nothing is larger than half
 * the ring. */
#define RESERVED_UNSEEN 64

static void set_limit(struct rf__ring_tx *tx, uint64_t each)
{
	uint64_t room = tx_room(tx), most = tx->capacity / 2;

	if (each < most / RESERVED_UNSEEN)
		most = each * RESERVED_UNSEEN;
	tx->at.limit = tx->at.reserved + (room < most ? room : most);
}

/* What is open and what comes now are one run, or all of it is in the list. */
static bool goes_on(struct rf__ring_tx *tx, size_t len, uint64_t each)
{
	if (tx->at.reserved == tx->at.committed) {
		tx->at.each = each;
		tx->at.each_len = len;
	} else if (tx->at.each != each || tx->at.each_len != len) {
		list(tx);
	}
	return tx->at.each;
}

static unsigned reserve_some(struct rf__ring_tx *tx, size_t len, uint64_t each,
	struct rf_buffer *ret_buffers, unsigned max)
{
	unsigned char *data = tx->at.data + (tx->at.unit ? 0 : RF__HEADER);
	uint64_t mask = tx->at.mask, from = tx->at.reserved, room = tx_room(tx);
	bool in_run = goes_on(tx, len, each);
	unsigned n;

	for (n = 0; n < max && room >= each; n++, room -= each, from += each) {
		if (!in_run)
			wait_in_list(tx, from, len);
		rf__describe_space(data + (from & mask), from, len, &ret_buffers[n]);
	}
	tx->at.reserved = from;
	set_limit(tx, each);
	return n;
}

void rf__ring_tx_lend(struct rf__ring_tx *tx, struct rf__reservation *waiting)
{
	waiting[tx->waiting_first % RF_RESERVED_MAX] = tx->only;
	tx->waiting = waiting;
}

int rf__ring_tx_reserve(
	struct rf__ring_tx *tx, size_t len, struct rf_buffer *ret_buffers, unsigned max)
{
	uint64_t each = taken_by(tx, len);
	unsigned free = RF_RESERVED_MAX - count_waiting(tx);

	if (tx->breach)
		return -EPROTO;
	if (tx->ended || !max || !free)
		return -EINVAL;
	if (tx->at.unit && (!len || !is_whole(tx->at.unit, len)))
		return -EINVAL;
	if (!rf__ring_tx_fits(tx, len))
		return -EMSGSIZE;
	if (!tx->waiting && (max > 1 || free < RF_RESERVED_MAX))
		return -ENOMEM;
	if (tx_room(tx) < each && rf__ring_tx_refresh(tx) < 0)
		return -EPROTO;
	if (tx_room(tx) < each)
		return -EAGAIN;
	return (int)reserve_some(tx, len, each, ret_buffers, max < free ? max : free);
}

/* Reservations wait in the order of their positions; what is committed at the front does not wait. */
static struct rf__reservation *find_open(struct rf__ring_tx *tx, uint64_t id)
{
	uint32_t low, high;
	struct rf__reservation *first;

	list(tx);
	low = tx->waiting_first;
	high = tx->waiting_end;
	first = waiting_at(tx, low);
	while (low != high) {
		uint32_t middle = low + (high - low) / 2;
		struct rf__reservation *r = waiting_at(tx, middle);

		if (r->position == id)
			return r->committed ? NULL : r;
		if (id - first->position < r->position - first->position)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

static void put_header(struct rf__ring_tx *tx, uint64_t position, uint64_t header)
{
	rf__put_header(tx->at.data + (position & tx->at.mask), header);
}

static bool is_newest(struct rf__ring_tx *tx, const struct rf__reservation *r)
{
	return r == waiting_at(tx, tx->waiting_end - 1);
}

/* What is committed at the front need not wait any more. */
static void advance(struct rf__ring_tx *tx)
{
	while (tx->waiting_first != tx->waiting_end && waiting_at(tx, tx->waiting_first)->committed)
		tx->waiting_first++;
	tx->at.committed = tx->waiting_first == tx->waiting_end
				   ? tx->at.reserved
				   : waiting_at(tx, tx->waiting_first)->position;
}

/* The length in the header of a gap of so many bytes, which may be one more than a length can
 * say. */
static uint64_t gap_len(uint64_t bytes)
{
	uint64_t len = bytes - RF__HEADER;

	return len < RF_RECORD_MAX ? len : RF_RECORD_MAX;
}

/* An older reservation ends at `end` from now on, and a gap is left, for which a view has no word.
 * Once that is ended it needs none: nobody gets to see the gap. */
static int leave_gap(struct rf__ring_tx *tx, const struct rf__reservation *r, uint64_t end)
{
	uint64_t old_end = r->position + taken_by(tx, r->len);

	if (end == old_end)
		return 0;
	if (!tx->at.unit)
		put_header(tx, end, RF__SKIP | gap_len(old_end - end));
	return tx->at.unit && !tx->ended ? -EINVAL : 0;
}

/* The newest one just shrinks, maybe to nothing. */
static int settle(struct rf__ring_tx *tx, struct rf__reservation *r, uint64_t end)
{
	if (is_newest(tx, r)) {
		tx->at.reserved = end;
		tx->waiting_end -= end == r->position;
	} else if (leave_gap(tx, r, end) < 0) {
		return -EINVAL;
	}
	r->committed = true;
	advance(tx);
	return 0;
}

int rf__ring_tx_commit(struct rf__ring_tx *tx, uint64_t id, size_t len, uint32_t tag)
{
	struct rf__reservation *r;
	uint64_t flags;

	if (tx->breach)
		return -EPROTO;
	if (rf__tx_cursor_commit(&tx->at, id, len, tag))
		return 0;
	r = find_open(tx, id);
	if (!r || len > r->len || !is_whole(tx->at.unit ? tx->at.unit : 1, len))
		return -EINVAL;
	flags = r->with_fds ? RF__FDS_FOLLOW : 0;
	if (!tx->at.unit)
		put_header(tx, id, (uint64_t)tag << RF__TAG_SHIFT | flags | len);
	return settle(tx, r, id + taken_by(tx, len));
}

/* Records of a run, in order and as long as they were reserved. How many; the rest is more work. */
static unsigned commit_run(struct rf__tx_cursor *c, const struct rf_buffer *buffers, unsigned n)
{
	unsigned char *data = c->data;
	uint64_t mask = c->mask, each = c->each, len = c->each_len;
	uint64_t id = c->committed, end = c->reserved;
	unsigned i;

	if (!each || c->unit)
		return 0;
	for (i = 0; i < n && id != end; i++, id += each) {
		const struct rf_buffer *b = &buffers[i];

		if (b->id != id || b->len > len || rf__record_bytes(b->len) != each)
			break;
		rf__put_header(data + (id & mask), (uint64_t)b->tag << RF__TAG_SHIFT | b->len);
	}
	c->committed = id;
	return i;
}

int rf__ring_tx_commit_span(
	struct rf__ring_tx *tx, const struct rf_buffer *buffers, unsigned n, unsigned *ret_done)
{
	unsigned i;
	int r = 0;

	*ret_done = 0;
	if (tx->breach)
		return -EPROTO;
	for (i = commit_run(&tx->at, buffers, n); i < n && r >= 0; i += r >= 0)
		r = rf__ring_tx_commit(tx, buffers[i].id, buffers[i].len, buffers[i].tag);
	*ret_done = i;
	return r;
}

int rf__ring_tx_cancel(struct rf__ring_tx *tx, uint64_t id)
{
	struct rf__reservation *r = find_open(tx, id);

	return r ? settle(tx, r, id) : -EINVAL;
}

int rf__ring_tx_mark(struct rf__ring_tx *tx, uint64_t id)
{
	struct rf__reservation *r = find_open(tx, id);

	if (!r || tx->at.unit)
		return -EINVAL;
	r->with_fds = true;
	return 0;
}

bool rf__ring_tx_is_open(struct rf__ring_tx *tx, uint64_t id)
{
	return find_open(tx, id);
}

void rf__ring_tx_publish_to(struct rf__ring_tx *tx, uint64_t limit)
{
	/* pairs with rf__ring_rx_refresh(): headers and payload first */
	if (rf__tx_cursor_publish(&tx->at, limit))
		tx->at.kick_due = true;
}

void rf__ring_tx_publish(struct rf__ring_tx *tx)
{
	rf__ring_tx_publish_to(tx, tx->at.committed);
}

void rf__ring_tx_cancel_all(struct rf__ring_tx *tx)
{
	uint32_t i, first;

	list(tx);
	first = tx->waiting_first;
	for (i = tx->waiting_end; i != first; i--)
		if (!waiting_at(tx, i - 1)->committed)
			rf__ring_tx_cancel(tx, waiting_at(tx, i - 1)->position);
}

/* Of a view, all that is behind the oldest open reservation. */
static void cut_off(struct rf__ring_tx *tx)
{
	tx->waiting_first = tx->waiting_end;
	tx->at.reserved = tx->at.committed;
	tx->at.each = 0;
}

void rf__ring_tx_abandon(struct rf__ring_tx *tx)
{
	cut_off(tx);
	tx->ended = true;
}

void rf__ring_tx_end(struct rf__ring_tx *tx)
{
	if (tx->at.unit)
		cut_off(tx);
	else
		rf__ring_tx_cancel_all(tx);
	rf__ring_tx_publish(tx);
	rf__ring_tx_close(tx, RF__ENDED);
}

void rf__ring_tx_close(struct rf__ring_tx *tx, enum rf__closed why)
{
	rf__store_seq_cst(&tx->own->closed, why);
	tx->ended = true;
	tx->at.kick_due = true;
}

void rf__ring_tx_ask(struct rf__ring_tx *tx, size_t len)
{
	uint64_t each = taken_by(tx, len ? len : tx->at.unit);

	ask_at(&tx->own->space_want, tx->at.reserved + each - tx->capacity, tx->at.asymmetric);
}

int rf__ring_tx_look(struct rf__ring_tx *tx, size_t len)
{
	uint64_t each = taken_by(tx, len ? len : tx->at.unit);

	if (tx->breach || rf__ring_tx_refresh(tx) < 0)
		return 1;
	return tx_room(tx) >= each;
}

/* No head that the consumer may be about to store starts out from as far back as that. */
void rf__ring_tx_disarm(struct rf__ring_tx *tx)
{
	rf__store_relaxed(&tx->own->space_want, tx->head - tx->capacity);
}

unsigned rf__ring_tx_open(const struct rf__ring_tx *tx)
{
	unsigned n = 0;
	uint32_t i;

	if (is_run(&tx->at))
		return count_waiting(tx);
	for (i = tx->waiting_first; i != tx->waiting_end; i++)
		n += !(tx->waiting ? tx->waiting[i % RF_RESERVED_MAX] : tx->only).committed;
	return n;
}

/* The consumer */

void rf__ring_rx_init(struct rf__ring_rx *rx, struct rf__consumer_words *own,
	const struct rf__producer_words *peer, const unsigned char *data, uint64_t capacity)
{
	memset(rx, 0, sizeof(*rx));
	rx->own = own;
	rx->peer = peer;
	rx->at.generation = &rf__no_generation;
	rx->at.ours = RF__SHUT;
	rx->at.data = data;
	rx->at.capacity = capacity;
	rx->at.mask = capacity - 1;
}

/* Pairs with rf__ring_tx_publish() and rf__ring_tx_end(): closed before tail, so that a closed
 * ring shows its last tail. */
int rf__ring_rx_refresh(struct rf__ring_rx *rx)
{
	uint64_t closed, tail;

	if (rx->final)
		return 0;
	closed = rf__load_seq_cst(&rx->peer->closed);
	tail = rf__load_seq_cst(&rx->peer->tail);
	if (closed > RF__CUT_BUDGET)
		return rx_breach(rx, "the producer's closed is none of the known reasons");
	if (tail - rx->at.tail > rx->at.stored + rx->at.capacity - rx->at.tail)
		return rx_breach(rx, "the producer's tail is beyond the ring");
	if (!is_whole(rx->unit, tail - rx->at.tail))
		return rx_breach(rx, rx->unit ? "the producer's tail is not at an element"
					      : "the producer's tail is not at a record");
	rx->at.tail = tail;
	rx->closed = (uint32_t)closed;
	rx->final = closed != RF__OPEN;
	return 0;
}

/* The head goes out when nothing seen is left, or a quarter of the ring was given back: pairs
 * with rf__ring_tx_refresh(). */
static void give_back(struct rf__ring_rx *rx, bool now)
{
	uint64_t before = rx->at.stored, after = rx->at.released;

	if (after == before || (!now && !rf__rx_cursor_is_due(&rx->at, after)))
		return;
	rx->at.stored = after;
	if (rf__move(&rx->own->head, before, after, &rx->peer->space_want, rx->asymmetric))
		rx->kick_due = true;
}

/* As rf__record_id(), in bytes. */
static uint64_t view_id(uint64_t from, uint64_t bytes)
{
	return bytes << 32 | (from & UINT32_MAX);
}

/* What the header at position says, where it is no plain record: 1: *ret_message is a record with
 * descriptors; 0: a gap was passed. */
static int take_odd(struct rf__ring_rx *rx, uint64_t header, struct rf_message *ret_message)
{
	uint64_t bytes = rf__record_bytes(header & RF__LEN_MASK), begin = rx->at.position, id;
	const unsigned char *at;

	if (bytes > rx->at.tail - begin)
		return rx_breach(rx, "a record reaches beyond what was published");
	if (bytes > rx->at.capacity / 2)
		return rx_breach(rx, "a record is larger than half the ring");
	if ((header & UINT32_MAX) / RF__SKIP > RF__FDS_FOLLOW / RF__SKIP)
		return rx_breach(rx, "a record has unknown flags");
	rx->at.position += bytes;
	if (header & RF__SKIP)
		return 0;
	id = rf__record_id(rx->at.taken, rx->at.position - rx->at.taken);
	at = rx->at.data + (begin & rx->at.mask);
	rf__describe_record(at, header, id, ret_message);
	ret_message->n_fds = UINT32_MAX;
	rx->at.taken = rx->at.position;
	return 1;
}

/* With nothing lent, gaps go back at once; else with the record behind them, or with the last
 * one lent. */
static void pass_gaps(struct rf__ring_rx *rx)
{
	if (rx->at.released == rx->at.taken)
		rx->at.released = rx->at.taken = rx->at.position;
}

/* Of a view everything that is there is one message; 0: nothing is. */
static int borrow_rest(struct rf__ring_rx *rx, struct rf_message *ret_message)
{
	uint64_t bytes = rx->at.tail - rx->at.position;

	if (!bytes)
		return 0;
	*ret_message = (struct rf_message){
		.data = rx->at.data + (rx->at.position & rx->at.mask),
		.len = (size_t)bytes,
		.id = view_id(rx->at.position, bytes),
	};
	rx->at.position = rx->at.taken = rx->at.tail;
	return 1;
}

/* How many of what was seen: fewer, too, where the budget of gaps is used up. -EPROTO. */
static int borrow_seen(
	struct rf__ring_rx *rx, struct rf_message *ret_messages, unsigned max, unsigned *gaps)
{
	unsigned n = 0;
	uint64_t header = 0;
	int r;

	if (rx->unit)
		return borrow_rest(rx, ret_messages);
	while (*gaps < RF__GAPS_MAX) {
		n += rf__rx_cursor_borrow(&rx->at, &ret_messages[n], max - n, &header);
		if (n == max || rx->at.position == rx->at.tail)
			break;
		r = take_odd(rx, header, &ret_messages[n]);
		if (r < 0)
			return r;
		n += (unsigned)r;
		*gaps += !r;
	}
	return (int)n;
}

bool rf__ring_rx_has_several(const struct rf__ring_rx *rx, size_t len)
{
	uint64_t left = rx->at.tail - rx->at.position;

	if (rx->unit)
		return left + len >= RF__SEVERAL * rx->unit;
	return left >= RF__SEVERAL * rf__record_bytes(len);
}

int rf__ring_rx_nothing(const struct rf__ring_rx *rx)
{
	if (rx->at.position != rx->at.tail || !rx->final)
		return -EAGAIN;
	return rx->closed == RF__ENDED ? 0 : -EPIPE;
}

/* How many; tail is looked at once, when there is nothing left of what was seen before. */
static int borrow_some(struct rf__ring_rx *rx, struct rf_message *ret_messages, unsigned max)
{
	bool looked = rx->at.position == rx->at.tail;
	unsigned gaps = 0;
	int n;

	if (looked && rf__ring_rx_refresh(rx) < 0)
		return -EPROTO;
	n = borrow_seen(rx, ret_messages, max, &gaps);
	if (n || looked || rx->at.position != rx->at.tail)
		return n;
	if (rf__ring_rx_refresh(rx) < 0) /* there were but gaps */
		return -EPROTO;
	return borrow_seen(rx, ret_messages, max, &gaps);
}

int rf__ring_rx_borrow(struct rf__ring_rx *rx, struct rf_message *ret_messages, unsigned max)
{
	uint64_t taken = rx->at.taken;
	int n;

	if (!max || max > INT32_MAX)
		return -EINVAL;
	if (rx->breach)
		return -EPROTO;
	n = borrow_some(rx, ret_messages, max);
	if (n < 0)
		rx->at.taken = taken; /* those before the breach are not handed out */
	if (n)
		return n;
	pass_gaps(rx);
	give_back(rx, true);
	return rf__ring_rx_nothing(rx);
}

/* Of a view, as rf__rx_cursor_follow(). */
static uint64_t follow_view(const struct rf__rx_cursor *at, const struct rf_message *messages,
	unsigned n, unsigned *ret_done)
{
	uint64_t to = at->released, bytes;
	unsigned i;

	for (i = 0; i < n; i++, to += bytes) {
		bytes = messages[i].id >> 32;
		if (!bytes || bytes > at->taken - to || messages[i].id != view_id(to, bytes))
			break;
	}
	*ret_done = i;
	return to;
}

unsigned rf__ring_rx_release(struct rf__ring_rx *rx, const struct rf_message *messages, unsigned n)
{
	unsigned done;

	rx->at.released = rx->unit ? follow_view(&rx->at, messages, n, &done)
				   : rf__rx_cursor_follow(&rx->at, messages, n, &done);
	if (!done)
		return 0;
	pass_gaps(rx);
	give_back(rx, false);
	return done;
}

bool rf__ring_rx_has(const struct rf__ring_rx *rx, uint64_t id)
{
	uint64_t word = rx->unit ? 1 : 8, bytes = (id >> 32) * word;
	uint64_t ahead = (uint32_t)((uint32_t)id - (uint32_t)(rx->at.released / word)) * word;
	uint64_t lent = rx->at.taken - rx->at.released;

	return bytes && ahead < lent && bytes <= lent - ahead;
}

void rf__ring_rx_give(struct rf__ring_rx *rx, uint64_t units)
{
	rx->at.released += units * rx->unit;
	give_back(rx, false);
}

void rf__ring_rx_flush(struct rf__ring_rx *rx)
{
	give_back(rx, true);
}

void rf__ring_rx_rewind(struct rf__ring_rx *rx, struct rf_message *message, size_t len)
{
	rx->at.position = rx->at.taken = rx->at.released + len;
	message->len = len;
	message->id = view_id(rx->at.released, len);
}

bool rf__ring_rx_lent(const struct rf__ring_rx *rx)
{
	return rx->at.released != rx->at.taken;
}

void rf__ring_rx_finish(struct rf__ring_rx *rx)
{
	if (!rx->breach)
		rf__ring_rx_refresh(rx);
	rx->final = true;
}

void rf__ring_rx_ask(struct rf__ring_rx *rx)
{
	give_back(rx, true);
	ask_at(&rx->own->data_want, rx->at.tail + 1, rx->asymmetric);
}

int rf__ring_rx_look(struct rf__ring_rx *rx)
{
	if (rx->breach || rx->at.position != rx->at.tail || rf__ring_rx_refresh(rx) < 0)
		return 1;
	return rx->at.position != rx->at.tail || rx->final;
}

/* No tail that the producer may be about to store starts out from as far back as that: the one that
 * was seen last may not have looked at the want yet. */
void rf__ring_rx_disarm(struct rf__ring_rx *rx)
{
	rf__store_relaxed(&rx->own->data_want, rx->at.tail - rx->at.capacity);
}
