/* SPDX-License-Identifier: MIT */
/* Options: see options.h. */
#include "options.h"
#include "fence.h"
#include "region.h"
#include "ring-layout.h"
#include "util/check.h"

#include <errno.h>

#define MAX_RING_DEFAULT (UINT64_C(64) << 20)
#define SPIN_DEFAULT_NS  (1000 * UINT64_C(1000))

/* Quotas for a user. */
#define MAX_BYTES_DEFAULT    (UINT64_C(1) << 30)
#define MAX_CHANNELS_DEFAULT 64

#define FLAGS_KNOWN                                                                                \
	(RF_OPTION_GROUP | RF_OPTION_POPULATE | RF_OPTION_MLOCK | RF_OPTION_HUGE |                 \
		RF_OPTION_RENEW | RF_OPTION_FENCE)
#define FD_KINDS_KNOWN (2u * RF_FD_OTHER - 1)

static bool is_zero(const unsigned char *bytes, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (bytes[i])
			return false;
	return true;
}

static int copy_known(
	const struct rf_options *from, struct rf_options *to, struct rf__reason *reason)
{
	size_t known = sizeof(*to);

	if (from->size < offsetof(struct rf_options, ring_bytes))
		return rf__fail(reason, -EINVAL,
			"options: size is %zu, not that of the struct (rf_options_init() sets it)",
			from->size);
	if (from->size > known && !is_zero((const unsigned char *)from + known, from->size - known))
		return rf__fail(
			reason, -EINVAL, "options: a field is set that this release does not know");
	memcpy(to, from, from->size < known ? from->size : known);
	return 0;
}

static int check_choices(const struct rf_options *o, struct rf__reason *reason)
{
	if (o->kind > RF_SLOTS)
		return rf__fail(reason, -EINVAL, "options: kind %u is unknown", o->kind);
	if (o->direction > (RF_SEND | RF_RECEIVE))
		return rf__fail(reason, -EINVAL, "options: direction %u is unknown", o->direction);
	if (o->doorbell > RF_DOORBELL_SOCKET)
		return rf__fail(reason, -EINVAL, "options: doorbell %u is unknown", o->doorbell);
	if (o->wait > RF_WAIT_SLEEP)
		return rf__fail(reason, -EINVAL, "options: wait %u is unknown", o->wait);
	if (o->lag > RF_LAG_DISCONNECT)
		return rf__fail(reason, -EINVAL, "options: lag %u is unknown", o->lag);
	if (o->start > RF_START_OLDEST)
		return rf__fail(reason, -EINVAL, "options: start %u is unknown", o->start);
	if (o->mode & ~0777u)
		return rf__fail(reason, -EINVAL, "options: mode 0%o has more than permission bits",
			o->mode);
	if (o->flags & ~(uint32_t)FLAGS_KNOWN)
		return rf__fail(reason, -EINVAL, "options: flags 0x%x are unknown", o->flags);
	if (o->reserved)
		return rf__fail(reason, -EINVAL, "options: reserved is not 0");
	return 0;
}

static int check_lists(const struct rf_options *o, struct rf__reason *reason)
{
	if (o->n_uids && !o->uids)
		return rf__fail(
			reason, -EINVAL, "options: n_uids is %zu, but uids is NULL", o->n_uids);
	if (o->n_gids && !o->gids)
		return rf__fail(
			reason, -EINVAL, "options: n_gids is %zu, but gids is NULL", o->n_gids);
	if (o->n_block_uids && !o->block_uids)
		return rf__fail(reason, -EINVAL,
			"options: n_block_uids is %zu, but block_uids is NULL", o->n_block_uids);
	return 0;
}

static int check_fds(const struct rf_options *o, struct rf__reason *reason)
{
	if (o->fd_kinds & ~(uint32_t)FD_KINDS_KNOWN)
		return rf__fail(reason, -EINVAL, "options: fd_kinds 0x%x are unknown", o->fd_kinds);
	if (o->max_fds > RF_FDS_MAX)
		return rf__fail(reason, -EINVAL, "options: max_fds %u is more than %d", o->max_fds,
			RF_FDS_MAX);
	return 0;
}

static int check_type(const struct rf_options *o, struct rf__reason *reason)
{
	if (o->kind != RF_ELEMENTS && (o->element_bytes || o->type))
		return rf__fail(
			reason, -EINVAL, "options: element_bytes and type are for RF_ELEMENTS");
	if (o->kind != RF_ELEMENTS)
		return 0;
	if (!o->element_bytes || o->element_bytes > RF__ELEMENT_MAX)
		return rf__fail(reason, -EINVAL,
			"options: element_bytes %llu is not between 1 and 1 MiB",
			(unsigned long long)o->element_bytes);
	if (!o->type || !rf__is_type_name(o->type))
		return rf__fail(reason, -EINVAL,
			"options: type is not a name of 1 to 63 printable characters of ASCII");
	return 0;
}

static int check_sizes(const struct rf_options *o, struct rf__reason *reason)
{
	if (o->ring_bytes > RF__AREA_MAX)
		return rf__fail(reason, -EINVAL, "options: ring_bytes %llu is more than 1 GiB",
			(unsigned long long)o->ring_bytes);
	if (o->max_ring_bytes > RF__AREA_MAX)
		return rf__fail(reason, -EINVAL, "options: max_ring_bytes %llu is more than 1 GiB",
			(unsigned long long)o->max_ring_bytes);
	if (o->max_ring_bytes && o->max_ring_bytes < rf__page_bytes())
		return rf__fail(reason, -EINVAL, "options: max_ring_bytes %llu is less than a page",
			(unsigned long long)o->max_ring_bytes);
	if (o->max_ring_bytes && o->max_ring_bytes < rf__power_of_two(o->ring_bytes))
		return rf__fail(reason, -EINVAL,
			"options: max_ring_bytes is less than ring_bytes, rounded up to a power of "
			"two");
	return 0;
}

/* What the slots take that these options ask for; 0: they ask for none. */
static uint64_t slots_bytes(const struct rf_options *o)
{
	const struct rf__terms terms = {
		.slots = o->slots ? o->slots : RF__SLOTS_DEFAULT,
		.slot_bytes = o->slot_bytes ? o->slot_bytes : RF__SLOT_BYTES_DEFAULT,
		.slot_align = o->slot_align ? o->slot_align : RF__SLOT_ALIGNMENT_MIN,
		.page_bytes = (uint32_t)rf__page_bytes(),
	};

	return o->slots || o->slot_bytes ? rf__terms_payload_bytes(&terms) : 0;
}

static int check_slot(const struct rf_options *o, struct rf__reason *reason)
{
	if (o->slots == 1 || o->slots > RF_SLOTS_MAX)
		return rf__fail(reason, -EINVAL, "options: slots %u is not between 2 and %d",
			o->slots, RF_SLOTS_MAX);
	if (o->slot_bytes > RF__SLOT_BYTES_MAX)
		return rf__fail(reason, -EINVAL, "options: slot_bytes %llu is more than 1 GiB",
			(unsigned long long)o->slot_bytes);
	if (o->slot_align &&
		(!rf__is_power_of_two(o->slot_align) || o->slot_align < RF__SLOT_ALIGNMENT_MIN ||
			o->slot_align > rf__page_bytes()))
		return rf__fail(reason, -EINVAL,
			"options: slot_align %u is not a power of two from 64 to a page",
			o->slot_align);
	if (o->hold > RF_SLOTS_MAX)
		return rf__fail(
			reason, -EINVAL, "options: hold %u is more than %d", o->hold, RF_SLOTS_MAX);
	return 0;
}

static int check_slots(const struct rf_options *o, struct rf__reason *reason)
{
	int r = check_slot(o, reason);

	if (r < 0)
		return r;
	if (o->kind && o->kind != RF_SLOTS &&
		(o->slots || o->slot_bytes || o->slot_align || o->hold))
		return rf__fail(reason, -EINVAL,
			"options: slots, slot_bytes, slot_align and hold are for RF_SLOTS");
	if (!o->slots || !o->slot_bytes)
		return 0;
	if (slots_bytes(o) > RF__AREA_MAX)
		return rf__fail(
			reason, -EINVAL, "options: slots times slot_bytes is more than 1 GiB");
	if (o->max_ring_bytes && slots_bytes(o) > o->max_ring_bytes)
		return rf__fail(reason, -EINVAL,
			"options: max_ring_bytes is less than slots times slot_bytes");
	return 0;
}

/* What the caller asks for has to be allowed. The end that listens makes the memory, and is charged for
 * it; who connects pays with addresses. */
static uint64_t default_max_ring(const struct rf_options *o, bool connects)
{
	uint64_t ring = o->ring_bytes > MAX_RING_DEFAULT ? rf__power_of_two(o->ring_bytes)
							 : MAX_RING_DEFAULT;
	uint64_t slots = slots_bytes(o);

	if (slots > RF__AREA_MAX || connects)
		slots = RF__AREA_MAX;
	return slots > ring ? slots : ring;
}

/* Who is to be let in decides who has to get at the file. */
static uint32_t default_mode(const struct rf_options *o)
{
	if (o->n_uids)
		return 0666;
	if (o->flags & RF_OPTION_GROUP)
		return 0660;
	return o->n_gids || o->admit ? 0666 : 0600;
}

/* A ring that the caller allows has to fit. */
static uint64_t default_bytes(const struct rf_options *o)
{
	uint64_t bytes = 4 * o->max_ring_bytes;

	return bytes > MAX_BYTES_DEFAULT ? bytes : MAX_BYTES_DEFAULT;
}

int rf__options_read(const struct rf_options *options, bool connects,
	struct rf_options *ret_options, struct rf__reason *reason)
{
	struct rf_options o = {.size = sizeof(o)};
	int r = options ? copy_known(options, &o, reason) : 0;

	if (r >= 0)
		r = check_choices(&o, reason);
	if (r >= 0)
		r = check_type(&o, reason);
	if (r >= 0)
		r = check_sizes(&o, reason);
	if (r >= 0)
		r = check_slots(&o, reason);
	if (r >= 0)
		r = check_lists(&o, reason);
	if (r >= 0)
		r = check_fds(&o, reason);
	if (r < 0)
		return r;
	if (!o.spin_ns)
		o.spin_ns = SPIN_DEFAULT_NS;
	if (!o.max_ring_bytes)
		o.max_ring_bytes = default_max_ring(&o, connects);
	if (!o.mode)
		o.mode = default_mode(&o);
	if (!o.max_bytes)
		o.max_bytes = default_bytes(&o);
	if (!o.max_channels)
		o.max_channels = MAX_CHANNELS_DEFAULT;
	*ret_options = o;
	return 0;
}

void rf__options_register(struct rf_options *options)
{
	if (options->flags & RF_OPTION_FENCE && !rf__fence_register())
		options->flags &= ~(uint32_t)RF_OPTION_FENCE;
}

/* An eventfd can be made to hang us by whoever shares it (threats D2, D3): only with a peer that
 * could stop us anyway, or is trusted. Behind a socket that somebody else listened on, the
 * client has verified that somebody, not us. */
static uint32_t doorbells(const struct rf_options *options, bool verified)
{
	bool eventfd = options->doorbell == RF_DOORBELL_EVENTFD ||
		       (options->doorbell == RF_DOORBELL_AUTO && verified);

	return RF__BELL_SOCKET | (eventfd ? RF__BELL_EVENTFD : 0u);
}

struct rf__wish rf__options_wish(const struct rf_options *options,
	const struct rf__identity *identity, enum rf__origin origin, bool listened)
{
	bool verified = identity->flags & RF_PEER_SAME && (origin == RF__CONNECTED || listened);
	struct rf__wish wish = {
		.kind = options->kind,
		.direction = options->direction,
		.ring_bytes = options->ring_bytes,
		.max_ring_bytes = options->max_ring_bytes,
		.doorbells = doorbells(options, verified),
		.page_bytes = (uint32_t)rf__page_bytes(),
		.listened = listened,
		.asymmetric = options->flags & RF_OPTION_FENCE,
		.element_bytes = (uint32_t)options->element_bytes,
		.slots = options->slots,
		.slot_bytes = options->slot_bytes,
		.slot_align = options->slot_align,
		.hold = options->hold,
		.lag = options->lag,
		.start = options->start,
		.stall_ns = options->stall_ns,
	};

	if (options->type)
		memcpy(wish.type, options->type, strlen(options->type));
	if (options->fd_kinds && options->max_fds)
		wish.fds = (struct rf__fd_terms){
			options->fd_kinds, options->max_fds, options->fds_per_second};
	return wish;
}
