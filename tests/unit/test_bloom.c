/* mm/bloom: nothing that was added is missing, how much passes by mistake, whose filter it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "mm/bloom.h"
#include "tests/host/hal.h"

#define PROBES 20000u

static struct bloom f;

static int setup(void **state)
{
	(void)state;
	bloom_init(&f);
	return !f.words;
}

static int teardown(void **state)
{
	(void)state;
	bloom_destroy(&f);
	return 0;
}

/* Tables of one slot, and tables all over the place. */
static u64 neighbour(u64 i)
{
	return i;
}

static u64 scattered(u64 i)
{
	u64 x = 88172645463325252ull + i;

	return host_random(&x) & BITS(35, 0);
}

/* Share of tables not in a filter of n tables that pass it, in per mille; all of the n have to. */
static unsigned passing(u64 (*key)(u64), unsigned n)
{
	unsigned passed = 0;

	bloom_reset(&f, 4);
	for (unsigned i = 0; i < n; i++)
		(void)bloom_add(&f, 4, key(i));
	for (unsigned i = 0; i < n; i++)
		assert_true(bloom_test(&f, 4, key(i)));
	for (unsigned i = 0; i < PROBES; i++)
		passed += bloom_test(&f, 4, key(n + i));
	return passed * 1000 / PROBES;
}

static void test_bloom_false_positives(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		u64 (*key)(u64) = i ? scattered : neighbour;

		assert_int_equal(passing(key, 0), 0);
		assert_in_range(passing(key, 1000), 0, 10);
		assert_in_range(passing(key, 10000), 190, 230);
		assert_in_range(passing(key, 20000), 470, 530);
	}
}

static void test_bloom_before_the_first_walk_everything_passes(void **state)
{
	(void)state;
	assert_true(bloom_test(&f, 3, 17));
	assert_false(bloom_add(&f, 3, 17));
	bloom_reset(&f, 4);
	assert_true(bloom_test(&f, 3, 17));
	assert_false(bloom_test(&f, 4, 17));
}

/* A walk reads one filter and fills the other. */
static void test_bloom_generations_alternate(void **state)
{
	(void)state;
	bloom_reset(&f, 4);
	assert_true(bloom_add(&f, 4, 1));
	bloom_reset(&f, 5);
	assert_true(bloom_add(&f, 5, 2));
	assert_true(bloom_test(&f, 4, 1));
	assert_false(bloom_test(&f, 4, 2));
	assert_true(bloom_test(&f, 5, 2));
	assert_false(bloom_test(&f, 5, 1));
	bloom_reset(&f, 6); /* in the place of 4 */
	assert_false(bloom_test(&f, 6, 1));
	assert_true(bloom_test(&f, 5, 2));
	assert_true(bloom_test(&f, 4, 2)); /* nobody knows any more */
}

/* After a generation that was made without a walk, what an older one left says nothing. */
static void test_bloom_of_another_generation_is_not_asked(void **state)
{
	(void)state;
	bloom_reset(&f, 4);
	assert_false(bloom_test(&f, 4, 9));
	assert_true(bloom_test(&f, 6, 9));
	assert_false(bloom_add(&f, 6, 9));
	assert_false(bloom_test(&f, 4, 9));
}

static void test_bloom_add_tells_what_is_new(void **state)
{
	(void)state;
	bloom_reset(&f, 4);
	assert_true(bloom_add(&f, 4, 77));
	assert_false(bloom_add(&f, 4, 77));
	assert_true(bloom_add(&f, 4, 78));
}

static void test_bloom_without_memory_everything_passes(void **state)
{
	struct bloom none;

	(void)state;
	host_pages_limit(0);
	bloom_init(&none);
	host_pages_limit(HOST_NO_LIMIT);
	bloom_reset(&none, 4);
	assert_false(bloom_add(&none, 4, 1));
	assert_true(bloom_test(&none, 4, 1));
	assert_true(bloom_test(&none, 4, 2));
	bloom_destroy(&none);
}

static void test_bloom_gives_its_memory_back(void **state)
{
	u64 used = hal_pages_used();
	struct bloom other;

	(void)state;
	bloom_init(&other);
	assert_int_equal(hal_pages_used(), used + BLOOM_FILTERS);
	bloom_destroy(&other);
	assert_int_equal(hal_pages_used(), used);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_bloom_false_positives),
	        T(test_bloom_before_the_first_walk_everything_passes),
	        T(test_bloom_generations_alternate),
	        T(test_bloom_of_another_generation_is_not_asked),
	        T(test_bloom_add_tells_what_is_new),
	        T(test_bloom_without_memory_everything_passes),
	        T(test_bloom_gives_its_memory_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
