/* SPDX-License-Identifier: MIT */
/* Regions: what is made, mapped, sealed and lent. What is refused: test-region-refused.c. */
#include "region-fixture.h"

#include <ringfort/options.h>
#include <stdio.h>

static mode_t mode_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_mode & 07777;
}

/* What is made. */

static void m11_only_powers_of_two_from_a_page_to_the_maximum_are_areas(void **state)
{
	const uint64_t bad[] = {1, page() - 1, page() + 1, 3 * page(), page() / 2, RF__AREA_MAX + 1,
		2 * RF__AREA_MAX, UINT64_C(1) << 63, UINT64_MAX, UINT64_MAX - page() + 1};
	size_t fds = rf_test_count_fds();
	struct rf__region region = RF__REGION_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(rf__region_file_bytes(RF__RING_SHAPE, bad[i]), 0);
		assert_int_equal(
			rf__region_create(&region, "test", RF__RING_SHAPE, bad[i], &reason),
			-EINVAL);
		assert_reason("no valid area");
		region.area_bytes = bad[i];
		assert_int_equal(rf__region_verify(&region, RF__SEALS_FINAL, &reason), -EINVAL);
	}
	assert_int_equal(region.fd, -1);
	assert_int_equal(rf_test_count_fds(), fds);
	assert_int_equal(rf__region_file_bytes(RF__RING_SHAPE, 0), page());
	assert_int_equal(rf__region_file_bytes(RF__RING_SHAPE, page()), 2 * page());
	assert_int_equal(
		rf__region_file_bytes(RF__RING_SHAPE, RF__AREA_MAX), RF__AREA_MAX + page());
}

static void m11_only_pages_from_one_to_the_maximum_are_flat_areas(void **state)
{
	const uint64_t bad[] = {0, 1, page() - 1, page() + 1, 3 * page() + 8, RF__FLAT_MAX + 1,
		RF__FLAT_MAX + page(), UINT64_C(1) << 63, UINT64_MAX, UINT64_MAX - page() + 1};
	const uint64_t good[] = {
		page(), 2 * page(), 3 * page(), RF__FLAT_MAX - page(), RF__FLAT_MAX};
	struct rf__region region = {.fd = -1, .shape = RF__FLAT_SHAPE};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		region.area_bytes = bad[i];
		assert_int_equal(rf__region_verify(&region, RF__SEALS_FINAL, &reason), -EINVAL);
		assert_reason("no valid area");
		assert_int_equal(
			rf__region_create(&region, "test", RF__FLAT_SHAPE, bad[i], &reason),
			-EINVAL);
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_int_equal(rf__region_file_bytes(RF__FLAT_SHAPE, good[i]), good[i]);
}

static void m12_the_file_size_limit_is_an_error_and_no_signal(void **state)
{
	struct rf__region region = RF__REGION_INIT;
	uint64_t before = rf_test_limit_file_size(file_bytes() - 1);
	int beyond = rf__region_create(&region, "test", RF__RING_SHAPE, area(), &reason);
	int within, allocated;

	(void)state;
	rf_test_limit_file_size(file_bytes());
	within = rf__region_create(&region, "test", RF__RING_SHAPE, area(), NULL);
	allocated = allocate_all(&region);
	rf_test_limit_file_size(before);
	assert_int_equal(beyond, -EFBIG);
	assert_reason("limit on file sizes");
	assert_int_equal(within, 0);
	assert_int_equal(allocated, 0);
	drop(&region);
}

static void m9_a_region_cannot_be_executed(void **state)
{
	struct rf__region region = make(RF__READ_WRITE, RF__SEALS_SIZED);

	(void)state;
	if (rf_test_kernel(6, 3)) {
		assert_true(fcntl(region.fd, F_GET_SEALS) & F_SEAL_EXEC);
		assert_int_equal(mode_of(region.fd) & 0111, 0);
		assert_int_equal(fchmod(region.fd, 0700), -1);
	}
	close(rf__region_lend(&region, RF__READ_ONLY, &reason));
	assert_int_equal(mode_of(region.fd), 0400);
	drop(&region);
}

static void m9_a_kernel_without_noexec_seal_will_do(void **state)
{
	struct rf__region region = RF__REGION_INIT;

	(void)state;
	watch_and_fail(2, 2, EINVAL); /* after getrlimit */
	assert_int_equal(rf__region_create(&region, "test", RF__RING_SHAPE, area(), &reason), 0);
	assert_int_equal(count_calls(MEMFD_CREATE), 2);
	kernel.watched = false;
	assert_false(fcntl(region.fd, F_GET_SEALS) & F_SEAL_EXEC);
	assert_int_equal(allocate_all(&region), 0);
	assert_int_equal(rf__region_seal(&region, RF__SEALS_FINAL, &reason), 0);
	assert_int_equal(rf__region_verify(&region, RF__SEALS_FINAL, &reason), 0);
	close(rf__region_lend(&region, RF__READ_ONLY, &reason));
	assert_int_equal(mode_of(region.fd), 0400);
	drop(&region);
}

static void a_kernel_without_sealing_is_not_supported(void **state)
{
	struct rf__region region = RF__REGION_INIT;

	(void)state;
	watch_and_fail(2, 3, EINVAL);
	assert_int_equal(
		rf__region_create(&region, "test", RF__RING_SHAPE, area(), &reason), -ENOTSUP);
	watch_and_fail(2, 2, ENOSYS);
	assert_int_equal(
		rf__region_create(&region, "test", RF__RING_SHAPE, area(), &reason), -ENOTSUP);
	kernel.watched = false;
	assert_int_equal(rf__region_create(&region, "test", RF__RING_SHAPE, area(), &reason), 0);
	watch_and_fail(1, 1, EINVAL);
	assert_int_equal(rf__region_seal(&region, RF__SEALS_FINAL, &reason), -ENOTSUP);
	kernel.watched = false;
	drop(&region);
}

static void a_region_is_allocated_in_steps(void **state)
{
	struct rf__region region = RF__REGION_INIT;
	struct stat st;
	int steps = 1;

	(void)state;
	assert_int_equal(rf__region_create(&region, "test", RF__RING_SHAPE, area(), &reason), 0);
	while (rf__region_allocate(&region, 4 * page(), &reason) == 1) {
		assert_int_equal(fstat(region.fd, &st), 0);
		assert_int_equal(st.st_blocks * 512, (uint64_t)steps * 4 * page());
		steps++;
	}
	assert_int_equal(steps, 5); /* 17 pages */
	assert_int_equal(region.allocated, file_bytes());
	assert_int_equal(rf__region_allocate(&region, UINT64_MAX, &reason), 0);
	assert_int_equal(fstat(region.fd, &st), 0);
	assert_int_equal(st.st_blocks * 512, file_bytes());
	drop(&region);
}

static void interrupted_allocation_goes_on_in_smaller_steps(void **state)
{
	struct rf__region region = RF__REGION_INIT;

	(void)state;
	assert_int_equal(rf__region_create(&region, "test", RF__RING_SHAPE, area(), &reason), 0);
	watch_and_fail(1, 20, EINTR);
	assert_int_equal(rf__region_allocate(&region, UINT64_MAX, &reason), 1);
	assert_int_equal(kernel.n_calls, 21);
	assert_int_equal(region.allocated, page());
	kernel.watched = false;
	assert_int_equal(rf__region_allocate(&region, UINT64_MAX, &reason), 0);
	assert_int_equal(region.allocated, file_bytes());
	drop(&region);
}

static void a_failed_allocation_can_be_tried_again(void **state)
{
	struct rf__region region = RF__REGION_INIT;

	(void)state;
	assert_int_equal(rf__region_create(&region, "test", RF__RING_SHAPE, area(), &reason), 0);
	watch_and_fail(1, 1, ENOSPC);
	assert_int_equal(rf__region_allocate(&region, page(), &reason), -ENOSPC);
	assert_reason("allocate");
	kernel.watched = false;
	assert_int_equal(region.allocated, 0);
	assert_int_equal(allocate_all(&region), 0);
	drop(&region);
}

static void a_new_region_is_all_zero(void **state)
{
	struct rf__region region = make(RF__READ_ONLY, RF__SEALS_SIZED);
	size_t mapped = (size_t)(page() + 2 * area());

	(void)state;
	for (size_t i = 0; i < mapped; i++)
		assert_int_equal(region.base[i], 0);
	drop(&region);
}

/* How it is mapped. */

static void the_area_is_mapped_twice_in_a_row(void **state)
{
	struct rf__region region = make(RF__READ_WRITE, RF__SEALS_SIZED);
	unsigned char *data = region.base + page();

	(void)state;
	memcpy(data + area() - 4, "over the end", 12);
	assert_memory_equal(data, " the end", 8);
	data[1] = 'T';
	assert_memory_equal(data + area() - 4, "over The end", 12);
	assert_int_equal(data[2 * area() - 1], 'r');
	assert_int_equal(region.base[0], 0);
	drop(&region);
}

static void a_region_without_area_is_one_page(void **state)
{
	struct rf__region region = RF__REGION_INIT;

	(void)state;
	watch();
	assert_int_equal(rf__region_create(&region, "test", RF__RING_SHAPE, 0, &reason), 0);
	assert_int_equal(allocate_all(&region), 0);
	assert_int_equal(rf__region_map(&region, RF__READ_WRITE, &reason), 0);
	assert_int_equal(kernel.mapped, page());
	memset(region.base, 1, (size_t)page());
	assert_int_equal(rf__region_seal(&region, RF__SEALS_FINAL, &reason), 0);
	assert_int_equal(rf__region_verify(&region, RF__SEALS_FINAL, &reason), 0);
	drop(&region);
	assert_int_equal(kernel.mapped, 0);
	kernel.watched = false;
}

static struct rf__region make_flat(uint64_t area_bytes)
{
	struct rf__region region = RF__REGION_INIT;

	assert_int_equal(
		rf__region_create(&region, "test", RF__FLAT_SHAPE, area_bytes, &reason), 0);
	assert_int_equal(allocate_all(&region), 0);
	assert_int_equal(rf__region_map(&region, RF__READ_WRITE, &reason), 0);
	assert_int_equal(rf__region_seal(&region, RF__SEALS_FINAL, &reason), 0);
	return region;
}

static void a_flat_region_is_its_area_mapped_once(void **state)
{
	size_t before = rf_test_count_memfd_mappings(), len = (size_t)(3 * page());
	struct rf__region server, client = RF__REGION_INIT;

	(void)state;
	watch();
	server = make_flat(len);
	assert_int_equal(kernel.mapped, len);
	assert_int_equal(server.allocated, len);
	assert_int_equal(rf_test_count_memfd_mappings(), before + 1);
	client.shape = RF__FLAT_SHAPE;
	client.area_bytes = len;
	client.fd = rf__region_lend(&server, RF__READ_ONLY, &reason);
	assert_int_equal(rf__region_verify(&client, RF__SEALS_FINAL, &reason), 0);
	assert_int_equal(rf__region_map(&client, RF__READ_ONLY, &reason), 0);
	memset(server.base, 7, len);
	assert_memory_equal(client.base, server.base, len);
	assert_false(is_writable(client.base));
	drop(&client);
	drop(&server);
	assert_int_equal(kernel.mapped, 0);
	kernel.watched = false;
}

static void the_shapes_are_not_taken_for_each_other(void **state)
{
	struct rf__region flat = make_flat(area()), ring = make(RF__READ_WRITE, RF__SEALS_FINAL);

	(void)state;
	flat.shape = RF__RING_SHAPE;
	assert_int_equal(rf__region_verify(&flat, RF__SEALS_FINAL, &reason), -EBADMSG);
	flat.shape = RF__FLAT_SHAPE;
	ring.shape = RF__FLAT_SHAPE;
	assert_int_equal(rf__region_verify(&ring, RF__SEALS_FINAL, &reason), -EBADMSG);
	ring.shape = RF__RING_SHAPE;
	drop(&flat);
	drop(&ring);
}

static void a_large_flat_region_begins_where_a_huge_page_does(void **state)
{
	uint64_t huge = UINT64_C(2) << 20;

	(void)state;
	for (uint64_t len = huge; len <= 2 * huge; len += huge / 2 + page()) {
		struct rf__region region = make_flat(len);

		assert_int_equal((uintptr_t)region.base % huge, 0);
		assert_int_equal(rf__region_settle(&region, RF__READ_WRITE,
					 RF_OPTION_HUGE | RF_OPTION_POPULATE, &reason),
			0);
		drop(&region);
	}
}

static void a_region_takes_two_mappings(void **state)
{
	size_t before = rf_test_count_memfd_mappings();
	struct rf__region region = make(RF__READ_WRITE, RF__SEALS_FINAL);

	(void)state;
	assert_int_equal(rf_test_count_memfd_mappings(), before + 2);
	rf__region_unmap(&region);
	assert_int_equal(rf_test_count_memfd_mappings(), before);
	rf__region_unmap(&region);
	rf__region_close(&region);
	rf__region_close(&region);
}

static void the_mapping_outlives_the_descriptor(void **state)
{
	struct rf__region region = make(RF__READ_WRITE, RF__SEALS_FINAL);

	(void)state;
	rf__region_close(&region);
	assert_int_equal(region.fd, -1);
	memset(region.base, 7, (size_t)(page() + area()));
	assert_int_equal(region.base[page() + area()], 7);
	rf__region_unmap(&region);
	assert_null(region.base);
}

static int count_mapped_pages(void *arg)
{
	const struct rf__region *region = arg;
	unsigned char resident;
	int n = 0;

	for (uint64_t at = 0; at < page() + 2 * area(); at += page())
		n += mincore(region->base + at, (size_t)page(), &resident) == 0;
	return n;
}

static void a_child_does_not_inherit_the_mapping(void **state)
{
	struct rf__region region = make(RF__READ_WRITE, RF__SEALS_FINAL);

	(void)state;
	assert_int_equal(count_mapped_pages(&region), 33);
	assert_int_equal(rf_test_wait(rf_test_child(count_mapped_pages, &region, 0, 0), 10000), 0);
	drop(&region);
}

/* How it is lent. */

static void a_servers_own_region_is_read_by_the_client(void **state)
{
	struct rf__region server = make(RF__READ_WRITE, RF__SEALS_FINAL);
	struct rf__region client = receive(rf__region_lend(&server, RF__READ_ONLY, &reason));

	(void)state;
	assert_int_equal(fcntl(client.fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(rf__region_verify(&client, RF__SEALS_FINAL, &reason), 0);
	assert_int_equal(rf__region_map(&client, RF__READ_ONLY, &reason), 0);
	memcpy(server.base + page() + area() - 2, "frame", 6);
	assert_string_equal((char *)client.base + page() + area() - 2, "frame");
	assert_true(is_writable(server.base));
	assert_false(is_writable(client.base));
	drop(&client);
	drop(&server);
}

static void a_lent_descriptor_shares_nothing_with_our_own(void **state)
{
	struct rf__region server = make(RF__READ_ONLY, RF__SEALS_SIZED);
	int lent = rf__region_lend(&server, RF__READ_WRITE, &reason);

	(void)state;
	assert_int_equal(access_of(lent), O_RDWR);
	assert_int_equal(fcntl(lent, F_SETFL, O_NONBLOCK), 0);
	assert_false(fcntl(server.fd, F_GETFL) & O_NONBLOCK);
	close(lent);
	drop(&server);
}

/* In a root directory that is empty. */
static int lend_without_proc(void *arg)
{
	struct rf__region *region = arg;
	int fd;

	if (chroot(rf_test_tmpdir()) || chdir("/"))
		return 1;
	fd = rf__region_lend(region, RF__READ_ONLY, NULL);
	if (fd < 0 || verify(fd, RF__SEALS_FINAL))
		return 2;
	return fcntl(fd, F_GETFD) == FD_CLOEXEC && mode_of(fd) == 0400 ? 0 : 3;
}

static void without_proc_a_duplicate_is_lent(void **state)
{
	struct rf__region region;

	(void)state;
	rf_test_need_root();
	rf_test_tmpdir();
	region = make(RF__READ_WRITE, RF__SEALS_FINAL);
	assert_int_equal(rf_test_wait(rf_test_child(lend_without_proc, &region, 0, 0), 10000), 0);
	drop(&region);
}

static int live_a_life(void *arg)
{
	struct rf__region server = RF__REGION_INIT, client = RF__REGION_INIT;
	int r;

	(void)arg;
	client.area_bytes = area();
	r = rf__region_create(&server, "test", RF__RING_SHAPE, area(), &reason);
	if (r == 0)
		r = allocate_all(&server);
	if (r == 0)
		r = rf__region_map(&server, RF__READ_ONLY, &reason);
	if (r == 0)
		r = rf__region_seal(&server, RF__SEALS_SIZED, &reason);
	if (r == 0)
		r = client.fd = rf__region_lend(&server, RF__READ_WRITE, &reason);
	if (r >= 0)
		r = rf__region_verify(&client, RF__SEALS_SIZED, &reason);
	if (r == 0)
		r = rf__region_map(&client, RF__READ_WRITE, &reason);
	if (r == 0)
		r = rf__region_seal(&client, RF__SEALS_FINAL, &reason);
	if (r == 0)
		r = rf__region_verify(&server, RF__SEALS_FINAL, &reason);
	drop(&client);
	drop(&server);
	return r < 0 ? -r : r;
}

static void any_user_can_make_and_lend_regions(void **state)
{
	(void)state;
	rf_test_need_root();
	assert_int_equal(
		rf_test_wait(rf_test_child(live_a_life, NULL, RF_TEST_UID, RF_TEST_UID), 10000), 0);
}

static void nothing_leaks_when_any_call_fails(void **state)
{
	size_t k = 0, fds = rf_test_count_fds(), mappings = rf_test_count_memfd_mappings();
	int r;

	(void)state;
	do {
		reason.text[0] = '\0';
		watch_and_fail(k + 1, k + 1, ENOMEM);
		r = live_a_life(NULL);
		assert_int_equal(kernel.mapped, 0);
		kernel.watched = false;
		assert_int_equal(rf_test_count_fds(), fds);
		assert_int_equal(rf_test_count_memfd_mappings(), mappings);
		if (k < kernel.n_calls && r)
			assert_true(r == ENOMEM || r == EPERM);
		assert_true(!r || reason.text[0]);
		k++;
	} while (k <= kernel.n_calls);
	assert_int_equal(r, 0);
	assert_true(k > 15);
}

static void without_descriptors_nothing_is_made_or_lent(void **state)
{
	struct rf__region region = make(RF__READ_WRITE, RF__SEALS_FINAL);
	struct rf__region other = RF__REGION_INIT;
	int probe = dup(region.fd), created, lent;
	uint64_t before = rf_test_limit_files((uint64_t)probe);

	(void)state;
	close(probe);
	created = rf__region_create(&other, "test", RF__RING_SHAPE, area(), &reason);
	lent = rf__region_lend(&region, RF__READ_ONLY, &reason);
	rf_test_limit_files(before);
	assert_int_equal(created, -EMFILE);
	assert_int_equal(lent, -EMFILE);
	assert_false(region.lent);
	drop(&region);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(m11_only_powers_of_two_from_a_page_to_the_maximum_are_areas),
		cmocka_unit_test(m11_only_pages_from_one_to_the_maximum_are_flat_areas),
		cmocka_unit_test(m12_the_file_size_limit_is_an_error_and_no_signal),
		cmocka_unit_test(m9_a_region_cannot_be_executed),
		cmocka_unit_test(m9_a_kernel_without_noexec_seal_will_do),
		cmocka_unit_test(a_kernel_without_sealing_is_not_supported),
		cmocka_unit_test(a_region_is_allocated_in_steps),
		cmocka_unit_test(interrupted_allocation_goes_on_in_smaller_steps),
		cmocka_unit_test(a_failed_allocation_can_be_tried_again),
		cmocka_unit_test(a_new_region_is_all_zero),
		cmocka_unit_test(the_area_is_mapped_twice_in_a_row),
		cmocka_unit_test(a_region_without_area_is_one_page),
		cmocka_unit_test(a_flat_region_is_its_area_mapped_once),
		cmocka_unit_test(the_shapes_are_not_taken_for_each_other),
		cmocka_unit_test(a_large_flat_region_begins_where_a_huge_page_does),
		cmocka_unit_test(a_region_takes_two_mappings),
		cmocka_unit_test(the_mapping_outlives_the_descriptor),
		cmocka_unit_test(a_child_does_not_inherit_the_mapping),
		cmocka_unit_test(a_servers_own_region_is_read_by_the_client),
		cmocka_unit_test(a_lent_descriptor_shares_nothing_with_our_own),
		cmocka_unit_test(without_proc_a_duplicate_is_lent),
		cmocka_unit_test(any_user_can_make_and_lend_regions),
		cmocka_unit_test(nothing_leaks_when_any_call_fails),
		cmocka_unit_test(without_descriptors_nothing_is_made_or_lent),
	};

	rf_test_limit(50);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
