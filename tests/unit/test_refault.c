/* mm/refault: what comes back, and what is evicted next because of it. */
#include "tests/unit/lruvec.h"

#include "mm/gfnmap.h"
#include "mm/refault.h"

static void test_refault_clean_goes_first(void **state)
{
	struct gen_chunk chunk;

	(void)state;
	(void)frame_listed(FRAME_DIRTY, GEN_ENTER_REFAULT);
	(void)frame_listed(0, GEN_ENTER_REFAULT);
	chunk = isolate(NEUTRAL);
	assert_int_equal(chunk.type, GEN_CLEAN);
	chunk = isolate(NEUTRAL);
	assert_int_equal(chunk.type, GEN_DIRTY);
}

/* ... unless clean pages are the ones that come back. */
static void test_refault_clean_that_comes_back_is_spared(void **state)
{
	struct gen_chunk chunk;
	u64 word = gfn_word(GFN_POOLED, 1) | refault_shadow(0, GEN_CLEAN, 1);

	(void)state;
	(void)frame_listed(FRAME_DIRTY, GEN_ENTER_REFAULT);
	(void)frame_listed(0, GEN_ENTER_REFAULT);
	a64_count(&l.evicted[GEN_CLEAN][0], 200);
	a64_count(&l.evicted[GEN_DIRTY][0], 200);
	for (unsigned i = 0; i < 150; i++)
		assert_true(refault_count(&l, word));
	chunk = isolate(NEUTRAL);
	assert_int_equal(chunk.type, GEN_DIRTY);
}

static void test_refault_figures_becomes_history(void **state)
{
	(void)state;
	a64_count(&l.evicted[GEN_DIRTY][1], 100);
	a64_count(&l.refaulted[GEN_DIRTY][1], 40);
	(void)frame_listed(FRAME_DIRTY, GEN_ENTER_REFAULT); /* holds seq 1 open */
	spin_lock(&l.lock);
	gen_trim_locked(&l, GEN_DIRTY);
	spin_unlock(&l.lock);
	assert_int_equal(l.min_seq[GEN_DIRTY], 1);
	assert_int_equal(l.avg_refaulted[GEN_DIRTY][1], 20);
	assert_int_equal(l.avg_total[GEN_DIRTY][1], 50);
	assert_int_equal(a64_load(&l.evicted[GEN_DIRTY][1]), 0);
}

/* Evicted from the generation two behind the youngest, and back so many generations later. */
static void test_refault_is_recent_within_the_window(void **state)
{
	u64 word = refault_shadow(FRAME_WORKINGSET, GEN_DIRTY, max_seq() - GEN_MIN);

	(void)state;
	assert_true(word & GFN_WORKINGSET);
	assert_false(word & GFN_CLEAN);
	for (unsigned later = 0; later <= 5; later++) {
		assert_int_equal(refault_distance(&l, word), GEN_MIN + later);
		assert_int_equal(refault_count(&l, word), later < GEN_MAX - GEN_MIN);
		advance();
	}
}

/* It counts for the tier and the type that it was evicted as. */
static void test_refault_counts_where_it_was_evicted(void **state)
{
	(void)state;
	for (unsigned tier = 0; tier < GEN_TIERS - 1; tier++) {
		u64 shadow = refault_shadow((u64)tier << FRAME_REFS_SHIFT, GEN_CLEAN, 1);

		assert_true(refault_count(&l, gfn_word(GFN_ZERO, 0) | shadow));
		assert_int_equal(a64_load(&l.refaulted[GEN_CLEAN][tier]), 1);
		assert_int_equal(a64_load(&l.refaulted[GEN_DIRTY][tier]), 0);
	}
}

/* Twelve bits of seq: the difference is taken modulo 4096. */
static void test_refault_across_the_wrap(void **state)
{
	u64 word;

	(void)state;
	while (max_seq() < 4096 + 1)
		advance();
	word = refault_shadow(0, GEN_CLEAN, 4095);
	assert_true(refault_count(&l, word));
	assert_true(word & GFN_CLEAN);
	word = refault_shadow(0, GEN_CLEAN, 4090);
	assert_false(refault_count(&l, word));
}

static void test_refault_tiers(void **state)
{
	const u64 one = 1u << FRAME_REFS_SHIFT;

	(void)state;
	assert_int_equal(refault_tier(0), 0);
	assert_int_equal(refault_tier(FRAME_REFERENCED | FRAME_WORKINGSET), 0);
	assert_int_equal(refault_tier(one), 1);
	assert_int_equal(refault_tier(2 * one), 2);
	assert_int_equal(refault_tier(3 * one), 2);
	assert_int_equal(refault_tier(3 * one | FRAME_WORKINGSET), 3);
	assert_int_equal((refault_shadow(2 * one, GEN_DIRTY, 0) & GFN_TIER) >> GFN_TIER_SHIFT, 2);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_refault_clean_goes_first),
	        T(test_refault_clean_that_comes_back_is_spared),
	        T(test_refault_figures_becomes_history),
	        T(test_refault_is_recent_within_the_window),
	        T(test_refault_counts_where_it_was_evicted),
	        T(test_refault_across_the_wrap),
	        T(test_refault_tiers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
