/* SPDX-License-Identifier: MIT */
/* Negotiation at the server, and its re-check at the client: see terms.h. */
#include "terms.h"

#include "ring-layout.h"
#include "util/check.h"
#include <errno.h>
#include <ringfort/options.h>
#include <string.h>

/* By enum rf_kind. */
static const char *const kind_names[] = {"none", "bytes", "elements", "stream", "slots"};

/* By enum rf_lag. */
static const char *const lag_names[] = {"none", "drop", "latest", "block", "disconnect"};

/* By enum rf_direction. */
static const char *const direction_names[] = {"names none", "sends", "receives", "does both"};

#define FD_KINDS (2u * RF_FD_OTHER - 1)

#define NO_GROUND(...) rf__fail(reason, -ENOTSUP, __VA_ARGS__)
#define BIG(number)    ((unsigned long long)(number)) /* for printing */

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Of two wishes; 0 is none. */
static uint64_t shorter(uint64_t a, uint64_t b)
{
	return a && (!b || a < b) ? a : b;
}

uint64_t rf__terms_stride(const struct rf__terms *terms)
{
	return rf__slots_stride(terms->slot_bytes, terms->slot_align);
}

uint64_t rf__terms_payload_bytes(const struct rf__terms *terms)
{
	return rf__slots_end_bytes(terms->slots, rf__terms_stride(terms));
}

uint64_t rf__terms_slots_bytes(const struct rf__terms *terms)
{
	return rf__slots_file_bytes(terms->slots, rf__terms_stride(terms), terms->page_bytes);
}

static uint64_t descriptors_bytes(const struct rf__terms *terms)
{
	return rf__power_of_two(larger(terms->hold * RF__DESCRIPTOR_BYTES, terms->page_bytes));
}

uint64_t rf__terms_returns_bytes(const struct rf__terms *terms, enum rf__way way)
{
	uint64_t entries = terms->area_bytes[way] / RF__DESCRIPTOR_BYTES;

	if (terms->kind != RF_SLOTS || !entries)
		return 0;
	return larger(entries * RF__RETURN_BYTES, terms->page_bytes);
}

uint32_t rf__terms_unit(const struct rf__terms *terms)
{
	if (terms->kind == RF_SLOTS)
		return RF__DESCRIPTOR_BYTES;
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
	unsigned slots = terms->kind == RF_SLOTS ? 1 : 0;
	unsigned per_ring = slots + (terms->doorbell == RF_DOORBELL_EVENTFD ? 4 : 2);

	return (terms->area_bytes[RF__UP] ? per_ring : 0) +
	       (terms->area_bytes[RF__DOWN] ? per_ring : 0);
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

	if (client->kind > RF_SLOTS)
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

/* A client may send anything. */
static bool geometry_is_possible(const struct rf__wish *wish)
{
	uint32_t align = wish->slot_align;

	return wish->slots != 1 && wish->slots <= RF_SLOTS_MAX &&
	       wish->slot_bytes <= RF__SLOT_BYTES_MAX &&
	       (!align || (rf__is_power_of_two(align) && align >= RF__SLOT_ALIGNMENT_MIN &&
				  align <= wish->page_bytes));
}

static bool wants_more(const struct rf__wish *client, const struct rf__wish *server)
{
	return client->slots > server->slots || client->slot_bytes > server->slot_bytes ||
	       client->slot_align > server->slot_align;
}

/* Some that both ends allow, if there are any. */
static uint64_t default_slot_bytes(const struct rf__terms *terms, uint64_t max)
{
	struct rf__terms some = *terms;

	some.slot_bytes = RF__SLOT_BYTES_DEFAULT;
	while (some.slot_bytes > some.slot_align && rf__terms_payload_bytes(&some) > max)
		some.slot_bytes /= 2;
	return some.slot_bytes;
}

static int agree_geometry(const struct rf__wish *server, const struct rf__wish *client,
	struct rf__terms *terms, struct rf__reason *reason)
{
	uint64_t max = client->max_ring_bytes, own_max = server->max_ring_bytes, bytes;

	if (!geometry_is_possible(client))
		return NO_GROUND("the client wants %u slots of %llu bytes at multiples of %u",
			client->slots, BIG(client->slot_bytes), client->slot_align);
	if (server->publishes && wants_more(client, server))
		return NO_GROUND("slots: client wants %u of %llu bytes at multiples of %u, "
				 "server has %u of %llu at %u",
			client->slots, BIG(client->slot_bytes), client->slot_align, server->slots,
			BIG(server->slot_bytes), server->slot_align);
	terms->slots = (uint32_t)larger(client->slots, server->slots);
	if (!terms->slots)
		terms->slots = RF__SLOTS_DEFAULT;
	terms->slot_align = (uint32_t)larger(client->slot_align, server->slot_align);
	if (!terms->slot_align)
		terms->slot_align = RF__SLOT_ALIGNMENT_MIN;
	terms->slot_bytes = larger(client->slot_bytes, server->slot_bytes);
	if (!terms->slot_bytes)
		terms->slot_bytes = default_slot_bytes(terms, shorter(max, own_max));
	bytes = rf__terms_payload_bytes(terms);
	if (bytes > max || bytes > own_max)
		return NO_GROUND("slots of %llu bytes in all: client allows %llu, server %llu",
			BIG(bytes), BIG(max), BIG(own_max));
	return 0;
}

/* Each way's receiver says how many; one number serves both ways. */
static int agree_hold(const struct rf__wish *server, const struct rf__wish *client,
	uint32_t direction, struct rf__terms *terms, struct rf__reason *reason)
{
	uint32_t grant = server->publishes && server->hold ? server->hold : terms->slots;
	uint32_t up = server->hold ? server->hold : terms->slots;
	uint32_t down = client->hold ? client->hold : grant;
	uint64_t hold = larger(direction & RF_SEND ? up : 0, direction & RF_RECEIVE ? down : 0);

	if (hold > terms->slots)
		return NO_GROUND("client and server want to hold %u and %u slots of %u",
			client->hold, server->hold, terms->slots);
	terms->hold = (uint32_t)hold;
	return 0;
}

static int agree_slots(const struct rf__wish *server, const struct rf__wish *client,
	uint32_t direction, struct rf__terms *terms, struct rf__reason *reason)
{
	int error = agree_geometry(server, client, terms, reason);

	return error ? error : agree_hold(server, client, direction, terms, reason);
}

/* direction is the client's. */
static int agree_directions(const struct rf__wish *server, const struct rf__wish *client,
	uint32_t *ret_direction, struct rf__reason *reason)
{
	uint32_t named = server->publishes ? RF_SEND : server->direction;
	uint32_t theirs = client->direction, ours = mirrored(named);

	if (theirs && ours && theirs != ours)
		return NO_GROUND("directions differ: client %s, server %s", direction_names[theirs],
			direction_names[named]);
	*ret_direction = theirs | ours ? theirs | ours : RF_SEND | RF_RECEIVE;
	return 0;
}

static int agree_rings(const struct rf__wish *server, const struct rf__wish *client,
	struct rf__terms *terms, struct rf__reason *reason)
{
	uint32_t direction = 0;
	uint64_t size = 0;
	int error = agree_directions(server, client, &direction, reason);

	if (!error && terms->kind == RF_SLOTS)
		error = agree_slots(server, client, direction, terms, reason);
	else if (!error)
		error = agree_size(server, client, terms, &size, reason);
	if (error)
		return error;
	if (terms->kind == RF_SLOTS)
		size = descriptors_bytes(terms);
	terms->area_bytes[RF__UP] = direction & RF_SEND ? size : 0;
	terms->area_bytes[RF__DOWN] = direction & RF_RECEIVE ? size : 0;
	return 0;
}

/* Over a channel the sender waits, and begins at the beginning. */
static int agree_lag(const struct rf__wish *server, const struct rf__wish *client,
	struct rf__terms *terms, struct rf__reason *reason)
{
	uint32_t grant = server->lag ? server->lag : RF_LAG_DROP;

	if (client->lag > RF_LAG_DISCONNECT || client->start > RF_START_OLDEST)
		return NO_GROUND("the client wants lag %u and start %u, the server has none",
			client->lag, client->start);
	if (!server->publishes && client->lag && client->lag != RF_LAG_BLOCK)
		return NO_GROUND("the client wants lag %s, the server is no publisher",
			lag_names[client->lag]);
	if (!server->publishes)
		return 0;
	terms->lag = client->lag ? client->lag : grant;
	terms->start = client->start;
	if (terms->lag != RF_LAG_DISCONNECT)
		return 0;
	terms->stall_ns = shorter(client->stall_ns, server->stall_ns);
	if (!terms->stall_ns)
		terms->stall_ns = RF__STALL_DEFAULT_NS;
	return 0;
}

/* Descriptors belong to messages, which views have none of. */
static bool carries_fds(const struct rf__terms *terms, enum rf__way way)
{
	return terms->area_bytes[way] && (terms->kind == RF_BYTES || terms->kind == RF_SLOTS);
}

/* What the receiving end takes. */
static void agree_fds(const struct rf__wish *receiver, enum rf__way way, struct rf__terms *terms)
{
	struct rf__fd_terms fds = receiver->fds;

	fds.kinds &= FD_KINDS;
	if (fds.max > RF_FDS_MAX)
		fds.max = RF_FDS_MAX;
	if (fds.kinds && fds.max && carries_fds(terms, way))
		terms->fds[way] = fds;
}

/* 0: none. */
static uint32_t agree_fence(const struct rf__wish *server, uint32_t fences)
{
	if (server->asymmetric && fences & 1u << RF__FENCE_ASYMMETRIC)
		return RF__FENCE_ASYMMETRIC;
	return fences & 1u << RF__FENCE_SEQ_CST ? RF__FENCE_SEQ_CST : 0;
}

static int agree_wakeups(const struct rf__wish *server, const struct rf__hello *hello,
	struct rf__terms *terms, struct rf__reason *reason)
{
	uint32_t bells = hello->wish.doorbells & server->doorbells;

	if (!(bells & (RF__BELL_EVENTFD | RF__BELL_SOCKET)))
		return NO_GROUND("client and server share no doorbell");
	terms->fence = agree_fence(server, hello->fences);
	if (!terms->fence)
		return NO_GROUND("client and server share no fence");
	terms->doorbell = bells & RF__BELL_EVENTFD ? RF_DOORBELL_EVENTFD : RF_DOORBELL_SOCKET;
	return 0;
}

int rf__terms_agree(const struct rf__wish *server, const struct rf__hello *client,
	struct rf__terms *ret_terms, struct rf__reason *reason)
{
	struct rf__terms terms = {.listened = server->listened, .page_bytes = server->page_bytes};
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
		error = agree_lag(server, &client->wish, &terms, reason);
	if (!error)
		error = agree_wakeups(server, client, &terms, reason);
	if (error)
		return error;
	agree_fds(server, RF__UP, &terms);
	agree_fds(&client->wish, RF__DOWN, &terms);
	*ret_terms = terms;
	return 0;
}

static bool size_is_fine(
	const struct rf__wish *wish, const struct rf__terms *terms, enum rf__way way)
{
	uint64_t size = terms->area_bytes[way];

	if (terms->kind == RF_SLOTS)
		return !size || size == descriptors_bytes(terms);
	return !size ||
	       (rf__is_power_of_two(size) && size >= wish->page_bytes && size >= wish->ring_bytes &&
		       size >= least_ring(terms) && size <= wish->max_ring_bytes);
}

static bool kind_is_fine(const struct rf__wish *wish, const struct rf__terms *terms)
{
	if (!terms->kind || terms->kind > RF_SLOTS)
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

static bool fence_is_fine(const struct rf__wish *wish, uint32_t fence)
{
	return fence == RF__FENCE_SEQ_CST || (fence == RF__FENCE_ASYMMETRIC && wish->asymmetric);
}

static bool slots_are_fine(const struct rf__wish *wish, const struct rf__terms *terms)
{
	uint32_t align = terms->slot_align;

	if (terms->kind != RF_SLOTS)
		return !terms->slots && !terms->slot_bytes && !align && !terms->hold;
	return terms->slots > 1 && terms->slots <= RF_SLOTS_MAX && terms->slots >= wish->slots &&
	       terms->slot_bytes && terms->slot_bytes <= RF__SLOT_BYTES_MAX &&
	       terms->slot_bytes >= wish->slot_bytes && rf__is_power_of_two(align) &&
	       align >= RF__SLOT_ALIGNMENT_MIN && align <= terms->page_bytes &&
	       align >= wish->slot_align && rf__terms_payload_bytes(terms) <= wish->max_ring_bytes;
}

/* A client that only receives holds what it wished for; else the server may wish for more. */
static bool hold_is_fine(const struct rf__wish *wish, const struct rf__terms *terms)
{
	uint32_t least = terms->area_bytes[RF__DOWN] ? wish->hold : 0;

	if (terms->kind != RF_SLOTS)
		return true;
	return terms->hold && terms->hold <= terms->slots && terms->hold >= least &&
	       (!least || terms->area_bytes[RF__UP] || terms->hold == least);
}

static bool lag_is_fine(const struct rf__wish *wish, const struct rf__terms *terms)
{
	uint64_t stall = terms->stall_ns;

	if (!terms->lag)
		return (!wish->lag || wish->lag == RF_LAG_BLOCK) && !terms->start && !stall;
	if (terms->lag > RF_LAG_DISCONNECT || (wish->lag && wish->lag != terms->lag))
		return false;
	if (terms->kind != RF_SLOTS || terms->area_bytes[RF__UP] || terms->start != wish->start)
		return false;
	if (terms->lag != RF_LAG_DISCONNECT)
		return !stall;
	return stall && (!wish->stall_ns || stall <= wish->stall_ns);
}

static bool is_fds_within(const struct rf__fd_terms *fds, const struct rf__fd_terms *wish)
{
	return !(fds->kinds & ~wish->kinds) && fds->max <= wish->max &&
	       (!wish->per_second || (fds->per_second && fds->per_second <= wish->per_second));
}

static bool fds_are_fine(
	const struct rf__wish *wish, const struct rf__terms *terms, enum rf__way way)
{
	static const struct rf__fd_terms any = {.kinds = FD_KINDS, .max = RF_FDS_MAX};
	const struct rf__fd_terms *fds = &terms->fds[way];

	if (!fds->kinds && !fds->max && !fds->per_second)
		return true;
	return fds->kinds && fds->max && carries_fds(terms, way) &&
	       is_fds_within(fds, way == RF__DOWN ? &wish->fds : &any);
}

const char *rf__terms_lie(const struct rf__wish *wish, const struct rf__welcome *welcome)
{
	const struct rf__terms *terms = &welcome->terms;
	uint32_t direction = (terms->area_bytes[RF__UP] ? RF_SEND : 0u) |
			     (terms->area_bytes[RF__DOWN] ? RF_RECEIVE : 0u);

	if (!features_are_fine(wish, terms->features))
		return "features";
	if (terms->page_bytes != wish->page_bytes)
		return "page size";
	if (!kind_is_fine(wish, terms))
		return "kind";
	if (!type_is_fine(wish, terms))
		return "type of elements";
	if (!direction || (wish->direction && wish->direction != direction))
		return "directions";
	if (!slots_are_fine(wish, terms))
		return "slots";
	if (!hold_is_fine(wish, terms))
		return "slots to be held";
	if (!size_is_fine(wish, terms, RF__UP) || !size_is_fine(wish, terms, RF__DOWN))
		return "ring size";
	if (!lag_is_fine(wish, terms))
		return "lag";
	if (!fds_are_fine(wish, terms, RF__UP) || !fds_are_fine(wish, terms, RF__DOWN))
		return "descriptors beside the data";
	if (!doorbell_is_fine(wish, terms->doorbell))
		return "doorbell";
	return fence_is_fine(wish, terms->fence) ? NULL : "fence";
}
