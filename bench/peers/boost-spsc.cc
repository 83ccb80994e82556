// SPDX-License-Identifier: MIT
// Boost.Lockfree's spsc_queue. Elements of a type of their own size are copied; in place, the queue
// carries pointers to slots.
#include "lanes.h"

#include <algorithm>
#include <boost/lockfree/spsc_queue.hpp>
#include <cstddef>
#include <new>

namespace
{

lane lanes[2]; // by sender

// Memory of a lane, for the one array that a queue wants.
template <typename T> struct lane_allocator {
	using value_type = T;

	T *memory;

	explicit lane_allocator(void *where) : memory(static_cast<T *>(where))
	{
	}
	template <typename U>
	lane_allocator(const lane_allocator<U> &other) : memory(reinterpret_cast<T *>(other.memory))
	{
	}
	T *allocate(std::size_t)
	{
		return memory;
	}
	void deallocate(T *, std::size_t)
	{
	}
};

template <typename T>
using queue = boost::lockfree::spsc_queue<T, boost::lockfree::allocator<lane_allocator<T>>>;

template <std::size_t size> struct message {
	std::uint32_t words[size / 4];
};

template <typename T> queue<T> &queue_of(side sender)
{
	return *static_cast<queue<T> *>(lanes[sender].control);
}

template <typename T> void make_queue(side sender, std::uint32_t elements)
{
	new (lanes[sender].control) queue<T>(elements, lane_allocator<T>(lanes[sender].data));
}

template <typename T> void push_all(queue<T> &to, const T *from, unsigned n)
{
	for (std::size_t done = 0; done < n;) {
		done += to.push(from + done, n - done);
		if (done < n)
			lane_pause();
	}
}

template <typename T> unsigned pop_some(queue<T> &from, T *to, std::uint64_t most)
{
	std::size_t n;

	while (!(n = from.pop(to, std::min<std::uint64_t>(most, BURST))))
		lane_pause();
	return static_cast<unsigned>(n);
}

template <typename T> void push_one(queue<T> &to, const T &from)
{
	while (!to.push(from))
		lane_pause();
}

template <typename T> void pop_one(queue<T> &from, T &to)
{
	while (!from.pop(to))
		lane_pause();
}

// Messages that are elements.

template <std::size_t size> void make_elements(side sender, const job *job)
{
	make_queue<message<size>>(sender, lane_elements(job, size));
}

template <std::size_t size>
void send_elements(end *end, const job *job, std::uint64_t first, std::uint64_t count)
{
	queue<message<size>> &to = queue_of<message<size>>(end->side);
	const message<size> *from;
	source source;
	unsigned n;

	source_begin(&source, end->buffer, size, first, count);
	for (; count && job_burst(job) == 1; count--)
		push_one(to, *static_cast<const message<size> *>(source_next(&source)));
	for (; count; count -= n) {
		from = reinterpret_cast<const message<size> *>(source_burst(&source, count, &n));
		push_all(to, from, n);
	}
}

template <std::size_t size>
std::uint64_t receive_elements(end *end, const job *job, std::uint64_t count)
{
	queue<message<size>> &from = queue_of<message<size>>(other_side(end));
	message<size> *to = reinterpret_cast<message<size> *>(end->buffer);
	std::uint64_t sum = 0;
	unsigned n;

	for (; count && job_burst(job) == 1; count--) {
		pop_one(from, *to);
		sum += payload_sum(to, size);
	}
	for (; count; count -= n) {
		n = pop_some(from, to, count);
		for (unsigned i = 0; i < n; i++)
			sum += payload_sum(to + i, size);
	}
	return sum;
}

struct element {
	std::size_t size;
	void (*make)(side, const job *);
	void (*send)(end *, const job *, std::uint64_t, std::uint64_t);
	std::uint64_t (*receive)(end *, const job *, std::uint64_t);
};

#define ROW(n) {n, make_elements<n>, send_elements<n>, receive_elements<n>},

const element elements[] = {ELEMENT_SIZES(ROW)};

// nullptr: messages are not elements.
const element *element_for(const job *job)
{
	if (!job_copies(job))
		return nullptr;
	for (const element &element : elements)
		if (element.size == job->size)
			return &element;
	return nullptr;
}

// Messages in slots; pointers to them are the elements, and come behind the queue itself.

using place = void *;

void make_places(side sender, const job *job)
{
	unsigned char *memory = static_cast<unsigned char *>(lanes[sender].control);

	new (memory) queue<place>(
		lane_places(job), lane_allocator<place>(memory + sizeof(queue<place>) + LINE));
}

void send_places(end *end, const job *job, std::uint64_t first, std::uint64_t count)
{
	queue<place> &to = queue_of<place>(end->side);
	std::uint64_t most = job_burst(job);
	source source{};
	place slots[BURST];
	unsigned n;

	if (job_copies(job))
		source_begin(&source, end->buffer, job->size, first, count);
	for (; count; count -= n) {
		n = static_cast<unsigned>(std::min(count, most));
		for (unsigned i = 0; i < n; i++) {
			slots[i] = lane_slot(&lanes[end->side]);
			slot_write(slots[i], job, &source, first++);
		}
		push_all(to, slots, n);
	}
}

std::uint64_t receive_places(end *end, const job *job, std::uint64_t count)
{
	queue<place> &from = queue_of<place>(other_side(end));
	std::uint64_t most = job_burst(job), sum = 0;
	place slots[BURST];
	unsigned n;

	for (; count; count -= n) {
		n = pop_some(from, slots, std::min(count, most));
		for (unsigned i = 0; i < n; i++)
			sum += slot_read(slots[i], job, end->buffer);
	}
	return sum;
}

int send(end *end, const job *job, std::uint64_t first, std::uint64_t count)
{
	const element *element = element_for(job);

	(element ? element->send : send_places)(end, job, first, count);
	return 0;
}

int receive(end *end, const job *job, std::uint64_t count, std::uint64_t *sum)
{
	const element *element = element_for(job);

	*sum += (element ? element->receive : receive_places)(end, job, count);
	return 0;
}

int open_lanes(end *end, const job *job)
{
	lane_open(&lanes[SIDE_PRODUCER], end, job, SIDE_PRODUCER);
	lane_open(&lanes[SIDE_CONSUMER], end, job, SIDE_CONSUMER);
	return 0;
}

int prepare(end *end, const job *job)
{
	const element *element = element_for(job);

	open_lanes(end, job);
	(element ? element->make : make_places)(SIDE_PRODUCER, job);
	(element ? element->make : make_places)(SIDE_CONSUMER, job);
	return 0;
}

transport describe()
{
	transport boost = {};

	boost.name = "boost-spsc";
	boost.about = "boost::lockfree::spsc_queue, spinning; spans are of up to 32; in place: "
		      "pointers to slots";
	boost.tests = BIT(TEST_THROUGHPUT) | BIT(TEST_ROUND_TRIP);
	boost.modes = BIT(MODE_EACH) | BIT(MODE_SPAN) | BIT(MODE_COPIED) | BIT(MODE_SPAN_COPIED);
	boost.waits = BIT(WAIT_SPIN);
	boost.size_least = 8;
	boost.size_most = 4 << 20;
	boost.prepare = prepare;
	boost.open = open_lanes;
	boost.send = send;
	boost.receive = receive;
	return boost;
}

} // namespace

int main(int argc, char **argv)
{
	const transport boost = describe();

	return harness_main(argc, argv, &boost);
}
