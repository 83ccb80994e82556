/* SPDX-License-Identifier: MIT */
/* What a compiler inlines and what the library does when it is called are the same: two channels are
 * treated alike, one with inlined calls and one through the addresses of the functions, and compared
 * after each call; also where the peer breaks the protocol. */
#include "channel-fixture.h"
#include "ring-fixture.h"

#include <sys/mman.h>

#define AT_ONCE 6

struct calls {
	int (*reserve)(struct rf_tx *tx, size_t len, uint64_t deadline_ns, struct rf_buffer *ret);
	int (*commit)(struct rf_tx *tx, const struct rf_buffer *buffer);
	int (*publish)(struct rf_tx *tx);
	int (*borrow)(struct rf_rx *rx, uint64_t deadline_ns, struct rf_message *ret, unsigned max);
	int (*release)(struct rf_rx *rx, const struct rf_message *messages, unsigned n);
};

static int inlined_reserve(
	struct rf_tx *tx, size_t len, uint64_t deadline_ns, struct rf_buffer *ret_buffer)
{
	return rf_tx_reserve(tx, len, deadline_ns, ret_buffer);
}

static int inlined_commit(struct rf_tx *tx, const struct rf_buffer *buffer)
{
	return rf_tx_commit(tx, buffer);
}

static int inlined_publish(struct rf_tx *tx)
{
	return rf_tx_publish(tx);
}

/* One at a time is what is inlined. */
static int inlined_borrow(
	struct rf_rx *rx, uint64_t deadline_ns, struct rf_message *ret_messages, unsigned max)
{
	return max == 1 ? rf_rx_borrow(rx, deadline_ns, ret_messages, 1)
			: rf_rx_borrow(rx, deadline_ns, ret_messages, max);
}

static int inlined_release(struct rf_rx *rx, const struct rf_message *messages, unsigned n)
{
	return n == 1 ? rf_rx_release(rx, messages, 1) : rf_rx_release(rx, messages, n);
}

static const struct calls inlined = {
	inlined_reserve, inlined_commit, inlined_publish, inlined_borrow, inlined_release};
static const struct calls called = {
	rf_tx_reserve, rf_tx_commit, rf_tx_publish, rf_rx_borrow, rf_rx_release};

struct side {
	const struct calls *calls;
	struct ends ends;
	struct rf_tx *tx;
	struct rf_rx *rx;
	struct rf_buffer open[AT_ONCE];
	struct rf_message lent[AT_ONCE];
};

static struct side sides[2];
static unsigned n_open, n_lent;
static uint64_t seed;

#define FOR_BOTH(side) for (struct side *side = sides; side < sides + 2; side++)

static void sides_open(const struct rf_options *options)
{
	n_open = n_lent = 0;
	sides[0].calls = &inlined;
	sides[1].calls = &called;
	FOR_BOTH(side)
	{
		ends_open(&side->ends, options, options);
		side->tx = rf_channel_tx(side->ends.client);
		side->rx = rf_channel_rx(side->ends.server);
	}
}

/* What is still out keeps the memory of a channel that was closed. */
static void sides_close(void)
{
	FOR_BOTH(side)
	{
		ends_close(&side->ends);
		if (n_lent)
			assert_int_equal(rf_rx_release(side->rx, side->lent, n_lent), 0);
		for (unsigned i = 0; i < n_open; i++)
			rf_tx_cancel(side->tx, &side->open[i]);
	}
}

static int same(int a, int b)
{
	assert_int_equal(a, b);
	return a;
}

static uint64_t place_of(const struct side *side, const void *data)
{
	const struct rf__ring_tx *ring = &side->tx->ring;

	return (uint64_t)((const unsigned char *)data - ring->at.data) & ring->at.mask;
}

static uint64_t place_received(const struct side *side, const void *data)
{
	const struct rf__ring_rx *ring = &side->rx->ring;

	return (uint64_t)((const unsigned char *)data - ring->at.data) & ring->at.mask;
}

/* Mostly what fits, and the same as before. */
static size_t some_len(void)
{
	static size_t last;
	size_t unit = rf_tx_element_bytes(sides[0].tx);

	if (below(&seed, 3) == 0)
		last = below(&seed, 12) ? below(&seed, 300) : below(&seed, RING_BYTES);
	return unit && below(&seed, 20) ? unit : last;
}

static void try_reserve(void)
{
	size_t len = some_len();
	struct rf_buffer *a = &sides[0].open[n_open], *b = &sides[1].open[n_open];

	if (n_open == AT_ONCE)
		return;
	if (same(sides[0].calls->reserve(sides[0].tx, len, 0, a),
		    sides[1].calls->reserve(sides[1].tx, len, 0, b)) < 0)
		return;
	assert_int_equal(place_of(&sides[0], a->data), place_of(&sides[1], b->data));
	assert_int_equal(a->id, b->id);
	assert_int_equal(a->len, b->len);
	assert_int_equal(a->tag | a->time_ns | a->user[0] | a->user[1], 0);
	memset(a->data, (int)(seed & 0xff), a->len);
	memset(b->data, (int)(seed & 0xff), b->len);
	n_open++;
}

static void forget(unsigned i)
{
	n_open--;
	FOR_BOTH(side)
	memmove(&side->open[i], &side->open[i + 1], (n_open - i) * sizeof(side->open[0]));
}

static void try_commit(void)
{
	unsigned i = below(&seed, 4) ? 0 : below(&seed, AT_ONCE);
	size_t less = below(&seed, 4) ? 0 : below(&seed, below(&seed, 2) ? 64 : RING_BYTES);
	size_t more = below(&seed, 50) ? 0 : 1;
	uint32_t tag = (uint32_t)next_random(&seed);
	struct rf_buffer b[2];

	if (i >= n_open)
		return;
	for (int k = 0; k < 2; k++) {
		b[k] = sides[k].open[i];
		b[k].len = b[k].len > less ? b[k].len - less + more : b[k].len;
		b[k].tag = tag;
		b[k].id += below(&seed, 2) ? 0 : (uint64_t)more;
		if (!k)
			continue;
		b[1].id = b[0].id;
	}
	if (!same(sides[0].calls->commit(sides[0].tx, &b[0]),
		    sides[1].calls->commit(sides[1].tx, &b[1])))
		forget(i);
}

static void try_cancel(void)
{
	unsigned i = below(&seed, AT_ONCE);

	if (i < n_open && !same(rf_tx_cancel(sides[0].tx, &sides[0].open[i]),
				  rf_tx_cancel(sides[1].tx, &sides[1].open[i])))
		forget(i);
}

static void try_publish(void)
{
	same(sides[0].calls->publish(sides[0].tx), sides[1].calls->publish(sides[1].tx));
}

static int try_borrow(void)
{
	struct rf_message *a = &sides[0].lent[n_lent], *b = &sides[1].lent[n_lent];
	unsigned max = below(&seed, 3) ? 1 : below(&seed, 3) + 1;
	int n;

	if (n_lent + max > AT_ONCE)
		return -EAGAIN;
	n = same(sides[0].calls->borrow(sides[0].rx, 0, a, max),
		sides[1].calls->borrow(sides[1].rx, 0, b, max));
	for (int i = 0; i < n; i++) {
		assert_int_equal(
			place_received(&sides[0], a[i].data), place_received(&sides[1], b[i].data));
		assert_int_equal(a[i].id, b[i].id);
		assert_int_equal(a[i].tag, b[i].tag);
		assert_int_equal(a[i].len, b[i].len);
		assert_int_equal(a[i].n_fds | a[i].missed | b[i].n_fds | b[i].missed, 0);
		assert_memory_equal(a[i].data, b[i].data, a[i].len);
	}
	n_lent += n > 0 ? (unsigned)n : 0;
	return n;
}

/* The oldest ones; or not. */
static void try_release(void)
{
	unsigned from = below(&seed, 20) ? 0 : 1, n = below(&seed, 3) ? 1 : below(&seed, 3) + 1;
	int r;

	if (from + n > n_lent)
		return;
	r = same(sides[0].calls->release(sides[0].rx, &sides[0].lent[from], n),
		sides[1].calls->release(sides[1].rx, &sides[1].lent[from], n));
	assert_int_equal(r, from && !sides[0].rx->slots ? -EINVAL : 0);
	if (r < 0)
		return;
	n_lent -= n;
	FOR_BOTH(side)
	memmove(&side->lent[from], &side->lent[from + n], (n_lent - from) * sizeof(side->lent[0]));
}

static void compare_figures(void)
{
	struct rf_stats a = channel_stats(sides[0].ends.client);
	struct rf_stats b = channel_stats(sides[1].ends.client);

	assert_int_equal(a.tx.records, b.tx.records);
	assert_int_equal(a.tx.bytes, b.tx.bytes);
	a = channel_stats(sides[0].ends.server);
	b = channel_stats(sides[1].ends.server);
	assert_int_equal(a.rx.records, b.rx.records);
	assert_int_equal(a.rx.bytes, b.rx.bytes);
}

static void do_something(void)
{
	switch (below(&seed, 16)) {
	case 0 ... 3:
		try_reserve();
		break;
	case 4 ... 7:
		try_commit();
		break;
	case 8:
		try_cancel();
		break;
	case 9 ... 10:
		try_publish();
		break;
	case 11 ... 12:
		try_borrow();
		break;
	default:
		try_release();
	}
}

static void end_alike(void)
{
	int n;

	same(rf_tx_end(sides[0].tx), rf_tx_end(sides[1].tx));
	n_open = 0;
	while ((n = try_borrow()) > 0 || n == -EAGAIN)
		try_release();
	assert_int_equal(n, 0);
	try_reserve();
	assert_int_equal(n_open, 0);
	try_publish();
	compare_figures();
}

static void behave_alike(enum rf_kind kind, size_t element_bytes, uint32_t flags)
{
	struct rf_options options = channel_options(RF_DOORBELL_AUTO, RF_WAIT_SPIN);

	options.kind = kind;
	options.element_bytes = element_bytes;
	options.type = element_bytes ? "triple" : NULL;
	options.flags |= flags;
	sides_open(&options);
	for (unsigned i = rf_test_rounds(40000); i; i--) {
		do_something();
		if (i % 512 == 0)
			compare_figures();
	}
	assert_true(channel_stats(sides[0].ends.server).rx.records >
		    rf_test_rounds(kind == RF_BYTES ? 400 : 20));
	end_alike();
	sides_close();
}

static void records_are_the_same(void **state)
{
	(void)state;
	for (seed = 1; seed < 4; seed++)
		behave_alike(RF_BYTES, 0, 0);
	behave_alike(RF_BYTES, 0, RF_OPTION_FENCE);
}

static void views_are_the_same(void **state)
{
	(void)state;
	seed = 5;
	behave_alike(RF_ELEMENTS, 24, 0);
	behave_alike(RF_ELEMENTS, 24, RF_OPTION_FENCE);
	behave_alike(RF_STREAM, 0, 0);
}

static void slots_are_the_same(void **state)
{
	(void)state;
	seed = 7;
	behave_alike(RF_SLOTS, 0, 0);
}

/* Not even where a longer one was shortened. */
static void no_record_fills_more_than_half_the_ring(void **state)
{
	struct rf_options options = channel_options(RF_DOORBELL_AUTO, RF_WAIT_SPIN);
	const size_t half = RING_BYTES / 2 - RF__HEADER;

	(void)state;
	sides_open(&options);
	FOR_BOTH(side)
	{
		struct rf_buffer buffer;

		assert_int_equal(side->calls->reserve(side->tx, half, 0, &buffer), 0);
		buffer.len = 0;
		assert_int_equal(side->calls->commit(side->tx, &buffer), 0);
		assert_int_equal(side->calls->reserve(side->tx, half + 1, 0, &buffer), -EMSGSIZE);
		assert_int_equal(side->calls->reserve(side->tx, half, 0, &buffer), 0);
		assert_int_equal(rf_tx_cancel(side->tx, &buffer), 0);
	}
	sides_close();
}

/* Nor is it longer than its header can say, in the largest of rings, whatever was reserved before. Only
 * headers are touched: the memory is nobody's. */
static void no_record_is_longer_than_its_header_can_say(void **state)
{
	static struct rf__producer_words own;
	static struct rf__consumer_words peer;
	const uint64_t capacity = RF__AREA_MAX;
	struct rf__ring_tx ring;
	struct rf_buffer buffer;
	unsigned char *data = mmap(NULL, 2 * capacity, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	(void)state;
	if (data == MAP_FAILED)
		skip();
	rf__ring_tx_init(&ring, &own, &peer, data, capacity);
	assert_int_equal(rf__ring_tx_reserve(&ring, 5 << 20, &buffer, 1), 1);
	assert_int_equal(rf__ring_tx_commit(&ring, buffer.id, 8, 0), 0);
	assert_int_equal(rf__ring_tx_reserve(&ring, RF_RECORD_MAX + 1, &buffer, 1), -EMSGSIZE);
	assert_false(rf__tx_cursor_reserve(&ring.at, RF_RECORD_MAX + 1, &buffer));
	assert_true(rf__tx_cursor_reserve(&ring.at, RF_RECORD_MAX, &buffer));
	assert_true(rf__tx_cursor_commit(&ring.at, buffer.id, buffer.len, 7));
	assert_int_equal(*(const uint64_t *)(const void *)(data + 16),
		UINT64_C(7) << RF__TAG_SHIFT | RF_RECORD_MAX);
	munmap(data, 2 * capacity);
}

/* Hostile producers: a header that was published is something else when it is looked at. */

static uint64_t some_header(void)
{
	uint64_t header = next_random(&seed);

	if (below(&seed, 2))
		header &= ~RF__FLAG_MASK;
	if (below(&seed, 2))
		header &= ~(uint64_t)0x0fffff00;
	return below(&seed, 8) ? header : (header & ~RF__FLAG_MASK) | RF__SKIP;
}

static void change_the_next_header(void)
{
	uint64_t header = some_header(), at = sides[0].rx->ring.at.position;

	if (at == sides[0].tx->ring.at.published)
		return;
	FOR_BOTH(side)
	{
		const struct rf__tx_cursor *c = &side->tx->ring.at;

		rf__store_relaxed((uint64_t *)(void *)(c->data + (at & c->mask)), header);
	}
}

/* false: nothing came of it. */
static bool is_broken_alike(void)
{
	for (unsigned i = 0; i < 200; i++) {
		do_something();
		if (i % 16 == 15)
			change_the_next_header();
		if (*rf_channel_reason(sides[0].ends.server))
			return true;
	}
	return false;
}

/* Nothing is delivered any more, whatever was seen before. */
static void assert_nothing_works(void)
{
	FOR_BOTH(side)
	assert_int_equal(rf_rx_release(side->rx, side->lent, n_lent), 0);
	n_lent = 0;
	assert_string_equal(
		rf_channel_reason(sides[0].ends.server), rf_channel_reason(sides[1].ends.server));
	assert_int_equal(try_borrow(), -EPROTO);
	FOR_BOTH(side)
	{
		struct rf_tx *tx = rf_channel_tx(side->ends.server);
		struct rf_buffer buffer;

		assert_int_equal(side->calls->reserve(tx, 8, 0, &buffer), -EPROTO);
		assert_int_equal(side->calls->publish(tx), -EPROTO);
	}
}

static void p3_headers_break_both_alike(void **state)
{
	struct rf_options options = channel_options(RF_DOORBELL_AUTO, RF_WAIT_SPIN);
	unsigned n_broken = 0, rounds = rf_test_rounds(300);

	(void)state;
	for (unsigned i = 0; i < rounds; i++) {
		seed = 100 + i;
		sides_open(&options);
		if (is_broken_alike()) {
			assert_nothing_works();
			n_broken++;
		}
		sides_close();
	}
	assert_true(n_broken > rounds / 4);
}

/* What was lent lives on after close, and the last release frees it. */
static void what_is_lent_outlives_close(void **state)
{
	struct rf_options options = channel_options(RF_DOORBELL_AUTO, RF_WAIT_SPIN);
	size_t regions = rf_test_count_memfd_mappings();
	struct rf_message message;
	struct ends ends;
	struct rf_rx *rx;

	(void)state;
	ends_open(&ends, &options, &options);
	rx = rf_channel_rx(ends.server);
	for (uint64_t number = 1; number < 4; number++)
		assert_int_equal(send_number(rf_channel_tx(ends.client), number, 0), 0);
	assert_int_equal(rf_rx_borrow(rx, 0, &message, 1), 1);
	ends_close(&ends);
	assert_true(rf_test_count_memfd_mappings() > regions);
	assert_int_equal(*(const uint64_t *)message.data, 1);
	assert_int_equal(rf_rx_release(rx, &message, 1), 0);
	assert_int_equal(rf_test_count_memfd_mappings(), regions);
}

/* A half whose channel the other half found broken is told so at its next call. */
static void one_half_tells_the_other(void **state)
{
	struct rf_options options = channel_options(RF_DOORBELL_AUTO, RF_WAIT_SPIN);
	struct rf_message message;
	struct ends ends;

	(void)state;
	ends_open(&ends, &options, &options);
	for (uint64_t number = 1; number < 4; number++)
		assert_int_equal(send_number(rf_channel_tx(ends.client), number, 0), 0);
	assert_int_equal(rf_rx_borrow(rf_channel_rx(ends.server), 0, &message, 1), 1);
	rf__link_break(&ends.server->link, "for a test");
	assert_int_equal(rf_rx_borrow(rf_channel_rx(ends.server), 0, &message, 1), -EPROTO);
	assert_int_equal(rf_rx_release(rf_channel_rx(ends.server), &message, 1), 0);
	ends_close(&ends);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_are_the_same),
		cmocka_unit_test(views_are_the_same),
		cmocka_unit_test(slots_are_the_same),
		cmocka_unit_test(no_record_fills_more_than_half_the_ring),
		cmocka_unit_test(no_record_is_longer_than_its_header_can_say),
		cmocka_unit_test(p3_headers_break_both_alike),
		cmocka_unit_test(what_is_lent_outlives_close),
		cmocka_unit_test(one_half_tells_the_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
