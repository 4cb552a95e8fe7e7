/* mm/gen_view: what people and the protection by age get to see. */
#include "tests/unit/lruvec.h"

#include "mm/gen_view.h"

#define MS 1000000ull

static void test_gen_view_tiers(void **state)
{
	struct gen_tiers_view view;

	(void)state;
	(void)frame_listed(FRAME_DIRTY, GEN_ENTER_REFAULT); /* holds seq 1 open */
	(void)isolate(0);                                   /* nothing but trimming */
	l.avg_refaulted[GEN_DIRTY][1] = 100;
	l.avg_total[GEN_DIRTY][1] = 120;
	l.protected_[GEN_DIRTY][1] = 7;
	a64_store(&l.evicted[GEN_DIRTY][2], 11);
	a64_store(&l.refaulted[GEN_CLEAN][0], 13);
	gen_tier_snapshot(&l, &view);
	assert_int_equal(view.max_seq, 3);
	assert_int_equal(view.min_seq[GEN_CLEAN], 2);
	assert_int_equal(view.min_seq[GEN_DIRTY], 1);
	assert_int_equal(view.limit[GEN_DIRTY], 0);
	assert_int_equal(view.limit[GEN_CLEAN], 2);
	assert_int_equal(view.tier[GEN_DIRTY][1].avg_refaulted, 100);
	assert_int_equal(view.tier[GEN_DIRTY][1].avg_total, 120);
	assert_int_equal(view.tier[GEN_DIRTY][1].protected_, 7);
	assert_int_equal(view.tier[GEN_DIRTY][2].evicted, 11);
	assert_int_equal(view.tier[GEN_CLEAN][0].refaulted, 13);
	assert_int_equal(view.tier[GEN_CLEAN][3].evicted, 0);
}

static void test_gen_view_one_frame(void **state)
{
	u32 frame = frame_listed(FRAME_DIRTY | 2u << FRAME_REFS_SHIFT, GEN_ENTER_REFAULT);
	struct gen_frame_view view;

	(void)state;
	host_time_set(6000);
	gen_frame_snapshot(&l, frame, &view);
	assert_true(view.listed);
	assert_false(view.isolated);
	assert_int_equal(view.seq, 1);
	assert_int_equal(view.steps, 2);
	assert_int_equal(view.age_ns, 5000);
	assert_int_equal(view.type, GEN_DIRTY);
	assert_int_equal(view.tier, 2);
	assert_int_equal(view.state, state_of(frame));
	assert_false(view.evictable); /* generation 0 is there still */
	assert_int_equal(isolate(NEUTRAL).n, 1);
	gen_frame_snapshot(&l, frame, &view);
	assert_false(view.listed);
	assert_true(view.isolated);
	assert_int_equal(gen_frame_steps(&l, frame), -1);
}

/* Next to go are the frames of the oldest generation, unless it is one of the two youngest. */
static void test_gen_view_who_goes_next(void **state)
{
	u32 old = frame_listed(FRAME_DIRTY, GEN_ENTER_REFAULT);
	u32 young = frame_listed(FRAME_DIRTY, GEN_ENTER_FRESH);
	struct gen_frame_view view;

	(void)state;
	(void)isolate(0);
	gen_frame_snapshot(&l, old, &view);
	assert_true(view.evictable);
	gen_frame_snapshot(&l, young, &view);
	assert_false(view.evictable);
	assert_int_equal(isolate(NEUTRAL).n, 1);
	gen_frame_snapshot(&l, young, &view);
	assert_false(view.evictable);
	advance();
	gen_frame_snapshot(&l, young, &view);
	assert_true(view.evictable);
}

static void test_gen_view_steps_grow_with_the_window(void **state)
{
	u32 frame = frame_listed(FRAME_DIRTY, GEN_ENTER_REFAULT_HOT);

	(void)state;
	for (int steps = 0; steps < 7; steps++) {
		/* Merged into the next when the window moves past it. */
		assert_int_equal(gen_frame_steps(&l, frame), steps < 3 ? steps : 3);
		advance();
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_gen_view_tiers),
	        T(test_gen_view_one_frame),
	        T(test_gen_view_who_goes_next),
	        T(test_gen_view_steps_grow_with_the_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
