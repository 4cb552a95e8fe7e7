/* One page at a time: evict_page(), what it costs to write pages back, and what the trace says of a page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mm/age.h"
#include "mm/audit.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/policy.h"
#include "mm/trace.h"
#include "tests/host/fake/store.c"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"

#define FRAMES 512u
#define PAGES  200u
#define BASE   1000u

static struct fake_guest guest;

static void start(bool no_dirty)
{
	const struct fake_config c = {
	        .name = "page", .npages = PAGES, .base = BASE, .no_dirty = no_dirty};

	fake_guest_create(&guest, &c);
}

static int setup(void **state)
{
	(void)state;
	host_cpu_count_set(2);
	fake_frames_create(FRAMES);
	return !store_init();
}

static int teardown(void **state)
{
	(void)state;
	host_cpu_set(0);
	guest.hook = NULL;
	fake_store.on_put = NULL;
	fake_store.put = STORE_OK;
	trace_exit();
	epoch_barrier();
	assert_int_equal(audit_all(NULL), 0);
	fake_guest_destroy(&guest);
	fake_frames_destroy();
	assert_int_equal(fake_store.objects, 0);
	fake_store_reset();
	host_cpu_count_set(1);
	return 0;
}

static enum evict_page_result evict(u64 page)
{
	return evict_page(guest.space, gfn(BASE + page));
}

static enum gfn_tag tag_of(u64 page)
{
	return gfn_word_tag(fake_word(&guest, page));
}

static struct space_stats *stats(void)
{
	return &guest.space->stats;
}

static void write_pages(u64 n)
{
	for (u64 page = 0; page < n; page++)
		fake_write(&guest, 0, page, 5, page + 1);
}

static void assert_pages(u64 n)
{
	for (u64 page = 0; page < n; page++)
		assert_int_equal(fake_read(&guest, 0, page, 5), page + 1);
}

/* Just written, in one of the two youngest generations, mapped and in the TLB: it goes all the same. */
static void test_evict_page_takes_a_young_page(void **state)
{
	(void)state;
	start(false);
	write_pages(5);
	assert_int_equal(evict(2), EVICT_PAGE_DONE);
	assert_int_equal(tag_of(2), GFN_POOLED);
	assert_int_equal(a64_load(&guest.space->resident), 4);
	assert_int_equal(a64_load(&stats()->evictions_total), 1);
	assert_int_equal(a64_load(&stats()->rejected_total), 0);
	assert_int_equal(a64_load(&guest.mmu[0].entry[2]), 0);
	assert_int_equal(frame_free_count(), FRAMES - 4);
	assert_pages(5);
}

static void test_evict_page_names_what_is_not_there(void **state)
{
	(void)state;
	start(false);
	write_pages(2);
	assert_int_equal(evict(7), EVICT_PAGE_NOT_RESIDENT);
	assert_int_equal(evict(PAGES), EVICT_PAGE_NOT_RESIDENT);
	assert_int_equal(evict_page(guest.space, gfn(~0ull)), EVICT_PAGE_NOT_RESIDENT);
	assert_int_equal(evict(1), EVICT_PAGE_DONE);
	assert_int_equal(evict(1), EVICT_PAGE_NOT_RESIDENT);
	assert_int_equal(a64_load(&stats()->evictions_total), 1);
}

static void test_evict_page_leaves_pinned_and_isolated_pages(void **state)
{
	u32 frame;

	(void)state;
	start(false);
	write_pages(2);
	frame = gfn_word_frame(fake_word(&guest, 0));
	assert_true(frame_pin_try(frame));
	assert_int_equal(evict(0), EVICT_PAGE_IN_USE);
	frame_unpin(frame);
	assert_true(gen_remove(&guest.space->lru, frame));
	assert_int_equal(evict(0), EVICT_PAGE_IN_USE);
	gen_insert(&guest.space->lru, frame, GEN_ENTER_FRESH);
	assert_int_equal(evict(0), EVICT_PAGE_DONE);
	assert_pages(2);
}

static void test_evict_page_keeps_what_no_store_takes(void **state)
{
	(void)state;
	start(false);
	write_pages(2);
	fake_store.put = STORE_FULL;
	assert_int_equal(evict(0), EVICT_PAGE_KEPT);
	fake_store.put = STORE_INCOMPRESSIBLE;
	assert_int_equal(evict(1), EVICT_PAGE_KEPT);
	assert_int_equal(tag_of(0), GFN_RESIDENT);
	assert_true(fake_state(&guest, 1) & FRAME_UNPACKABLE);
	fake_store.put = STORE_OK;
	assert_int_equal(evict(1), EVICT_PAGE_KEPT); /* nobody wrote since: not asked again */
	assert_pages(2);
	fake_write(&guest, 0, 1, 6, 9);
	assert_int_equal(evict(1), EVICT_PAGE_DONE);
	assert_int_equal(evict(0), EVICT_PAGE_DONE);
	assert_int_equal(fake_read(&guest, 0, 1, 6), 9);
	assert_pages(2);
}

static void test_evict_page_busy_raced(void **state)
{
	a64 *where;
	u64 word;

	(void)state;
	start(false);
	write_pages(1);
	epoch_enter();
	where = gfnmap_word(guest.space, gfn(BASE));
	epoch_exit();
	word = a64_load(where);
	assert_true(gfnmap_busy_try(where, &word));
	assert_int_equal(evict(0), EVICT_PAGE_RESCUED);
	assert_true(fake_state(&guest, 0) & FRAME_LISTED);
	gfnmap_busy_end(where, word);
	assert_pages(1);
}

/* The frame in its hands went to another page, of another space maybe, before it had the lock. */
static void test_evict_page_frame_that_is_another_page_by_now(void **state)
{
	struct gen_chunk chunk;
	u32 frame;

	(void)state;
	start(false);
	write_pages(2);
	frame = gfn_word_frame(fake_word(&guest, 0));
	assert_false(
	        gen_isolate_page(&guest.space->lru, frame, guest.space->id, gfn(BASE + 1), &chunk));
	assert_false(gen_isolate_page(&guest.space->lru, frame, (u16)(guest.space->id + 1),
	                              gfn(BASE), &chunk));
	assert_true(fake_state(&guest, 0) & FRAME_LISTED);
}

/* --- who comes in between -------------------------------------------------------------------------- */

static u64 seen_value;
static bool rescue_writes;

static void touch(u64 *words, void *arg)
{
	(void)arg;
	seen_value = words[5];
	if (rescue_writes)
		words[6] = 4711;
}

static void rescue(u32 frame)
{
	u64 page = frame_gfn(frame_at(frame)).v - BASE;

	host_cpu_set(1);
	assert_int_equal(fake_access(&guest, 0, page, rescue_writes, 3, touch, NULL), FAULT_FIXED);
	host_cpu_set(0);
}

/* Touched while evicting: back at once, without a word to the store but to forget what it took. */
static void test_evict_rescue_costs_no_get(void **state)
{
	(void)state;
	for (unsigned writes = 0; writes < 2; writes++) {
		start(writes);
		write_pages(3);
		rescue_writes = writes;
		fake_store.on_put = rescue;
		fake_store.gets = 0;
		assert_int_equal(evict(1), EVICT_PAGE_RESCUED);
		fake_store.on_put = NULL;
		assert_int_equal(seen_value, 2);
		assert_int_equal(fake_store.gets, 0);
		assert_int_equal(fake_store.objects, 0);
		assert_int_equal(a64_load(&stats()->rescues_total), 1);
		assert_int_equal(a64_load(&stats()->refaults_total), 0);
		assert_int_equal(a64_load(&stats()->evictions_total), 0);
		assert_int_equal(fake_read(&guest, 0, 1, 6), writes ? 4711 : 0);
		assert_pages(3);
		if (!writes)
			fake_guest_destroy(&guest);
	}
}

static void write_stale(struct fake_guest *g, enum fake_seam seam, gfn_t at)
{
	(void)at;
	rescue_writes = true;
	if (seam == FAKE_SHOOTDOWN)
		assert_true(fake_access_stale(g, 0, 1, true, touch, NULL));
}

static void test_evict_page_written_through_a_stale_tlb_entry(void **state)
{
	(void)state;
	start(false);
	write_pages(2);
	guest.hook = write_stale;
	assert_int_equal(evict(1), EVICT_PAGE_DONE);
	guest.hook = NULL;
	assert_int_equal(fake_read(&guest, 0, 1, 6), 4711);
}

/* --- what it costs --------------------------------------------------------------------------------- */

/* Read since it came back: the copy is still there, nothing is packed; with Dirty bits and without. */
static void test_evict_clean_page_costs_nothing_again(void **state)
{
	(void)state;
	for (unsigned no_dirty = 0; no_dirty < 2; no_dirty++) {
		start(no_dirty);
		write_pages(3);
		for (u64 page = 0; page < 3; page++)
			assert_int_equal(evict(page), EVICT_PAGE_DONE);
		fake_store.puts = 0;
		for (u64 round = 1; round <= 4; round++) {
			assert_pages(3);
			assert_false(fake_state(&guest, 0) & FRAME_DIRTY);
			for (u64 page = 0; page < 3; page++)
				assert_int_equal(evict(page), EVICT_PAGE_DONE);
			assert_int_equal(a64_load(&stats()->clean_evictions_total), 3 * round);
		}
		assert_int_equal(fake_store.puts, 0);
		/* Written: the copy is no longer good, and is packed once more. */
		fake_write(&guest, 0, 1, 6, 5);
		assert_int_equal(evict(1), EVICT_PAGE_DONE);
		assert_int_equal(fake_store.puts, 1);
		assert_int_equal(a64_load(&stats()->clean_evictions_total), 12);
		assert_int_equal(fake_read(&guest, 0, 1, 6), 5);
		if (!no_dirty)
			fake_guest_destroy(&guest);
	}
}

static void test_evict_says_how_many_had_to_be_written(void **state)
{
	struct evict_result r;

	(void)state;
	start(false);
	write_pages(128);
	fake_make_cold(&guest);
	r = evict_space(guest.space, evict_any(128));
	assert_int_equal(r.freed, 128);
	assert_int_equal(r.dirty, 128);
	assert_int_equal(r.dirty_chunks, 2);
	assert_pages(128);
	for (u64 page = 0; page < 10; page++)
		fake_write(&guest, 0, page, 6, 1);
	fake_make_cold(&guest);
	r = evict_space(guest.space, evict_any(128));
	assert_int_equal(r.freed, 128);
	assert_int_equal(r.dirty, 10);
	assert_int_equal(r.dirty_chunks, 0);
}

/* --- a page at random ------------------------------------------------------------------------------ */

static void test_gfnmap_pick_resident_finds_each_of_them(void **state)
{
	u64 rnd = 5, found = 0;
	gfn_t g;

	(void)state;
	start(false);
	assert_false(gfnmap_pick_resident(guest.space, 0, &g));
	fake_write(&guest, 0, 0, 5, 1);
	fake_write(&guest, 0, 60, 5, 1);
	fake_write(&guest, 0, PAGES - 10, 5, 1);
	fake_write(&guest, 0, 61, 5, 1);
	assert_int_equal(evict(61), EVICT_PAGE_DONE);
	for (unsigned i = 0; i < 200; i++) {
		assert_true(gfnmap_pick_resident(guest.space, host_random(&rnd), &g));
		assert_int_equal(tag_of(g.v - BASE), GFN_RESIDENT);
		found |= BIT((g.v - BASE) / 60);
	}
	assert_int_equal(found, BIT(0) | BIT(1) | BIT(3));
	assert_true(
	        gfnmap_pick_resident(guest.space, PAGES - 1, &g)); /* behind the last: the first */
	assert_int_equal(g.v, BASE);
}

/* --- the trace ------------------------------------------------------------------------------------- */

static struct trace_record record[256];
static unsigned nr_records;

static void keep_records(void *arg, unsigned cpu, u64 lost, const struct trace_record *r,
                         unsigned n)
{
	(void)arg;
	(void)cpu;
	assert_int_equal(lost, 0);
	for (unsigned i = 0; i < n; i++)
		record[nr_records++] = r[i];
}

/* The records of `page` since the last call. */
static unsigned history(u64 page)
{
	unsigned n = 0;

	nr_records = 0;
	trace_drain(keep_records, NULL, ARRAY_SIZE(record));
	for (unsigned i = 0; i < nr_records; i++)
		if (record[i].what >> 24 == BASE + page)
			record[n++] = record[i];
	return n;
}

static void assert_record(unsigned i, enum trace_event_type event)
{
	assert_int_equal(record[i].what & 0xff, event);
	assert_int_equal(record[i].what >> 16 & 0xff, guest.space->id);
}

static void test_trace_life_of_a_page(void **state)
{
	u64 word, frame;

	(void)state;
	start(false);
	assert_true(trace_switch(true));
	fake_write(&guest, 0, 3, 5, 1);
	frame = gfn_word_frame(fake_word(&guest, 3));
	assert_int_equal(evict(3), EVICT_PAGE_DONE);
	word = fake_word(&guest, 3);
	for (unsigned i = 0; i < 2; i++)
		assert_true(gen_advance(&guest.space->lru, a64_load(&guest.space->lru.max_seq)));
	assert_int_equal(fake_read(&guest, 0, 3, 5), 1);
	assert_int_equal(history(3), 3);
	assert_record(0, TRACE_FAULT);
	assert_int_equal(record[0].a, 1);
	assert_int_equal(record[0].b, frame);
	assert_record(1, TRACE_EVICT);
	assert_int_equal(record[1].a, word & (GFN_TAG | GFN_SHADOW));
	assert_int_equal(record[1].b, frame);
	assert_record(2, TRACE_REFAULT);
	assert_int_equal(record[2].a & (GFN_TAG | GFN_SHADOW), word & (GFN_TAG | GFN_SHADOW));
	assert_true(record[2].a & TRACE_REFAULT_RECENT);
	assert_false(record[2].a & TRACE_REFAULT_WRITE);
	/* It was listed in the second youngest generation; two were made since. */
	assert_int_equal(record[2].a >> TRACE_REFAULT_DISTANCE, 3);
	assert_int_equal(evict(3), EVICT_PAGE_DONE);
	assert_int_equal(history(3), 1);
	assert_true(record[0].a & TRACE_EVICT_REUSED);
}

static void test_trace_old_refault_is_not_recent(void **state)
{
	(void)state;
	start(false);
	assert_true(trace_switch(true));
	fake_write(&guest, 0, 3, 5, 1);
	assert_int_equal(evict(3), EVICT_PAGE_DONE);
	for (unsigned i = 0; i < 9; i++)
		assert_true(gen_advance(&guest.space->lru, a64_load(&guest.space->lru.max_seq)));
	fake_write(&guest, 0, 3, 6, 1);
	assert_int_equal(history(3), 3);
	assert_int_equal(record[2].a >> TRACE_REFAULT_DISTANCE, 10);
	assert_false(record[2].a & TRACE_REFAULT_RECENT);
	assert_true(record[2].a & TRACE_REFAULT_WRITE);
}

/* What the question about a page answered, fast or not; the pass; the flush. */
static void test_trace_age_pass_flush(void **state)
{
	unsigned n = 0, seen = 0;

	(void)state;
	start(false);
	write_pages(64);
	flush_wait(guest.space, flush_request(guest.space));
	assert_true(trace_switch(true));
	assert_true(notifier_age_one(guest.space, gfn(BASE + 3), NOTIFIER_CLEAR) & NOTIFIER_YOUNG);
	assert_false(notifier_age_one(guest.space, gfn(BASE + 3), NOTIFIER_TEST));
	assert_int_equal(history(3), 2);
	assert_record(0, TRACE_AGE);
	assert_int_equal(record[0].a, 1 | NOTIFIER_CLEAR << TRACE_AGE_FLAGS |
	                                      (NOTIFIER_YOUNG | NOTIFIER_WAS_FAST)
	                                              << TRACE_AGE_RESULT);
	assert_int_equal(record[0].b, 1 | BIT(TRACE_AGE_VISITED));
	assert_int_equal(record[1].a, 1 | NOTIFIER_TEST << TRACE_AGE_FLAGS);
	assert_int_equal(record[1].b, BIT(TRACE_AGE_VISITED));

	assert_true(age_space(guest.space, a64_load(&guest.space->lru.max_seq), true).produced);
	flush_wait(guest.space, flush_request(guest.space));
	nr_records = 0;
	trace_drain(keep_records, NULL, ARRAY_SIZE(record));
	for (n = 0; n < nr_records; n++) {
		unsigned event = record[n].what & 0xff;

		seen |= 1u << event;
		if (event == TRACE_PASS) {
			assert_int_equal(record[n].a, a64_load(&guest.space->lru.max_seq));
			assert_int_equal(record[n].b & 0xffffffff, 63);
		}
		if (event == TRACE_FLUSH)
			assert_int_equal(record[n].a, a64_load(&guest.space->flush.done));
	}
	assert_int_equal(seen, 1u << TRACE_AGE | 1u << TRACE_PASS | 1u << TRACE_FLUSH);
}

static void test_trace_rejected_and_rescued(void **state)
{
	(void)state;
	start(false);
	write_pages(64);
	fake_make_cold(&guest);
	assert_true(trace_switch(true));
	flush_wait(guest.space, flush_request(guest.space));
	(void)fake_read(&guest, 0, 7, 0);
	assert_int_equal(evict_space(guest.space, evict_any(64)).rejected, 1);
	assert_int_equal(history(7), 3);
	assert_record(0, TRACE_AGE);
	assert_record(1, TRACE_LOOKAROUND);
	assert_record(2, TRACE_REJECT);
	assert_true(record[2].a & NOTIFIER_YOUNG);
	assert_int_equal(record[2].b, gfn_word_frame(fake_word(&guest, 7)));
	rescue_writes = false;
	fake_store.on_put = rescue;
	assert_int_equal(evict(7), EVICT_PAGE_RESCUED);
	fake_store.on_put = NULL;
	assert_int_equal(history(7), 1);
	assert_record(0, TRACE_RESCUE);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_evict_page_takes_a_young_page),
	        T(test_evict_page_names_what_is_not_there),
	        T(test_evict_page_leaves_pinned_and_isolated_pages),
	        T(test_evict_page_keeps_what_no_store_takes),
	        T(test_evict_page_busy_raced),
	        T(test_evict_page_frame_that_is_another_page_by_now),
	        T(test_evict_rescue_costs_no_get),
	        T(test_evict_page_written_through_a_stale_tlb_entry),
	        T(test_evict_clean_page_costs_nothing_again),
	        T(test_evict_says_how_many_had_to_be_written),
	        T(test_gfnmap_pick_resident_finds_each_of_them),
	        T(test_trace_life_of_a_page),
	        T(test_trace_old_refault_is_not_recent),
	        T(test_trace_age_pass_flush),
	        T(test_trace_rejected_and_rescued),
	};

	a32_store(&policy.probation, 0);     /* what is tested here goes by age alone */
	a32_store(&policy.chunk, GEN_BATCH); /* what is counted here are full chunks */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
