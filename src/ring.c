/* SPDX-License-Identifier: MIT */
/* The position algorithm: see ring.h. */
#include "ring.h"

#include <errno.h>

#ifdef RF_TESTING
uint64_t (*rf__access_hook)(enum rf__op op, const void *where, uint64_t value);
#endif

/* Does moving from before to after pass want? Unsigned differences: positions wrap, and a
 * hostile want is only a number. */
static bool crosses(uint64_t before, uint64_t after, uint64_t want)
{
	return after - want < after - before;
}

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

/* Stores a position and loads the want of the peer behind it. Symmetric: pairs with the store of the
 * want and the load of the position in ask_at() and rf__ring_tx_look() or rf__ring_rx_look(). Asymmetric:
 * with the barrier that the peer's membarrier(2) makes this thread pass between those two: before the
 * load here, which then finds the want; or behind the store, which is then found. */
static uint64_t move_to(uint64_t *position, uint64_t to, const uint64_t *want, bool asymmetric)
{
	if (!asymmetric) {
		rf__store_seq_cst(position, to);
		return rf__load_seq_cst(want);
	}
	rf__store_release(position, to);
	rf__compiler_barrier();
	return rf__load_relaxed(want);
}

/* Pairs with move_to(). */
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
	tx->data = data;
	tx->capacity = capacity;
	tx->mask = capacity - 1;
}

/* Pairs with give_back(): what the consumer read before it stored head has been read. */
int rf__ring_tx_refresh(struct rf__ring_tx *tx)
{
	uint64_t head = rf__load_seq_cst(&tx->peer->head);

	if (head - tx->head > tx->published - tx->head)
		return tx_breach(tx, "the consumer's head is beyond what was published");
	if (!is_whole(tx->unit, head - tx->head))
		return tx_breach(tx, tx->unit ? "the consumer's head is not at an element"
					      : "the consumer's head is not at a record");
	tx->head = head;
	return 0;
}

static uint64_t tx_room(const struct rf__ring_tx *tx)
{
	return tx->capacity - (tx->reserved - tx->head);
}

/* What a reservation of len bytes takes of the ring. */
static uint64_t taken_by(const struct rf__ring_tx *tx, size_t len)
{
	return tx->unit ? len : rf__record_bytes(len);
}

static struct rf__reservation *waiting_at(struct rf__ring_tx *tx, uint32_t index)
{
	return &tx->waiting[index % RF_RESERVED_MAX];
}

static void reserve_one(struct rf__ring_tx *tx, size_t len, uint64_t each, struct rf_buffer *ret)
{
	struct rf__reservation *r = waiting_at(tx, tx->waiting_end++);

	r->position = tx->reserved;
	r->len = (uint32_t)len;
	r->committed = false;
	r->with_fds = false;
	*ret = (struct rf_buffer){
		.data = tx->data + (tx->reserved & tx->mask) + (tx->unit ? 0 : RF__HEADER),
		.len = len,
		.id = tx->reserved,
	};
	tx->reserved += each;
}

int rf__ring_tx_reserve(
	struct rf__ring_tx *tx, size_t len, struct rf_buffer *ret_buffers, unsigned max)
{
	uint64_t each = taken_by(tx, len);
	unsigned slots = RF_RESERVED_MAX - (tx->waiting_end - tx->waiting_first), n;

	if (tx->breach)
		return -EPROTO;
	if (tx->ended || !max || !slots)
		return -EINVAL;
	if (tx->unit && (!len || !is_whole(tx->unit, len)))
		return -EINVAL;
	if (!rf__ring_tx_fits(tx, len))
		return -EMSGSIZE;
	if (tx_room(tx) < each && rf__ring_tx_refresh(tx) < 0)
		return -EPROTO;
	if (tx_room(tx) < each)
		return -EAGAIN;
	if (max > slots)
		max = slots;
	for (n = 0; n < max && tx_room(tx) >= each; n++)
		reserve_one(tx, len, each, &ret_buffers[n]);
	return (int)n;
}

/* Reservations wait in the order of their positions. Nearly always it is the first, which is open:
 * what is committed at the front does not wait. */
static struct rf__reservation *find_open(struct rf__ring_tx *tx, uint64_t id)
{
	uint32_t low = tx->waiting_first, high = tx->waiting_end;
	struct rf__reservation *first = waiting_at(tx, low);

	if (low != high && first->position == id)
		return first;
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
	rf__store_relaxed((uint64_t *)(void *)(tx->data + (position & tx->mask)), header);
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
	tx->committed = tx->waiting_first == tx->waiting_end
				? tx->reserved
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
	if (!tx->unit)
		put_header(tx, end, RF__SKIP | gap_len(old_end - end));
	return tx->unit && !tx->ended ? -EINVAL : 0;
}

/* The newest one just shrinks, maybe to nothing. */
static int settle(struct rf__ring_tx *tx, struct rf__reservation *r, uint64_t end)
{
	if (is_newest(tx, r)) {
		tx->reserved = end;
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
	struct rf__reservation *r = find_open(tx, id);

	if (tx->breach)
		return -EPROTO;
	if (!r || len > r->len)
		return -EINVAL;
	if (tx->unit)
		return is_whole(tx->unit, len) ? settle(tx, r, id + len) : -EINVAL;
	put_header(
		tx, id, (uint64_t)tag << RF__TAG_SHIFT | (r->with_fds ? RF__FDS_FOLLOW : 0) | len);
	return settle(tx, r, id + rf__record_bytes(len));
}

int rf__ring_tx_cancel(struct rf__ring_tx *tx, uint64_t id)
{
	struct rf__reservation *r = find_open(tx, id);

	return r ? settle(tx, r, id) : -EINVAL;
}

int rf__ring_tx_mark(struct rf__ring_tx *tx, uint64_t id)
{
	struct rf__reservation *r = find_open(tx, id);

	if (!r || tx->unit)
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
	uint64_t before = tx->published, want;

	if (limit == before)
		return;
	tx->published = limit;
	/* pairs with rf__ring_rx_refresh(): headers and payload first */
	want = move_to(&tx->own->tail, limit, &tx->peer->data_want, tx->asymmetric);
	if (crosses(before, limit, want))
		tx->kick_due = true;
}

void rf__ring_tx_publish(struct rf__ring_tx *tx)
{
	rf__ring_tx_publish_to(tx, tx->committed);
}

void rf__ring_tx_cancel_all(struct rf__ring_tx *tx)
{
	uint32_t i, first = tx->waiting_first;

	for (i = tx->waiting_end; i != first; i--)
		if (!waiting_at(tx, i - 1)->committed)
			rf__ring_tx_cancel(tx, waiting_at(tx, i - 1)->position);
}

/* Of a view, all that is behind the oldest open reservation. */
static void cut_off(struct rf__ring_tx *tx)
{
	tx->waiting_first = tx->waiting_end;
	tx->reserved = tx->committed;
}

void rf__ring_tx_abandon(struct rf__ring_tx *tx)
{
	cut_off(tx);
	tx->ended = true;
}

void rf__ring_tx_end(struct rf__ring_tx *tx)
{
	if (tx->unit)
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
	tx->kick_due = true;
}

void rf__ring_tx_ask(struct rf__ring_tx *tx, size_t len)
{
	uint64_t each = taken_by(tx, len ? len : tx->unit);

	ask_at(&tx->own->space_want, tx->reserved + each - tx->capacity, tx->asymmetric);
}

int rf__ring_tx_look(struct rf__ring_tx *tx, size_t len)
{
	uint64_t each = taken_by(tx, len ? len : tx->unit);

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

	for (i = tx->waiting_first; i != tx->waiting_end; i++)
		n += !tx->waiting[i % RF_RESERVED_MAX].committed;
	return n;
}

/* The consumer */

void rf__ring_rx_init(struct rf__ring_rx *rx, struct rf__consumer_words *own,
	const struct rf__producer_words *peer, const unsigned char *data, uint64_t capacity)
{
	memset(rx, 0, sizeof(*rx));
	rx->own = own;
	rx->peer = peer;
	rx->data = data;
	rx->capacity = capacity;
	rx->mask = capacity - 1;
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
	if (tail - rx->tail > rx->stored + rx->capacity - rx->tail)
		return rx_breach(rx, "the producer's tail is beyond the ring");
	if (!is_whole(rx->unit, tail - rx->tail))
		return rx_breach(rx, rx->unit ? "the producer's tail is not at an element"
					      : "the producer's tail is not at a record");
	rx->tail = tail;
	rx->closed = (uint32_t)closed;
	rx->final = closed != RF__OPEN;
	return 0;
}

/* The head goes out when nothing seen is left, or a quarter of the ring was given back: pairs
 * with rf__ring_tx_refresh(). */
static void give_back(struct rf__ring_rx *rx, bool now)
{
	uint64_t before = rx->stored, want;

	if (rx->released == before)
		return;
	if (!now && rx->released != rx->tail && rx->released - before < rx->capacity / 4)
		return;
	rx->stored = rx->released;
	want = move_to(&rx->own->head, rx->stored, &rx->peer->space_want, rx->asymmetric);
	if (crosses(before, rx->stored, want))
		rx->kick_due = true;
}

/* What a message's id says: where the record before it ended, and how far it reaches from there,
 * gaps included, both in words of 8 bytes, in a view in bytes. So releases need neither a list
 * nor a second look at shared memory. */
static uint64_t make_id(uint64_t word, uint64_t from, uint64_t bytes)
{
	return bytes / word << 32 | (from / word & UINT32_MAX);
}

/* Reads the header at position, which moves behind the record: 1; behind a gap: 0. */
static int take_header(struct rf__ring_rx *rx, uint64_t *ret_header)
{
	const unsigned char *at = rx->data + (rx->position & rx->mask);
	uint64_t header = rf__load_relaxed((const uint64_t *)(const void *)at);
	uint64_t bytes = rf__record_bytes(header & RF__LEN_MASK);

	if (bytes > rx->tail - rx->position)
		return rx_breach(rx, "a record reaches beyond what was published");
	if (bytes > rx->capacity / 2)
		return rx_breach(rx, "a record is larger than half the ring");
	if ((header & UINT32_MAX) / RF__SKIP > RF__FDS_FOLLOW / RF__SKIP)
		return rx_breach(rx, "a record has unknown flags");
	rx->position += bytes;
	*ret_header = header;
	return !(header & RF__SKIP);
}

/* With nothing lent, gaps go back at once; else with the record behind them, or with the last
 * one lent. */
static void pass_gaps(struct rf__ring_rx *rx)
{
	if (rx->released == rx->taken)
		rx->released = rx->taken = rx->position;
}

/* Of a view everything that is there is one message; 0: nothing is. */
static int borrow_rest(struct rf__ring_rx *rx, struct rf_message *ret_message)
{
	uint64_t bytes = rx->tail - rx->position;

	if (!bytes)
		return 0;
	*ret_message = (struct rf_message){
		.data = rx->data + (rx->position & rx->mask),
		.len = (size_t)bytes,
		.id = make_id(1, rx->position, bytes),
	};
	rx->position = rx->taken = rx->tail;
	return 1;
}

/* 1: *ret_message is the next record; 0: there is none, or the budget of gaps is used up;
 * -EPROTO. */
static int borrow_one(struct rf__ring_rx *rx, unsigned *gaps, struct rf_message *ret_message)
{
	uint64_t begin, header;
	int is_record;

	while (rx->position != rx->tail && *gaps < RF__GAPS_MAX) {
		begin = rx->position;
		is_record = take_header(rx, &header);
		if (is_record < 0)
			return is_record;
		if (is_record) {
			*ret_message = (struct rf_message){
				.data = rx->data + (begin & rx->mask) + RF__HEADER,
				.len = (size_t)(header & RF__LEN_MASK),
				.id = make_id(8, rx->taken, rx->position - rx->taken),
				.tag = (uint32_t)(header >> RF__TAG_SHIFT),
				.n_fds = header & RF__FDS_FOLLOW ? UINT32_MAX : 0,
			};
			rx->taken = rx->position;
			return 1;
		}
		++*gaps;
	}
	return 0;
}

int rf__ring_rx_nothing(const struct rf__ring_rx *rx)
{
	if (rx->position != rx->tail || !rx->final)
		return -EAGAIN;
	return rx->closed == RF__ENDED ? 0 : -EPIPE;
}

/* How many; tail is looked at once, when there is nothing left of what was seen before. */
static int borrow_some(struct rf__ring_rx *rx, struct rf_message *ret_messages, unsigned max)
{
	unsigned n = 0, gaps = 0;
	bool looked = false;
	int r;

	while (n < max) {
		if (rx->position == rx->tail) {
			if (n || looked)
				break;
			if (rf__ring_rx_refresh(rx) < 0)
				return -EPROTO;
			looked = true;
		}
		r = rx->unit ? borrow_rest(rx, &ret_messages[n])
			     : borrow_one(rx, &gaps, &ret_messages[n]);
		if (r < 0)
			return r;
		if (!r && rx->position != rx->tail)
			break;
		n += (unsigned)r;
	}
	return (int)n;
}

int rf__ring_rx_borrow(struct rf__ring_rx *rx, struct rf_message *ret_messages, unsigned max)
{
	uint64_t taken = rx->taken;
	int n;

	if (!max || max > INT32_MAX)
		return -EINVAL;
	if (rx->breach)
		return -EPROTO;
	n = borrow_some(rx, ret_messages, max);
	if (n < 0)
		rx->taken = taken; /* those before the breach are not handed out */
	if (n)
		return n;
	pass_gaps(rx);
	give_back(rx, true);
	return rf__ring_rx_nothing(rx);
}

int rf__ring_rx_release(struct rf__ring_rx *rx, uint64_t id)
{
	uint64_t bytes = rx->unit ? id >> 32 : id >> 32 << 3, from = rx->released;

	if (!bytes || bytes > rx->taken - from)
		return -EINVAL;
	if (id != (rx->unit ? make_id(1, from, bytes) : make_id(8, from, bytes)))
		return -EINVAL;
	rx->released += bytes;
	pass_gaps(rx);
	give_back(rx, false);
	return 0;
}

bool rf__ring_rx_has(const struct rf__ring_rx *rx, uint64_t id)
{
	uint64_t word = rx->unit ? 1 : 8, bytes = (id >> 32) * word;
	uint64_t ahead = (uint32_t)((uint32_t)id - (uint32_t)(rx->released / word)) * word;
	uint64_t lent = rx->taken - rx->released;

	return bytes && ahead < lent && bytes <= lent - ahead;
}

void rf__ring_rx_give(struct rf__ring_rx *rx, uint64_t units)
{
	rx->released += units * rx->unit;
	give_back(rx, false);
}

void rf__ring_rx_flush(struct rf__ring_rx *rx)
{
	give_back(rx, true);
}

void rf__ring_rx_rewind(struct rf__ring_rx *rx, struct rf_message *message, size_t len)
{
	rx->position = rx->taken = rx->released + len;
	message->len = len;
	message->id = make_id(1, rx->released, len);
}

bool rf__ring_rx_lent(const struct rf__ring_rx *rx)
{
	return rx->released != rx->taken;
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
	ask_at(&rx->own->data_want, rx->tail + 1, rx->asymmetric);
}

int rf__ring_rx_look(struct rf__ring_rx *rx)
{
	if (rx->breach || rx->position != rx->tail || rf__ring_rx_refresh(rx) < 0)
		return 1;
	return rx->position != rx->tail || rx->final;
}

/* No tail that the producer may be about to store starts out from as far back as that: the one that
 * was seen last may not have looked at the want yet. */
void rf__ring_rx_disarm(struct rf__ring_rx *rx)
{
	rf__store_relaxed(&rx->own->data_want, rx->tail - rx->capacity);
}
