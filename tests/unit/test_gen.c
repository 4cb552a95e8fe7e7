/* mm/gen: where frames enter, the two touches, lazy sorting, the window. */
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
#include "mm/policy.h"
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

static u64 state_of(u32 frame)
{
	return a64_load(&frame_at(frame)->state);
}

static u64 max_seq(void)
{
	return a64_load(&l.max_seq);
}

static u64 seq_of(u32 frame)
{
	assert_true(state_of(frame) & FRAME_LISTED);
	return gen_seq_locked(&l, state_of(frame));
}

static bool promote(u32 frame)
{
	struct gen_batch batch = {.promoted = 0};
	bool done = gen_promote(&l, frame, SPACE, &batch);

	gen_batch_flush(&l, &batch);
	return done;
}

static void advance(void)
{
	assert_true(gen_advance(&l, max_seq()));
}

static void isolate(struct gen_chunk *chunk)
{
	gen_isolate(&l, POLICY_SWAPPINESS_MAX / 2, EVICT_ANY_SEQ, GEN_BATCH, chunk);
}

/* Sizes by the lists' state words agree with the counters. */
static void assert_sizes(void)
{
	s64 size[GEN_MAX][GEN_TYPES] = {0};

	for (u32 frame = 0; frame < FRAMES; frame++) {
		u64 state = state_of(frame);

		if (state & FRAME_LISTED)
			size[gen_index(gen_seq_locked(&l, state))][!!(state & FRAME_DIRTY)]++;
	}
	for (unsigned g = 0; g < GEN_MAX; g++)
		for (unsigned t = 0; t < GEN_TYPES; t++)
			assert_int_equal(a64_load(&l.size[g][t]), size[g][t]);
}

static void test_gen_starts_with_four(void **state)
{
	struct gen_view view[GEN_MAX];

	(void)state;
	assert_int_equal(max_seq(), 3);
	assert_int_equal(gen_snapshot(&l, view), GEN_MAX);
	assert_int_equal(gen_total(&l), 0);
}

/* A.3: where a page enters. */
static void test_gen_entries(void **state)
{
	(void)state;
	assert_int_equal(seq_of(frame_listed(true, GEN_ENTER_FRESH)), 2);
	assert_int_equal(seq_of(frame_listed(true, GEN_ENTER_REFAULT)), 1);
	assert_int_equal(seq_of(frame_listed(true, GEN_ENTER_REFAULT_HOT)), 3);
	assert_int_equal(seq_of(frame_listed(true, GEN_ENTER_REJECTED)), 2);
	assert_int_equal(seq_of(frame_listed(true, GEN_ENTER_RESCUED)), 2);
	assert_int_equal(seq_of(frame_listed(true, GEN_ENTER_UNPACKABLE)), 2);
	assert_int_equal(gen_total(&l), 6);
	assert_sizes();
}

static void test_gen_fault_is_the_first_touch(void **state)
{
	u32 fresh, back, hot;

	(void)state;
	a32_store(&policy.fault_touch, 1);
	fresh = frame_listed(true, GEN_ENTER_FRESH);
	back = frame_listed(true, GEN_ENTER_REFAULT);
	hot = frame_listed(true, GEN_ENTER_REFAULT_HOT);
	assert_true(state_of(fresh) & FRAME_REFERENCED);
	assert_true(state_of(back) & FRAME_REFERENCED);
	assert_true(state_of(hot) & FRAME_WORKINGSET);
	assert_false(state_of(fresh) & FRAME_WORKINGSET);
}

static void test_gen_rejected_twice_is_workingset(void **state)
{
	u32 frame = frame_listed(true, GEN_ENTER_REJECTED);

	(void)state;
	assert_true(state_of(frame) & FRAME_REFERENCED);
	assert_true(gen_remove(&l, frame));
	gen_insert(&l, frame, GEN_ENTER_REJECTED);
	assert_int_equal(seq_of(frame), max_seq());
	assert_true(state_of(frame) & FRAME_WORKINGSET);
	assert_false(state_of(frame) & FRAME_REFERENCED);
}

/* That a store declined it says nothing about who touched it. */
static void test_gen_unpackable_counts_as_no_touch(void **state)
{
	u32 frame = frame_listed(true, GEN_ENTER_UNPACKABLE);

	(void)state;
	assert_false(state_of(frame) & (FRAME_REFERENCED | FRAME_WORKINGSET));
}

static void test_gen_two_touches_promote(void **state)
{
	u32 frame = frame_listed(true, GEN_ENTER_UNPACKABLE);

	(void)state;
	a32_store(&policy.fault_touch, 1);
	assert_true(promote(frame));
	assert_int_equal(seq_of(frame), 2);
	assert_true(state_of(frame) & FRAME_REFERENCED);
	assert_true(promote(frame));
	assert_int_equal(seq_of(frame), 3);
	assert_true(state_of(frame) & FRAME_WORKINGSET);
	assert_false(state_of(frame) & (FRAME_REFERENCED | FRAME_REFS));
	/* From then on every sighting does. */
	advance();
	assert_int_equal(seq_of(frame), 3);
	assert_true(promote(frame));
	assert_int_equal(seq_of(frame), 4);
	assert_sizes();
}

static void test_gen_promote_declines_what_is_not_listed(void **state)
{
	struct gen_batch batch = {.promoted = 0};
	u32 unlisted = frame_new(true), listed = frame_listed(true, GEN_ENTER_FRESH);

	(void)state;
	assert_false(gen_promote(&l, unlisted, SPACE, &batch));
	assert_false(gen_promote(&l, listed, SPACE + 1, &batch));
	assert_int_equal(batch.promoted, 0);
	assert_int_equal(seq_of(listed), 2);
}

static void test_gen_batch_is_invisible_until_flushed(void **state)
{
	struct gen_batch batch = {.promoted = 0};
	u32 frame = frame_listed(true, GEN_ENTER_FRESH);

	(void)state;
	assert_true(gen_promote(&l, frame, SPACE, &batch));
	assert_int_equal(batch.promoted, 1);
	assert_int_equal(a64_load(&l.size[2][GEN_DIRTY]), 1);
	gen_batch_flush(&l, &batch);
	assert_int_equal(a64_load(&l.size[2][GEN_DIRTY]), 0);
	assert_int_equal(a64_load(&l.size[3][GEN_DIRTY]), 1);
	assert_int_equal(batch.promoted, 0);
}

static void test_gen_advance_only_from_what_was_expected(void **state)
{
	(void)state;
	assert_false(gen_advance(&l, 2));
	assert_false(gen_advance(&l, 4));
	assert_int_equal(max_seq(), 3);
	host_time_set(5000);
	assert_true(gen_advance(&l, 3));
	assert_int_equal(max_seq(), 4);
	assert_int_equal(l.birth_ns[gen_index(4)], 5000);
}

/* I4, and the order of eviction stays: what was next to go is still next to go. */
static void test_gen_fifth_generation_empties_the_first(void **state)
{
	struct gen_chunk chunk;
	u32 old[3], young;

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		old[i] = frame_listed(true, GEN_ENTER_REFAULT); /* seq 1 */
	young = frame_listed(true, GEN_ENTER_FRESH);            /* seq 2 */
	for (unsigned i = 0; i < 2; i++)
		advance(); /* max 5: seq 1 has to go into 2 */
	assert_int_equal(l.min_seq[GEN_DIRTY], 2);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(seq_of(old[i]), 2);
	isolate(&chunk);
	assert_int_equal(chunk.n, 4);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(chunk.frame[i], old[i]);
	assert_int_equal(chunk.frame[3], young);
}

/* More than one hold of the lock can move. */
static void test_gen_advance_empties_any_number(void **state)
{
	const u32 n = 2 * GEN_MAX_BATCH + 17;

	(void)state;
	for (u32 i = 0; i < n; i++)
		(void)frame_listed(i % 3, GEN_ENTER_REFAULT);
	for (unsigned i = 0; i < 6; i++)
		advance();
	assert_int_equal(gen_total(&l), n);
	assert_true(max_seq() - l.min_seq[GEN_CLEAN] < GEN_MAX);
	assert_true(max_seq() - l.min_seq[GEN_DIRTY] < GEN_MAX);
	assert_sizes();
}

static void test_gen_promoted_frame_survives_the_emptying(void **state)
{
	u32 frame = frame_listed(true, GEN_ENTER_REFAULT);

	(void)state;
	advance();
	assert_true(promote(frame)); /* seq 4, still on the list of 1 */
	advance();
	assert_int_equal(seq_of(frame), 4);
	assert_sizes();
	advance();
	advance();
	assert_int_equal(seq_of(frame), 4);
	advance(); /* max 8: now 4 goes into 5 */
	assert_int_equal(seq_of(frame), 5);
	assert_sizes();
}

/*
 * Whoever read a state word and then slept through generations must not write it back: the label is another,
 * though the index has come round to what it was.
 */
static void test_gen_label_tells_generations_of_one_index(void **state)
{
	u32 frame = frame_listed(true, GEN_ENTER_FRESH);
	u64 before = state_of(frame), now;

	(void)state;
	for (unsigned i = 0; i < GEN_MAX; i++)
		advance();
	assert_true(gen_remove(&l, frame));
	gen_insert(&l, frame, GEN_ENTER_FRESH);
	now = state_of(frame);
	assert_int_equal(before & ~FRAME_LABEL, now & ~FRAME_LABEL);
	assert_int_not_equal(before, now);
}

static void test_gen_isolate_leaves_the_two_youngest(void **state)
{
	struct gen_chunk chunk;

	(void)state;
	(void)frame_listed(true, GEN_ENTER_FRESH);
	(void)frame_listed(true, GEN_ENTER_REFAULT_HOT);
	isolate(&chunk);
	assert_int_equal(chunk.n, 0);
	assert_true(chunk.need_aging);
	assert_int_equal(l.min_seq[GEN_DIRTY], 2);
	advance();
	isolate(&chunk);
	assert_int_equal(chunk.n, 1);
}

static void test_gen_isolated_frame_is_in_nobodys_way(void **state)
{
	struct gen_chunk chunk;
	u32 frame = frame_listed(true, GEN_ENTER_REFAULT);

	(void)state;
	isolate(&chunk);
	assert_int_equal(chunk.n, 1);
	assert_int_equal(chunk.seq, 1);
	assert_int_equal(chunk.type, GEN_DIRTY);
	assert_true(state_of(frame) & FRAME_ISOLATED);
	assert_false(state_of(frame) & FRAME_LISTED);
	assert_false(gen_remove(&l, frame));
	assert_false(promote(frame));
	assert_false(frame_pin_try(frame));
	assert_int_equal(gen_total(&l), 0);
	gen_insert(&l, frame, GEN_ENTER_RESCUED);
	assert_false(state_of(frame) & FRAME_ISOLATED);
	assert_true(frame_pin_try(frame));
	frame_unpin(frame);
	assert_sizes();
}

static void test_gen_isolate_sorts_the_promoted(void **state)
{
	struct gen_chunk chunk;
	u32 cold = frame_listed(true, GEN_ENTER_REFAULT),
	    hot = frame_listed(true, GEN_ENTER_REFAULT);

	(void)state;
	assert_true(promote(hot));
	isolate(&chunk);
	assert_int_equal(chunk.n, 1);
	assert_int_equal(chunk.frame[0], cold);
	assert_int_equal(chunk.scanned, 2);
	assert_int_equal(chunk.sorted, 1);
	assert_int_equal(seq_of(hot), 3);
	assert_int_equal(l.list[gen_index(3)][GEN_DIRTY].head, hot);
	assert_sizes();
}

static void test_gen_isolate_passes_over_pinned_frames(void **state)
{
	struct gen_chunk chunk;
	u32 pinned = frame_listed(true, GEN_ENTER_REFAULT),
	    other = frame_listed(true, GEN_ENTER_REFAULT);

	(void)state;
	assert_true(frame_pin_try(pinned));
	isolate(&chunk);
	assert_int_equal(chunk.n, 1);
	assert_int_equal(chunk.frame[0], other);
	assert_int_equal(seq_of(pinned), 2);
	assert_true(state_of(pinned) & FRAME_PINS);
	frame_unpin(pinned);
	assert_sizes();
}

static void test_gen_isolate_takes_a_batch_at_most(void **state)
{
	struct gen_chunk chunk;

	(void)state;
	for (unsigned i = 0; i < GEN_BATCH + 10; i++)
		(void)frame_listed(true, GEN_ENTER_REFAULT);
	isolate(&chunk);
	assert_int_equal(chunk.n, GEN_BATCH);
	assert_false(chunk.need_aging);
	isolate(&chunk);
	assert_int_equal(chunk.n, 10);
	assert_true(chunk.need_aging);
}

static void test_gen_types_have_windows_of_their_own(void **state)
{
	struct gen_chunk chunk;

	(void)state;
	(void)frame_listed(false, GEN_ENTER_REFAULT); /* clean, seq 1 */
	isolate(&chunk);
	assert_int_equal(chunk.type, GEN_CLEAN);
	assert_int_equal(chunk.n, 1);
	assert_int_equal(l.min_seq[GEN_DIRTY], 2);
	(void)frame_listed(false, GEN_ENTER_REFAULT);
	assert_true(l.min_seq[GEN_CLEAN] <= 2);
}

/* A clean page older than the oldest generation of dirty ones must not fall out of the window. */
static void test_gen_make_dirty_stays_inside_the_window(void **state)
{
	struct gen_chunk chunk;
	u32 clean = frame_listed(false, GEN_ENTER_REFAULT);

	(void)state;
	/* The dirty type's window moves on alone: it has nothing in its old generations. */
	spin_lock(&l.lock);
	gen_trim_locked(&l, GEN_DIRTY);
	spin_unlock(&l.lock);
	assert_int_equal(l.min_seq[GEN_DIRTY], 2);
	assert_int_equal(seq_of(clean), 1);
	gen_make_dirty(&l, clean);
	assert_true(state_of(clean) & FRAME_DIRTY);
	assert_int_equal(seq_of(clean), 2);
	assert_sizes();
	advance();
	isolate(&chunk);
	assert_int_equal(chunk.n, 1);
	assert_int_equal(chunk.frame[0], clean);
	assert_int_equal(chunk.type, GEN_DIRTY);
}

static void test_gen_make_dirty_of_an_isolated_frame(void **state)
{
	struct gen_chunk chunk;
	u32 frame = frame_listed(false, GEN_ENTER_REFAULT);

	(void)state;
	isolate(&chunk);
	assert_int_equal(chunk.n, 1);
	gen_make_dirty(&l, frame);
	assert_true(state_of(frame) & FRAME_DIRTY);
	assert_true(state_of(frame) & FRAME_ISOLATED);
	gen_insert(&l, frame, GEN_ENTER_RESCUED);
	assert_sizes();
}

static void test_gen_make_dirty_forgets_that_it_did_not_pack(void **state)
{
	u32 frame = frame_listed(true, GEN_ENTER_FRESH);

	(void)state;
	frame_state_change(frame, 0, FRAME_UNPACKABLE);
	gen_make_dirty(&l, frame);
	assert_false(state_of(frame) & FRAME_UNPACKABLE);
	assert_sizes();
}

static void test_gen_remove_from_every_position(void **state)
{
	u32 frame[5];

	(void)state;
	for (unsigned first = 0; first < 5; first++) {
		for (unsigned i = 0; i < 5; i++)
			frame[i] = frame_listed(true, GEN_ENTER_FRESH);
		for (unsigned i = 0; i < 5; i++) {
			assert_true(gen_remove(&l, frame[(first + 3 * i) % 5]));
			assert_false(gen_remove(&l, frame[(first + 3 * i) % 5]));
		}
		assert_int_equal(l.list[2][GEN_DIRTY].head, FRAME_NONE);
		assert_int_equal(l.list[2][GEN_DIRTY].tail, FRAME_NONE);
	}
	assert_int_equal(gen_total(&l), 0);
}

/* Promoted, not yet sorted: it comes off the list it hangs on. */
static void test_gen_remove_of_a_promoted_frame(void **state)
{
	u32 frame = frame_listed(true, GEN_ENTER_FRESH);

	(void)state;
	assert_true(promote(frame));
	assert_true(gen_remove(&l, frame));
	assert_int_equal(l.list[2][GEN_DIRTY].head, FRAME_NONE);
	assert_int_equal(gen_total(&l), 0);
	assert_sizes();
}

static void test_gen_snapshot_tells_ages_and_sizes(void **state)
{
	struct gen_view view[GEN_MAX];
	unsigned n;

	(void)state;
	(void)frame_listed(true, GEN_ENTER_FRESH);
	(void)frame_listed(false, GEN_ENTER_REFAULT_HOT);
	host_time_set(3000);
	advance();
	host_time_set(4500);
	n = gen_snapshot(&l, view);
	assert_int_equal(n, 4);
	assert_int_equal(view[3].seq, 4);
	assert_int_equal(view[3].age_ns, 1500);
	assert_int_equal(view[0].age_ns, 3500);
	assert_int_equal(view[1].frames[GEN_DIRTY], 1);
	assert_int_equal(view[2].frames[GEN_CLEAN], 1);
	a64_count(&l.size[0][0], -5ull); /* a walker has not flushed yet */
	(void)gen_snapshot(&l, view);
	assert_int_equal(view[3].frames[GEN_CLEAN], 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_gen_starts_with_four),
	        T(test_gen_entries),
	        T(test_gen_fault_is_the_first_touch),
	        T(test_gen_rejected_twice_is_workingset),
	        T(test_gen_unpackable_counts_as_no_touch),
	        T(test_gen_two_touches_promote),
	        T(test_gen_promote_declines_what_is_not_listed),
	        T(test_gen_batch_is_invisible_until_flushed),
	        T(test_gen_advance_only_from_what_was_expected),
	        T(test_gen_fifth_generation_empties_the_first),
	        T(test_gen_advance_empties_any_number),
	        T(test_gen_promoted_frame_survives_the_emptying),
	        T(test_gen_label_tells_generations_of_one_index),
	        T(test_gen_isolate_leaves_the_two_youngest),
	        T(test_gen_isolated_frame_is_in_nobodys_way),
	        T(test_gen_isolate_sorts_the_promoted),
	        T(test_gen_isolate_passes_over_pinned_frames),
	        T(test_gen_isolate_takes_a_batch_at_most),
	        T(test_gen_types_have_windows_of_their_own),
	        T(test_gen_make_dirty_stays_inside_the_window),
	        T(test_gen_make_dirty_of_an_isolated_frame),
	        T(test_gen_make_dirty_forgets_that_it_did_not_pack),
	        T(test_gen_remove_from_every_position),
	        T(test_gen_remove_of_a_promoted_frame),
	        T(test_gen_snapshot_tells_ages_and_sizes),
	};

	a32_store(&policy.probation, 0); /* what is tested here goes by age alone */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
