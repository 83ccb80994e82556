/* SPDX-License-Identifier: MIT */
/* The handshake about what the rings hold: kinds, and the size and type of elements. */
#include "wire-fixture.h"

struct view {
	uint32_t kind, element_bytes;
	const char *type;
};

static struct rf__wish wish_for(const struct view *view)
{
	struct rf__wish wish = any_wish();

	wish.kind = view->kind;
	wish.element_bytes = view->element_bytes;
	if (view->type)
		memcpy(wish.type, view->type, strlen(view->type));
	return wish;
}

#define NONE                                                                                       \
	{                                                                                          \
		0, 0, NULL                                                                         \
	}
#define BYTES                                                                                      \
	{                                                                                          \
		RF_BYTES, 0, NULL                                                                  \
	}
#define STREAM                                                                                     \
	{                                                                                          \
		RF_STREAM, 0, NULL                                                                 \
	}

/* 63 characters. */
#define LONGEST "123456789012345678901234567890123456789012345678901234567890abc"

static const struct {
	struct view client, server;
	struct view agreed;   /* kind 0: refused */
	const char *sentence; /* why */
} combinations[] = {
	{NONE, NONE, BYTES, NULL},
	{NONE, BYTES, BYTES, NULL},
	{BYTES, NONE, BYTES, NULL},
	{BYTES, BYTES, BYTES, NULL},
	{NONE, STREAM, STREAM, NULL},
	{STREAM, NONE, STREAM, NULL},
	{STREAM, STREAM, STREAM, NULL},
	{NONE, {RF_ELEMENTS, 24, "sample"}, {RF_ELEMENTS, 24, "sample"}, NULL},
	{{RF_ELEMENTS, 24, "sample"}, NONE, {RF_ELEMENTS, 24, "sample"}, NULL},
	{{RF_ELEMENTS, 24, "sample"}, {RF_ELEMENTS, 24, "sample"}, {RF_ELEMENTS, 24, "sample"},
		NULL},
	{{RF_ELEMENTS, 1, LONGEST}, {RF_ELEMENTS, 1, LONGEST}, {RF_ELEMENTS, 1, LONGEST}, NULL},
	{{RF_ELEMENTS, 1 << 20, "x y"}, NONE, {RF_ELEMENTS, 1 << 20, "x y"}, NULL},
	{BYTES, STREAM, NONE, "kinds differ: client bytes, server stream"},
	{STREAM, BYTES, NONE, "kinds differ: client stream, server bytes"},
	{STREAM, {RF_ELEMENTS, 1, "byte"}, NONE, "kinds differ: client stream, server elements"},
	{{RF_ELEMENTS, 1, "byte"}, STREAM, NONE, "kinds differ: client elements, server stream"},
	{BYTES, {RF_ELEMENTS, 8, "x"}, NONE, "kinds differ: client bytes, server elements"},
	{{RF_ELEMENTS, 24, "sample"}, {RF_ELEMENTS, 16, "sample"}, NONE,
		"types differ: client sample, 24 bytes, server sample, 16 bytes"},
	{{RF_ELEMENTS, 24, "sample"}, {RF_ELEMENTS, 24, "pixel"}, NONE,
		"types differ: client sample, 24 bytes, server pixel, 24 bytes"},
	{{RF_ELEMENTS, 24, "sample"}, {RF_ELEMENTS, 24, "sample2"}, NONE, "server sample2, 24"},
	{{RF_ELEMENTS, 24, "Sample"}, {RF_ELEMENTS, 24, "sample"}, NONE, "client Sample, 24"},
	{{5, 0, NULL}, NONE, NONE, "the client wants kind 5, the server has none"},
	{{UINT32_MAX, 0, NULL}, BYTES, NONE, "the client wants kind 4294967295"},
	{{RF_ELEMENTS, 0, "x"}, NONE, NONE, "the client wants elements of type \"x\" and 0 bytes"},
	{{RF_ELEMENTS, (1 << 20) + 1, "x"}, NONE, NONE, "and 1048577 bytes"},
	{{RF_ELEMENTS, UINT32_MAX, "x"}, NONE, NONE, "and 4294967295 bytes"},
	{{RF_ELEMENTS, 8, ""}, NONE, NONE, "elements of type \"\" and 8 bytes"},
	{{RF_STREAM, 8, ""}, NONE, NONE, "stream of type \"\" and 8 bytes"},
	{{RF_BYTES, 0, "x"}, NONE, NONE, "bytes of type \"x\" and 0 bytes"},
	{{0, 8, "x"}, NONE, NONE, "none of type \"x\" and 8 bytes"},
	{{RF_ELEMENTS, 8, "\x1b[2J\n"}, NONE, NONE, "elements of type \"?[2J?\" and 8 bytes"},
	{{RF_ELEMENTS, 8, "\xc3\xa4"}, {RF_ELEMENTS, 8, "x"}, NONE, "elements of type \"??\""},
};

static void check_combination(size_t i)
{
	struct rf__wish client = wish_for(&combinations[i].client),
			server = wish_for(&combinations[i].server),
			agreed = wish_for(&combinations[i].agreed);
	struct pair pair;

	pair_init(&pair, &client, &server);
	run(&pair);
	assert_sane(&pair.client);
	assert_sane(&pair.server);
	if (!agreed.kind) {
		assert_refused(&pair.server, &pair.client, -ENOTSUP, combinations[i].sentence);
		return;
	}
	assert_open(&pair);
	assert_same_terms(&pair);
	assert_int_equal(pair.client.terms.kind, agreed.kind);
	assert_int_equal(pair.client.terms.element_bytes, agreed.element_bytes);
	assert_memory_equal(pair.client.terms.type, agreed.type, sizeof(agreed.type));
}

static void what_one_end_names_the_other_takes_or_names_too(void **state)
{
	(void)state;
	for (size_t i = 0; i < LEN(combinations); i++)
		check_combination(i);
}

static void units_follow_from_terms(void **state)
{
	struct rf__terms terms = {.kind = RF_BYTES};

	(void)state;
	assert_int_equal(rf__terms_unit(&terms), 0);
	terms.kind = RF_STREAM;
	assert_int_equal(rf__terms_unit(&terms), 1);
	terms.kind = RF_ELEMENTS;
	terms.element_bytes = 24;
	assert_int_equal(rf__terms_unit(&terms), 24);
}

/* Rings for elements of so many bytes; 0: refused. */
static const struct {
	uint32_t element_bytes;
	uint64_t wish, max, size;
} sizes[] = {
	{8, 0, 64 * MIB, 4 * MIB},
	{8, 1, 64 * MIB, PAGE},
	{1024, 1, 64 * MIB, PAGE},
	{1025, 1, 64 * MIB, 2 * PAGE},
	{1 << 20, 0, 64 * MIB, 4 * MIB},
	{1 << 20, 64 * KIB, 64 * MIB, 4 * MIB},
	{(1 << 20) - 1, 64 * KIB, 64 * MIB, 4 * MIB},
	{1 << 20, 0, 4 * MIB - 1, 0},
	{1025, 0, PAGE, 0},
};

static void a_ring_has_room_for_four_elements(void **state)
{
	(void)state;
	for (size_t i = 0; i < LEN(sizes); i++) {
		struct view view = {RF_ELEMENTS, sizes[i].element_bytes, "x"};
		struct rf__wish wish = wish_for(&view);
		struct pair pair;

		wish.ring_bytes = sizes[i].wish;
		wish.max_ring_bytes = sizes[i].max;
		pair_init(&pair, &wish, &wish);
		run(&pair);
		if (!sizes[i].size) {
			assert_refused(&pair.server, &pair.client, -ENOTSUP, "client allows");
			continue;
		}
		assert_open(&pair);
		assert_int_equal(pair.client.terms.area_bytes[RF__UP], sizes[i].size);
	}
}

/* A hostile server, and what the client named. */

struct lie {
	struct view client;
	size_t at, n;
	uint64_t value;
	const char *sentence;
};

static void tell(struct packet *packet, const void *arg)
{
	const struct lie *lie = arg;

	set_number(packet, lie->at, lie->n, lie->value);
}

static void hostile_welcome_with_another_type_is_refused(void **state)
{
	static const struct lie lies[] = {
		{{RF_ELEMENTS, 24, "abc"}, WELCOME_KIND, 4, 0, "wants: kind"},
		{{RF_ELEMENTS, 24, "abc"}, WELCOME_KIND, 4, RF_BYTES, "wants: kind"},
		{{RF_ELEMENTS, 24, "abc"}, WELCOME_KIND, 4, RF_STREAM, "wants: kind"},
		{{RF_ELEMENTS, 24, "abc"}, WELCOME_ELEMENT, 4, 25, "type of elements"},
		{{RF_ELEMENTS, 24, "abc"}, WELCOME_ELEMENT, 4, 0, "type of elements"},
		{{RF_ELEMENTS, 24, "abc"}, WELCOME_NAME, 1, 'x', "type of elements"},
		{{RF_ELEMENTS, 24, "abc"}, WELCOME_NAME, 4, 0, "type of elements"},
		{{RF_ELEMENTS, 24, "abc"}, WELCOME_NAME + 3, 1, 'd', "type of elements"},
		{{RF_ELEMENTS, 24, "abc"}, WELCOME_NAME, 1, 0, "WELCOME is malformed"},
		{{RF_ELEMENTS, 24, "abc"}, WELCOME_NAME + 63, 1, 'x', "WELCOME is malformed"},
		{{RF_ELEMENTS, 24, LONGEST}, WELCOME_NAME + 63, 1, 'x', "WELCOME is malformed"},
		{{RF_ELEMENTS, 1 << 20, "a"}, WELCOME_UP, 8, 2 * MIB, "ring size"},
		{STREAM, WELCOME_ELEMENT, 4, 1, "type of elements"},
		{STREAM, WELCOME_KIND, 4, RF_ELEMENTS, "wants: kind"},
		{NONE, WELCOME_KIND, 4, 0, "wants: kind"},
		{NONE, WELCOME_KIND, 4, 5, "wants: kind"},
		{NONE, WELCOME_KIND, 4, RF_ELEMENTS, "type of elements"},
		{NONE, WELCOME_ELEMENT, 4, 8, "type of elements"},
	};

	(void)state;
	for (size_t i = 0; i < LEN(lies); i++) {
		struct rf__wish client = wish_for(&lies[i].client);
		struct pair pair;

		pair_init(&pair, &client, &client);
		pair.target = RF__WIRE_WELCOME;
		pair.spoil = tell;
		pair.arg = &lies[i];
		run(&pair);
		assert_sane(&pair.client);
		assert_refused(&pair.client, &pair.server, -EBADMSG, lies[i].sentence);
	}
}

/* The client named nothing: a server may choose, but not a name that would be an escape. */
static void name_an_escape(struct packet *packet, const void *arg)
{
	set_number(packet, WELCOME_KIND, 4, RF_ELEMENTS);
	set_number(packet, WELCOME_ELEMENT, 4, 8);
	set_number(packet, WELCOME_NAME, 4, *(const uint32_t *)arg);
}

static void c12_type_name_of_a_server_has_no_escapes(void **state)
{
	static const uint32_t names[] = {'x' << 8 | 0x1b, 0x7f, 0x0a, 0xff};
	struct rf__wish wish = any_wish();

	(void)state;
	wish.kind = 0;
	for (size_t i = 0; i < LEN(names); i++) {
		struct pair pair;

		pair_init(&pair, &wish, &wish);
		pair.target = RF__WIRE_WELCOME;
		pair.spoil = name_an_escape;
		pair.arg = &names[i];
		run(&pair);
		assert_refused(&pair.client, &pair.server, -EBADMSG, "type of elements");
	}
}

static void hello_with_a_name_without_end_is_refused(void **state)
{
	static const struct lie lies[] = {
		{{RF_ELEMENTS, 24, LONGEST}, HELLO_NAME + 63, 1, 'x', NULL},
		{{RF_ELEMENTS, 24, "abc"}, HELLO_NAME + 63, 1, 'x', NULL},
		{{RF_ELEMENTS, 24, "abc"}, HELLO_NAME + 4, 1, 'x', NULL},
		{{RF_ELEMENTS, 24, "abc"}, HELLO_NAME, 1, 0, NULL},
	};

	(void)state;
	for (size_t i = 0; i < LEN(lies); i++) {
		struct rf__wish client = wish_for(&lies[i].client);
		struct pair pair;

		pair_init(&pair, &client, &client);
		pair.target = RF__WIRE_HELLO;
		pair.spoil = tell;
		pair.arg = &lies[i];
		run(&pair);
		assert_refused(&pair.server, &pair.client, -EBADMSG, "HELLO is malformed");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_one_end_names_the_other_takes_or_names_too),
		cmocka_unit_test(units_follow_from_terms),
		cmocka_unit_test(a_ring_has_room_for_four_elements),
		cmocka_unit_test(hostile_welcome_with_another_type_is_refused),
		cmocka_unit_test(c12_type_name_of_a_server_has_no_escapes),
		cmocka_unit_test(hello_with_a_name_without_end_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
