#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "hv/mmu/rmap.h"
#include "tests/host/hal.h"

#define ENTRIES 200u

static a64 entries[ENTRIES];
static struct rmap_pool pool;
static struct rmap_cache cache;
static struct rmap map;

static int setup(void **state)
{
	(void)state;
	pool = (struct rmap_pool){.used = 0};
	cache = (struct rmap_cache){.page = NULL};
	map = (struct rmap){.word = {0}};
	return 0;
}

static void add(unsigned i)
{
	assert_true(rmap_cache_fill(&cache));
	assert_true(rmap_add(&pool, &cache, &map, &entries[i]));
}

static void take_out(unsigned i)
{
	rmap_remove(&pool, &map, &entries[i]);
}

/* Ends a test: nothing is left anywhere. */
static void empty_and_check(void)
{
	u64 word = rmap_lock(&map);

	rmap_unlock_empty(&pool, &map, word);
	assert_int_equal(map.word.raw, 0);
	assert_int_equal(pool.used, 0);
	rmap_pool_destroy(&pool);
	rmap_cache_empty(&cache);
	assert_int_equal(hal_pages_used(), 0);
}

static unsigned walk_count(u64 word)
{
	struct rmap_iter it;
	unsigned n = 0;

	rmap_for_each(&it, word, entry)
	{
		assert_in_range((uintptr_t)entry, (uintptr_t)entries,
		                (uintptr_t)&entries[ENTRIES - 1]);
		n++;
	}
	return n;
}

static void test_rmap_empty_is_not_locked(void **state)
{
	u64 word = 1;

	(void)state;
	assert_int_equal(rmap_lock_readonly(&map), 0);
	assert_true(rmap_trylock_readonly(&map, &word));
	assert_int_equal(word, 0);
	assert_int_equal(rmap_lock(&map), 0);
	assert_int_equal(map.word.raw, 0);
	rmap_unlock(&map, 0);
	lock_assert_none();
	empty_and_check();
}

static void test_rmap_one_entry_takes_no_memory(void **state)
{
	(void)state;
	assert_true(rmap_add(&pool, &cache, &map, &entries[0]));
	assert_int_equal(map.word.raw, (uintptr_t)&entries[0]);
	assert_int_equal(rmap_count(&map), 1);
	assert_int_equal(hal_pages_used(), 0);
	take_out(0);
	assert_int_equal(map.word.raw, 0);
	empty_and_check();
}

/* 14 to a descriptor: the fifteenth takes another, and its going gives that back. */
static void test_rmap_chain_grows_and_shrinks(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 29; i++) {
		add(i);
		assert_int_equal(rmap_count(&map), i + 1);
		assert_int_equal(walk_count(rmap_word(&map)), i + 1);
		assert_int_equal(pool.used, i ? 1 + i / RMAP_DESC_ENTRIES : 0);
	}
	for (unsigned i = 0; i < 29; i++) {
		take_out(i);
		assert_int_equal(rmap_count(&map), 28 - i);
		assert_int_equal(walk_count(rmap_word(&map)), 28 - i);
		assert_false(rmap_has(rmap_word(&map), &entries[i]));
	}
	empty_and_check();
}

/* Against a set that remembers, with everything that a word can be, many times over. */
static void test_rmap_random_against_a_set(void **state)
{
	bool has[ENTRIES] = {false};
	unsigned count = 0;
	u64 seed = 4711, steps = host_steps(20000);

	(void)state;
	for (u64 step = 0; step < steps; step++) {
		u64 r = host_random(&seed);
		/* Long chains and short ones take turns. */
		unsigned i = (unsigned)((r >> 8) % (step / 1000 % 2 ? ENTRIES : 20));

		if (has[i])
			take_out(i);
		else
			add(i);
		has[i] = !has[i];
		count += has[i] ? 1 : -1u;
		assert_int_equal(rmap_count(&map), count);
		if (step % 16)
			continue;
		assert_int_equal(walk_count(rmap_word(&map)), count);
		for (unsigned e = 0; e < ENTRIES; e++)
			assert_int_equal(rmap_has(rmap_word(&map), &entries[e]), has[e]);
	}
	empty_and_check();
}

static void test_rmap_add_without_memory_changes_nothing(void **state)
{
	u64 word;

	(void)state;
	add(0);
	rmap_cache_empty(&cache);
	word = map.word.raw;
	assert_false(rmap_add(&pool, &cache, &map, &entries[1]));
	assert_int_equal(map.word.raw, word);
	host_pages_limit(0);
	assert_false(rmap_cache_fill(&cache));
	host_pages_limit(HOST_NO_LIMIT);
	add(1);
	assert_int_equal(rmap_count(&map), 2);
	empty_and_check();
}

/* One page of descriptors is kept, the others go as soon as they are empty. */
static void test_rmap_pool_gives_pages_back(void **state)
{
	struct rmap_desc *desc[4 * RMAP_CACHE_DESCS];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(desc); i++) {
		assert_true(rmap_cache_fill(&cache));
		desc[i] = rmap_pool_take(&pool, &cache);
		assert_non_null(desc[i]);
		for (unsigned j = 0; j < i; j++)
			assert_ptr_not_equal(desc[i], desc[j]);
		memset(desc[i], 0xa5, RMAP_DESC_BYTES);
	}
	assert_int_equal(pool.pages, 4);
	/* From each page one, then the rest. */
	for (unsigned step = 0; step < RMAP_CACHE_DESCS; step++)
		for (unsigned p = 0; p < 4; p++)
			rmap_pool_give(&pool, desc[p * RMAP_CACHE_DESCS + step]);
	assert_int_equal(pool.pages, 1);
	empty_and_check();
}

static void lock_twice(void *arg)
{
	(void)arg;
	(void)!rmap_lock(&map);
	(void)!rmap_lock(&map);
}

static void test_rmap_walkers_exclude_each_other(void **state)
{
	u64 word, other;

	(void)state;
	add(0);
	word = rmap_lock_readonly(&map);
	assert_int_equal(word, (uintptr_t)&entries[0]);
	host_cpu_set(1);
	assert_false(rmap_trylock_readonly(&map, &other));
	host_cpu_set(0);
	rmap_unlock_readonly(&map, word);
	assert_true(rmap_trylock_readonly(&map, &other));
	assert_int_equal(other, word);
	rmap_unlock_readonly(&map, other);
	lock_assert_none();
	empty_and_check();
}

static void test_rmap_lock_order_is_checked(void **state)
{
	(void)state;
	add(0);
	assert_true(host_panics(lock_twice, NULL));
	assert_non_null(strstr(host_panic_text(), "reverse map"));
	/* What the panic left behind. */
	rmap_unlock(&map, rmap_word(&map));
	empty_and_check();
}

static void remove_stranger(void *arg)
{
	(void)arg;
	rmap_remove(&pool, &map, &entries[99]);
}

static void test_rmap_remove_of_a_stranger_is_a_bug(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++)
		add(i);
	assert_true(host_panics(remove_stranger, NULL));
	rmap_unlock(&map, rmap_word(&map));
	empty_and_check();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup(test_rmap_empty_is_not_locked, setup),
	        cmocka_unit_test_setup(test_rmap_one_entry_takes_no_memory, setup),
	        cmocka_unit_test_setup(test_rmap_chain_grows_and_shrinks, setup),
	        cmocka_unit_test_setup(test_rmap_random_against_a_set, setup),
	        cmocka_unit_test_setup(test_rmap_add_without_memory_changes_nothing, setup),
	        cmocka_unit_test_setup(test_rmap_pool_gives_pages_back, setup),
	        cmocka_unit_test_setup(test_rmap_walkers_exclude_each_other, setup),
	        cmocka_unit_test_setup(test_rmap_lock_order_is_checked, setup),
	        cmocka_unit_test_setup(test_rmap_remove_of_a_stranger_is_a_bug, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
