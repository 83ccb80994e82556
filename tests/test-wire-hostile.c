/* SPDX-License-Identifier: MIT */
/* The handshake with a hostile end: nothing a peer lies about, repeats or withholds leads to
 * terms outside the own wish, or to a second answer. */
#include "wire-fixture.h"

/* Spoiled messages. */

struct change {
	uint32_t type;
	size_t at, n;
	uint64_t value;
	int error;
	const char *sentence;
};

static void apply_change(struct packet *packet, const void *arg)
{
	const struct change *change = arg;

	set_number(packet, change->at, change->n, change->value);
}

static void check_changes(const struct rf__wish *wish, const struct change *changes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool at_server =
			changes[i].type == RF__WIRE_HELLO || changes[i].type == RF__WIRE_MAPPED;
		struct pair pair;

		pair_init(&pair, wish, wish);
		pair.target = changes[i].type;
		pair.spoil = apply_change;
		pair.arg = &changes[i];
		run(&pair);
		if (at_server)
			assert_refused(
				&pair.server, &pair.client, changes[i].error, changes[i].sentence);
		else
			assert_refused(
				&pair.client, &pair.server, changes[i].error, changes[i].sentence);
	}
}

static void hello_is_checked(void **state)
{
	static const struct change changes[] = {
		{RF__WIRE_HELLO, AT_MAGIC, 4, 0x12345678, -EBADMSG, "does not speak ringfort"},
		{RF__WIRE_HELLO, AT_VERSION, 2, 2, -ENOTSUP, "the client speaks version 2, not 1"},
		{RF__WIRE_HELLO, AT_VERSION, 2, 0, -ENOTSUP, "the client speaks version 0, not 1"},
		{RF__WIRE_HELLO, AT_TYPE, 2, 0, -EBADMSG, "unknown type"},
		{RF__WIRE_HELLO, AT_TYPE, 2, 6, -EBADMSG, "unknown type"},
		{RF__WIRE_HELLO, AT_TYPE, 2, 0xffff, -EBADMSG, "unknown type"},
		{RF__WIRE_HELLO, AT_TYPE, 2, 3, -EBADMSG, "the client sent MAPPED out of turn"},
		{RF__WIRE_HELLO, AT_LENGTH, 4, 0, -EBADMSG, "wrong length"},
		{RF__WIRE_HELLO, AT_LENGTH, 4, UINT32_MAX, -EBADMSG, "wrong length"},
		{RF__WIRE_HELLO, HELLO_DIRECTION, 4, 4, -EBADMSG, "HELLO is malformed"},
		{RF__WIRE_HELLO, HELLO_DIRECTION, 4, UINT32_MAX, -EBADMSG, "HELLO is malformed"},
		{RF__WIRE_HELLO, HELLO_KIND, 4, 5, -ENOTSUP, "kind 5"},
		{RF__WIRE_HELLO, HELLO_KIND, 4, UINT32_MAX, -ENOTSUP, "kind 4294967295"},
		{RF__WIRE_HELLO, HELLO_KIND, 4, RF_STREAM, -ENOTSUP, "client stream, server bytes"},
		{RF__WIRE_HELLO, HELLO_KIND, 4, RF_ELEMENTS, -ENOTSUP, "elements of type"},
		{RF__WIRE_HELLO, HELLO_BELLS, 4, 1, -ENOTSUP, "no doorbell"},
		{RF__WIRE_HELLO, HELLO_FENCES, 4, 0, -ENOTSUP, "no fence"},
		{RF__WIRE_HELLO, HELLO_FENCES, 4, 4, -ENOTSUP, "no fence"},
		{RF__WIRE_HELLO, HELLO_PAGE, 4, 0, -ENOTSUP, "pages differ"},
		{RF__WIRE_HELLO, HELLO_ELEMENT, 4, 8, -ENOTSUP, "bytes of type \"\" and 8"},
		{RF__WIRE_HELLO, HELLO_NAME, 8, 'x', -ENOTSUP, "bytes of type \"x\""},
		{RF__WIRE_HELLO, HELLO_NAME + 63, 1, 'x', -EBADMSG, "HELLO is malformed"},
		{RF__WIRE_HELLO, HELLO_RESERVED, 1, 1, -EBADMSG, "HELLO is malformed"},
		{RF__WIRE_HELLO, HELLO_BYTES - 1, 1, 0x80, -EBADMSG, "HELLO is malformed"},
	};
	struct rf__wish wish = any_wish();

	(void)state;
	check_changes(&wish, changes, LEN(changes));
}

static void unknown_doorbells_and_fences_of_a_mask_are_ignored(void **state)
{
	static const struct change changes[] = {
		{.at = HELLO_BELLS, .n = 4, .value = UINT32_MAX},
		{.at = HELLO_FENCES, .n = 4, .value = UINT32_MAX},
	};

	(void)state;
	for (size_t i = 0; i < LEN(changes); i++) {
		struct pair pair;

		pair_init_any(&pair);
		pair.target = RF__WIRE_HELLO;
		pair.spoil = apply_change;
		pair.arg = &changes[i];
		run(&pair);
		assert_open(&pair);
	}
}

/* The client wants 64 KiB to 1 MiB, duplex, by socket; the honest answer is 64 KiB and 4
 * descriptors. */
static void hostile_welcome_beyond_the_wish_is_refused(void **state)
{
	static const struct change changes[] = {
		{RF__WIRE_WELCOME, WELCOME_FEATURES, 8, 1, -EBADMSG, "features"},
		{RF__WIRE_WELCOME, WELCOME_FEATURES, 8, UINT64_MAX, -EBADMSG, "features"},
		{RF__WIRE_WELCOME, WELCOME_UP, 8, 2 * MIB, -EBADMSG, "ring size"},
		{RF__WIRE_WELCOME, WELCOME_DOWN, 8, 2 * MIB, -EBADMSG, "ring size"},
		{RF__WIRE_WELCOME, WELCOME_UP, 8, UINT64_C(1) << 63, -EBADMSG, "ring size"},
		{RF__WIRE_WELCOME, WELCOME_UP, 8, UINT64_MAX, -EBADMSG, "ring size"},
		{RF__WIRE_WELCOME, WELCOME_DOWN, 8, 96 * KIB, -EBADMSG, "ring size"},
		{RF__WIRE_WELCOME, WELCOME_DOWN, 8, 32 * KIB, -EBADMSG, "ring size"},
		{RF__WIRE_WELCOME, WELCOME_UP, 8, 1, -EBADMSG, "ring size"},
		{RF__WIRE_WELCOME, WELCOME_UP, 8, 0, -EBADMSG, "directions"},
		{RF__WIRE_WELCOME, WELCOME_DOWN, 8, 0, -EBADMSG, "directions"},
		{RF__WIRE_WELCOME, WELCOME_KIND, 4, 0, -EBADMSG, "kind"},
		{RF__WIRE_WELCOME, WELCOME_KIND, 4, 2, -EBADMSG, "kind"},
		{RF__WIRE_WELCOME, WELCOME_ELEMENT, 4, 8, -EBADMSG, "type of elements"},
		{RF__WIRE_WELCOME, WELCOME_NAME, 1, 'x', -EBADMSG, "type of elements"},
		{RF__WIRE_WELCOME, WELCOME_NAME + 1, 1, 'x', -EBADMSG, "WELCOME is malformed"},
		{RF__WIRE_WELCOME, WELCOME_BELL, 4, RF_DOORBELL_AUTO, -EBADMSG, "doorbell"},
		{RF__WIRE_WELCOME, WELCOME_BELL, 4, RF_DOORBELL_EVENTFD, -EBADMSG, "doorbell"},
		{RF__WIRE_WELCOME, WELCOME_BELL, 4, 34, -EBADMSG, "doorbell"},
		{RF__WIRE_WELCOME, WELCOME_BELL, 4, UINT32_MAX, -EBADMSG, "doorbell"},
		{RF__WIRE_WELCOME, WELCOME_FENCE, 4, 0, -EBADMSG, "fence"},
		{RF__WIRE_WELCOME, WELCOME_FENCE, 4, 2, -EBADMSG, "fence"},
		{RF__WIRE_WELCOME, WELCOME_LISTENED, 4, 2, -EBADMSG, "WELCOME is malformed"},
		{RF__WIRE_WELCOME, WELCOME_PAGE, 4, 65536, -EBADMSG, "page size"},
		{RF__WIRE_WELCOME, WELCOME_FDS, 4, 0, -EBADMSG, "descriptors"},
		{RF__WIRE_WELCOME, WELCOME_FDS, 4, 5, -EBADMSG, "descriptors"},
		{RF__WIRE_WELCOME, WELCOME_FDS, 4, UINT32_MAX, -EBADMSG, "descriptors"},
		{RF__WIRE_WELCOME, WELCOME_RESERVED, 1, 1, -EBADMSG, "WELCOME is malformed"},
		{RF__WIRE_WELCOME, WELCOME_BYTES - 1, 1, 1, -EBADMSG, "WELCOME is malformed"},
		{RF__WIRE_WELCOME, AT_VERSION, 2, 2, -ENOTSUP, "the server speaks version 2"},
		{RF__WIRE_WELCOME, AT_TYPE, 2, 4, -EBADMSG, "READY brought descriptors"},
	};
	struct rf__wish wish = any_wish();

	(void)state;
	wish.ring_bytes = 64 * KIB;
	wish.max_ring_bytes = 1 * MIB;
	wish.direction = BOTH;
	wish.doorbells = RF__BELL_SOCKET;
	check_changes(&wish, changes, LEN(changes));
}

static void hostile_welcome_below_a_page_is_refused(void **state)
{
	static const struct change changes[] = {
		{RF__WIRE_WELCOME, WELCOME_UP, 8, 1, -EBADMSG, "ring size"},
		{RF__WIRE_WELCOME, WELCOME_UP, 8, PAGE / 2, -EBADMSG, "ring size"},
		{RF__WIRE_WELCOME, WELCOME_DOWN, 8, PAGE / 2, -EBADMSG, "ring size"},
	};
	struct rf__wish wish = any_wish();

	(void)state;
	check_changes(&wish, changes, LEN(changes));
}

/* Even where descriptors and their announced number fit the lie. */
static void lie_about_directions(struct packet *packet, const void *arg)
{
	set_number(packet, WELCOME_UP, 8, 0);
	set_number(packet, WELCOME_DOWN, 8, *(const uint64_t *)arg);
	packet->n_fds = *(const uint64_t *)arg ? 4 : 0;
	set_number(packet, WELCOME_FDS, 4, packet->n_fds);
}

static void hostile_welcome_with_other_rings_is_refused(void **state)
{
	static const uint64_t down[] = {4 * MIB, 0};
	struct rf__wish client = any_wish(), server = any_wish();

	(void)state;
	client.direction = RF_SEND;
	for (size_t i = 0; i < LEN(down); i++) {
		struct pair pair;

		pair_init(&pair, &client, &server);
		pair.target = RF__WIRE_WELCOME;
		pair.spoil = lie_about_directions;
		pair.arg = &down[i];
		run(&pair);
		assert_refused(&pair.client, &pair.server, -EBADMSG, "directions");
		client.direction = 0;
	}
}

static void change_fds(struct packet *packet, const void *arg)
{
	packet->n_fds = *(const unsigned *)arg;
}

static void check_fds(uint32_t type, unsigned n_fds, unsigned right)
{
	bool at_server = type == RF__WIRE_HELLO || type == RF__WIRE_MAPPED;
	struct pair pair;

	pair_init_any(&pair);
	pair.target = type;
	pair.spoil = change_fds;
	pair.arg = &n_fds;
	run(&pair);
	if (n_fds == right)
		assert_open(&pair);
	else if (at_server)
		assert_refused(&pair.server, &pair.client, -EBADMSG, "descriptors");
	else
		assert_failed(&pair.client, -EBADMSG, "descriptors");
}

static void c2_surplus_and_missing_descriptors_end_the_handshake(void **state)
{
	static const unsigned counts[] = {0, 1, 7, 8, 9, 253, UINT32_MAX};

	(void)state;
	for (uint32_t type = RF__WIRE_HELLO; type <= RF__WIRE_READY; type++)
		for (size_t i = 0; i < LEN(counts); i++)
			check_fds(type, counts[i], type == RF__WIRE_WELCOME ? 8 : 0);
}

static void c2_refuse_brings_no_descriptors(void **state)
{
	struct packet packet;
	struct pair pair;

	(void)state;
	make(RF__WIRE_REFUSE, &packet);
	packet.n_fds = 1;
	pair_init_any(&pair);
	run_until(&pair, &pair.client, 1);
	assert_int_equal(input(&pair.client, &packet), -EBADMSG);
	assert_refuses_once(&pair.client, -EBADMSG);
}

/* Lengths. */

static void change_length(struct packet *packet, const void *arg)
{
	packet->len = *(const size_t *)arg;
}

static void change_both_lengths(struct packet *packet, const void *arg)
{
	packet->len = *(const size_t *)arg;
	if (packet->len >= HEADER)
		set_number(packet, AT_LENGTH, 4, packet->len - HEADER);
}

static void check_length(uint32_t type, size_t len, void (*spoil)(struct packet *, const void *))
{
	struct pair pair;

	pair_init_any(&pair);
	if (type == RF__WIRE_REFUSE)
		rf__wire_refuse(&pair.client, -EPERM, "for a test");
	pair.target = type;
	pair.spoil = spoil;
	pair.arg = &len;
	run(&pair);
	assert_sane(&pair.client);
	assert_sane(&pair.server);
	assert_true(pair.client.state == RF__WIRE_FAILED || pair.server.state == RF__WIRE_FAILED);
	assert_true(pair.client.error == -EBADMSG || pair.server.error == -EBADMSG);
}

static void messages_have_exactly_one_length(void **state)
{
	struct packet packet;

	(void)state;
	for (uint32_t type = RF__WIRE_HELLO; type <= RF__WIRE_REFUSE; type++) {
		make(type, &packet);
		for (size_t len = 0; len <= sizeof(packet.bytes); len++) {
			if (len == packet.len)
				continue;
			check_length(type, len, change_length);
			check_length(type, len, change_both_lengths);
		}
	}
}

static void c4_zero_length_message_is_a_bad_one(void **state)
{
	struct rf__wish wish = any_wish();
	struct rf__wire wire;

	(void)state;
	for (int server = 0; server < 2; server++) {
		rf__wire_init(&wire, server, &wish);
		assert_int_equal(rf__wire_input(&wire, "", 0, 0), -EBADMSG);
		assert_refuses_once(&wire, -EBADMSG);
		rf__wire_init(&wire, server, &wish);
		assert_int_equal(rf__wire_input(&wire, NULL, 0, 0), -EBADMSG);
		assert_refuses_once(&wire, -EBADMSG);
	}
}

static void c4_oversized_message_is_not_read(void **state)
{
	static const size_t lengths[] = {RF__WIRE_MAX + 1, UINT32_MAX, SIZE_MAX};
	struct rf__wish wish = any_wish();
	struct rf__wire wire;

	(void)state;
	for (size_t i = 0; i < LEN(lengths); i++) {
		rf__wire_init(&wire, true, &wish);
		assert_int_equal(rf__wire_input(&wire, NULL, lengths[i], 0), -EBADMSG);
		assert_refuses_once(&wire, -EBADMSG);
		assert_string_equal(wire.reason.text, "a message is too long");
	}
}

/* States. */

/* Whatever comes at a step, only the message that is expected there is taken. */
static void check_out_of_turn(bool server, unsigned step, uint32_t type)
{
	struct packet packet;
	struct rf__wire wire;
	struct pair pair;

	make(type, &packet);
	pair_init_any(&pair);
	run_until(&pair, end_of(&pair, server), step);
	wire = *end_of(&pair, server);
	if (wire.state == RF__WIRE_WAIT && wire.next == type) {
		assert_int_equal(input(&wire, &packet), 0);
		assert_int_equal(wire.step, step + 1);
		return;
	}
	packet.n_fds = 0;
	assert_int_equal(input(&wire, &packet), -EBADMSG);
	if (step == (server ? SERVER_STEPS : CLIENT_STEPS) - 1) {
		assert_int_equal(wire.state, RF__WIRE_OPEN);
		assert_int_equal(wire.error, 0);
	} else {
		assert_refuses_once(&wire, -EBADMSG);
	}
}

static void c4_one_message_per_state(void **state)
{
	(void)state;
	for (uint32_t type = RF__WIRE_HELLO; type < RF__WIRE_REFUSE; type++) {
		for (unsigned step = 0; step < CLIENT_STEPS; step++)
			check_out_of_turn(false, step, type);
		for (unsigned step = 0; step < SERVER_STEPS; step++)
			check_out_of_turn(true, step, type);
	}
}

static void c4_replayed_message_is_out_of_turn(void **state)
{
	(void)state;
	for (uint32_t type = RF__WIRE_HELLO; type <= RF__WIRE_MAPPED; type++) {
		struct rf__wire *to;
		struct pair pair;

		pair_init_any(&pair);
		to = type == RF__WIRE_WELCOME ? &pair.client : &pair.server;
		while (number(&pair.last, AT_TYPE, 2) != type)
			if (!move(&pair, &pair.client, &pair.server))
				move(&pair, &pair.server, &pair.client);
		assert_int_equal(input(to, &pair.last), -EBADMSG);
		assert_non_null(strstr(to->reason.text, "out of turn"));
		assert_refuses_once(to, -EBADMSG);
	}
}

static void c4_flood_is_answered_once(void **state)
{
	struct packet hello, out;
	struct rf__wish wish = any_wish();
	struct rf__wire wire;
	unsigned answers = 0;

	(void)state;
	make(RF__WIRE_HELLO, &hello);
	rf__wire_init(&wire, true, &wish);
	assert_int_equal(input(&wire, &hello), 0);
	for (int i = 0; i < 10000; i++) {
		assert_int_equal(input(&wire, &hello), -EBADMSG);
		if (i % 7 == 6)
			output(&wire, &out);
		else
			continue;
		answers += out.len != 0;
	}
	assert_int_equal(answers, 1);
	assert_failed(&wire, -EBADMSG, "the client sent HELLO out of turn");
}

static void c4_stalled_peer_leaves_the_machine_waiting(void **state)
{
	struct rf__wire before, *wire;
	struct packet packet;
	struct pair pair;

	(void)state;
	for (unsigned step = 0; step < SERVER_STEPS; step++) {
		pair_init_any(&pair);
		run_until(&pair, &pair.server, step);
		wire = &pair.server;
		if (wire->state != RF__WIRE_WAIT)
			continue;
		before = *wire;
		for (int i = 0; i < 100; i++) {
			output(wire, &packet);
			assert_int_equal(packet.len, 0);
			rf__wire_done(wire);
		}
		assert_memory_equal(wire, &before, sizeof(before));
	}
}

static void c4_too_late_is_told_to_the_client(void **state)
{
	struct pair pair;

	(void)state;
	for (unsigned step = 0; step < SERVER_STEPS - 1; step++) {
		pair_init_any(&pair);
		run_until(&pair, &pair.server, step);
		rf__wire_refuse(&pair.server, -ETIMEDOUT, "the handshake took more than 5 seconds");
		while (move(&pair, &pair.server, &pair.client))
			;
		assert_refused(&pair.server, &pair.client, -ETIMEDOUT, "more than 5 seconds");
	}
}

/* Refusals. */

/* What a client makes of a REFUSE with that code, version and text. */
static void be_refused(struct rf__wire *ret_wire, struct packet *packet)
{
	struct rf__wish wish = any_wish();

	rf__wire_init(ret_wire, false, &wish);
	input(ret_wire, packet);
	assert_sane(ret_wire);
}

static void unknown_refusal_codes_and_versions_are_understood(void **state)
{
	static const uint64_t codes[] = {0, 6, 7, 0x7fffffff, 0x80000000, UINT32_MAX};
	struct packet packet;
	struct rf__wire wire;

	(void)state;
	for (size_t i = 0; i < LEN(codes); i++) {
		make(RF__WIRE_REFUSE, &packet);
		set_number(&packet, REFUSE_CODE, 4, codes[i]);
		set_number(&packet, AT_VERSION, 2, codes[i]);
		be_refused(&wire, &packet);
		assert_failed(&wire, -ECONNABORTED, "refused by the peer: for a test");
	}
}

static void malformed_refusal_is_a_bad_message(void **state)
{
	struct rf__wish wish = any_wish();
	struct packet packet;
	struct rf__wire wire;

	(void)state;
	make(RF__WIRE_REFUSE, &packet);
	set_number(&packet, REFUSE_RESERVED, 4, 1);
	rf__wire_init(&wire, false, &wish);
	assert_int_equal(input(&wire, &packet), -EBADMSG);
	assert_non_null(strstr(wire.reason.text, "REFUSE is malformed"));
	assert_refuses_once(&wire, -EBADMSG);
}

static void c12_refusal_text_is_made_printable(void **state)
{
	static const char escape[] = "\x1b]0;owned\a\x1b[2J\r\n\x7f\x9b\xff\t%s%n";
	struct packet packet;
	struct rf__wire wire;

	(void)state;
	make(RF__WIRE_REFUSE, &packet);
	memcpy(packet.bytes + REFUSE_TEXT, escape, sizeof(escape));
	be_refused(&wire, &packet);
	assert_failed(&wire, -EPERM, "refused by the peer: ?]0;owned??[2J??????%s%n");
	for (unsigned c = 1; c < 256; c++) {
		memset(packet.bytes + REFUSE_TEXT, (int)c, RF__WIRE_TEXT);
		be_refused(&wire, &packet);
		assert_int_equal(
			strlen(wire.reason.text), strlen("refused by the peer: ") + RF__WIRE_TEXT);
	}
	packet.bytes[REFUSE_TEXT] = '\0';
	be_refused(&wire, &packet);
	assert_string_equal(wire.reason.text, "refused by the peer: no reason given");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hello_is_checked),
		cmocka_unit_test(unknown_doorbells_and_fences_of_a_mask_are_ignored),
		cmocka_unit_test(hostile_welcome_beyond_the_wish_is_refused),
		cmocka_unit_test(hostile_welcome_below_a_page_is_refused),
		cmocka_unit_test(hostile_welcome_with_other_rings_is_refused),
		cmocka_unit_test(c2_surplus_and_missing_descriptors_end_the_handshake),
		cmocka_unit_test(c2_refuse_brings_no_descriptors),
		cmocka_unit_test(messages_have_exactly_one_length),
		cmocka_unit_test(c4_zero_length_message_is_a_bad_one),
		cmocka_unit_test(c4_oversized_message_is_not_read),
		cmocka_unit_test(c4_one_message_per_state),
		cmocka_unit_test(c4_replayed_message_is_out_of_turn),
		cmocka_unit_test(c4_flood_is_answered_once),
		cmocka_unit_test(c4_stalled_peer_leaves_the_machine_waiting),
		cmocka_unit_test(c4_too_late_is_told_to_the_client),
		cmocka_unit_test(unknown_refusal_codes_and_versions_are_understood),
		cmocka_unit_test(malformed_refusal_is_a_bad_message),
		cmocka_unit_test(c12_refusal_text_is_made_printable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
