/* SPDX-License-Identifier: MIT */
/* The handshake with messages that were flipped, mutated or made up: whatever comes of it, it is
 * within the own wish. */
#include "wire-fixture.h"

struct flip {
	size_t at;
	unsigned char mask;
};

static void apply_flip(struct packet *packet, const void *arg)
{
	const struct flip *flip = arg;

	packet->bytes[flip->at] ^= flip->mask;
}

static void check_flip(uint32_t type, const struct flip *flip)
{
	struct pair pair;

	pair_init_any(&pair);
	if (type == RF__WIRE_REFUSE)
		rf__wire_refuse(&pair.server, -EPERM, "for a test");
	pair.target = type;
	pair.spoil = apply_flip;
	pair.arg = flip;
	run(&pair);
	assert_sane(&pair.client);
	assert_sane(&pair.server);
	assert_true(pair.client.state != RF__WIRE_WAIT || pair.server.state == RF__WIRE_FAILED);
	assert_true(pair.server.state != RF__WIRE_WAIT || pair.client.state == RF__WIRE_FAILED);
	if (type > RF__WIRE_WELCOME || flip->at < HEADER)
		assert_true(pair.client.error || pair.server.error);
}

static void any_byte_may_be_wrong(void **state)
{
	struct packet packet;
	struct flip flip;

	(void)state;
	for (uint32_t type = RF__WIRE_HELLO; type <= RF__WIRE_REFUSE; type++) {
		make(type, &packet);
		for (flip.at = 0; flip.at < packet.len; flip.at++)
			for (unsigned mask = 1; mask < 256; mask++) {
				flip.mask = (unsigned char)mask;
				check_flip(type, &flip);
			}
	}
}

/* xorshift64: the same every time. */
static uint64_t random_state = UINT64_C(0x9e3779b97f4a7c15);

static uint64_t random_number(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static size_t random_below(size_t n)
{
	return (size_t)(random_number() >> 11) % n;
}

static uint64_t interesting_number(void)
{
	uint64_t near = (UINT64_C(1) << random_below(64)) + random_below(3) - 1;

	return random_below(4) ? near : random_number();
}

static void mutate_once(struct packet *packet)
{
	static const size_t widths[] = {1, 2, 4, 8};
	size_t n = widths[random_below(LEN(widths))];

	switch (random_below(8)) {
	case 0:
		packet->len = random_below(RF__WIRE_MAX + 8);
		break;
	case 1:
		packet->n_fds = (unsigned)random_below(10);
		break;
	case 2:
		set_number(packet, AT_LENGTH, 4, packet->len - HEADER);
		break;
	case 3:
		set_number(packet, AT_TYPE, 2, random_below(7));
		break;
	default:
		set_number(packet, HEADER + random_below(HELLO_BYTES - HEADER) / n * n, n,
			interesting_number());
	}
}

static void mutate(struct packet *packet, const void *arg)
{
	(void)arg;
	for (size_t n = 1 + random_below(3); n; n--)
		mutate_once(packet);
}

static void random_slots(struct rf__wish *wish)
{
	static const uint32_t kinds[] = {0, RF_BYTES, RF_SLOTS, RF_SLOTS, RF_SLOTS};
	static const uint64_t lengths[] = {0, 0, 1, 100, 4096, 1 * MIB};

	wish->kind = kinds[random_below(LEN(kinds))];
	wish->slots = random_below(2) ? 2 + (uint32_t)random_below(40) : 0;
	wish->slot_bytes = lengths[random_below(LEN(lengths))];
	wish->slot_align = random_below(2) ? 64u << random_below(7) : 0;
	wish->hold = random_below(4) ? 0 : 1 + (uint32_t)random_below(8);
	wish->fds.kinds = random_below(2) ? (uint32_t)random_below(256) : 0;
	wish->fds.max = wish->fds.kinds ? (uint32_t)random_below(RF_FDS_MAX + 1) : 0;
	wish->fds.per_second = wish->fds.max ? (uint32_t)random_below(3) : 0;
}

/* What makes it a publisher, and who subscribes. */
static void random_publisher(struct rf__wish *client, struct rf__wish *server)
{
	client->lag = (uint32_t)random_below(RF_LAG_DISCONNECT + 1);
	client->start = (uint32_t)random_below(2);
	client->stall_ns = random_below(3);
	server->publishes = true;
	server->direction = RF_SEND;
	server->kind = RF_SLOTS;
	server->slots = 32;
	server->slot_bytes = 64 * KIB;
	server->slot_align = 4096;
	server->hold = 4;
	server->max_ring_bytes = 64 * MIB;
	server->lag = (uint32_t)random_below(RF_LAG_DISCONNECT + 1);
}

static struct rf__wish random_wish(void)
{
	static const uint64_t rings[] = {0, 0, 1, 8192, 100000, 4 * MIB};
	static const uint64_t maxima[] = {PAGE, 64 * KIB, 64 * MIB, 64 * MIB, UINT64_MAX};
	struct rf__wish wish = any_wish();

	random_slots(&wish);
	wish.ring_bytes = rings[random_below(LEN(rings))];
	wish.max_ring_bytes = maxima[random_below(LEN(maxima))];
	wish.direction = (uint32_t)random_below(4);
	wish.doorbells = (uint32_t)random_below(8) | RF__BELL_SOCKET;
	wish.wanted = random_number();
	wish.listened = random_below(2);
	wish.asymmetric = random_below(2);
	return wish;
}

static void mutated_messages_never_lead_outside_the_wish(void **state)
{
	unsigned rounds = rf_test_rounds(100000), open = 0;

	(void)state;
	for (unsigned i = 0; i < rounds; i++) {
		struct rf__wish client = random_wish(), server = random_wish();
		struct pair pair;

		if (random_below(3) == 0)
			random_publisher(&client, &server);
		pair_init(&pair, &client, &server);
		pair.target = 1 + (uint32_t)random_below(RF__WIRE_REFUSE);
		pair.spoil = mutate;
		run(&pair);
		assert_sane(&pair.client);
		assert_sane(&pair.server);
		open += pair.client.state == RF__WIRE_OPEN && pair.server.state == RF__WIRE_OPEN;
	}
	assert_in_range(open, rounds / 100, rounds - rounds / 100);
}

static void garbage_never_opens(void **state)
{
	unsigned rounds = rf_test_rounds(20000);

	(void)state;
	for (unsigned i = 0; i < rounds; i++) {
		bool server = random_below(2);
		unsigned step = (unsigned)random_below((server ? SERVER_STEPS : CLIENT_STEPS) - 1);
		struct packet packet = {.len = random_below(RF__WIRE_MAX + 1)};
		struct rf__wire wire;
		struct pair pair;

		for (size_t at = 0; at < packet.len; at++)
			packet.bytes[at] = (unsigned char)random_number();
		if (random_below(2) && packet.len > 4)
			set_number(&packet, AT_MAGIC, 4, RF__WIRE_MAGIC);
		pair_init_any(&pair);
		run_until(&pair, end_of(&pair, server), step);
		wire = *end_of(&pair, server);
		assert_true(input(&wire, &packet) < 0);
		assert_refuses_once(&wire, wire.error);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_byte_may_be_wrong),
		cmocka_unit_test(mutated_messages_never_lead_outside_the_wish),
		cmocka_unit_test(garbage_never_opens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
