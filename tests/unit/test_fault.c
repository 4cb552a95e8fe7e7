/* mm/fault: what a fault finds in the gfn word, and what it leaves there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mm/audit.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/fault.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/policy.h"
#include "mm/reclaim.h"
#include "tests/host/fake/store.c"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"

#define FRAMES 1024u
#define PAGES  2000u

static struct fake_guest guest;

static int setup(void **state)
{
	const struct fake_config c = {.name = "faulting", .npages = PAGES};

	(void)state;
	policy_init();
	a32_store(&policy.probation, 0); /* what is tested here goes by age alone */
	fake_frames_create(FRAMES);
	assert_true(store_init());
	reclaim_init(NULL);
	fake_guest_create(&guest, &c);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	guest.hook = NULL;
	fake_store.on_get = NULL;
	assert_int_equal(audit_all(NULL), 0);
	fake_guest_destroy(&guest);
	fake_frames_destroy();
	assert_int_equal(fake_store.objects, 0);
	fake_store_reset();
	return 0;
}

static enum fault_result bring_in(u64 page, bool write, bool keep_copy, struct fault_page *out)
{
	return fault_bring_in(guest.space, gfn(page), write, keep_copy, out);
}

static a64 *where_of(u64 page)
{
	a64 *where;

	epoch_enter();
	where = gfnmap_word(guest.space, gfn(page));
	epoch_exit();
	return where;
}

static u64 copy_of(u64 page)
{
	return a64_load(&frame_at(gfn_word_frame(fake_word(&guest, page)))->copy);
}

/* Puts a page with contents away. */
static void put_away(u64 page, u64 value)
{
	fake_write(&guest, 0, page, 5, value);
	fake_make_cold(&guest);
	(void)evict_space(guest.space, evict_any(PAGES));
	assert_int_equal(gfn_word_tag(fake_word(&guest, page)), GFN_POOLED);
}

/* I9: whatever the frame held before. */
static void test_fault_first_touch_is_zero(void **state)
{
	struct fault_page page;
	const u64 *words;

	(void)state;
	for (u32 i = 0; i < FRAMES; i++)
		memset(frame_ptr(i), 0xee, PAGE_SIZE);
	assert_int_equal(bring_in(0, false, true, &page), FAULT_FIXED);
	words = frame_ptr(page.frame);
	for (unsigned i = 0; i < PAGE_SIZE / 8; i++)
		assert_int_equal(words[i], 0);
	assert_int_equal(fake_word(&guest, 0), gfn_word(GFN_RESIDENT, page.frame));
	assert_int_equal(a64_load(&guest.space->stats.first_touch_total), 1);
	assert_int_equal(a64_load(&guest.space->resident), 1);
}

static void test_fault_first_read_is_clean_first_write_dirty(void **state)
{
	struct fault_page page;

	(void)state;
	assert_int_equal(bring_in(0, false, true, &page), FAULT_FIXED);
	assert_true(page.clean);
	assert_int_equal(copy_of(0), gfn_word(GFN_ZERO, 0));
	assert_int_equal(bring_in(1, true, true, &page), FAULT_FIXED);
	assert_false(page.clean);
	assert_int_equal(copy_of(1), 0);
	assert_true(fake_state(&guest, 1) & FRAME_DIRTY);
}

static void test_fault_outside_the_slots(void **state)
{
	struct fault_page page;

	(void)state;
	assert_int_equal(bring_in(PAGES, true, false, &page), FAULT_NO_SLOT);
	assert_int_equal(bring_in(~0ull, false, false, &page), FAULT_NO_SLOT);
	assert_int_equal(fault_make_dirty(guest.space, gfn(PAGES)), FAULT_NO_SLOT);
	assert_int_equal(frame_free_count(), FRAMES);
}

static void test_fault_of_a_resident_page_changes_nothing(void **state)
{
	struct fault_page first, second;

	(void)state;
	assert_int_equal(bring_in(0, true, false, &first), FAULT_FIXED);
	assert_int_equal(bring_in(0, false, true, &second), FAULT_FIXED);
	assert_int_equal(first.frame, second.frame);
	assert_int_equal(frame_free_count(), FRAMES - 1);
}

static void test_fault_busy_raced(void **state)
{
	struct fault_page page;
	u64 word = 0;

	(void)state;
	assert_true(gfnmap_busy_try(where_of(0), &word));
	assert_int_equal(bring_in(0, true, false, &page), FAULT_RETRY);
	assert_int_equal(fault_make_dirty(guest.space, gfn(0)), FAULT_RETRY);
	assert_int_equal(frame_free_count(), FRAMES);
	gfnmap_busy_end(where_of(0), 0);
	assert_int_equal(bring_in(0, true, false, &page), FAULT_FIXED);
}

/* Two CPUs bring the same page in; the second comes while the first reads the store. */
static enum fault_result second_result;

static void second_fault(u64 word)
{
	struct fault_page page;

	(void)word;
	host_cpu_set(1);
	second_result = bring_in(3, true, false, &page);
	host_cpu_set(0);
}

static void test_fault_second_bringer_retries(void **state)
{
	struct fault_page page;

	(void)state;
	host_cpu_count_set(2);
	put_away(3, 33);
	fake_store.on_get = second_fault;
	assert_int_equal(bring_in(3, true, false, &page), FAULT_FIXED);
	fake_store.on_get = NULL;
	assert_int_equal(second_result, FAULT_RETRY);
	assert_int_equal(frame_free_count(), FRAMES - 1);
	assert_int_equal(fake_read(&guest, 0, 3, 5), 33);
	host_cpu_count_set(1);
}

static void test_fault_read_keeps_the_copy_write_drops_it(void **state)
{
	struct fault_page page;

	(void)state;
	put_away(0, 10);
	put_away(1, 11);
	assert_int_equal(fake_store.objects, 2);
	assert_int_equal(bring_in(0, false, false, &page), FAULT_FIXED);
	assert_true(page.clean);
	assert_int_equal(gfn_word_tag(copy_of(0)), GFN_POOLED);
	assert_int_equal(bring_in(1, true, true, &page), FAULT_FIXED);
	assert_false(page.clean);
	assert_int_equal(fake_store.objects, 1);
}

/* An MMU without Dirty bits is about to let the guest write a clean page. */
static void test_fault_make_dirty_drops_the_copy(void **state)
{
	struct fault_page page;

	(void)state;
	put_away(0, 10);
	assert_int_equal(bring_in(0, false, false, &page), FAULT_FIXED);
	assert_int_equal(fault_make_dirty(guest.space, gfn(0)), FAULT_FIXED);
	assert_int_equal(copy_of(0), 0);
	assert_int_equal(fake_store.objects, 0);
	assert_true(fake_state(&guest, 0) & FRAME_DIRTY);
	assert_int_equal(fault_make_dirty(guest.space, gfn(0)), FAULT_FIXED);
	assert_int_equal(fault_make_dirty(guest.space, gfn(1)), FAULT_RETRY);
}

static void test_fault_write_to_a_resident_clean_page(void **state)
{
	struct fault_page page;

	(void)state;
	assert_int_equal(bring_in(0, false, true, &page), FAULT_FIXED);
	assert_int_equal(bring_in(0, true, true, &page), FAULT_FIXED);
	assert_true(page.clean); /* the MMU will tell */
	assert_int_equal(bring_in(0, true, false, &page), FAULT_FIXED);
	assert_false(page.clean);
}

static void test_fault_kept_copies_do_not_outlive_pressure(void **state)
{
	struct fault_page page;
	u64 n = FRAMES - frame_marks.low + 2;

	(void)state;
	put_away(PAGES - 1, 10);
	for (u64 i = 0; i < n; i++)
		assert_int_equal(bring_in(i, true, false, &page), FAULT_FIXED);
	assert_true(reclaim_needed());
	assert_int_equal(bring_in(PAGES - 1, false, true, &page), FAULT_FIXED);
	assert_false(page.clean);
	assert_int_equal(fake_store.objects, 0);
}

/* What lies on a disk takes nobody's place. */
static void test_fault_copies_on_a_disk_outlive_pressure(void **state)
{
	struct fault_page page;
	u64 n = FRAMES - frame_marks.low + 2;

	(void)state;
	put_away(PAGES - 1, 10);
	for (u64 i = 0; i < n; i++)
		assert_int_equal(bring_in(i, true, false, &page), FAULT_FIXED);
	assert_true(reclaim_needed());
	fake_store.on_disk = true;
	assert_int_equal(bring_in(PAGES - 1, false, true, &page), FAULT_FIXED);
	assert_true(page.clean);
	assert_int_equal(fake_store.objects, 1);
}

/* Until the disk has answered, who wants the page has no frame, and its word is as it was. */
static void test_fault_waits_for_a_disk_without_a_frame(void **state)
{
	struct fault_page page;
	u64 word, free;

	(void)state;
	put_away(0, 10);
	word = fake_word(&guest, 0);
	free = frame_free_count();
	fake_store.not_ready = 2;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(bring_in(0, true, false, &page), FAULT_WAIT);
		assert_int_equal(fake_word(&guest, 0), word);
		assert_int_equal(frame_free_count(), free);
		assert_int_equal(fake_store.gets, 0);
	}
	assert_int_equal(bring_in(0, true, false, &page), FAULT_FIXED);
	assert_int_equal(fake_read(&guest, 0, 0, 5), 10);
	assert_int_equal(a64_load(&guest.space->stats.refaults_total), 1);
}

/* Somebody else took what was ready, between the question and the answer. */
static void test_fault_waits_again_if_others_took_it(void **state)
{
	struct fault_page page;
	u64 word, free;

	(void)state;
	put_away(0, 10);
	word = fake_word(&guest, 0);
	free = frame_free_count();
	fake_store.get_waits = 1;
	assert_int_equal(bring_in(0, true, false, &page), FAULT_WAIT);
	assert_int_equal(fake_word(&guest, 0), word);
	assert_int_equal(frame_free_count(), free);
	assert_int_equal(bring_in(0, true, false, &page), FAULT_FIXED);
	assert_int_equal(fake_read(&guest, 0, 0, 5), 10);
}

static void test_fault_rescue_of_an_evicting_page(void **state)
{
	struct fault_page page;
	u32 frame;

	(void)state;
	fake_write(&guest, 0, 0, 5, 50);
	frame = gfn_word_frame(fake_word(&guest, 0));
	a64_store(where_of(0), gfn_word(GFN_EVICTING, frame)); /* as an evictor would have */
	assert_int_equal(bring_in(0, true, false, &page), FAULT_FIXED);
	assert_int_equal(page.frame, frame);
	assert_int_equal(fake_word(&guest, 0), gfn_word(GFN_RESIDENT, frame));
	assert_int_equal(a64_load(&guest.space->stats.rescues_total), 1);
}

static void test_fault_bad_page_stays_away(void **state)
{
	struct fault_page page;
	u64 word;

	(void)state;
	put_away(0, 10);
	word = fake_word(&guest, 0);
	fake_store.damaged = true;
	assert_int_equal(bring_in(0, false, true, &page), FAULT_BAD_PAGE);
	assert_int_equal(fake_word(&guest, 0), word);
	assert_int_equal(frame_free_count(), FRAMES);
	fake_store.damaged = false;
	assert_int_equal(fake_read(&guest, 0, 0, 5), 10);
}

static void test_fault_dying_space_is_told(void **state)
{
	struct fault_page page;

	(void)state;
	a32_store(&guest.space->dying, 1);
	assert_int_equal(bring_in(0, false, true, &page), FAULT_STOP_VM);
	assert_int_equal(frame_free_count(), FRAMES);
}

static u64 seq_of(u64 page)
{
	assert_true(fake_state(&guest, page) & FRAME_LISTED);
	return gen_seq_locked(&guest.space->lru, fake_state(&guest, page));
}

static void test_fault_recent_refault_restores_the_workingset(void **state)
{
	struct fault_page page;
	u64 max;

	(void)state;
	a32_store(&policy.demote, 0);
	fake_write(&guest, 0, 0, 5, 1);
	frame_state_change(gfn_word_frame(fake_word(&guest, 0)), 0,
	                   FRAME_WORKINGSET | 2u << FRAME_REFS_SHIFT);
	put_away(1, 2);
	assert_true(fake_word(&guest, 0) & GFN_WORKINGSET);
	max = a64_load(&guest.space->lru.max_seq);
	assert_int_equal(bring_in(0, false, true, &page), FAULT_FIXED);
	assert_true(fake_state(&guest, 0) & FRAME_WORKINGSET);
	assert_false(fake_state(&guest, 0) & FRAME_REFS);
	assert_int_equal(seq_of(0), max);
	assert_int_equal(bring_in(1, false, true, &page), FAULT_FIXED);
	assert_false(fake_state(&guest, 1) & FRAME_WORKINGSET);
	assert_in_range(seq_of(1), max - 2, max - 1); /* the oldest there is */
	assert_int_equal(a64_load(&guest.space->stats.refaults_recent_total), 2);
}

static void test_fault_recent_refault_restores_the_tier(void **state)
{
	struct fault_page page;
	u64 max;

	(void)state;
	a32_store(&policy.fault_touch, 1);
	fake_write(&guest, 0, 0, 5, 1);
	frame_state_change(gfn_word_frame(fake_word(&guest, 0)), 0, 2u << FRAME_REFS_SHIFT);
	put_away(1, 2);
	assert_false(fake_word(&guest, 0) & GFN_WORKINGSET);
	max = a64_load(&guest.space->lru.max_seq);
	assert_int_equal(bring_in(0, false, true, &page), FAULT_FIXED);
	assert_int_equal((fake_state(&guest, 0) & FRAME_REFS) >> FRAME_REFS_SHIFT, 2);
	assert_true(fake_state(&guest, 0) & FRAME_REFERENCED);
	assert_false(fake_state(&guest, 0) & FRAME_WORKINGSET);
	assert_in_range(seq_of(0), max - 2, max - 1);
	assert_int_equal(a64_load(&guest.space->lru.refaulted[GEN_DIRTY][2]), 1);
}

/* A histogram; the last counts all beyond. */
static void test_fault_counts_refaults_by_distance(void **state)
{
	const unsigned distance[] = {3, 3, 4, 6, 7, 8, 100};
	const u64 expect[SPACE_DISTANCES] = {0, 0, 0, 2, 1, 0, 1, 3};
	struct fault_page page;

	(void)state;
	for (unsigned i = 0; i < 7; i++) {
		u64 seq;

		put_away(i, 1);
		seq = (fake_word(&guest, i) & GFN_SEQ) >> GFN_SEQ_SHIFT;
		while (a64_load(&guest.space->lru.max_seq) < seq + distance[i])
			assert_true(gen_advance(&guest.space->lru,
			                        a64_load(&guest.space->lru.max_seq)));
		assert_int_equal(bring_in(i, false, true, &page), FAULT_FIXED);
	}
	for (unsigned i = 0; i < SPACE_DISTANCES; i++)
		assert_int_equal(a64_load(&guest.space->stats.refault_distance_total[i]),
		                 expect[i]);
}

/* What a guest waits for because memory is short: not a first touch with memory to spare. */
static void test_fault_counts_waiting_for_refaults_only(void **state)
{
	a64 *stall = &guest.space->stats.stall_ns_total;
	struct fault_page page;
	u64 before;

	(void)state;
	put_away(0, 10);
	assert_int_equal(gfn_word_tag(fake_word(&guest, 0)), GFN_POOLED);
	assert_int_equal(a64_load(stall), 0);
	assert_int_equal(bring_in(0, false, true, &page), FAULT_FIXED);
	before = a64_load(stall);
	assert_true(before > 0);
	assert_int_equal(bring_in(0, false, true, &page), FAULT_FIXED);
	assert_int_equal(bring_in(1, true, true, &page), FAULT_FIXED);
	assert_int_equal(a64_load(stall), before);
}

static void test_fault_old_refault_restores_nothing(void **state)
{
	struct fault_page page;

	(void)state;
	a32_store(&policy.demote, 0);
	fake_write(&guest, 0, 0, 5, 1);
	frame_state_change(gfn_word_frame(fake_word(&guest, 0)), 0, FRAME_WORKINGSET);
	put_away(1, 2);
	for (unsigned i = 0; i < GEN_MAX; i++)
		(void)gen_advance(&guest.space->lru, a64_load(&guest.space->lru.max_seq));
	assert_int_equal(bring_in(0, false, true, &page), FAULT_FIXED);
	assert_false(fake_state(&guest, 0) & FRAME_WORKINGSET);
	assert_int_equal(a64_load(&guest.space->stats.refaults_recent_total), 0);
	assert_int_equal(a64_load(&guest.space->stats.refaults_total), 1);
}

/*
 * I10: with a store that takes nothing, faults go on until only the pool's reserve is left, and not a
 * frame further.
 */
static void test_fault_goes_on_with_a_store_that_is_always_full(void **state)
{
	struct fault_page page;
	u64 n = 0;

	(void)state;
	fake_store.put = STORE_FULL;
	while (bring_in(n, true, false, &page) == FAULT_FIXED)
		n++;
	assert_int_equal(n, FRAMES - frame_marks.reserve);
	assert_int_not_equal(bring_in(n, true, false, &page), FAULT_FIXED);
	assert_int_equal(frame_free_count(), frame_marks.reserve);
	/* The first page that packs lets it go on (were the guest not chosen to go). */
	a32_store(&guest.space->dying, 0);
	fake_store.put = STORE_OK;
	assert_int_equal(bring_in(n, true, false, &page), FAULT_FIXED);
}

/* Far more pages than frames, all different: everything comes back. */
static void test_fault_overcommit_loses_nothing(void **state)
{
	(void)state;
	for (u64 page = 0; page < PAGES; page++)
		fake_write(&guest, 0, page, page % 512, page + 1);
	for (unsigned round = 0; round < 3; round++)
		for (u64 page = 0; page < PAGES; page++)
			assert_int_equal(fake_read(&guest, 0, page, page % 512), page + 1);
	assert_true(a64_load(&guest.space->stats.refaults_total) > PAGES);
	assert_true(a64_load(&guest.space->stats.direct_reclaims_total) > 0);
}

static void test_fault_drop_range_gives_everything_back(void **state)
{
	struct fault_page page;

	(void)state;
	put_away(0, 10);
	put_away(1, 11);
	assert_int_equal(bring_in(1, false, true, &page), FAULT_FIXED); /* with a copy */
	fake_write(&guest, 0, 2, 5, 12);
	fake_write(&guest, 0, 3, 5, 13);
	space_drop_range(guest.space, gfn(0), 3);
	for (u64 i = 0; i < 3; i++)
		assert_int_equal(fake_word(&guest, i), 0);
	assert_int_equal(fake_store.objects, 0);
	assert_int_equal(frame_free_count(), FRAMES - 1);
	assert_int_equal(fake_read(&guest, 0, 0, 5), 0);
	assert_int_equal(fake_read(&guest, 0, 3, 5), 13);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_fault_first_touch_is_zero),
	        T(test_fault_first_read_is_clean_first_write_dirty),
	        T(test_fault_outside_the_slots),
	        T(test_fault_of_a_resident_page_changes_nothing),
	        T(test_fault_busy_raced),
	        T(test_fault_second_bringer_retries),
	        T(test_fault_read_keeps_the_copy_write_drops_it),
	        T(test_fault_make_dirty_drops_the_copy),
	        T(test_fault_write_to_a_resident_clean_page),
	        T(test_fault_kept_copies_do_not_outlive_pressure),
	        T(test_fault_copies_on_a_disk_outlive_pressure),
	        T(test_fault_waits_for_a_disk_without_a_frame),
	        T(test_fault_waits_again_if_others_took_it),
	        T(test_fault_rescue_of_an_evicting_page),
	        T(test_fault_bad_page_stays_away),
	        T(test_fault_dying_space_is_told),
	        T(test_fault_recent_refault_restores_the_workingset),
	        T(test_fault_recent_refault_restores_the_tier),
	        T(test_fault_counts_refaults_by_distance),
	        T(test_fault_counts_waiting_for_refaults_only),
	        T(test_fault_old_refault_restores_nothing),
	        T(test_fault_goes_on_with_a_store_that_is_always_full),
	        T(test_fault_overcommit_loses_nothing),
	        T(test_fault_drop_range_gives_everything_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
