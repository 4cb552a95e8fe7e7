/* mm/evict: what goes, what stays, and what comes in between. */
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
#include "tests/host/fake/store.c"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"

#define FRAMES 1024u
#define PAGES  300u

static struct fake_guest guest;

static void start(bool no_dirty, unsigned nr_mmus)
{
	const struct fake_config c = {.name = "evicted",
	                              .npages = PAGES,
	                              .nr_vcpus = nr_mmus,
	                              .nr_mmus = nr_mmus,
	                              .no_dirty = no_dirty};

	fake_guest_create(&guest, &c);
}

static int setup(void **state)
{
	(void)state;
	policy_init();
	a32_store(&policy.chunk, GEN_BATCH); /* what is counted here are full chunks */
	a32_store(&policy.probation, 0);     /* what is tested here goes by age alone */
	fake_frames_create(FRAMES);
	return !store_init();
}

static int teardown(void **state)
{
	(void)state;
	host_cpu_count_set(1);
	host_cpu_set(0);
	guest.hook = NULL;
	fake_store.on_put = NULL;
	assert_int_equal(audit_all(NULL), 0);
	fake_guest_destroy(&guest);
	fake_frames_destroy();
	assert_int_equal(fake_store.objects, 0);
	fake_store_reset();
	return 0;
}

static enum gfn_tag tag_of(u64 page)
{
	return gfn_word_tag(fake_word(&guest, page));
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

static void test_evict_frees_what_was_asked_for(void **state)
{
	struct evict_result r;

	(void)state;
	start(false, 1);
	write_pages(200);
	fake_make_cold(&guest);
	r = evict_space(guest.space, evict_any(64));
	assert_int_equal(r.freed, 64);
	assert_int_equal(frame_free_count(), FRAMES - 200 + 64);
	assert_int_equal(a64_load(&guest.space->pooled), 64);
	assert_int_equal(a64_load(&guest.space->resident), 136);
	assert_int_equal(a64_load(&guest.space->stats.evictions_total), 64);
	assert_pages(200);
}

static void test_evict_needs_a_third_generation(void **state)
{
	struct evict_result r;

	(void)state;
	start(false, 1);
	write_pages(10);
	r = evict_space(guest.space, evict_any(10));
	assert_int_equal(r.freed, 0);
	assert_true(r.need_aging);
}

/* Touched after it was chosen: the accurate question finds out, and it does not go back to the oldest. */
static void test_evict_asks_before_it_takes(void **state)
{
	struct evict_result r;
	u64 oldest;

	(void)state;
	start(false, 1);
	a32_store(&policy.fault_touch, 1);
	write_pages(64);
	fake_make_cold(&guest);
	flush_wait(guest.space, flush_request(guest.space));
	(void)fake_read(&guest, 0, 7, 0);
	r = evict_space(guest.space, evict_any(64));
	assert_int_equal(r.freed, 63);
	assert_int_equal(r.rejected, 1);
	assert_int_equal(tag_of(7), GFN_RESIDENT);
	assert_false(a64_load(&guest.mmu[0].entry[7]) & FAKE_A);
	oldest = guest.space->lru.min_seq[GEN_DIRTY];
	assert_true(gen_seq_locked(&guest.space->lru, fake_state(&guest, 7)) > oldest);
	assert_int_equal(a64_load(&guest.space->stats.rejected_total), 1);
}

/* The neighbours of a young page are harvested with it. */
static void test_evict_looks_around_a_young_page(void **state)
{
	(void)state;
	start(false, 1);
	write_pages(128);
	fake_make_cold(&guest);
	flush_wait(guest.space, flush_request(guest.space));
	for (u64 page = 0; page < 64; page++)
		(void)fake_read(&guest, 0, page, 0);
	(void)evict_space(guest.space, evict_any(1));
	for (u64 page = 0; page < 64; page++) {
		assert_false(a64_load(&guest.mmu[0].entry[page]) & FAKE_A);
		assert_int_equal(tag_of(page), GFN_RESIDENT);
	}
}

/* Neighbours that are in no evictor's hands are promoted. */
static void test_evict_looks_around_for_others(void **state)
{
	(void)state;
	start(false, 1);
	for (u64 page = 0; page < 64; page += 2)
		fake_write(&guest, 0, page, 5, page + 1);
	fake_make_cold(&guest);
	for (u64 page = 1; page < 64; page += 2)
		fake_write(&guest, 0, page, 5, page + 1);
	flush_wait(guest.space, flush_request(guest.space));
	(void)fake_read(&guest, 0, 10, 0);
	(void)evict_space(guest.space, evict_any(1));
	for (u64 page = 1; page < 64; page += 2)
		assert_int_equal(gen_seq_locked(&guest.space->lru, fake_state(&guest, page)),
		                 a64_load(&guest.space->lru.max_seq));
	assert_int_equal(a64_load(&guest.space->stats.promoted_total), 32);
}

/* Another CPU harvests the page between its isolation and the question: it is young all the same. */
static void harvest(struct fake_guest *g, enum fake_seam seam, gfn_t at)
{
	struct gen_batch batch = {.promoted = 0};
	u64 visited = 0;

	if (seam != FAKE_AGE || at.v || hal_cpu_id())
		return;
	host_cpu_set(1);
	(void)age_block(g->space, gfn(0), 64, &batch, &visited);
	host_cpu_set(0);
}

static void test_evict_hears_of_what_others_harvested(void **state)
{
	struct evict_result r;

	(void)state;
	host_cpu_count_set(2);
	start(false, 1);
	write_pages(64);
	fake_make_cold(&guest);
	flush_wait(guest.space, flush_request(guest.space));
	(void)fake_read(&guest, 0, 40, 0);
	guest.hook = harvest;
	r = evict_space(guest.space, evict_any(64));
	assert_int_equal(r.rejected, 1);
	assert_int_equal(tag_of(40), GFN_RESIDENT);
}

static void test_evict_zero_pages_need_no_store(void **state)
{
	struct evict_result r;

	(void)state;
	start(false, 1);
	for (u64 page = 0; page < 64; page++)
		assert_int_equal(fake_read(&guest, 0, page, 0), 0);
	fake_make_cold(&guest);
	r = evict_space(guest.space, evict_any(64));
	assert_int_equal(r.freed, 64);
	assert_int_equal(fake_store.puts, 0);
	assert_int_equal(a64_load(&guest.space->zero), 64);
	assert_int_equal(a64_load(&guest.space->stats.clean_evictions_total), 64);
}

/* Read since it came back, not written: the copy in the store is used again. */
static void test_evict_reuses_a_valid_copy(void **state)
{
	(void)state;
	start(false, 1);
	write_pages(64);
	fake_make_cold(&guest);
	assert_int_equal(evict_space(guest.space, evict_any(64)).freed, 64);
	assert_pages(64);
	fake_make_cold(&guest);
	assert_int_equal(evict_space(guest.space, evict_any(64)).freed, 64);
	assert_int_equal(fake_store.puts, 64);
	assert_int_equal(a64_load(&guest.space->stats.clean_evictions_total), 64);
	assert_pages(64);
}

/* I8: a Dirty bit that only the zap found. */
static void test_evict_dirty_found_by_the_zap_is_stored(void **state)
{
	(void)state;
	start(false, 1);
	write_pages(64);
	fake_make_cold(&guest);
	assert_int_equal(evict_space(guest.space, evict_any(64)).freed, 64);
	assert_pages(64); /* comes back clean, mapped writable */
	fake_write(&guest, 0, 9, 6, 99);
	assert_false(fake_state(&guest, 9) & FRAME_DIRTY);
	fake_make_cold(&guest);
	assert_int_equal(evict_space(guest.space, evict_any(64)).freed, 64);
	assert_int_equal(fake_store.puts, 65);
	assert_int_equal(fake_store.objects, 64); /* the old copy is gone */
	assert_int_equal(fake_read(&guest, 0, 9, 6), 99);
	assert_pages(64);
}

/* --- others come in between ------------------------------------------------------------------------ */

static u64 target_page;
static u64 seen_value;

/* On another CPU, with the patience of none: the evictor cannot go on meanwhile. */
static void as_cpu_1(void (*fn)(void))
{
	host_cpu_set(1);
	fn();
	host_cpu_set(0);
}

static void poke(u64 *words, void *arg)
{
	words[6] = *(u64 *)arg;
}

static void peek(u64 *words, void *arg)
{
	*(u64 *)arg = words[5];
}

static void rescue_by_write(void)
{
	u64 value = 4242;

	assert_int_equal(fake_access(&guest, 0, target_page, true, 3, poke, &value), FAULT_FIXED);
}

static void rescue_by_read(void)
{
	assert_int_equal(fake_access(&guest, 0, target_page, false, 3, peek, &seen_value),
	                 FAULT_FIXED);
}

static bool frame_is_target(u32 frame)
{
	return frame_gfn(frame_at(frame)).v == target_page;
}

static void write_while_storing(u32 frame)
{
	if (frame_is_target(frame))
		as_cpu_1(rescue_by_write);
}

static void read_while_storing(u32 frame)
{
	if (frame_is_target(frame))
		as_cpu_1(rescue_by_read);
}

/* Named after what it would be: the guest writes while its page is stored, and the old contents win. */
static void test_evict_lost_rescue(void **state)
{
	struct evict_result r;

	(void)state;
	host_cpu_count_set(2);
	start(false, 1);
	write_pages(64);
	fake_make_cold(&guest);
	target_page = 20;
	fake_store.on_put = write_while_storing;
	r = evict_space(guest.space, evict_any(64));
	assert_int_equal(r.freed, 63);
	assert_int_equal(tag_of(20), GFN_RESIDENT);
	assert_int_equal(fake_store.objects, 63);
	assert_int_equal(a64_load(&guest.space->stats.rescues_total), 1);
	assert_true(fake_state(&guest, 20) & FRAME_LISTED);
	assert_int_equal(fake_read(&guest, 0, 20, 6), 4242);
	assert_pages(64);
}

/*
 * The zap took the Dirty bit away with the entry; the page is rescued by a read. The new entry knows
 * nothing of the write, the copy is still the old one: evicting it again must store it.
 */
static void test_evict_rescue_keeps_the_dirty_of_the_zap(void **state)
{
	(void)state;
	host_cpu_count_set(2);
	start(false, 1);
	write_pages(64);
	fake_make_cold(&guest);
	assert_int_equal(evict_space(guest.space, evict_any(64)).freed, 64);
	assert_pages(64);
	fake_write(&guest, 0, 20, 6, 777); /* clean type, Dirty bit in the entry */
	fake_make_cold(&guest);
	target_page = 20;
	fake_store.on_put = read_while_storing;
	assert_int_equal(evict_space(guest.space, evict_any(64)).freed, 63);
	assert_int_equal(seen_value, 21);
	fake_store.on_put = NULL;
	fake_make_cold(&guest);
	assert_int_equal(evict_space(guest.space, evict_any(64)).freed, 1);
	assert_int_equal(fake_read(&guest, 0, 20, 6), 777);
}

static void stale_write(struct fake_guest *g, enum fake_seam seam, gfn_t at)
{
	u64 value = 31337;

	(void)at;
	if (seam == FAKE_SHOOTDOWN && tag_of(target_page) == GFN_EVICTING)
		assert_true(fake_access_stale(g, 0, target_page, true, poke, &value));
}

/* The entry is gone, the TLB is not flushed: what the guest writes until then must be stored. */
static void test_evict_page_written_through_a_stale_tlb_entry(void **state)
{
	(void)state;
	host_cpu_count_set(2);
	for (unsigned no_dirty = 0; no_dirty < 2; no_dirty++) {
		start(no_dirty, 1);
		write_pages(64);
		fake_make_cold(&guest);
		target_page = 33;
		guest.hook = stale_write;
		assert_int_equal(evict_space(guest.space, evict_any(64)).freed, 64);
		guest.hook = NULL;
		assert_int_equal(fake_read(&guest, 0, 33, 6), 31337);
		assert_pages(64);
		if (!no_dirty)
			fake_guest_destroy(&guest);
	}
}

/* A fault that took its frame before the eviction began installs after it ended. */
static bool evicted_meanwhile;

static void evict_under_fault(struct fake_guest *g, enum fake_seam seam, gfn_t at)
{
	(void)at;
	if (seam != FAKE_FAULT || evicted_meanwhile)
		return;
	evicted_meanwhile = true;
	host_cpu_set(1);
	for (u64 i = 0; i < 2; i++)
		(void)gen_advance(&g->space->lru, a64_load(&g->space->lru.max_seq));
	assert_int_equal(evict_space(g->space, evict_any(1)).freed, 1);
	host_cpu_set(0);
}

static void test_evict_late_fault_starts_over(void **state)
{
	(void)state;
	host_cpu_count_set(2);
	start(false, 1);
	evicted_meanwhile = false;
	guest.hook = evict_under_fault;
	fake_write(&guest, 0, 3, 5, 55);
	assert_true(evicted_meanwhile);
	assert_int_equal(fake_read(&guest, 0, 3, 5), 55);
}

/* A word that is BUSY is about to change: the evictor leaves the page alone. */
static void test_evict_busy_raced(void **state)
{
	struct evict_result r;
	a64 *where;
	u64 word;

	(void)state;
	start(false, 1);
	write_pages(64);
	fake_make_cold(&guest);
	epoch_enter();
	where = gfnmap_word(guest.space, gfn(11));
	epoch_exit();
	word = a64_load(where);
	assert_true(gfnmap_busy_try(where, &word));
	r = evict_space(guest.space, evict_any(64));
	assert_int_equal(r.freed, 63);
	assert_int_equal(a64_load(where), word | GFN_BUSY);
	assert_true(fake_state(&guest, 11) & FRAME_LISTED);
	gfnmap_busy_end(where, word);
	assert_pages(64);
}

static void test_evict_pinned_page_stays(void **state)
{
	u32 frame;

	(void)state;
	start(false, 1);
	write_pages(64);
	frame = gfn_word_frame(fake_word(&guest, 12));
	assert_true(frame_pin_try(frame));
	fake_make_cold(&guest);
	(void)evict_space(guest.space, evict_any(64));
	assert_int_equal(tag_of(12), GFN_RESIDENT);
	frame_unpin(frame);
	fake_make_cold(&guest);
	assert_int_equal(evict_space(guest.space, evict_any(64)).freed, 1);
}

/* --- the store declines ---------------------------------------------------------------------------- */

static void test_evict_store_full_keeps_the_pages(void **state)
{
	struct evict_result r;

	(void)state;
	start(false, 1);
	write_pages(64);
	fake_make_cold(&guest);
	fake_store.capacity = 20;
	r = evict_space(guest.space, evict_any(64));
	assert_int_equal(r.freed, 20);
	assert_int_equal(r.store_full, 44);
	assert_int_equal(a64_load(&guest.space->resident), 44);
	assert_pages(64);
}

/* An incompressible page is not tried again before it was written. */
static u64 tries;

static void count_try(u32 frame)
{
	(void)frame;
	tries++;
}

static void test_evict_incompressible_is_not_tried_again(void **state)
{
	(void)state;
	start(false, 1);
	write_pages(10);
	fake_make_cold(&guest);
	tries = 0;
	fake_store.on_put = count_try;
	fake_store.put = STORE_INCOMPRESSIBLE;
	assert_int_equal(evict_space(guest.space, evict_any(10)).store_full, 10);
	assert_int_equal(tries, 10);
	assert_pages(10); /* reading changes nothing */
	/* Most of them rest: not even their translations are taken. The store is asked for none. */
	fake_make_cold(&guest);
	assert_in_range(evict_space(guest.space, evict_any(10)).store_full, 0, 5);
	assert_in_range(a64_load(&guest.mmu[0].mapped), 5, 10);
	assert_int_equal(tries, 10);
	assert_int_equal(frame_packable_count(), 0);
	/* One that was written since is packed when its turn comes, and no other is tried. */
	fake_store.put = STORE_OK;
	fake_write(&guest, 0, 4, 6, 1);
	for (unsigned i = 0; i < 64 && tag_of(4) != GFN_POOLED; i++) {
		fake_make_cold(&guest);
		(void)evict_space(guest.space, evict_any(10));
	}
	assert_int_equal(tries, 11);
	assert_int_equal(tag_of(4), GFN_POOLED);
}

/* --- more than one MMU, more than one chunk -------------------------------------------------------- */

static void test_evict_takes_the_translations_of_every_mmu(void **state)
{
	(void)state;
	start(false, 2);
	for (u64 page = 0; page < 64; page++) {
		fake_write(&guest, 0, page, 5, page + 1);
		assert_int_equal(fake_read(&guest, 1, page, 5), page + 1);
	}
	fake_make_cold(&guest);
	assert_int_equal(evict_space(guest.space, evict_any(64)).freed, 64);
	assert_int_equal(a64_load(&guest.mmu[0].mapped), 0);
	assert_int_equal(a64_load(&guest.mmu[1].mapped), 0);
	fake_write(&guest, 1, 8, 5, 88);
	assert_int_equal(fake_read(&guest, 0, 8, 5), 88);
}

static void test_evict_one_flush_per_chunk(void **state)
{
	u64 before;

	(void)state;
	start(false, 1);
	write_pages(3 * GEN_BATCH);
	fake_make_cold(&guest);
	before = a64_load(&guest.space->flush.wanted);
	assert_int_equal(evict_space(guest.space, evict_any(3 * GEN_BATCH)).freed, 3 * GEN_BATCH);
	assert_int_equal(a64_load(&guest.space->flush.wanted) - before, 3);
	assert_int_equal(a64_load(&guest.space->inv.seq), 3);
}

static void test_evict_leaves_a_dying_space_alone(void **state)
{
	(void)state;
	start(false, 1);
	write_pages(64);
	fake_make_cold(&guest);
	a32_store(&guest.space->dying, 1);
	assert_int_equal(evict_space(guest.space, evict_any(64)).freed, 0);
}

/* I6 and the shadow: what an away word says of how the page was. */
static void test_evict_leaves_the_refault_shadow(void **state)
{
	u64 word, seq;

	(void)state;
	start(false, 1);
	write_pages(1);
	fake_make_cold(&guest);
	spin_lock(&guest.space->lru.lock);
	gen_trim_locked(&guest.space->lru, GEN_DIRTY);
	seq = guest.space->lru.min_seq[GEN_DIRTY];
	spin_unlock(&guest.space->lru.lock);
	assert_int_equal(evict_space(guest.space, evict_any(1)).freed, 1);
	word = fake_word(&guest, 0);
	assert_int_equal((word & GFN_SEQ) >> GFN_SEQ_SHIFT, seq);
	assert_false(word & GFN_CLEAN);
	assert_false(word & GFN_WORKINGSET);
	assert_int_equal(a64_load(&guest.mmu[0].entry[0]), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_evict_frees_what_was_asked_for),
	        T(test_evict_needs_a_third_generation),
	        T(test_evict_asks_before_it_takes),
	        T(test_evict_looks_around_a_young_page),
	        T(test_evict_looks_around_for_others),
	        T(test_evict_hears_of_what_others_harvested),
	        T(test_evict_zero_pages_need_no_store),
	        T(test_evict_reuses_a_valid_copy),
	        T(test_evict_dirty_found_by_the_zap_is_stored),
	        T(test_evict_lost_rescue),
	        T(test_evict_rescue_keeps_the_dirty_of_the_zap),
	        T(test_evict_page_written_through_a_stale_tlb_entry),
	        T(test_evict_late_fault_starts_over),
	        T(test_evict_busy_raced),
	        T(test_evict_pinned_page_stays),
	        T(test_evict_store_full_keeps_the_pages),
	        T(test_evict_incompressible_is_not_tried_again),
	        T(test_evict_takes_the_translations_of_every_mmu),
	        T(test_evict_one_flush_per_chunk),
	        T(test_evict_leaves_a_dying_space_alone),
	        T(test_evict_leaves_the_refault_shadow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
