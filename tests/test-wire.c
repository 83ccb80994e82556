/* SPDX-License-Identifier: MIT */
/* The handshake between honest ends: what is agreed, what is refused and how both ends learn of
 * it, and what the messages look like. */
#include "wire-fixture.h"

/* Agreement. */

static void handshake_opens_both_ends(void **state)
{
	struct rf__wish client = any_wish(), server = any_wish();
	struct pair pair;

	(void)state;
	server.listened = true;
	pair_init(&pair, &client, &server);
	run(&pair);
	assert_open(&pair);
	assert_same_terms(&pair);
	assert_true(pair.client.terms.listened);
	assert_int_equal(pair.client.terms.area_bytes[RF__UP], RF__RING_DEFAULT);
	assert_int_equal(pair.client.terms.area_bytes[RF__DOWN], RF__RING_DEFAULT);
	assert_int_equal(pair.client.terms.doorbell, RF_DOORBELL_EVENTFD);
	assert_int_equal(pair.carried, 4);
	assert_string_equal(pair.client.reason.text, "");
	pair_init_any(&pair);
	run(&pair);
	assert_open(&pair);
	assert_false(pair.client.terms.listened);
}

/* The rings that client and server agree on when they name these: bit 0 up, bit 1 down; -1:
 * none. */
static const int directions[4][4] = {
	/* server: 0, send, receive, both */
	[0] = {3, 2, 1, 3},
	[RF_SEND] = {1, -1, 1, -1},
	[RF_RECEIVE] = {2, 2, -1, -1},
	[BOTH] = {3, -1, -1, 3},
};

static void check_direction(uint32_t client_names, uint32_t server_names)
{
	struct rf__wish client = any_wish(), server = any_wish();
	int expected = directions[client_names][server_names];
	struct pair pair;

	client.direction = client_names;
	server.direction = server_names;
	pair_init(&pair, &client, &server);
	run(&pair);
	if (expected < 0) {
		assert_refused(&pair.server, &pair.client, -ENOTSUP, "directions differ");
		return;
	}
	assert_open(&pair);
	assert_same_terms(&pair);
	assert_int_equal(pair.client.terms.area_bytes[RF__UP], expected & 1 ? RF__RING_DEFAULT : 0);
	assert_int_equal(
		pair.client.terms.area_bytes[RF__DOWN], expected & 2 ? RF__RING_DEFAULT : 0);
}

static void directions_mirror_each_other(void **state)
{
	(void)state;
	for (uint32_t client = 0; client <= BOTH; client++)
		for (uint32_t server = 0; server <= BOTH; server++)
			check_direction(client, server);
}

static const struct {
	uint64_t client, client_max, server, server_max;
	uint32_t page;
	uint64_t size; /* 0: refused */
} sizes[] = {
	{0, 64 * MIB, 0, 64 * MIB, PAGE, 4 * MIB},
	{1, 64 * MIB, 0, 64 * MIB, PAGE, PAGE},
	{0, 64 * MIB, 1, 64 * MIB, PAGE, PAGE},
	{1, 64 * MIB, 0, 64 * MIB, 65536, 65536},
	{5000, 64 * MIB, 0, 64 * MIB, PAGE, 8192},
	{64 * KIB, 64 * MIB, 8 * KIB, 64 * MIB, PAGE, 64 * KIB},
	{8 * KIB, 64 * MIB, 65 * KIB, 64 * MIB, PAGE, 128 * KIB},
	{64 * MIB, 64 * MIB, 0, 64 * MIB, PAGE, 64 * MIB},
	{64 * MIB + 1, 64 * MIB, 0, 128 * MIB, PAGE, 0},
	{64 * MIB + 1, 128 * MIB, 0, 128 * MIB, PAGE, 128 * MIB},
	{64 * MIB, 64 * MIB, 0, 32 * MIB, PAGE, 0},
	{0, 32 * MIB, 64 * MIB, 64 * MIB, PAGE, 0},
	{0, 1 * MIB, 0, 64 * MIB, PAGE, 1 * MIB},
	{0, 64 * MIB, 0, 1 * MIB, PAGE, 1 * MIB},
	{0, 3 * MIB, 0, 64 * MIB, PAGE, 2 * MIB},
	{0, 64 * MIB, 0, 4 * MIB - 1, PAGE, 2 * MIB},
	{0, PAGE, 0, 64 * MIB, PAGE, PAGE},
	{0, PAGE + 1, 0, 64 * MIB, PAGE, PAGE},
	{0, PAGE - 1, 0, 64 * MIB, PAGE, 0},
	{0, 0, 0, 64 * MIB, PAGE, 0},
	{0, 1, 0, 1, PAGE, 0},
	{1, 64 * MIB, 0, PAGE - 1, PAGE, 0},
	{UINT64_MAX, UINT64_MAX, 0, UINT64_MAX, PAGE, 0},
	{(UINT64_C(1) << 63) + 1, UINT64_MAX, 0, UINT64_MAX, PAGE, 0},
	{UINT64_C(1) << 63, UINT64_MAX, 0, UINT64_MAX, PAGE, UINT64_C(1) << 63},
	{0, UINT64_MAX, 0, UINT64_MAX, PAGE, 4 * MIB},
};

static void check_size(size_t i)
{
	struct rf__wish client = any_wish(), server = any_wish();
	struct pair pair;

	client.ring_bytes = sizes[i].client;
	client.max_ring_bytes = sizes[i].client_max;
	server.ring_bytes = sizes[i].server;
	server.max_ring_bytes = sizes[i].server_max;
	client.page_bytes = server.page_bytes = sizes[i].page;
	pair_init(&pair, &client, &server);
	run(&pair);
	if (!sizes[i].size) {
		assert_refused(&pair.server, &pair.client, -ENOTSUP, "client allows");
		return;
	}
	assert_open(&pair);
	assert_same_terms(&pair);
	assert_int_equal(pair.client.terms.area_bytes[RF__UP], sizes[i].size);
	assert_int_equal(pair.client.terms.area_bytes[RF__DOWN], sizes[i].size);
}

static void larger_wish_counts_within_both_limits(void **state)
{
	(void)state;
	for (size_t i = 0; i < LEN(sizes); i++)
		check_size(i);
}

static void refused_size_is_named_to_both(void **state)
{
	struct rf__wish client = any_wish(), server = any_wish();
	struct pair pair;

	(void)state;
	client.ring_bytes = client.max_ring_bytes = 16 * MIB;
	server.max_ring_bytes = 8 * MIB;
	pair_init(&pair, &client, &server);
	run(&pair);
	assert_refused(&pair.server, &pair.client, -ENOTSUP,
		"rings of 16777216 bytes: client allows 16777216, server 8388608");
	client.ring_bytes = client.max_ring_bytes = UINT64_MAX;
	server.max_ring_bytes = UINT64_MAX - 1;
	pair_init(&pair, &client, &server);
	run(&pair);
	assert_refused(&pair.server, &pair.client, -ENOTSUP, "server 18446744073709551614");
}

static void check_doorbells(uint32_t client_bells, uint32_t server_bells)
{
	struct rf__wish client = any_wish(), server = any_wish();
	uint32_t common = client_bells & server_bells;
	struct pair pair;

	client.doorbells = client_bells;
	server.doorbells = server_bells;
	pair_init(&pair, &client, &server);
	run(&pair);
	if (!(common & BOTH_BELLS)) {
		assert_refused(&pair.server, &pair.client, -ENOTSUP, "share no doorbell");
		return;
	}
	assert_open(&pair);
	assert_same_terms(&pair);
	assert_int_equal(pair.client.terms.doorbell,
		common & RF__BELL_EVENTFD ? RF_DOORBELL_EVENTFD : RF_DOORBELL_SOCKET);
}

static void eventfd_where_both_accept_it_else_socket(void **state)
{
	(void)state;
	for (uint32_t client = 0; client < 16; client++)
		for (uint32_t server = 0; server < 16; server++)
			check_doorbells(client, server);
}

static void descriptors_are_what_terms_imply(void **state)
{
	struct rf__terms terms = {.doorbell = RF_DOORBELL_SOCKET};

	(void)state;
	terms.area_bytes[RF__UP] = PAGE;
	assert_int_equal(rf__terms_fds(&terms), 2);
	terms.area_bytes[RF__DOWN] = PAGE;
	assert_int_equal(rf__terms_fds(&terms), 4);
	terms.doorbell = RF_DOORBELL_EVENTFD;
	assert_int_equal(rf__terms_fds(&terms), 8);
	terms.area_bytes[RF__UP] = 0;
	assert_int_equal(rf__terms_fds(&terms), 4);
	terms.kind = RF_SLOTS;
	assert_int_equal(rf__terms_fds(&terms), 5);
	terms.area_bytes[RF__UP] = PAGE;
	assert_int_equal(rf__terms_fds(&terms), 10);
	terms.doorbell = RF_DOORBELL_SOCKET;
	assert_int_equal(rf__terms_fds(&terms), 6);
}

static void wanted_features_may_be_unknown(void **state)
{
	struct rf__wish client = any_wish(), server = any_wish();
	struct pair pair;

	(void)state;
	client.wanted = UINT64_MAX;
	server.wanted = UINT64_MAX;
	pair_init(&pair, &client, &server);
	run(&pair);
	assert_open(&pair);
	assert_int_equal(pair.client.terms.features, 0);
	assert_int_equal(pair.server.terms.features, 0);
}

static void required_features_must_be_known(void **state)
{
	struct pair pair;

	(void)state;
	for (unsigned bit = 0; bit < 64; bit++) {
		struct rf__wish client = any_wish(), server = any_wish();

		client.required = UINT64_C(1) << bit;
		server.wanted = UINT64_MAX;
		pair_init(&pair, &client, &server);
		run(&pair);
		assert_refused(&pair.server, &pair.client, -ENOTSUP, "the server lacks");
		pair_init(&pair, &server, &client);
		run(&pair);
		assert_refused(&pair.server, &pair.client, -ENOTSUP, "the client lacks");
	}
}

static void pages_must_be_equal(void **state)
{
	struct rf__wish client = any_wish(), server = any_wish();
	struct pair pair;

	(void)state;
	client.page_bytes = 65536;
	pair_init(&pair, &client, &server);
	run(&pair);
	assert_refused(&pair.server, &pair.client, -ENOTSUP, "client 65536 bytes, server 4096");
}

static void the_asymmetric_fence_is_for_two_that_offer_it(void **state)
{
	struct rf__wish client = any_wish(), server = any_wish();
	struct pair pair;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		client.asymmetric = i & 1;
		server.asymmetric = i & 2;
		pair_init(&pair, &client, &server);
		run(&pair);
		assert_open(&pair);
		assert_same_terms(&pair);
		assert_int_equal(
			pair.client.terms.fence, i == 3 ? RF__FENCE_ASYMMETRIC : RF__FENCE_SEQ_CST);
	}
}

/* Messages. */

static void numbers_are_little_endian_at_fixed_places(void **state)
{
	struct rf__wish wish = {UINT64_C(0x0102030405060708), UINT64_C(0x1112131415161718),
		UINT64_C(0x2122232425262728), UINT64_C(0x3132333435363738), 0x41424344, 0x51525354,
		0x61626364, 0x71727374, true, 0x81828384, "a type", 0x91929394, 0xa1a2a3a4,
		UINT64_C(0xb1b2b3b4b5b6b7b8), 0xc1c2c3c4, 0xd1d2d3d4, 0xe1e2e3e4,
		UINT64_C(0xf1f2f3f4f5f6f7f8), true, {0x15161718, 0x25262728, 0x35363738}, true};
	static const unsigned char header[] = {'R', 'F', 'r', 't', 1, 0, 1, 0, HELLO_BYTES - HEADER,
		0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 0x18};
	struct packet expected = {.len = HELLO_BYTES}, packet;
	struct rf__wire wire;

	(void)state;
	rf__wire_init(&wire, false, &wish);
	output(&wire, &packet);
	set_number(&expected, HELLO_REQUIRED, 8, wish.required);
	set_number(&expected, HELLO_WANTED, 8, wish.wanted);
	set_number(&expected, HELLO_RING, 8, wish.ring_bytes);
	set_number(&expected, HELLO_MAX, 8, wish.max_ring_bytes);
	set_number(&expected, HELLO_DIRECTION, 4, wish.direction);
	set_number(&expected, HELLO_KIND, 4, wish.kind);
	set_number(&expected, HELLO_BELLS, 4, wish.doorbells);
	set_number(&expected, HELLO_FENCES, 4, 6);
	set_number(&expected, HELLO_PAGE, 4, wish.page_bytes);
	set_number(&expected, HELLO_ELEMENT, 4, wish.element_bytes);
	memcpy(expected.bytes + HELLO_NAME, "a type", 6);
	set_number(&expected, HELLO_SLOT_BYTES, 8, wish.slot_bytes);
	set_number(&expected, HELLO_SLOTS, 4, wish.slots);
	set_number(&expected, HELLO_ALIGN, 4, wish.slot_align);
	set_number(&expected, HELLO_HOLD, 4, wish.hold);
	set_number(&expected, HELLO_LAG, 4, wish.lag);
	set_number(&expected, HELLO_START, 4, wish.start);
	set_number(&expected, HELLO_STALL, 8, wish.stall_ns);
	set_number(&expected, HELLO_FD_KINDS, 4, wish.fds.kinds);
	set_number(&expected, HELLO_FD_MAX, 4, wish.fds.max);
	set_number(&expected, HELLO_FD_RATE, 4, wish.fds.per_second);
	memcpy(expected.bytes, header, sizeof(header));
	assert_int_equal(packet.len, expected.len);
	assert_memory_equal(packet.bytes, expected.bytes, sizeof(packet.bytes));
}

static void messages_have_their_lengths(void **state)
{
	static const size_t lengths[] = {
		0, HELLO_BYTES, WELCOME_BYTES, HEADER, HEADER, REFUSE_BYTES};
	struct packet packet;

	(void)state;
	for (uint32_t type = RF__WIRE_HELLO; type <= RF__WIRE_REFUSE; type++) {
		make(type, &packet);
		assert_int_equal(packet.len, lengths[type]);
		assert_int_equal(number(&packet, AT_LENGTH, 4), packet.len - HEADER);
		assert_int_equal(packet.n_fds, type == RF__WIRE_WELCOME ? 8 : 0);
	}
}

/* Refusals. */

static void check_refusal(bool server, unsigned step, int error, int told)
{
	struct rf__wire *by, *other;
	struct pair pair;

	pair_init_any(&pair);
	run_until(&pair, end_of(&pair, server), step);
	by = server ? &pair.server : &pair.client;
	other = server ? &pair.client : &pair.server;
	if (by->state == RF__WIRE_OPEN)
		return;
	rf__wire_refuse(by, error, "because of this");
	rf__wire_refuse(by, -EIO, "the first one counts");
	assert_true(move(&pair, by, other));
	assert_failed(by, error, "because of this");
	if (other->state == RF__WIRE_OPEN)
		return;
	assert_failed(other, told, "refused by the peer: because of this");
	assert_false(move(&pair, other, by));
	assert_false(move(&pair, by, other));
}

static void refusal_carries_its_errno_from_any_state(void **state)
{
	static const struct {
		int error, told;
	} errors[] = {{-EPERM, -EPERM}, {-EBADMSG, -EBADMSG}, {-ENOTSUP, -ENOTSUP},
		{-ENOBUFS, -ENOBUFS}, {-ETIMEDOUT, -ETIMEDOUT}, {-ENOMEM, -ECONNABORTED},
		{-EMFILE, -ECONNABORTED}, {-ECONNABORTED, -ECONNABORTED}};

	(void)state;
	for (size_t i = 0; i < LEN(errors); i++) {
		for (unsigned step = 0; step < CLIENT_STEPS; step++)
			check_refusal(false, step, errors[i].error, errors[i].told);
		for (unsigned step = 0; step < SERVER_STEPS; step++)
			check_refusal(true, step, errors[i].error, errors[i].told);
	}
}

static void long_and_own_sentences_are_cut_and_padded(void **state)
{
	char sentence[400];
	struct packet packet;
	struct pair pair;

	(void)state;
	memset(sentence, 'a', sizeof(sentence) - 1);
	sentence[sizeof(sentence) - 1] = '\0';
	pair_init_any(&pair);
	rf__wire_refuse(&pair.server, -EPERM, sentence);
	output(&pair.server, &packet);
	assert_memory_equal(packet.bytes + REFUSE_TEXT, sentence, RF__WIRE_TEXT);
	pair_init_any(&pair);
	rf__fail(&pair.server.reason, -EPERM, "%s", sentence);
	rf__fail(&pair.server.reason, -EPERM, "short");
	rf__wire_refuse(&pair.server, -EPERM, pair.server.reason.text);
	output(&pair.server, &packet);
	assert_string_equal((char *)packet.bytes + REFUSE_TEXT, "short");
	for (size_t i = REFUSE_TEXT + 5; i < REFUSE_BYTES; i++)
		assert_int_equal(packet.bytes[i], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handshake_opens_both_ends),
		cmocka_unit_test(directions_mirror_each_other),
		cmocka_unit_test(larger_wish_counts_within_both_limits),
		cmocka_unit_test(refused_size_is_named_to_both),
		cmocka_unit_test(eventfd_where_both_accept_it_else_socket),
		cmocka_unit_test(descriptors_are_what_terms_imply),
		cmocka_unit_test(wanted_features_may_be_unknown),
		cmocka_unit_test(required_features_must_be_known),
		cmocka_unit_test(pages_must_be_equal),
		cmocka_unit_test(the_asymmetric_fence_is_for_two_that_offer_it),
		cmocka_unit_test(numbers_are_little_endian_at_fixed_places),
		cmocka_unit_test(messages_have_their_lengths),
		cmocka_unit_test(refusal_carries_its_errno_from_any_state),
		cmocka_unit_test(long_and_own_sentences_are_cut_and_padded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
