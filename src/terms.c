/* SPDX-License-Identifier: MIT */
/* Negotiation at the server, and its re-check at the client: see terms.h. */
#include "terms.h"

#include "util/check.h"
#include <errno.h>
#include <ringfort/options.h>

/* By enum rf_direction. */
static const char *const direction_names[] = {"names none", "sends", "receives", "does both"};

#define NO_GROUND(...) rf__fail(reason, -ENOTSUP, __VA_ARGS__)
#define BIG(number)    ((unsigned long long)(number)) /* for printing */

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

static int agree_kind(const struct rf__wish *server, const struct rf__hello *hello,
	struct rf__terms *terms, struct rf__reason *reason)
{
	const struct rf__wish *client = &hello->wish;

	terms->kind = server->kind;
	if (hello->typed)
		return NO_GROUND("the server has no typed channels");
	if (client->kind != server->kind)
		return NO_GROUND(
			"the client wants kind %u, the server %u", client->kind, server->kind);
	if (client->page_bytes != server->page_bytes)
		return NO_GROUND("pages differ: client %u bytes, server %u", client->page_bytes,
			server->page_bytes);
	return 0;
}

static int agree_size(const struct rf__wish *server, const struct rf__wish *client,
	uint64_t *ret_size, struct rf__reason *reason)
{
	uint64_t max = client->max_ring_bytes, own_max = server->max_ring_bytes;
	uint64_t wish = larger(client->ring_bytes, server->ring_bytes);
	uint64_t least = larger(wish ? wish : default_ring(max, own_max), server->page_bytes);
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
	error = agree_size(server, client, &size, reason);
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
		error = agree_kind(server, client, &terms, reason);
	if (!error)
		error = agree_rings(server, &client->wish, &terms, reason);
	if (!error)
		error = agree_wakeups(server, client, &terms, reason);
	if (!error)
		*ret_terms = terms;
	return error;
}

static bool size_is_fine(const struct rf__wish *wish, uint64_t size)
{
	return !size || (rf__is_power_of_two(size) && size >= wish->page_bytes &&
				size >= wish->ring_bytes && size <= wish->max_ring_bytes);
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
	if (welcome->terms.kind != wish->kind)
		return "kind";
	if (!direction || (wish->direction && wish->direction != direction))
		return "directions";
	if (!size_is_fine(wish, sizes[RF__UP]) || !size_is_fine(wish, sizes[RF__DOWN]))
		return "ring size";
	if (!doorbell_is_fine(wish, welcome->terms.doorbell))
		return "doorbell";
	if (welcome->fence != RF__FENCE_SEQ_CST)
		return "fence";
	return welcome->page_bytes == wish->page_bytes ? NULL : "page size";
}
