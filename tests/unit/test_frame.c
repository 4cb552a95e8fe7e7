/* mm/frame: the allocator with its marks, the state word, pins. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mm/epoch.h"
#include "mm/frame.h"
#include "tests/host/hal.h"

#define FRAMES 1024u

static int setup(void **state)
{
	/* Three extents that are not neighbours, one of a single frame. */
	u64 at = hal_ptr_pfn(host_ram(FRAMES + 100)).v;
	const struct frame_extent extent[] = {
	        {pfn(at + 700), FRAMES - 501}, {pfn(at), 500}, {pfn(at + 600), 1}};

	(void)state;
	host_pages_limit(HOST_NO_LIMIT);
	return !frame_init(extent, ARRAY_SIZE(extent));
}

static int teardown(void **state)
{
	(void)state;
	epoch_barrier();
	frame_exit();
	return 0;
}

static void test_frame_numbers_are_dense_and_reversible(void **state)
{
	(void)state;
	assert_int_equal(frame_total(), FRAMES);
	for (u32 frame = 0; frame < FRAMES; frame++) {
		assert_int_equal(frame_of_pfn(frame_pfn(frame)), frame);
		assert_int_equal(frame_number(frame_at(frame)), frame);
		assert_ptr_equal(frame_ptr(frame), hal_frame_ptr(frame_pfn(frame)));
	}
	assert_int_equal(frame_of_pfn(pfn(0)), FRAME_NONE);
	assert_int_equal(frame_of_pfn(pfn(frame_pfn(0).v - 1)), FRAME_NONE);
	assert_int_equal(frame_of_pfn(pfn(frame_pfn(FRAMES - 2).v + 1)), FRAME_NONE);
	assert_int_equal(frame_of_pfn(pfn(~0ull)), FRAME_NONE);
}

static void test_frame_marks_are_in_order(void **state)
{
	(void)state;
	assert_true(0 < frame_marks.reserve && frame_marks.reserve < frame_marks.min);
	assert_true(frame_marks.min < frame_marks.low && frame_marks.low < frame_marks.high);
	assert_true(frame_marks.high < FRAMES / 10);
}

/* Each class stops where the next one goes on (I10). */
static void test_frame_classes_stop_at_their_floor(void **state)
{
	u64 n = 0;
	u32 frame[FRAMES];

	(void)state;
	while ((frame[n] = frame_alloc(FRAME_FOR_CACHE)) != FRAME_NONE)
		n++;
	assert_int_equal(n, FRAMES - frame_marks.low);
	while ((frame[n] = frame_alloc(FRAME_FOR_FAULT)) != FRAME_NONE)
		n++;
	assert_int_equal(n, FRAMES - frame_marks.reserve);
	while (n < FRAMES && (frame[n] = frame_alloc(FRAME_FOR_POOL)) != FRAME_NONE)
		n++;
	assert_int_equal(n, FRAMES);
	assert_int_equal(frame_alloc(FRAME_FOR_POOL), FRAME_NONE);
	assert_int_equal(frame_free_count(), 0);
	while (n--)
		frame_free(frame[n]);
	assert_int_equal(frame_free_count(), FRAMES);
}

static void test_frame_is_nobody_elses(void **state)
{
	static bool seen[FRAMES];
	u32 frame;

	(void)state;
	memset(seen, 0, sizeof(seen));
	while ((frame = frame_alloc(FRAME_FOR_POOL)) != FRAME_NONE) {
		assert_false(seen[frame]);
		seen[frame] = true;
		memset(frame_ptr(frame), 0x5a, PAGE_SIZE);
	}
}

static void test_frame_give_sets_owner_and_use(void **state)
{
	u32 frame = frame_alloc(FRAME_FOR_FAULT), pool = frame_alloc(FRAME_FOR_POOL);

	(void)state;
	assert_int_equal(frame_use(a64_load(&frame_at(frame)->state)), FRAME_HELD);
	frame_give(frame, FRAME_GUEST, 7, gfn(0x123456789));
	assert_int_equal(frame_use(a64_load(&frame_at(frame)->state)), FRAME_GUEST);
	assert_int_equal(frame_space_id(frame_at(frame)), 7);
	assert_int_equal(frame_gfn(frame_at(frame)).v, 0x123456789);
	frame_give(pool, FRAME_POOL, 0, gfn(3));
	assert_int_equal(frame_pool_count(), 1);
	frame_free(pool);
	assert_int_equal(frame_pool_count(), 0);
	frame_retire(frame);
}

static void test_frame_pin_keeps_count(void **state)
{
	u32 frame = frame_alloc(FRAME_FOR_FAULT);

	(void)state;
	assert_false(frame_pin_try(frame)); /* held, not a guest's */
	frame_give(frame, FRAME_GUEST, 1, gfn(0));
	assert_true(frame_pin_try(frame));
	assert_true(frame_pin_try(frame));
	assert_int_equal(a64_load(&frame_at(frame)->state) & FRAME_PINS, 2 * FRAME_PIN_ONE);
	frame_unpin(frame);
	frame_unpin(frame);
	frame_state_change(frame, 0, FRAME_ISOLATED);
	assert_false(frame_pin_try(frame));
	frame_retire(frame);
}

static void test_frame_pins_do_not_overflow(void **state)
{
	u32 frame = frame_alloc(FRAME_FOR_FAULT);

	(void)state;
	frame_give(frame, FRAME_GUEST, 1, gfn(0));
	for (u32 i = 0; i < 0xffff; i++)
		assert_true(frame_pin_try(frame));
	assert_false(frame_pin_try(frame));
	assert_int_equal(a64_load(&frame_at(frame)->state) & FRAME_LABEL, 0);
	for (u32 i = 0; i < 0xffff; i++)
		frame_unpin(frame);
	frame_retire(frame);
}

static void test_frame_accesses_feed_the_tier(void **state)
{
	u32 frame = frame_alloc(FRAME_FOR_FAULT);
	struct frame *f = frame_at(frame);

	(void)state;
	frame_mark_accessed(frame);
	assert_int_equal(a64_load(&f->state) & FRAME_REFERENCED, 0); /* not a guest's yet */
	frame_give(frame, FRAME_GUEST, 1, gfn(0));
	frame_mark_accessed(frame);
	assert_int_equal(a64_load(&f->state) & (FRAME_REFERENCED | FRAME_REFS), FRAME_REFERENCED);
	for (unsigned refs = 1; refs < 6; refs++) {
		frame_mark_accessed(frame);
		assert_int_equal((a64_load(&f->state) & FRAME_REFS) >> FRAME_REFS_SHIFT,
		                 min_of(refs, 3u));
	}
	frame_retire(frame);
}

static void free_it(void *arg)
{
	frame_free(*(u32 *)arg);
}

/* I7: a guest's frame goes through the epoch or not at all. */
static void test_frame_free_of_a_guests_frame_is_a_bug(void **state)
{
	u32 frame = frame_alloc(FRAME_FOR_FAULT);

	(void)state;
	frame_give(frame, FRAME_GUEST, 1, gfn(0));
	assert_true(host_panics(free_it, &frame));
	frame_retire(frame);
	assert_int_equal(frame_free_count(), FRAMES - 1);
	assert_true(host_panics(free_it, &frame)); /* nor once it was retired */
	epoch_barrier();
	assert_int_equal(frame_free_count(), FRAMES);
}

static void test_frame_table_is_counted_and_goes_back(void **state)
{
	u32 frame = frame_alloc(FRAME_FOR_FAULT);
	u64 packable = frame_packable_count();

	(void)state;
	frame_make_table(frame, 3, &packable);
	assert_int_equal(frame_table_count(), 1);
	assert_ptr_equal(frame_at(frame)->table, &packable);
	assert_int_equal(frame_space_id(frame_at(frame)), 3);
	assert_int_equal(frame_packable_count(), packable - 1);
	assert_false(frame_pin_try(frame));
	assert_true(host_panics(free_it, &frame)); /* not while it is one */
	frame_unmake_table(frame);
	assert_int_equal(frame_table_count(), 0);
	frame_retire(frame);
	epoch_barrier();
	assert_int_equal(frame_free_count(), FRAMES);
}

static void test_frame_free_twice_is_a_bug(void **state)
{
	u32 frame = frame_alloc(FRAME_FOR_FAULT);

	(void)state;
	frame_free(frame);
	assert_true(host_panics(free_it, &frame));
}

static void test_frame_free_scrubs_in_debug_builds(void **state)
{
	u32 frame = frame_alloc(FRAME_FOR_FAULT);
	const u8 *bytes = frame_ptr(frame);

	(void)state;
	memset(frame_ptr(frame), 0x77, PAGE_SIZE);
	frame_free(frame);
	for (unsigned i = 0; i < PAGE_SIZE; i++)
		assert_int_not_equal(bytes[i], 0x77);
}

/* --- 512 at a time --- */

#define HUGE_BLOCKS 8u

/* Blocks 0 .. 7 of an aligned piece of memory, with a few frames before and behind them. */
static void start_huge(void)
{
	u64 at = align_up(hal_ptr_pfn(host_ram((HUGE_BLOCKS + 3) * TABLE_PAGES)).v,
	                  (u64)TABLE_PAGES);
	const struct frame_extent extent[] = {
	        {pfn(at + TABLE_PAGES - 5), 5 + HUGE_BLOCKS * TABLE_PAGES + 7}};

	frame_exit();
	assert_true(frame_init(extent, 1));
}

static void test_frame_huge_is_aligned_contiguous_and_held(void **state)
{
	u32 first;

	(void)state;
	start_huge();
	first = frame_alloc_huge();
	assert_int_not_equal(first, FRAME_NONE);
	assert_int_equal(frame_pfn(first).v % TABLE_PAGES, 0);
	for (u32 i = 0; i < TABLE_PAGES; i++) {
		assert_int_equal(frame_pfn(first + i).v, frame_pfn(first).v + i);
		assert_int_equal(frame_use(a64_load(&frame_at(first + i)->state)), FRAME_HELD);
		assert_int_equal(frame_huge_head(first + i), first);
	}
	assert_int_equal(frame_free_count(), frame_total() - TABLE_PAGES);
	for (u32 i = 0; i < TABLE_PAGES; i++)
		frame_free(first + i);
	assert_int_equal(frame_free_count(), frame_total());
}

/* Single frames come from where a block is in part already. */
static void test_frame_singles_leave_whole_blocks_alone(void **state)
{
	u32 single[12 + TABLE_PAGES];

	(void)state;
	start_huge();
	/* The ragged ends, then one block. */
	for (unsigned i = 0; i < ARRAY_SIZE(single); i++)
		single[i] = frame_alloc(FRAME_FOR_FAULT);
	for (unsigned i = 0; i < 12; i++)
		assert_int_equal(frame_huge_head(single[i]), FRAME_NONE);
	for (unsigned i = 12; i < ARRAY_SIZE(single); i++)
		assert_int_equal(frame_huge_head(single[i]), frame_huge_head(single[12]));
	/* A few go back and are handed out again. */
	for (unsigned i = 100; i < 110; i++)
		frame_free(single[i]);
	for (unsigned i = 100; i < 110; i++) {
		single[i] = frame_alloc(FRAME_FOR_FAULT);
		assert_int_equal(frame_huge_head(single[i]), frame_huge_head(single[12]));
	}
	for (unsigned i = 0; i < ARRAY_SIZE(single); i++)
		frame_free(single[i]);
	assert_int_equal(frame_free_count(), frame_total());
}

static void test_frame_huge_is_for_plenty(void **state)
{
	u32 first[HUGE_BLOCKS];
	unsigned n = 0;

	(void)state;
	start_huge();
	while ((first[n] = frame_alloc_huge()) != FRAME_NONE)
		n++;
	/* What is left is more than the high mark, and no more than another block above it. */
	assert_true(n > 2 && n < HUGE_BLOCKS);
	assert_true(frame_free_count() >= frame_marks.high + TABLE_PAGES);
	assert_true(frame_free_count() < frame_marks.high + 2 * TABLE_PAGES);
	while (n--)
		for (u32 i = 0; i < TABLE_PAGES; i++)
			frame_free(first[n] + i);
}

/* One frame in use, anywhere, and its block is nobody's 2 MiB. */
static void test_frame_huge_needs_all_512(void **state)
{
	static u32 single[(HUGE_BLOCKS + 1) * TABLE_PAGES];
	u32 kept[HUGE_BLOCKS], first;
	unsigned n = 0, blocks = 0;

	(void)state;
	start_huge();
	while ((single[n] = frame_alloc(FRAME_FOR_POOL)) != FRAME_NONE)
		n++;
	assert_int_equal(frame_alloc_huge(), FRAME_NONE);
	/* All but the 77th of each block go back. */
	while (n--) {
		if (frame_pfn(single[n]).v % TABLE_PAGES == 77)
			kept[blocks++] = single[n];
		else
			frame_free(single[n]);
	}
	assert_int_equal(blocks, HUGE_BLOCKS);
	assert_int_equal(frame_alloc_huge(), FRAME_NONE);
	frame_free(kept[3]);
	first = frame_alloc_huge();
	assert_int_equal(first, frame_huge_head(kept[3]));
	assert_int_equal(frame_alloc_huge(), FRAME_NONE);
	for (u32 i = 0; i < TABLE_PAGES; i++)
		frame_free(first + i);
	for (unsigned i = 0; i < HUGE_BLOCKS; i++)
		if (i != 3)
			frame_free(kept[i]);
}

static void test_frame_huge_is_said_by_the_head(void **state)
{
	u32 first;

	(void)state;
	start_huge();
	first = frame_alloc_huge();
	assert_false(frame_is_huge(first + 300));
	frame_state_change(first, 0, FRAME_HUGE);
	assert_true(frame_is_huge(first) && frame_is_huge(first + 511));
	assert_false(frame_is_huge(first + 512) || frame_is_huge(first - 1) || frame_is_huge(0));
	assert_true(host_panics(free_it, &first)); /* it is still mapped so */
	frame_state_change(first, FRAME_HUGE, 0);
	for (u32 i = 0; i < TABLE_PAGES; i++)
		frame_free(first + i);
}

static void test_frame_init_says_when_memory_is_short(void **state)
{
	const struct frame_extent extent = {pfn(1), 1000};
	const struct frame_extent nothing = {pfn(1), 0};

	(void)state;
	frame_exit();
	for (u64 limit = 0; limit < 2; limit++) {
		u64 used = hal_pages_used();

		host_pages_limit(limit);
		assert_false(frame_init(&extent, 1));
		assert_int_equal(hal_pages_used(), used);
	}
	host_pages_limit(HOST_NO_LIMIT);
	assert_false(frame_init(&nothing, 1));
	assert_false(frame_init(&extent, 0));
	assert_int_equal(setup(NULL), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_frame_numbers_are_dense_and_reversible),
	        T(test_frame_marks_are_in_order),
	        T(test_frame_classes_stop_at_their_floor),
	        T(test_frame_is_nobody_elses),
	        T(test_frame_give_sets_owner_and_use),
	        T(test_frame_pin_keeps_count),
	        T(test_frame_pins_do_not_overflow),
	        T(test_frame_accesses_feed_the_tier),
	        T(test_frame_free_of_a_guests_frame_is_a_bug),
	        T(test_frame_table_is_counted_and_goes_back),
	        T(test_frame_free_twice_is_a_bug),
	        T(test_frame_free_scrubs_in_debug_builds),
	        T(test_frame_huge_is_aligned_contiguous_and_held),
	        T(test_frame_singles_leave_whole_blocks_alone),
	        T(test_frame_huge_is_for_plenty),
	        T(test_frame_huge_needs_all_512),
	        T(test_frame_huge_is_said_by_the_head),
	        T(test_frame_init_says_when_memory_is_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
