/* SPDX-License-Identifier: MIT */
/* Which slot is where, at the producer: see slots.h. */
#include "slots.h"

#include "bits.h"
#include <errno.h>

#define NO_SLOT    UINT32_MAX
#define CACHE_LINE 64

_Static_assert(sizeof(struct rf__slot) == 32, "slots share lines, none is on two");

static uint32_t at_least(uint32_t count)
{
	uint32_t size = 1;

	while (size < count)
		size *= 2;
	return size;
}

/* Queues */

static size_t queue_bytes(uint32_t count)
{
	return at_least(2 * count) * sizeof(uint32_t);
}

static uint32_t queued(const struct rf__slot_queue *queue)
{
	return queue->end - queue->first;
}

static void push(struct rf__slot_queue *queue, uint32_t id)
{
	queue->ids[queue->end++ & queue->mask] = id;
}

static uint32_t pop(struct rf__slot_queue *queue)
{
	return queue->ids[queue->first++ & queue->mask];
}

/* The producer */

size_t rf__slots_memory(uint32_t count)
{
	return 2 * (size_t)count * sizeof(struct rf__slot) + 3 * queue_bytes(count) + CACHE_LINE;
}

size_t rf__slots_bitmap_bytes(uint32_t count)
{
	return (2 * (size_t)count + 63) / 64 * sizeof(uint64_t);
}

static void queue_init(struct rf__slot_queue *queue, unsigned char **memory, uint32_t count)
{
	*queue = (struct rf__slot_queue){
		.ids = (uint32_t *)(void *)*memory,
		.mask = at_least(2 * count) - 1,
	};
	*memory += queue_bytes(count);
}

/* Whose slots those of the present generation, or of the other one, are. */
static uint32_t first_of(const struct rf__slots *slots, uint32_t generation)
{
	return generation & 1 ? slots->count : 0;
}

static bool is_old(const struct rf__slots *slots, uint32_t id)
{
	return (id >= slots->count) != (slots->generation & 1);
}

/* All slots of the present generation are idle, and were never written. */
static void fill_idle(struct rf__slots *slots)
{
	uint32_t i, first = first_of(slots, slots->generation);

	slots->idle.first = slots->idle.end;
	for (i = first; i != first + slots->count; i++) {
		slots->slots[i].number = 0;
		slots->slots[i].state = RF__SLOT_IDLE;
		slots->slots[i].queued = true;
		push(&slots->idle, i);
	}
}

void rf__slots_init(struct rf__slots *slots, void *memory, unsigned char *base, uint32_t count,
	uint64_t stride, uint64_t slot_bytes)
{
	unsigned char *rest = memory;

	rest += -(uintptr_t)rest % CACHE_LINE;
	*slots = (struct rf__slots){
		.base = {base},
		.stride = stride,
		.slot_bytes = slot_bytes,
		.count = count,
		.slots = (struct rf__slot *)(void *)rest,
	};
	rest += 2 * (size_t)count * sizeof(struct rf__slot);
	queue_init(&slots->idle, &rest, count);
	queue_init(&slots->ready, &rest, count);
	queue_init(&slots->past, &rest, count);
	fill_idle(slots);
}

static bool is_free(const struct rf__slot *slot)
{
	return !slot->holders &&
	       (slot->state == RF__SLOT_IDLE || slot->state == RF__SLOT_PUBLISHED);
}

/* Nobody holds it any more. */
RF__HOT void retire(struct rf__slots *slots, uint32_t id)
{
	struct rf__slot *slot = &slots->slots[id];

	if (slot->queued)
		return;
	slot->queued = true;
	if (is_old(slots, id))
		slots->old--;
	else
		push(&slots->idle, id);
}

/* It is not held by that consumer any more, if it was. */
RF__HOT void give_back(struct rf__slots *slots, struct rf__slot_consumer *consumer, uint32_t id)
{
	struct rf__slot *slot = &slots->slots[id];

	rf__flip_bit(consumer->lent, id);
	if (slot->n_fds)
		consumer->with_fds--;
	if (!--slot->holders)
		retire(slots, id);
}

void rf__slots_join(struct rf__slots *slots, struct rf__slot_consumer *consumer)
{
	struct rf__slot_consumer **end = &slots->consumers;

	while (*end)
		end = &(*end)->next;
	*end = consumer;
	slots->blocking += consumer->blocks;
	slots->symmetric += !consumer->ring->at.asymmetric;
	consumer->next = NULL;
	consumer->memory = slots->generation;
	consumer->generation = 0;
	consumer->last = slots->newest;
}

void rf__slots_leave(struct rf__slots *slots, struct rf__slot_consumer *consumer)
{
	struct rf__slot_consumer **at = &slots->consumers;
	uint32_t word, n_words = (uint32_t)(rf__slots_bitmap_bytes(slots->count) / 8);

	while (*at && *at != consumer)
		at = &(*at)->next;
	if (*at) {
		*at = consumer->next;
		slots->blocking -= consumer->blocks;
		slots->symmetric -= !consumer->ring->at.asymmetric;
	}
	for (word = 0; word < n_words; word++)
		while (consumer->lent[word])
			give_back(slots, consumer,
				word * 64 + (uint32_t)__builtin_ctzll(consumer->lent[word]));
}

static int breach(struct rf__slot_consumer *consumer, const char *what)
{
	consumer->ring->breach = what;
	return -EPROTO;
}

/* Which slot a consumer means, that counts generations on its own. */
static uint32_t id_of(
	const struct rf__slots *slots, const struct rf__slot_consumer *consumer, uint32_t entry)
{
	if (!((consumer->memory ^ consumer->generation) & 1))
		return entry;
	return entry < slots->count ? entry + slots->count : entry - slots->count;
}

static int take_return(struct rf__slots *slots, struct rf__slot_consumer *consumer)
{
	uint64_t at = (consumer->collected & consumer->ring->at.mask) / RF__DESCRIPTOR_BYTES;
	uint64_t entry = rf__load_relaxed(&consumer->returns[at]);
	uint32_t id;

	if (entry >= 2 * (uint64_t)slots->count)
		return breach(consumer, "the consumer returned a slot that does not exist");
	id = id_of(slots, consumer, (uint32_t)entry);
	if (!rf__has_bit(consumer->lent, id))
		return breach(consumer, "the consumer returned a slot that it does not hold");
	consumer->collected += RF__DESCRIPTOR_BYTES;
	give_back(slots, consumer, id);
	return 0;
}

int rf__slots_collect(struct rf__slots *slots, struct rf__slot_consumer *consumer)
{
	struct rf__ring_tx *ring = consumer->ring;
	int n = 0;

	if (ring->breach || rf__ring_tx_refresh(ring) < 0)
		return -EPROTO;
	for (; consumer->collected != ring->head; n++)
		if (take_return(slots, consumer) < 0)
			return -EPROTO;
	return n;
}

/* Has it room for n more, now that it matters? */
RF__HOT bool makes_room(struct rf__slots *slots, struct rf__slot_consumer *consumer, uint32_t n)
{
	if (rf__slots_has_room(consumer, n))
		return true;
	return rf__slots_collect(slots, consumer) > 0 && rf__slots_has_room(consumer, n);
}

bool rf__slots_has_memory(struct rf__slots *slots, struct rf__slot_consumer *consumer)
{
	if (consumer->memory == slots->generation)
		return true;
	if (slots->send && !slots->send(slots->send_context, consumer, NULL))
		return false;
	consumer->memory = slots->generation;
	consumer->generation++;
	return true;
}

static bool is_in_the_way(struct rf__slots *slots, struct rf__slot_consumer *consumer, uint32_t n)
{
	if (!consumer->blocks)
		return false;
	if (makes_room(slots, consumer, n) && rf__slots_has_memory(slots, consumer))
		return false;
	return !consumer->ring->breach;
}

struct rf__slot_consumer *rf__slots_blocker(struct rf__slots *slots)
{
	uint32_t n = rf__slots_pending(slots) + 1;
	struct rf__slot_consumer *consumer;

	for (consumer = slots->consumers; consumer; consumer = consumer->next)
		if (is_in_the_way(slots, consumer, n))
			return consumer;
	return NULL;
}

/* A broken one is not in the way. */
static uint32_t room_of(
	struct rf__slots *slots, struct rf__slot_consumer *consumer, uint32_t pending, uint32_t max)
{
	uint32_t room;

	if (makes_room(slots, consumer, pending + max) && consumer->memory == slots->generation)
		return max;
	if (consumer->ring->breach)
		return max;
	room = consumer->hold - rf__slots_held(consumer);
	if (room <= pending || !rf__slots_has_memory(slots, consumer))
		return 0;
	return room - pending < max ? room - pending : max;
}

uint32_t rf__slots_room(struct rf__slots *slots, uint32_t max)
{
	uint32_t pending = rf__slots_pending(slots);
	struct rf__slot_consumer *consumer;

	if (max > slots->count)
		max = slots->count;
	if (!slots->blocking)
		return max;
	for (consumer = slots->consumers; consumer; consumer = consumer->next)
		if (consumer->blocks)
			max = room_of(slots, consumer, pending, max);
	return max;
}

/* The longest idle one. Some were lent again since, out of the queue. */
RF__HOT uint32_t take_idle(struct rf__slots *slots)
{
	while (queued(&slots->idle)) {
		uint32_t id = pop(&slots->idle);

		slots->slots[id].queued = false;
		if (is_free(&slots->slots[id]))
			return id;
	}
	return NO_SLOT;
}

static uint32_t find_idle(struct rf__slots *slots)
{
	uint32_t id = take_idle(slots);
	struct rf__slot_consumer *consumer;

	if (id != NO_SLOT)
		return id;
	for (consumer = slots->consumers; consumer; consumer = consumer->next)
		rf__slots_collect(slots, consumer);
	return take_idle(slots);
}

uint64_t rf__slots_id(const struct rf__slots *slots, const struct rf__slot *slot)
{
	return (uint64_t)slot->uses << 32 | (uint32_t)(slot - slots->slots);
}

bool rf__slots_has_idle(struct rf__slots *slots)
{
	uint32_t id = find_idle(slots);

	if (id == NO_SLOT)
		return false;
	/* it stays the first */
	slots->slots[id].queued = true;
	slots->idle.ids[--slots->idle.first & slots->idle.mask] = id;
	return true;
}

static uint32_t number_of(const struct rf__slots *slots, uint32_t id)
{
	return id < slots->count ? id : id - slots->count;
}

static unsigned char *place_of(const struct rf__slots *slots, uint32_t id)
{
	return slots->base[id >= slots->count] + number_of(slots, id) * slots->stride;
}

RF__HOT void open_slot(
	struct rf__slots *slots, uint32_t id, size_t len, struct rf_buffer *ret_buffer)
{
	struct rf__slot *slot = &slots->slots[id];

	slot->number = 0;
	slot->n_fds = 0;
	slot->state = RF__SLOT_OPEN;
	slot->uses++;
	slot->place = len << RF__LEN_SHIFT;
	slots->open++;
	*ret_buffer = (struct rf_buffer){
		.data = place_of(slots, id),
		.len = len,
		.id = rf__slots_id(slots, slot),
	};
}

int rf__slots_reserve_span(
	struct rf__slots *slots, size_t len, struct rf_buffer *ret_buffers, unsigned max)
{
	unsigned n;
	uint32_t id;

	if (slots->ended || !max)
		return -EINVAL;
	if (len > slots->slot_bytes)
		return -EMSGSIZE;
	for (n = 0; n < max; n++) {
		id = find_idle(slots);
		if (id == NO_SLOT)
			break;
		open_slot(slots, id, len, &ret_buffers[n]);
	}
	return n ? (int)n : -EAGAIN;
}

struct rf__slot *rf__slots_find(struct rf__slots *slots, uint64_t id)
{
	uint32_t index = (uint32_t)id;
	struct rf__slot *slot;

	if (index >= 2 * slots->count)
		return NULL;
	slot = &slots->slots[index];
	return slot->state == RF__SLOT_OPEN && slot->uses == id >> 32 ? slot : NULL;
}

/* What most messages do without. The flag that says so. */
static uint64_t put_extra(
	struct rf__slots *slots, uint32_t id, const struct rf_buffer *buffer, uint64_t offset)
{
	unsigned char *end =
		slots->base[id >= slots->count] + rf__slots_end_bytes(slots->count, slots->stride);
	struct rf__slot_extra *extra = (struct rf__slot_extra *)(void *)end + number_of(slots, id);

	rf__store_relaxed(&extra->offset, offset);
	rf__store_relaxed(&extra->time_ns, buffer->time_ns);
	rf__store_relaxed(&extra->user[0], buffer->user[0]);
	rf__store_relaxed(&extra->user[1], buffer->user[1]);
	return RF__SLOT_HAS_EXTRA;
}

int rf__slots_commit(struct rf__slots *slots, const struct rf_buffer *buffer)
{
	struct rf__slot *slot = rf__slots_find(slots, buffer->id);
	uint32_t id = (uint32_t)buffer->id;
	uint64_t offset, reserved;

	if (!slot)
		return -EINVAL;
	offset = (uintptr_t)buffer->data - (uintptr_t)place_of(slots, id);
	reserved = slot->place >> RF__LEN_SHIFT;
	if (offset > reserved || buffer->len > reserved - offset)
		return -EINVAL;
	slot->place = number_of(slots, id) | (uint64_t)buffer->len << RF__LEN_SHIFT;
	slot->tag = buffer->tag;
	if (slot->n_fds)
		slot->place |= RF__SLOT_FDS_FOLLOW;
	if (offset | buffer->time_ns | buffer->user[0] | buffer->user[1])
		slot->place |= put_extra(slots, id, buffer, offset);
	slot->state = RF__SLOT_COMMITTED;
	slots->open--;
	push(&slots->ready, id);
	return 0;
}

static void cancel(struct rf__slots *slots, uint32_t id)
{
	slots->slots[id].state = RF__SLOT_IDLE;
	slots->open--;
	retire(slots, id);
}

int rf__slots_cancel(struct rf__slots *slots, uint64_t id)
{
	if (!rf__slots_find(slots, id))
		return -EINVAL;
	cancel(slots, (uint32_t)id);
	return 0;
}

/* Sends it if need be. */
static bool is_sent_all(struct rf__slots *slots, struct rf__slot_consumer *consumer, uint32_t id)
{
	struct rf__slot *slot = &slots->slots[id];

	if (is_old(slots, id) ? consumer->memory != slots->generation - 1
			      : !rf__slots_has_memory(slots, consumer))
		return false;
	if (!slot->n_fds || !slots->send)
		return true;
	return slots->send(slots->send_context, consumer, slot);
}

/* Before it is lent: has the consumer all that belongs to it? */
RF__HOT bool has_all_for(struct rf__slots *slots, struct rf__slot_consumer *consumer, uint32_t id)
{
	if (consumer->memory == slots->generation && !slots->slots[id].n_fds && !is_old(slots, id))
		return true;
	return is_sent_all(slots, consumer, id);
}

/* What was missed since the last one that was lent, as far as 32 bits can say. */
static uint64_t tell_missed(struct rf__slot_consumer *consumer)
{
	uint64_t told = consumer->untold < UINT32_MAX ? consumer->untold : UINT32_MAX;

	consumer->untold -= told;
	return told << 32;
}

RF__HOT void put_descriptor(struct rf__slot_consumer *consumer, const struct rf__slot *slot)
{
	struct rf__descriptor *to = rf__ring_tx_put(consumer->ring);
	uint64_t generation = (uint64_t)(uint8_t)consumer->generation << RF__GENERATION_SHIFT;
	uint64_t missed = consumer->untold ? tell_missed(consumer) : 0;

	rf__store_relaxed(&to->place, slot->place | generation);
	rf__store_relaxed(&to->tags, slot->tag | missed);
}

RF__HOT void lend(
	struct rf__slots *slots, struct rf__slot_consumer *consumer, uint32_t id, uint64_t number)
{
	struct rf__slot *slot = &slots->slots[id];

	put_descriptor(consumer, slot);
	rf__flip_bit(consumer->lent, id);
	consumer->last = number;
	if (slot->n_fds)
		consumer->with_fds++;
	slot->holders++;
}

/* Before the next tail is stored: who sees that is to see what was dropped before it. */
static void count_missed(struct rf__slots *slots, struct rf__slot_consumer *consumer, int more)
{
	consumer->untold += (uint64_t)more;
	consumer->missed += (uint64_t)more;
	rf__store_relaxed(&consumer->ring->own->dropped, consumer->missed);
	slots->attention = true;
}

/* All that is committed, and the tail. */
static void publish_to(struct rf__slots *slots, struct rf__slot_consumer *consumer)
{
	uint64_t number = slots->newest;
	uint32_t i;

	for (i = slots->ready.first; i != slots->ready.end; i++) {
		uint32_t id = slots->ready.ids[i & slots->ready.mask];

		number++;
		if (makes_room(slots, consumer, 1) && has_all_for(slots, consumer, id))
			lend(slots, consumer, id, number);
		else
			count_missed(slots, consumer, 1);
	}
	rf__ring_tx_show(consumer->ring);
}

static void note_published(struct rf__slots *slots, uint32_t id)
{
	struct rf__slot *slot = &slots->slots[id];

	slot->state = RF__SLOT_PUBLISHED;
	slots->newest++;
	if (slots->remembers) {
		slot->number = slots->newest;
		slots->past.ids[slot->number & slots->past.mask] = id;
	}
	if (!slot->holders)
		retire(slots, id);
}

unsigned rf__slots_publish(struct rf__slots *slots)
{
	unsigned n = queued(&slots->ready);
	struct rf__slot_consumer *consumer;

	if (!n)
		return 0;
	for (consumer = slots->consumers; consumer; consumer = consumer->next)
		publish_to(slots, consumer);
	/* pairs with the barrier between a want and the look behind it, of each */
	if (slots->symmetric)
		rf__full_barrier();
	else
		rf__compiler_barrier();
	for (consumer = slots->consumers; consumer; consumer = consumer->next)
		slots->attention |= rf__ring_tx_heed(consumer->ring);
	while (queued(&slots->ready))
		note_published(slots, pop(&slots->ready));
	return n;
}

/* The slot in which a message still is, that can be lent without more ado. */
static uint32_t find_past(const struct rf__slots *slots, uint64_t number)
{
	uint32_t id = slots->past.ids[number & slots->past.mask];
	const struct rf__slot *slot = &slots->slots[id];

	return number && slot->number == number && !slot->n_fds ? id : NO_SLOT;
}

/* How many messages up to the newest are still there in the present memory, at most max. */
static uint32_t count_past(const struct rf__slots *slots, uint32_t max)
{
	uint32_t n, id;

	for (n = 0; n < max && n < slots->count; n++) {
		id = find_past(slots, slots->newest - n);
		if (id == NO_SLOT || is_old(slots, id))
			break;
	}
	return n;
}

/* One of the memory before may be back already. */
static void lend_past(
	struct rf__slots *slots, struct rf__slot_consumer *consumer, uint32_t id, uint64_t number)
{
	struct rf__slot *slot = &slots->slots[id];

	lend(slots, consumer, id, number);
	if (!slot->queued || !is_old(slots, id))
		return;
	slot->queued = false;
	slots->old++;
}

void rf__slots_catch_up(struct rf__slots *slots, struct rf__slot_consumer *consumer, bool oldest)
{
	uint32_t kept = consumer->blocks ? rf__slots_pending(slots) : 0;
	uint32_t room = consumer->hold > kept ? consumer->hold - kept : 0;
	uint32_t most = oldest ? (room + 1) / 2 : 1;
	uint32_t n = count_past(slots, most < room ? most : room);

	for (; n; n--) {
		uint64_t number = slots->newest - (n - 1);

		lend_past(slots, consumer, find_past(slots, number), number);
	}
	rf__ring_tx_publish(consumer->ring);
}

bool rf__slots_refresh(struct rf__slots *slots, struct rf__slot_consumer *consumer)
{
	uint32_t id = find_past(slots, slots->newest);

	if (id == NO_SLOT || consumer->last == slots->newest || consumer->ring->ended)
		return false;
	if (!makes_room(slots, consumer, 1) || !has_all_for(slots, consumer, id))
		return false;
	count_missed(slots, consumer, -1);
	lend_past(slots, consumer, id, slots->newest);
	rf__ring_tx_publish(consumer->ring);
	return true;
}

void rf__slots_end(struct rf__slots *slots)
{
	struct rf__slot_consumer *consumer;
	uint32_t id;

	rf__slots_publish(slots);
	for (id = 0; slots->open && id < 2 * slots->count; id++)
		if (slots->slots[id].state == RF__SLOT_OPEN)
			cancel(slots, id);
	slots->ended = slots->attention = true;
	for (consumer = slots->consumers; consumer; consumer = consumer->next) {
		if (consumer->latest)
			rf__slots_refresh(slots, consumer);
		rf__ring_tx_end(consumer->ring);
	}
}

void rf__slots_renew(struct rf__slots *slots, unsigned char *base)
{
	uint32_t i, first = first_of(slots, slots->generation);

	for (i = first; i != first + slots->count; i++) {
		slots->slots[i].queued = is_free(&slots->slots[i]);
		slots->old += !slots->slots[i].queued;
	}
	slots->generation++;
	slots->base[slots->generation & 1] = base;
	fill_idle(slots);
}
