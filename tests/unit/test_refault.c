/* mm/refault: what comes back, and what is evicted next because of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/policy.h"
#include "mm/refault.h"
#include "tests/host/hal.h"

#define FRAMES 12000u
#define SPACE  3u

static struct lruvec l;

static int setup(void **state)
{
	const struct frame_extent extent = {hal_ptr_pfn(host_ram(FRAMES)), FRAMES};

	(void)state;
	memset(&l, 0, sizeof(l));
	host_time_set(1000);
	gen_init(&l);
	return !frame_init(&extent, 1);
}

static int teardown(void **state)
{
	(void)state;
	host_time_set(HOST_TIME_REAL);
	frame_exit();
	return 0;
}

/* An unlisted guest frame. */
static u32 frame_new(bool dirty)
{
	u32 frame = frame_alloc(FRAME_FOR_POOL);

	assert_int_not_equal(frame, FRAME_NONE);
	frame_give(frame, FRAME_GUEST, SPACE, gfn(frame));
	if (dirty)
		frame_state_change(frame, 0, FRAME_DIRTY);
	return frame;
}

static u32 frame_listed(bool dirty, enum gen_entry how)
{
	u32 frame = frame_new(dirty);

	gen_insert(&l, frame, how);
	return frame;
}

static u64 max_seq(void)
{
	return a64_load(&l.max_seq);
}

static void advance(void)
{
	assert_true(gen_advance(&l, max_seq()));
}

static void isolate(struct gen_chunk *chunk)
{
	gen_isolate(&l, POLICY_SWAPPINESS_MAX / 2, EVICT_ANY_SEQ, chunk);
}

static void test_refault_clean_goes_first(void **state)
{
	struct gen_chunk chunk;

	(void)state;
	(void)frame_listed(true, GEN_ENTER_REFAULT);
	(void)frame_listed(false, GEN_ENTER_REFAULT);
	isolate(&chunk);
	assert_int_equal(chunk.type, GEN_CLEAN);
	isolate(&chunk);
	assert_int_equal(chunk.type, GEN_DIRTY);
}

/* ... unless clean pages are the ones that come back. */
static void test_refault_clean_that_comes_back_is_spared(void **state)
{
	struct gen_chunk chunk;
	u64 word = gfn_word(GFN_POOLED, 1) | refault_shadow(0, GEN_CLEAN, 1);

	(void)state;
	(void)frame_listed(true, GEN_ENTER_REFAULT);
	(void)frame_listed(false, GEN_ENTER_REFAULT);
	a64_count(&l.evicted[GEN_CLEAN][0], 200);
	a64_count(&l.evicted[GEN_DIRTY][0], 200);
	for (unsigned i = 0; i < 150; i++)
		assert_true(refault_count(&l, word));
	isolate(&chunk);
	assert_int_equal(chunk.type, GEN_DIRTY);
}

static void test_refault_figures_becomes_history(void **state)
{
	(void)state;
	a64_count(&l.evicted[GEN_DIRTY][1], 100);
	a64_count(&l.refaulted[GEN_DIRTY][1], 40);
	(void)frame_listed(true, GEN_ENTER_REFAULT); /* holds seq 1 open */
	spin_lock(&l.lock);
	gen_trim_locked(&l, GEN_DIRTY);
	spin_unlock(&l.lock);
	assert_int_equal(l.min_seq[GEN_DIRTY], 1);
	assert_int_equal(l.avg_refaulted[GEN_DIRTY][1], 20);
	assert_int_equal(l.avg_total[GEN_DIRTY][1], 50);
	assert_int_equal(a64_load(&l.evicted[GEN_DIRTY][1]), 0);
}

static void test_refault_is_recent_within_the_window(void **state)
{
	u64 word = refault_shadow(FRAME_WORKINGSET, GEN_DIRTY, max_seq() - 2);

	(void)state;
	assert_true(word & GFN_WORKINGSET);
	assert_false(word & GFN_CLEAN);
	assert_true(refault_count(&l, word));
	assert_int_equal(a64_load(&l.refaulted[GEN_DIRTY][0]), 1);
	advance();
	assert_true(refault_count(&l, word));
	advance();
	assert_false(refault_count(&l, word));
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
	        T(test_refault_across_the_wrap),
	        T(test_refault_tiers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
