/* SPDX-License-Identifier: MIT */
/* One page for the whole process, never unmapped: channels of a parent keep comparing with it in
 * its children. */
#include "generation.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

static uint64_t *page;
static uint64_t last; /* survives fork, the page does not */

static int make_page(uint64_t **ret_page)
{
	void *made = mmap(
		NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (made == MAP_FAILED)
		return -ENOMEM;
	if (madvise(made, sizeof(*page), MADV_WIPEONFORK) < 0) {
		munmap(made, sizeof(*page));
		return -ENOTSUP;
	}
	*ret_page = made;
	return 0;
}

/* Two threads may make a page at the same time: one of them wins. */
static int get_page(uint64_t **ret_page)
{
	uint64_t *now = __atomic_load_n(&page, __ATOMIC_ACQUIRE), *made;
	int r;

	if (!now) {
		r = make_page(&made);
		if (r < 0)
			return r;
		if (__atomic_compare_exchange_n(
			    &page, &now, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			now = made;
		else
			munmap(made, sizeof(*page));
	}
	*ret_page = now;
	return 0;
}

int rf__generation_get(struct rf__generation *ret_generation)
{
	uint64_t *word, number = 0, fresh;
	int r = get_page(&word);

	if (r < 0)
		return r;
	/* 0 is what the first call finds, in a process and in each child */
	fresh = __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
	if (__atomic_compare_exchange_n(
		    word, &number, fresh, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		number = fresh;
	ret_generation->word = word;
	ret_generation->number = number;
	return 0;
}
