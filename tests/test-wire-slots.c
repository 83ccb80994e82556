/* SPDX-License-Identifier: MIT */
/* The handshake about slots, publishers and descriptors beside the data: what is agreed on, what is
 * refused and in which words, and what a lying end gets. */
#include "wire-fixture.h"

#define SECOND UINT64_C(1000000000)

static struct rf__wish slots_wish(uint32_t slots, uint64_t slot_bytes, uint32_t align)
{
	struct rf__wish wish = any_wish();

	wish.kind = RF_SLOTS;
	wish.slots = slots;
	wish.slot_bytes = slot_bytes;
	wish.slot_align = align;
	return wish;
}

/* 8 slots of 1000 bytes at 128, of which it grants 2. */
static struct rf__wish publisher_wish(void)
{
	struct rf__wish wish = slots_wish(8, 1000, 128);

	wish.publishes = true;
	wish.direction = RF_SEND;
	wish.hold = 2;
	return wish;
}

static void agree(struct pair *pair, const struct rf__wish *client, const struct rf__wish *server)
{
	pair_init(pair, client, server);
	run(pair);
	assert_open(pair);
	assert_same_terms(pair);
}

static void assert_no_ground(
	const struct rf__wish *client, const struct rf__wish *server, const char *sentence)
{
	struct pair pair;

	pair_init(&pair, client, server);
	run(&pair);
	assert_refused(&pair.server, &pair.client, -ENOTSUP, sentence);
}

/* Geometry */

struct geometry {
	uint32_t slots;
	uint64_t slot_bytes;
	uint32_t align;
	uint64_t max; /* 0: 64 MiB */
};

static const struct {
	struct geometry client, server, agreed;
	uint64_t stride, file;
} geometries[] = {
	{{0}, {0}, {16, 256 * KIB, 64, 0}, 256 * KIB, 4 * MIB + PAGE},
	{{4, 1000, 0, 0}, {0}, {4, 1000, 64, 0}, 1024, 2 * PAGE},
	{{0}, {5, 1000, 128, 0}, {5, 1000, 128, 0}, 1024, 2 * PAGE},
	{{4, 0, 4096, 0}, {0, 1000, 64, 0}, {4, 1000, 4096, 0}, 4096, 5 * PAGE},
	{{4, 3000, 64, 0}, {9, 1000, 256, 0}, {9, 3000, 256, 0}, 3072, 7 * PAGE},
	{{2, 1, 64, 0}, {0}, {2, 1, 64, 0}, 64, PAGE},
	{{65536, 960, 0, 0}, {0}, {65536, 960, 64, 0}, 960, 62 * MIB},
	{{0, 0, 0, 1 * MIB}, {0}, {16, 64 * KIB, 64, 0}, 64 * KIB, 1 * MIB + PAGE},
	{{0, 0, 0, 1 * MIB - 1}, {0}, {16, 32 * KIB, 64, 0}, 32 * KIB, 512 * KIB + PAGE},
	{{0}, {0, 0, 0, 3 * MIB}, {16, 128 * KIB, 64, 0}, 128 * KIB, 2 * MIB + PAGE},
	{{0, 0, 0, PAGE}, {0}, {16, 256, 64, 0}, 256, 2 * PAGE},
	{{1000, 0, 0, 0}, {0}, {1000, 64 * KIB, 64, 0}, 64 * KIB, 16008 * PAGE},
};

static struct rf__wish wish_for(const struct geometry *g)
{
	struct rf__wish wish = slots_wish(g->slots, g->slot_bytes, g->align);

	if (g->max)
		wish.max_ring_bytes = g->max;
	return wish;
}

static void the_larger_wish_of_slots_counts(void **state)
{
	(void)state;
	for (size_t i = 0; i < LEN(geometries); i++) {
		struct rf__wish client = wish_for(&geometries[i].client),
				server = wish_for(&geometries[i].server);
		const struct geometry *agreed = &geometries[i].agreed;
		const struct rf__terms *terms;
		struct pair pair;

		agree(&pair, &client, &server);
		terms = &pair.client.terms;
		assert_int_equal(terms->kind, RF_SLOTS);
		assert_int_equal(terms->slots, agreed->slots);
		assert_int_equal(terms->slot_bytes, agreed->slot_bytes);
		assert_int_equal(terms->slot_align, agreed->align);
		assert_int_equal(terms->hold, agreed->slots);
		assert_int_equal(rf__terms_stride(terms), geometries[i].stride);
		assert_int_equal(rf__terms_slots_bytes(terms), geometries[i].file);
		assert_int_equal(terms->lag, 0);
		assert_int_equal(pair.carried, 4);
	}
}

static void either_end_may_name_slots(void **state)
{
	struct rf__wish slots = slots_wish(4, 100, 0), none = slots_wish(6, 0, 0),
			bytes = any_wish();
	struct pair pair;

	(void)state;
	none.kind = 0;
	agree(&pair, &slots, &none);
	assert_int_equal(pair.client.terms.slots, 6);
	agree(&pair, &none, &slots);
	assert_int_equal(pair.client.terms.slot_bytes, 100);
	assert_no_ground(&bytes, &slots, "kinds differ: client bytes, server slots");
	assert_no_ground(&slots, &bytes, "kinds differ: client slots, server bytes");
	agree(&pair, &none, &none); /* nobody named a kind: bytes, and no slots */
	assert_int_equal(pair.client.terms.kind, RF_BYTES);
	assert_int_equal(pair.client.terms.slots, 0);
}

static void slots_beyond_a_limit_are_refused_with_both(void **state)
{
	struct rf__wish client = slots_wish(16, MIB, 0), server = slots_wish(0, 0, 0);
	struct pair pair;

	(void)state;
	client.max_ring_bytes = 16 * MIB - 1;
	assert_no_ground(&client, &server,
		"slots of 16777216 bytes in all: client allows 16777215, server 67108864");
	client.max_ring_bytes = 16 * MIB;
	agree(&pair, &client, &server);
	server.max_ring_bytes = 16 * MIB - 1;
	assert_no_ground(&client, &server,
		"slots of 16777216 bytes in all: client allows 16777216, server 16777215");
	server = slots_wish(65536, UINT64_C(1) << 30, 4096);
	assert_no_ground(&client, &server, "slots of 70368744177664 bytes in all");
}

static void descriptor_areas_follow_from_what_may_be_held(void **state)
{
	static const struct {
		uint32_t slots, hold;
		uint64_t area, returns;
	} rows[] = {
		{16, 0, PAGE, PAGE},
		{256, 0, PAGE, PAGE},
		{257, 0, 2 * PAGE, PAGE},
		{1000, 1, PAGE, PAGE},
		{1000, 512, 2 * PAGE, PAGE},
		{1000, 513, 16 * KIB, 8 * KIB},
		{1000, 0, 16 * KIB, 8 * KIB},
		{1025, 0, 32 * KIB, 16 * KIB},
		{65536, 0, 1 * MIB, 512 * KIB},
	};

	(void)state;
	for (size_t i = 0; i < LEN(rows); i++) {
		struct rf__wish client = slots_wish(rows[i].slots, 64, 0), server = client;
		const struct rf__terms *terms;
		struct pair pair;

		client.direction = RF_RECEIVE;
		client.hold = rows[i].hold;
		client.ring_bytes = 1 * MIB; /* means nothing here */
		agree(&pair, &client, &server);
		terms = &pair.client.terms;
		assert_int_equal(terms->area_bytes[RF__UP], 0);
		assert_int_equal(terms->area_bytes[RF__DOWN], rows[i].area);
		assert_int_equal(rf__terms_returns_bytes(terms, RF__DOWN), rows[i].returns);
		assert_int_equal(rf__terms_returns_bytes(terms, RF__UP), 0);
		assert_int_equal(rf__terms_unit(terms), 16);
	}
}

static void returns_are_of_slots_only(void **state)
{
	struct rf__wish wish = any_wish();
	struct pair pair;

	(void)state;
	agree(&pair, &wish, &wish);
	assert_int_equal(rf__terms_returns_bytes(&pair.client.terms, RF__UP), 0);
	assert_int_equal(rf__terms_slots_bytes(&pair.client.terms), 0);
}

/* Of 8 slots. */
static void the_receiver_says_how_many_it_may_hold(void **state)
{
	static const struct {
		uint32_t direction, client, server, hold; /* hold 0: refused */
	} rows[] = {
		{RF_RECEIVE, 0, 0, 8},
		{RF_RECEIVE, 3, 0, 3},
		{RF_RECEIVE, 3, 5, 3},
		{RF_RECEIVE, 0, 5, 8},
		{RF_RECEIVE, 8, 0, 8},
		{RF_RECEIVE, 9, 0, 0},
		{RF_RECEIVE, UINT32_MAX, 0, 0},
		{RF_SEND, 0, 0, 8},
		{RF_SEND, 3, 0, 8},
		{RF_SEND, 3, 5, 5},
		{RF_SEND, 0, 9, 0},
		{BOTH, 0, 0, 8},
		{BOTH, 3, 0, 8},
		{BOTH, 3, 5, 5},
		{BOTH, 5, 3, 5},
		{BOTH, 5, 9, 0},
	};

	(void)state;
	for (size_t i = 0; i < LEN(rows); i++) {
		struct rf__wish client = slots_wish(8, 64, 0), server = slots_wish(0, 0, 0);
		struct pair pair;

		client.direction = rows[i].direction;
		client.hold = rows[i].client;
		server.hold = rows[i].server;
		if (!rows[i].hold) {
			assert_no_ground(&client, &server, "slots of 8");
			continue;
		}
		agree(&pair, &client, &server);
		assert_int_equal(pair.client.terms.hold, rows[i].hold);
	}
}

static void hostile_hello_with_impossible_slots_is_refused(void **state)
{
	static const struct {
		struct rf__wish wish;
	} rows[] = {
		{{.slots = 1}},
		{{.slots = 65537}},
		{{.slots = UINT32_MAX, .slot_bytes = UINT64_MAX}},
		{{.slot_bytes = (UINT64_C(1) << 30) + 1}},
		{{.slot_align = 1}},
		{{.slot_align = 32}},
		{{.slot_align = 96}},
		{{.slot_align = 2 * PAGE}},
		{{.slot_align = UINT32_C(1) << 31}},
		{{.slot_align = UINT32_MAX}},
	};

	(void)state;
	for (size_t i = 0; i < LEN(rows); i++) {
		struct rf__wish client = slots_wish(rows[i].wish.slots, rows[i].wish.slot_bytes,
					rows[i].wish.slot_align),
				server = slots_wish(0, 0, 0), publisher = publisher_wish();

		client.max_ring_bytes = UINT64_MAX;
		server.max_ring_bytes = UINT64_MAX;
		assert_no_ground(&client, &server, "the client wants");
		assert_no_ground(&client, &publisher, "the client wants");
	}
}

/* Publishers */

static void slots_of_a_publisher_are_what_they_are(void **state)
{
	struct rf__wish client = slots_wish(0, 0, 0), server = publisher_wish();
	struct pair pair;

	(void)state;
	client.kind = 0;
	agree(&pair, &client, &server);
	assert_int_equal(pair.client.terms.kind, RF_SLOTS);
	assert_int_equal(pair.client.terms.slots, 8);
	assert_int_equal(pair.client.terms.slot_bytes, 1000);
	assert_int_equal(pair.client.terms.slot_align, 128);
	assert_int_equal(pair.client.terms.hold, 2);
	assert_int_equal(pair.client.terms.area_bytes[RF__UP], 0);
	client = slots_wish(8, 1000, 128);
	agree(&pair, &client, &server);
	client = slots_wish(9, 0, 0);
	assert_no_ground(&client, &server,
		"client wants 9 of 0 bytes at multiples of 0, server has 8 of 1000 at 128");
	client = slots_wish(0, 1001, 0);
	assert_no_ground(&client, &server, "client wants 0 of 1001 bytes");
	client = slots_wish(0, 0, 256);
	assert_no_ground(&client, &server, "at multiples of 256");
	client = slots_wish(0, 0, 0);
	client.max_ring_bytes = 2 * PAGE - 1;
	assert_no_ground(&client, &server, "slots of 8192 bytes in all: client allows 8191");
	client.max_ring_bytes = 2 * PAGE;
	agree(&pair, &client, &server);
}

static void the_longest_refusal_has_room(void **state)
{
	struct rf__wish client = slots_wish(65536, UINT64_C(1) << 30, 4096),
			server = publisher_wish();

	(void)state;
	server.slots = 65535;
	server.slot_bytes = UINT64_C(1) << 30;
	server.slot_align = 4096;
	assert_no_ground(&client, &server, "server has 65535 of 1073741824 at 4096");
}

static void a_publisher_only_sends(void **state)
{
	struct rf__wish client = slots_wish(0, 0, 0), server = publisher_wish();
	struct pair pair;

	(void)state;
	for (client.direction = 0; client.direction <= BOTH; client.direction++) {
		server.direction = 0;
		if (client.direction && client.direction != RF_RECEIVE) {
			assert_no_ground(&client, &server, "server sends");
			continue;
		}
		pair_init(&pair, &client, &server);
		run(&pair);
		assert_open(&pair);
		assert_int_equal(pair.server.terms.area_bytes[RF__UP], 0);
	}
}

static void a_subscriber_may_wish_for_another_hold(void **state)
{
	struct rf__wish client = slots_wish(0, 0, 0), server = publisher_wish();
	struct pair pair;

	(void)state;
	for (client.hold = 1; client.hold <= 8; client.hold++) {
		agree(&pair, &client, &server);
		assert_int_equal(pair.client.terms.hold, client.hold);
	}
	assert_no_ground(&client, &server, "want to hold 9 and 2 slots of 8");
}

static const struct {
	uint32_t client, server, agreed;
	uint64_t client_ns, server_ns, stall_ns;
} lags[] = {
	{0, 0, RF_LAG_DROP, 0, 0, 0},
	{0, RF_LAG_LATEST, RF_LAG_LATEST, 5, 5, 0},
	{RF_LAG_DROP, RF_LAG_BLOCK, RF_LAG_DROP, 0, 0, 0},
	{RF_LAG_LATEST, 0, RF_LAG_LATEST, 0, 0, 0},
	{RF_LAG_BLOCK, RF_LAG_DROP, RF_LAG_BLOCK, 0, 0, 0},
	{RF_LAG_DISCONNECT, 0, RF_LAG_DISCONNECT, 0, 0, SECOND},
	{RF_LAG_DISCONNECT, 0, RF_LAG_DISCONNECT, 5, 0, 5},
	{RF_LAG_DISCONNECT, 0, RF_LAG_DISCONNECT, 0, 7, 7},
	{RF_LAG_DISCONNECT, 0, RF_LAG_DISCONNECT, 9, 7, 7},
	{0, RF_LAG_DISCONNECT, RF_LAG_DISCONNECT, 5, 7, 5},
	{0, RF_LAG_DISCONNECT, RF_LAG_DISCONNECT, UINT64_MAX, 0, UINT64_MAX},
};

static void lag_is_the_subscribers_wish_else_the_grant(void **state)
{
	(void)state;
	for (size_t i = 0; i < LEN(lags); i++) {
		struct rf__wish client = slots_wish(0, 0, 0), server = publisher_wish();
		struct pair pair;

		client.lag = lags[i].client;
		client.stall_ns = lags[i].client_ns;
		client.start = i % 2 ? RF_START_OLDEST : RF_START_NEWEST;
		server.lag = lags[i].server;
		server.stall_ns = lags[i].server_ns;
		agree(&pair, &client, &server);
		assert_int_equal(pair.client.terms.lag, lags[i].agreed);
		assert_int_equal(pair.client.terms.stall_ns, lags[i].stall_ns);
		assert_int_equal(pair.client.terms.start, client.start);
	}
}

static void lag_other_than_block_is_refused_where_nobody_publishes(void **state)
{
	struct rf__wish client = slots_wish(0, 0, 0), server = slots_wish(0, 0, 0);
	struct pair pair;

	(void)state;
	server.lag = RF_LAG_LATEST;
	server.stall_ns = client.stall_ns = 5;
	client.start = RF_START_OLDEST;
	client.lag = RF_LAG_BLOCK;
	agree(&pair, &client, &server);
	assert_int_equal(pair.client.terms.lag, 0);
	assert_int_equal(pair.client.terms.start, 0);
	assert_int_equal(pair.client.terms.stall_ns, 0);
	client.lag = RF_LAG_DROP;
	assert_no_ground(&client, &server, "the client wants lag drop, the server is no publisher");
	client.lag = RF_LAG_LATEST;
	assert_no_ground(&client, &server, "lag latest, the server is no publisher");
	client.lag = RF_LAG_DISCONNECT;
	assert_no_ground(&client, &server, "lag disconnect, the server is no publisher");
	client.lag = RF_LAG_DISCONNECT + 1;
	assert_no_ground(&client, &server, "the client wants lag 5 and start 1");
	client.lag = 0;
	client.start = RF_START_OLDEST + 1;
	assert_no_ground(&client, &server, "the client wants lag 0 and start 2");
}

/* Descriptors beside the data */

static void assert_fds(const struct rf__fd_terms *fds, struct rf__fd_terms expected)
{
	assert_int_equal(fds->kinds, expected.kinds);
	assert_int_equal(fds->max, expected.max);
	assert_int_equal(fds->per_second, expected.per_second);
}

static const struct rf__fd_terms no_fds, some_fds = {RF_FD_BLOB | RF_FD_DMABUF, 3, 100};

static void descriptors_go_where_the_receiver_takes_them(void **state)
{
	static const uint32_t kinds[] = {RF_BYTES, RF_SLOTS};

	(void)state;
	for (size_t i = 0; i < LEN(kinds); i++) {
		struct rf__wish client = any_wish(), server = any_wish();
		struct pair pair;

		client.kind = server.kind = kinds[i];
		client.fds = some_fds;
		agree(&pair, &client, &server);
		assert_fds(&pair.client.terms.fds[RF__DOWN], some_fds);
		assert_fds(&pair.client.terms.fds[RF__UP], no_fds);
		client.fds = no_fds;
		server.fds = some_fds;
		agree(&pair, &client, &server);
		assert_fds(&pair.client.terms.fds[RF__DOWN], no_fds);
		assert_fds(&pair.client.terms.fds[RF__UP], some_fds);
		client.direction = RF_RECEIVE;
		agree(&pair, &client, &server);
		assert_fds(&pair.client.terms.fds[RF__UP], no_fds);
	}
}

static void views_carry_no_descriptors(void **state)
{
	struct rf__wish wish = any_wish();
	struct pair pair;

	(void)state;
	wish.fds = some_fds;
	wish.kind = RF_STREAM;
	agree(&pair, &wish, &wish);
	assert_fds(&pair.client.terms.fds[RF__UP], no_fds);
	assert_fds(&pair.client.terms.fds[RF__DOWN], no_fds);
	wish.kind = RF_ELEMENTS;
	wish.element_bytes = 8;
	wish.type[0] = 'x';
	agree(&pair, &wish, &wish);
	assert_fds(&pair.client.terms.fds[RF__UP], no_fds);
}

static void c2_hostile_hello_asks_for_no_more_descriptors_than_there_are(void **state)
{
	struct rf__wish client = any_wish(), server = any_wish();
	struct pair pair;

	(void)state;
	client.fds = (struct rf__fd_terms){UINT32_MAX, UINT32_MAX, UINT32_MAX};
	agree(&pair, &client, &server);
	assert_fds(&pair.server.terms.fds[RF__DOWN],
		(struct rf__fd_terms){255, RF_FDS_MAX, UINT32_MAX});
	client.fds = (struct rf__fd_terms){256, 8, 0};
	agree(&pair, &client, &server);
	assert_fds(&pair.server.terms.fds[RF__DOWN], no_fds);
	client.fds = (struct rf__fd_terms){1, 0, 5};
	agree(&pair, &client, &server);
	assert_fds(&pair.server.terms.fds[RF__DOWN], no_fds);
}

/* A hostile server */

struct lie {
	size_t at, n;
	uint64_t value;
	const char *sentence;
};

static void tell(struct packet *packet, const void *arg)
{
	const struct lie *lie = arg;

	set_number(packet, lie->at, lie->n, lie->value);
}

static void check_lies(const struct rf__wish *client, const struct rf__wish *server,
	const struct lie *lies, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct pair pair;

		pair_init(&pair, client, server);
		pair.target = RF__WIRE_WELCOME;
		pair.spoil = tell;
		pair.arg = &lies[i];
		run(&pair);
		assert_sane(&pair.client);
		assert_refused(&pair.client, &pair.server, -EBADMSG, lies[i].sentence);
	}
}

/* The client wants 4 slots of 1000 bytes at 128, holds 3, receives only. */
static void hostile_welcome_with_other_slots_is_refused(void **state)
{
	static const struct lie lies[] = {
		{WELCOME_SLOTS, 4, 0, "wants: slots"},
		{WELCOME_SLOTS, 4, 1, "wants: slots"},
		{WELCOME_SLOTS, 4, 3, "wants: slots"},
		{WELCOME_SLOTS, 4, 65537, "wants: slots"},
		{WELCOME_SLOTS, 4, 1025, "wants: slots"}, /* more than it allows */
		{WELCOME_SLOT_BYTES, 8, 0, "wants: slots"},
		{WELCOME_SLOT_BYTES, 8, 999, "wants: slots"},
		{WELCOME_SLOT_BYTES, 8, 1 * MIB, "wants: slots"},
		{WELCOME_SLOT_BYTES, 8, UINT64_MAX, "wants: slots"},
		{WELCOME_SLOT_BYTES, 8, UINT64_C(1) << 62, "wants: slots"},
		{WELCOME_ALIGN, 4, 0, "wants: slots"},
		{WELCOME_ALIGN, 4, 64, "wants: slots"},
		{WELCOME_ALIGN, 4, 192, "wants: slots"},
		{WELCOME_ALIGN, 4, 8192, "wants: slots"},
		{WELCOME_ALIGN, 4, UINT32_MAX, "wants: slots"},
		{WELCOME_HOLD, 4, 0, "slots to be held"},
		{WELCOME_HOLD, 4, 2, "slots to be held"},
		{WELCOME_HOLD, 4, 4, "slots to be held"},
		{WELCOME_HOLD, 4, UINT32_MAX, "slots to be held"},
		{WELCOME_DOWN, 8, 2 * PAGE, "ring size"},
		{WELCOME_DOWN, 8, PAGE / 2, "ring size"},
		{WELCOME_DOWN, 8, 1 * MIB, "ring size"},
		{WELCOME_UP, 8, PAGE, "directions"},
		{WELCOME_KIND, 4, RF_BYTES, "wants: kind"},
		{WELCOME_PAGE, 4, 65536, "page size"},
		{WELCOME_LAG, 4, RF_LAG_DROP, "wants: lag"},
		{WELCOME_LAG, 4, 5, "wants: lag"},
		{WELCOME_START, 4, 1, "wants: lag"},
		{WELCOME_STALL, 8, 1, "wants: lag"},
		{WELCOME_UP_KINDS, 4, 1, "descriptors beside the data"},
		{WELCOME_UP_MAX, 4, 1, "descriptors beside the data"},
		{WELCOME_DOWN_KINDS, 4, 1, "descriptors beside the data"},
		{WELCOME_DOWN_RATE, 4, 1, "descriptors beside the data"},
		{WELCOME_FDS, 4, 2, "WELCOME counts 2 descriptors, not 3"},
	};
	struct rf__wish client = slots_wish(4, 1000, 128), server = client;

	(void)state;
	client.direction = RF_RECEIVE;
	client.doorbells = RF__BELL_SOCKET;
	client.hold = 3;
	client.lag = RF_LAG_BLOCK;
	client.max_ring_bytes = 1 * MIB;
	check_lies(&client, &server, lies, LEN(lies));
}

/* The client wants to be cut off after 50 ns and to begin with the oldest. */
static void hostile_welcome_with_another_lag_is_refused(void **state)
{
	static const struct lie lies[] = {
		{WELCOME_LAG, 4, 0, "wants: lag"},
		{WELCOME_LAG, 4, RF_LAG_BLOCK, "wants: lag"},
		{WELCOME_LAG, 4, UINT32_MAX, "wants: lag"},
		{WELCOME_START, 4, 0, "wants: lag"},
		{WELCOME_START, 4, 2, "wants: lag"},
		{WELCOME_STALL, 8, 0, "wants: lag"},
		{WELCOME_STALL, 8, 51, "wants: lag"},
	};
	struct rf__wish client = slots_wish(0, 0, 0), server = publisher_wish();

	(void)state;
	client.lag = RF_LAG_DISCONNECT;
	client.start = RF_START_OLDEST;
	client.stall_ns = 50;
	check_lies(&client, &server, lies, LEN(lies));
}

static void hostile_welcome_with_slots_of_other_kinds_is_refused(void **state)
{
	static const struct lie lies[] = {
		{WELCOME_SLOTS, 4, 2, "wants: slots"},
		{WELCOME_SLOT_BYTES, 8, 64, "wants: slots"},
		{WELCOME_ALIGN, 4, 64, "wants: slots"},
		{WELCOME_HOLD, 4, 2, "wants: slots"},
		{WELCOME_LAG, 4, RF_LAG_BLOCK, "wants: lag"},
		{WELCOME_KIND, 4, RF_SLOTS, "wants: kind"},
	};
	struct rf__wish wish = any_wish();

	(void)state;
	check_lies(&wish, &wish, lies, LEN(lies));
}

static void hostile_welcome_with_more_descriptors_than_are_taken_is_refused(void **state)
{
	static const struct lie lies[] = {
		{WELCOME_DOWN_KINDS, 4, 0, "descriptors beside the data"},
		{WELCOME_DOWN_KINDS, 4, RF_FD_SOCKET, "descriptors beside the data"},
		{WELCOME_DOWN_KINDS, 4, UINT32_MAX, "descriptors beside the data"},
		{WELCOME_DOWN_MAX, 4, 0, "descriptors beside the data"},
		{WELCOME_DOWN_MAX, 4, 4, "descriptors beside the data"},
		{WELCOME_DOWN_RATE, 4, 0, "descriptors beside the data"},
		{WELCOME_DOWN_RATE, 4, 101, "descriptors beside the data"},
		{WELCOME_UP_KINDS, 4, 256, "descriptors beside the data"},
		{WELCOME_UP_MAX, 4, RF_FDS_MAX + 1, "descriptors beside the data"},
	};
	struct rf__wish wish = any_wish();

	(void)state;
	wish.fds = some_fds;
	check_lies(&wish, &wish, lies, LEN(lies));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_larger_wish_of_slots_counts),
		cmocka_unit_test(either_end_may_name_slots),
		cmocka_unit_test(slots_beyond_a_limit_are_refused_with_both),
		cmocka_unit_test(descriptor_areas_follow_from_what_may_be_held),
		cmocka_unit_test(returns_are_of_slots_only),
		cmocka_unit_test(the_receiver_says_how_many_it_may_hold),
		cmocka_unit_test(hostile_hello_with_impossible_slots_is_refused),
		cmocka_unit_test(slots_of_a_publisher_are_what_they_are),
		cmocka_unit_test(the_longest_refusal_has_room),
		cmocka_unit_test(a_publisher_only_sends),
		cmocka_unit_test(a_subscriber_may_wish_for_another_hold),
		cmocka_unit_test(lag_is_the_subscribers_wish_else_the_grant),
		cmocka_unit_test(lag_other_than_block_is_refused_where_nobody_publishes),
		cmocka_unit_test(descriptors_go_where_the_receiver_takes_them),
		cmocka_unit_test(views_carry_no_descriptors),
		cmocka_unit_test(c2_hostile_hello_asks_for_no_more_descriptors_than_there_are),
		cmocka_unit_test(hostile_welcome_with_other_slots_is_refused),
		cmocka_unit_test(hostile_welcome_with_another_lag_is_refused),
		cmocka_unit_test(hostile_welcome_with_slots_of_other_kinds_is_refused),
		cmocka_unit_test(hostile_welcome_with_more_descriptors_than_are_taken_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
