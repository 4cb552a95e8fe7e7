/* mm/handle: numbers that are given, found, given back, and not mistaken for their successors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "mm/handle.h"
#include "tests/host/hal.h"

static void table_end(struct handles *t)
{
	for (u32 i = 0; i < t->max_chunks; i++)
		if (t->chunk[i])
			hal_pages_free(t->chunk[i], 1);
	hal_pages_free(t->chunk, t->max_chunks * sizeof(u64 *) / PAGE_SIZE);
}

static void test_handle_basic(void **state)
{
	struct handles t = {0};
	u64 a, b;

	(void)state;
	assert_null(handle_entry(&t, 0));
	a = handle_alloc(&t, 42);
	b = handle_alloc(&t, HANDLE_VALUE);
	assert_true(a != HANDLE_NONE && b != HANDLE_NONE && a != b);
	assert_int_equal(a >> HANDLE_BITS, 0);
	assert_int_equal(*handle_entry(&t, a) & HANDLE_VALUE, 42);
	assert_int_equal(*handle_entry(&t, b) & HANDLE_VALUE, HANDLE_VALUE);
	handle_set(handle_entry(&t, a), 43);
	assert_int_equal(*handle_entry(&t, a) & HANDLE_VALUE, 43);
	assert_ptr_equal(handle_entry(&t, a), handle_entry_at(&t, (u32)a));
	handle_free(&t, a);
	assert_null(handle_entry(&t, a));
	assert_null(handle_entry_at(&t, (u32)a));
	assert_int_equal(t.used, 1);
	handle_free(&t, b);
	table_end(&t);
}

static void test_handle_old_number_is_not_its_successor(void **state)
{
	struct handles t = {0};
	u64 a, b;

	(void)state;
	a = handle_alloc(&t, 1);
	handle_free(&t, a);
	b = handle_alloc(&t, 2);
	assert_int_equal((u32)a, (u32)b);
	assert_true(a != b);
	assert_null(handle_entry(&t, a));
	assert_null(handle_entry(&t, b | BIT(43)));
	assert_non_null(handle_entry(&t, b));
	handle_free(&t, b);
	table_end(&t);
}

static void free_it(void *arg)
{
	static struct handles t;

	(void)arg;
	handle_free(&t, handle_alloc(&t, 1) ^ BIT(32));
}

static void test_handle_free_of_unused_panics(void **state)
{
	(void)state;
	assert_true(host_panics(free_it, NULL));
}

static void test_handle_no_memory(void **state)
{
	struct handles t = {0};
	u64 n = 0, used = hal_pages_used();

	(void)state;
	host_pages_limit(0);
	assert_true(handle_alloc(&t, 1) == HANDLE_NONE);
	host_pages_limit(1); /* the directory, but no chunk */
	assert_true(handle_alloc(&t, 1) == HANDLE_NONE);
	host_pages_limit(1);
	while (handle_alloc(&t, n) != HANDLE_NONE)
		n++;
	assert_int_equal(n, 510);
	assert_int_equal(t.used, n);
	host_pages_limit(HOST_NO_LIMIT);
	assert_true(handle_alloc(&t, 1) != HANDLE_NONE);
	assert_int_equal(handle_bytes(&t), (hal_pages_used() - used) * PAGE_SIZE);
	table_end(&t);
}

/* Chunks that were given back leave holes: the walk steps over them, and they are used again. */
static void test_handle_holes(void **state)
{
	struct handles t = {0};
	u64 h[2000], cursor = 0, n = 0;

	(void)state;
	for (u32 i = 0; i < 2000; i++)
		h[i] = handle_alloc(&t, i);
	assert_int_equal(t.nr_chunks, 4);
	handle_free(&t, h[1999]); /* room elsewhere, so that an empty chunk may go */
	for (u32 i = 0; i < 2000; i++)
		if ((u32)h[i] >> 9 == 1)
			handle_free(&t, h[i]);
	assert_int_equal(t.nr_chunks, 3);
	while (handle_next(&t, &cursor) != HANDLE_NONE)
		n++;
	assert_int_equal(n, 2000 - 510 - 1);
	while (t.nr_chunks < 4)
		assert_true(handle_alloc(&t, 1) != HANDLE_NONE);
	assert_non_null(t.chunk[1]);
	table_end(&t);
}

#define MANY 300000u /* more than one page of chunks */

static void test_handle_many_grow_walk_and_return(void **state)
{
	struct handles t = {0};
	u64 *h = calloc(MANY, sizeof(*h)), cursor = 0, got, n = 0, before = hal_pages_used();
	u64 seed = 7;

	(void)state;
	for (u32 i = 0; i < MANY; i++) {
		h[i] = handle_alloc(&t, i);
		assert_true(h[i] != HANDLE_NONE);
	}
	for (u32 i = 0; i < MANY; i++) { /* shuffled */
		u32 j = (u32)(host_random(&seed) % MANY);
		u64 x = h[i];

		h[i] = h[j];
		h[j] = x;
	}
	for (u32 i = 0; i < MANY / 2; i++)
		handle_free(&t, h[i]);
	while ((got = handle_next(&t, &cursor)) != HANDLE_NONE) {
		assert_non_null(handle_entry(&t, got));
		n++;
	}
	assert_int_equal(n, MANY - MANY / 2);
	assert_int_equal(t.used, n);
	for (u32 i = 0; i < MANY / 2; i++)
		h[i] = handle_alloc(&t, i);
	for (u32 i = 0; i < MANY; i++)
		handle_free(&t, h[i]);
	assert_int_equal(t.nr_chunks, 1);
	assert_int_equal(hal_pages_used() - before,
	                 1 + 2); /* one chunk, a directory of two pages */
	table_end(&t);
	free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_handle_basic),
	        cmocka_unit_test(test_handle_old_number_is_not_its_successor),
	        cmocka_unit_test(test_handle_free_of_unused_panics),
	        cmocka_unit_test(test_handle_no_memory),
	        cmocka_unit_test(test_handle_holes),
	        cmocka_unit_test(test_handle_many_grow_walk_and_return),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
