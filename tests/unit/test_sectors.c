/* mm/sectors and mm/pool_order, each against a plain model of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "mm/pool_order.h"
#include "mm/sectors.h"
#include "tests/host/hal.h"

#define TOTAL 1000u
#define RUNS  200u

static u64 rnd = 0x5ec7;

static u64 below(u64 n)
{
	return host_random(&rnd) % n;
}

static bool has_run(const bool *taken, u32 n)
{
	u32 free = 0;

	for (unsigned i = 0; i < TOTAL; i++) {
		free = taken[i] ? 0 : free + 1;
		if (free == n)
			return true;
	}
	return false;
}

static void test_sectors_against_a_map(void **state)
{
	struct {
		u64 first;
		u32 n;
	} run[RUNS] = {{0}};
	bool taken[TOTAL] = {false};
	u64 used = 0, refused = 0;
	struct sectors s;

	(void)state;
	assert_true(sectors_create(&s, TOTAL));
	for (unsigned step = 0; step < 50000; step++) {
		unsigned i = (unsigned)below(RUNS);

		if (run[i].n) {
			assert_true(sectors_taken(&s, run[i].first, run[i].n));
			sectors_give(&s, run[i].first, run[i].n);
			memset(&taken[run[i].first], 0, run[i].n);
			used -= run[i].n;
			run[i].n = 0;
			continue;
		}
		run[i].n = 1 + (u32)below(below(10) ? 9 : SECTORS_RUN_MAX);
		run[i].first = sectors_take(&s, run[i].n);
		if (run[i].first == SECTORS_NONE) {
			assert_false(has_run(taken, run[i].n));
			run[i].n = 0;
			refused++;
			continue;
		}
		assert_in_range(run[i].first, 0, TOTAL - run[i].n);
		for (u32 k = 0; k < run[i].n; k++) {
			assert_false(taken[run[i].first + k]);
			taken[run[i].first + k] = true;
		}
		used += run[i].n;
		assert_int_equal(s.used, used);
	}
	assert_true(refused > 100);
	sectors_destroy(&s);
}

static void test_sectors_ends_of_the_disk(void **state)
{
	struct sectors s;

	(void)state;
	assert_true(sectors_create(&s, 130));
	for (unsigned i = 0; i < 130; i++)
		assert_int_equal(sectors_take(&s, 1), i);
	assert_int_equal(sectors_take(&s, 1), SECTORS_NONE);
	assert_false(sectors_taken(&s, 130, 1));
	assert_false(sectors_taken(&s, ~0ull, 2));
	sectors_give(&s, 126, 4);
	sectors_give(&s, 0, 3);
	assert_int_equal(sectors_take(&s, 5), SECTORS_NONE); /* not around the end */
	assert_int_equal(sectors_take(&s, 4), 126);
	assert_int_equal(sectors_take(&s, 3), 0);
	sectors_destroy(&s);
}

static void give_what_is_free(void *s)
{
	sectors_give(s, 9, 1);
}

static void test_sectors_giving_a_free_one_is_a_bug(void **state)
{
	struct sectors s;

	(void)state;
	assert_true(sectors_create(&s, 130));
	assert_true(host_panics(give_what_is_free, &s));
	sectors_destroy(&s);
}

/* --- the order ------------------------------------------------------------------------------------- */

#define INDICES 5000u

static u32 list[INDICES];
static unsigned listed;

static void list_remove(unsigned at)
{
	memmove(&list[at], &list[at + 1], (listed - at - 1) * sizeof(list[0]));
	listed--;
}

static void test_pool_order_against_a_list(void **state)
{
	(void)state;
	for (unsigned step = 0; step < 40000; step++) {
		u32 index = (u32)(1 + below(INDICES - 1)) * 1037 % 100000 + 1;
		unsigned at = 0;

		while (at < listed && list[at] != index)
			at++;
		if (at < listed || below(3) == 0) {
			pool_order_remove(index); /* of one that is not listed: nothing */
			if (at < listed)
				list_remove(at);
		} else if (listed && below(4) == 0) {
			/* The oldest goes and comes back. */
			u32 oldest = pool_order_oldest();

			pool_order_remove(oldest);
			pool_order_put_back(oldest);
		} else if (listed < INDICES) {
			pool_order_add(index);
			list[listed++] = index;
		}
		assert_int_equal(pool_order_oldest(), listed ? list[0] : 0);
		assert_int_equal(pool_order_listed(), listed);
	}
	assert_true(listed > 100);
	while (listed) {
		assert_int_equal(pool_order_oldest(), list[0]);
		pool_order_remove(list[0]);
		list_remove(0);
	}
	assert_int_equal(pool_order_oldest(), 0);
	assert_true(pool_order_bytes() > 0);
	pool_order_clear();
	assert_int_equal(pool_order_bytes(), 0);
}

static void test_pool_order_without_memory(void **state)
{
	(void)state;
	host_pages_limit(0);
	pool_order_add(5);
	assert_int_equal(pool_order_oldest(), 0);
	host_pages_limit(1); /* the directory, but not the page */
	pool_order_add(6);
	host_pages_limit(HOST_NO_LIMIT);
	assert_int_equal(pool_order_oldest(), 0);
	pool_order_remove(5);
	pool_order_add(6);
	assert_int_equal(pool_order_oldest(), 6);
	pool_order_clear();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_sectors_against_a_map),
	        cmocka_unit_test(test_sectors_ends_of_the_disk),
	        cmocka_unit_test(test_sectors_giving_a_free_one_is_a_bug),
	        cmocka_unit_test(test_pool_order_against_a_list),
	        cmocka_unit_test(test_pool_order_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
