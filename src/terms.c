/* SPDX-License-Identifier: MIT */
/* Negotiation at the server, and its re-check at the client: see terms.h. */
#include "terms.h"

#include "util/check.h"
#include <errno.h>
#include <ringfort/options.h>
#include <string.h>

/* By enum rf_kind. */
static const char *const kind_names[] = {"none", "bytes", "elements", "stream"};

/* By enum rf_direction. */
static const char *const direction_names[] = {"names none", "sends", "receives", "does both"};

#define NO_GROUND(...) rf__fail(reason, -ENOTSUP, __VA_ARGS__)
#define BIG(number)    ((unsigned long long)(number)) /* for printing */

uint32_t rf__terms_unit(const struct rf__terms *terms)
{
	return terms->kind == RF_STREAM ? 1 : terms->element_bytes;
}

bool rf__is_type_name(const char *name)
{
	size_t n;

	for (n = 0; n < RF__TYPE_BYTES && name[n]; n++)
		if (name[n] < ' ' || name[n] > '~')
			return false;
	return n && n < RF__TYPE_BYTES;
}

unsigned rf__terms_fds(const struct rf__terms *terms)
{
	unsigned per_ring = terms->doorbell == RF_DOORBELL_EVENTFD ? 4 : 2;

	return (terms->area_bytes[RF__UP] ? per_ring : 0) +
	       (terms->area_bytes[RF__DOWN] ? per_ring : 0);
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint32_t mirrored(uint32_t direction)
{
	return (direction & RF_SEND ? RF_RECEIVE : 0u) | (direction & RF_RECEIVE ? RF_SEND : 0u);
}

static uint64_t least_ring(const struct rf__terms *terms)
{
	return RF__ELEMENTS_MIN * (uint64_t)terms->element_bytes;
}

static uint64_t default_ring(uint64_t max, uint64_t other_max)
{
	uint64_t size = RF__RING_DEFAULT;

	while (size > max || size > other_max)
		size /= 2;
	return size;
}

static int agree_features(const struct rf__wish *server, const struct rf__wish *client,
	struct rf__terms *terms, struct rf__reason *reason)
{
	terms->features = (client->required | client->wanted) &
			  (server->required | server->wanted) & RF__FEATURES;
	if (client->required & ~terms->features)
		return NO_GROUND("the server lacks required features 0x%llx",
			BIG(client->required & ~terms->features));
	if (server->required & ~terms->features)
		return NO_GROUND("the client lacks required features 0x%llx",
			BIG(server->required & ~terms->features));
	return 0;
}

/* Elements have a size and a type, all else has neither. */
static bool is_complete(uint32_t kind, uint32_t element_bytes, const char *type)
{
	if (kind != RF_ELEMENTS)
		return !element_bytes && !*type;
	return element_bytes && element_bytes <= RF__ELEMENT_MAX && rf__is_type_name(type);
}

static int agree_kind(const struct rf__wish *server, const struct rf__wish *client,
	struct rf__terms *terms, struct rf__reason *reason)
{
	const struct rf__wish *named = server->kind ? server : client;

	if (client->kind > RF_STREAM)
		return NO_GROUND("the client wants kind %u, the server has none", client->kind);
	if (!is_complete(client->kind, client->element_bytes, client->type))
		return NO_GROUND("the client wants %s of type \"%s\" and %u bytes",
			kind_names[client->kind], client->type, client->element_bytes);
	if (server->kind && client->kind && server->kind != client->kind)
		return NO_GROUND("kinds differ: client %s, server %s", kind_names[client->kind],
			kind_names[server->kind]);
	terms->kind = named->kind ? named->kind : RF_BYTES;
	terms->element_bytes = named->element_bytes;
	memcpy(terms->type, named->type, sizeof(terms->type));
	return 0;
}

static int agree_type(
	const struct rf__wish *server, const struct rf__wish *client, struct rf__reason *reason)
{
	if (!server->kind || !client->kind)
		return 0;
	if (strcmp(client->type, server->type) || client->element_bytes != server->element_bytes)
		return NO_GROUND("types differ: client %s, %u bytes, server %s, %u bytes",
			client->type, client->element_bytes, server->type, server->element_bytes);
	return 0;
}

static int agree_pages(
	const struct rf__wish *server, const struct rf__wish *client, struct rf__reason *reason)
{
	if (client->page_bytes != server->page_bytes)
		return NO_GROUND("pages differ: client %u bytes, server %u", client->page_bytes,
			server->page_bytes);
	return 0;
}

static int agree_size(const struct rf__wish *server, const struct rf__wish *client,
	const struct rf__terms *terms, uint64_t *ret_size, struct rf__reason *reason)
{
	uint64_t max = client->max_ring_bytes, own_max = server->max_ring_bytes;
	uint64_t wish = larger(client->ring_bytes, server->ring_bytes);
	uint64_t some = larger(wish ? wish : default_ring(max, own_max), least_ring(terms));
	uint64_t least = larger(some, server->page_bytes);
	uint64_t size = rf__power_of_two(least);

	if (!size || size > max || size > own_max)
		return NO_GROUND("rings of %llu bytes: client allows %llu, server %llu",
			BIG(size ? size : least), BIG(max), BIG(own_max));
	*ret_size = size;
	return 0;
}

static int agree_rings(const struct rf__wish *server, const struct rf__wish *client,
	struct rf__terms *terms, struct rf__reason *reason)
{
	uint32_t theirs = client->direction, ours = mirrored(server->direction);
	uint32_t direction = theirs | ours ? theirs | ours : RF_SEND | RF_RECEIVE;
	uint64_t size;
	int error;

	if (theirs && ours && theirs != ours)
		return NO_GROUND("directions differ: client %s, server %s", direction_names[theirs],
			direction_names[mirrored(ours)]);
	error = agree_size(server, client, terms, &size, reason);
	if (error)
		return error;
	terms->area_bytes[RF__UP] = direction & RF_SEND ? size : 0;
	terms->area_bytes[RF__DOWN] = direction & RF_RECEIVE ? size : 0;
	return 0;
}

static int agree_wakeups(const struct rf__wish *server, const struct rf__hello *hello,
	struct rf__terms *terms, struct rf__reason *reason)
{
	uint32_t bells = hello->wish.doorbells & server->doorbells;

	if (!(bells & (RF__BELL_EVENTFD | RF__BELL_SOCKET)))
		return NO_GROUND("client and server share no doorbell");
	if (!(hello->fences & 1u << RF__FENCE_SEQ_CST))
		return NO_GROUND("client and server share no fence");
	terms->doorbell = bells & RF__BELL_EVENTFD ? RF_DOORBELL_EVENTFD : RF_DOORBELL_SOCKET;
	return 0;
}

int rf__terms_agree(const struct rf__wish *server, const struct rf__hello *client,
	struct rf__terms *ret_terms, struct rf__reason *reason)
{
	struct rf__terms terms = {.listened = server->listened};
	int error = agree_features(server, &client->wish, &terms, reason);

	if (!error)
		error = agree_kind(server, &client->wish, &terms, reason);
	if (!error)
		error = agree_type(server, &client->wish, reason);
	if (!error)
		error = agree_pages(server, &client->wish, reason);
	if (!error)
		error = agree_rings(server, &client->wish, &terms, reason);
	if (!error)
		error = agree_wakeups(server, client, &terms, reason);
	if (!error)
		*ret_terms = terms;
	return error;
}

static bool size_is_fine(
	const struct rf__wish *wish, const struct rf__terms *terms, enum rf__way way)
{
	uint64_t size = terms->area_bytes[way];

	return !size ||
	       (rf__is_power_of_two(size) && size >= wish->page_bytes && size >= wish->ring_bytes &&
		       size >= least_ring(terms) && size <= wish->max_ring_bytes);
}

static bool kind_is_fine(const struct rf__wish *wish, const struct rf__terms *terms)
{
	if (!terms->kind || terms->kind > RF_STREAM)
		return false;
	return !wish->kind || wish->kind == terms->kind;
}

static bool type_is_fine(const struct rf__wish *wish, const struct rf__terms *terms)
{
	if (!is_complete(terms->kind, terms->element_bytes, terms->type))
		return false;
	return !wish->kind ||
	       (wish->element_bytes == terms->element_bytes && !strcmp(wish->type, terms->type));
}

static bool features_are_fine(const struct rf__wish *wish, uint64_t features)
{
	uint64_t possible = (wish->required | wish->wanted) & RF__FEATURES;

	return !(features & ~possible) && !(wish->required & ~features);
}

static bool doorbell_is_fine(const struct rf__wish *wish, uint32_t doorbell)
{
	if (doorbell != RF_DOORBELL_EVENTFD && doorbell != RF_DOORBELL_SOCKET)
		return false;
	return wish->doorbells & 1u << doorbell;
}

const char *rf__terms_lie(const struct rf__wish *wish, const struct rf__welcome *welcome)
{
	const uint64_t *sizes = welcome->terms.area_bytes;
	uint32_t direction = (sizes[RF__UP] ? RF_SEND : 0u) | (sizes[RF__DOWN] ? RF_RECEIVE : 0u);

	if (!features_are_fine(wish, welcome->terms.features))
		return "features";
	if (!kind_is_fine(wish, &welcome->terms))
		return "kind";
	if (!type_is_fine(wish, &welcome->terms))
		return "type of elements";
	if (!direction || (wish->direction && wish->direction != direction))
		return "directions";
	if (!size_is_fine(wish, &welcome->terms, RF__UP) ||
		!size_is_fine(wish, &welcome->terms, RF__DOWN))
		return "ring size";
	if (!doorbell_is_fine(wish, welcome->terms.doorbell))
		return "doorbell";
	if (welcome->fence != RF__FENCE_SEQ_CST)
		return "fence";
	return welcome->page_bytes == wish->page_bytes ? NULL : "page size";
}
