/* mm/proactive: the commands of the lru_gen interface, and requests for bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "mm/age.h"
#include "mm/audit.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/gen_view.h"
#include "mm/gfnmap.h"
#include "mm/notifier.h"
#include "mm/policy.h"
#include "mm/proactive.h"
#include "mm/reclaim.h"
#include "tests/host/fake/store.c"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"

#define FRAMES 4096u
#define PAGES  1000u

static struct fake_guest guests[2];
static unsigned nr_guests, yields;

static void on_wake(void)
{
}

static void on_yield(void)
{
	yields++;
}

static const struct reclaim_ops ops = {.wake = on_wake, .yield = on_yield};

static struct space *start(const char *name, u64 npages)
{
	const struct fake_config c = {.name = name, .npages = npages};
	struct fake_guest *g = &guests[nr_guests++];

	fake_guest_create(g, &c);
	for (u64 page = 0; page < npages; page++)
		fake_write(g, 0, page, 3, page + 1);
	return g->space;
}

static int setup(void **state)
{
	(void)state;
	nr_guests = yields = 0;
	fake_frames_create(FRAMES);
	policy_init();
	reclaim_init(&ops);
	return !store_init();
}

static int teardown(void **state)
{
	(void)state;
	assert_int_equal(audit_all(NULL), 0);
	while (nr_guests)
		fake_guest_destroy(&guests[--nr_guests]);
	fake_frames_destroy();
	assert_int_equal(fake_store.objects, 0);
	fake_store_reset();
	return 0;
}

static u64 max_seq(struct space *s)
{
	return a64_load(&s->lru.max_seq);
}

static u64 resident(unsigned i)
{
	return a64_load(&guests[i].space->resident);
}

/* --- + --------------------------------------------------------------------------------------------- */

static void test_proactive_age_makes_the_next_generation(void **state)
{
	struct space *s = start("one", PAGES);
	u64 max = max_seq(s);

	(void)state;
	assert_int_equal(proactive_age(s, max, POLICY_SWAPPINESS, false), PROACTIVE_DONE);
	assert_int_equal(max_seq(s), max + 1);
}

static void test_proactive_age_errors(void **state)
{
	struct space *s = start("one", PAGES);
	u64 max = max_seq(s);

	(void)state;
	assert_int_equal(proactive_age(s, max + 1, POLICY_SWAPPINESS, false), PROACTIVE_INVALID);
	assert_int_equal(proactive_age(s, max - 1, POLICY_SWAPPINESS, false), PROACTIVE_EXISTS);
	assert_int_equal(proactive_age(s, max, POLICY_SWAPPINESS_MAX + 1, false),
	                 PROACTIVE_INVALID);
	assert_int_equal(max_seq(s), max);
}

/* Somebody else makes the generation while we walk for it. */
static void another_is_faster(struct fake_guest *g, enum fake_seam seam, gfn_t at)
{
	(void)at;
	if (seam != FAKE_AGE)
		return;
	g->hook = NULL;
	assert_true(gen_advance(&g->space->lru, max_seq(g->space)));
}

static void test_proactive_age_says_when_another_was_faster(void **state)
{
	struct space *s = start("one", PAGES);
	u64 max = max_seq(s);

	(void)state;
	guests[0].hook = another_is_faster;
	assert_int_equal(proactive_age(s, max, POLICY_SWAPPINESS, false), PROACTIVE_EXISTS);
	assert_int_equal(max_seq(s), max + 1);
}

static void test_proactive_age_by_force_walks_a_guest_that_did_not_run(void **state)
{
	struct space *s = start("one", PAGES);
	u64 visited;

	(void)state;
	assert_int_equal(proactive_age(s, max_seq(s), POLICY_SWAPPINESS, false), PROACTIVE_DONE);
	visited = a64_load(&s->stats.visited_total);
	assert_int_equal(proactive_age(s, max_seq(s), POLICY_SWAPPINESS, false), PROACTIVE_DONE);
	assert_int_equal(a64_load(&s->stats.visited_total), visited);
	assert_int_equal(proactive_age(s, max_seq(s), POLICY_SWAPPINESS, true), PROACTIVE_DONE);
	assert_int_equal(a64_load(&s->stats.visited_total), visited + PAGES);
}

/* --- - --------------------------------------------------------------------------------------------- */

static void test_proactive_evict_frees_what_was_asked_for(void **state)
{
	static const u64 ask[] = {1, 63, 64, 65, 100, 300};
	struct space *s = start("one", PAGES);

	(void)state;
	fake_make_cold(&guests[0]);
	for (unsigned i = 0; i < ARRAY_SIZE(ask); i++) {
		u64 before = resident(0), freed;

		assert_int_equal(
		        proactive_evict(s, max_seq(s) - GEN_MIN, POLICY_SWAPPINESS, ask[i], &freed),
		        PROACTIVE_DONE);
		assert_int_equal(freed, before - resident(0));
		assert_in_range(freed, ask[i], ask[i] + GEN_BATCH - 1);
	}
	assert_true(yields > 0);
}

static void test_proactive_evict_errors(void **state)
{
	struct space *s = start("one", PAGES);
	u64 freed = 7;

	(void)state;
	fake_make_cold(&guests[0]);
	assert_int_equal(
	        proactive_evict(s, max_seq(s) - GEN_MIN + 1, POLICY_SWAPPINESS, 10, &freed),
	        PROACTIVE_INVALID);
	assert_int_equal(freed, 0);
	assert_int_equal(proactive_evict(s, ~0ull, POLICY_SWAPPINESS, 10, &freed),
	                 PROACTIVE_INVALID);
	assert_int_equal(proactive_evict(s, 0, POLICY_SWAPPINESS_MAX + 1, 10, &freed),
	                 PROACTIVE_INVALID);
	assert_int_equal(resident(0), PAGES);
}

/* Half of the pages are used in every interval: with all that is old asked for, they alone are left. */
static void test_proactive_evict_takes_the_old_generations_only(void **state)
{
	struct space *s = start("one", PAGES);
	u64 freed;

	(void)state;
	for (unsigned pass = 0; pass < 6; pass++) {
		flush_wait(s, flush_request(s));
		for (u64 page = 0; page < PAGES; page += 2)
			(void)fake_read(&guests[0], 0, page, 3);
		assert_int_equal(proactive_age(s, max_seq(s), POLICY_SWAPPINESS, false),
		                 PROACTIVE_DONE);
	}
	assert_int_equal(proactive_evict(s, max_seq(s) - GEN_MIN, POLICY_SWAPPINESS, ~0ull, &freed),
	                 PROACTIVE_DONE);
	assert_int_equal(freed, PAGES / 2);
	for (u64 page = 0; page < PAGES; page++)
		assert_int_equal(gfn_word_tag(fake_word(&guests[0], page)) == GFN_RESIDENT,
		                 page % 2 == 0);
	for (u64 page = 0; page < PAGES; page++)
		assert_int_equal(fake_read(&guests[0], 0, page, 3), page + 1);
}

static void test_proactive_evict_leaves_younger_generations_alone(void **state)
{
	struct space *s = start("one", PAGES);
	u64 freed;

	(void)state;
	/* Everything is in one generation, and it is younger than the one that is named. */
	fake_make_cold(&guests[0]);
	for (unsigned i = 0; i < GEN_MAX; i++)
		(void)gen_advance(&s->lru, max_seq(s));
	assert_int_equal(proactive_evict(s, max_seq(s) - GEN_MAX, POLICY_SWAPPINESS, 100, &freed),
	                 PROACTIVE_DONE);
	assert_int_equal(freed, 0);
	assert_int_equal(resident(0), PAGES);
}

/* A guest that brings back at once what is taken: the command ends all the same. */
static void bring_back(struct fake_guest *g, enum fake_seam seam, gfn_t at)
{
	(void)at;
	if (seam != FAKE_FLUSHED)
		return;
	for (u64 page = 0; page < g->npages; page++)
		if (gfn_word_away(fake_word(g, page)))
			(void)fake_read(g, 0, page, 3);
}

static void test_proactive_evict_ends_when_all_comes_back(void **state)
{
	struct space *s = start("one", PAGES);
	u64 freed;

	(void)state;
	fake_make_cold(&guests[0]);
	guests[0].hook = bring_back;
	assert_int_equal(
	        proactive_evict(s, max_seq(s) - GEN_MIN, POLICY_SWAPPINESS, 100000, &freed),
	        PROACTIVE_DONE);
	guests[0].hook = NULL;
	assert_in_range(freed, 1, 2 * PAGES);
}

static void test_proactive_evict_ends_when_no_store_takes_anything(void **state)
{
	struct space *s = start("one", PAGES);
	u64 freed;

	(void)state;
	fake_make_cold(&guests[0]);
	fake_store.put = STORE_FULL;
	assert_int_equal(proactive_evict(s, max_seq(s) - GEN_MIN, POLICY_SWAPPINESS, 100, &freed),
	                 PROACTIVE_DONE);
	assert_int_equal(freed, 0);
	assert_int_equal(resident(0), PAGES);
}

/* --- bytes ----------------------------------------------------------------------------------------- */

static void test_proactive_reclaim_from_one(void **state)
{
	u64 freed;

	(void)state;
	start("asked", PAGES);
	start("other", PAGES);
	assert_int_equal(
	        proactive_reclaim(guests[0].space, 300 * PAGE_SIZE - 1, POLICY_SWAPPINESS, &freed),
	        PROACTIVE_DONE);
	assert_in_range(freed, 300, 300 + GEN_BATCH - 1);
	assert_int_equal(resident(0), PAGES - freed);
	assert_int_equal(resident(1), PAGES);
}

static void test_proactive_reclaim_from_all(void **state)
{
	u64 freed;

	(void)state;
	start("one", PAGES);
	start("two", PAGES);
	assert_int_equal(proactive_reclaim(NULL, 640 * PAGE_SIZE, POLICY_SWAPPINESS, &freed),
	                 PROACTIVE_DONE);
	assert_in_range(freed, 640, 640 + GEN_BATCH - 1);
	assert_int_equal(resident(0) + resident(1), 2 * PAGES - freed);
	assert_in_range(resident(0), PAGES - 480, PAGES - 160);
}

static void test_proactive_reclaim_says_when_it_is_short(void **state)
{
	u64 freed;

	(void)state;
	start("one", PAGES);
	assert_int_equal(proactive_reclaim(guests[0].space, 2 * PAGES * PAGE_SIZE,
	                                   POLICY_SWAPPINESS, &freed),
	                 PROACTIVE_AGAIN);
	assert_int_equal(freed, PAGES);
	assert_int_equal(proactive_reclaim(NULL, PAGE_SIZE, POLICY_SWAPPINESS, &freed),
	                 PROACTIVE_AGAIN);
	assert_int_equal(freed, 0);
	assert_int_equal(proactive_reclaim(NULL, PAGE_SIZE, POLICY_SWAPPINESS_MAX + 1, &freed),
	                 PROACTIVE_INVALID);
}

/* --- clear_refs ------------------------------------------------------------------------------------ */

static bool accessed(u64 page)
{
	return notifier_age_one(guests[0].space, gfn(page), NOTIFIER_TEST) & NOTIFIER_YOUNG;
}

static u64 count_accessed(void)
{
	u64 n = 0;

	for (u64 page = 0; page < PAGES; page++)
		n += accessed(page);
	return n;
}

static int steps(u64 page)
{
	return gen_frame_steps(&guests[0].space->lru, gfn_word_frame(fake_word(&guests[0], page)));
}

static void test_clear_refs_shows_what_is_touched_since(void **state)
{
	struct space *s = start("watched", PAGES);
	u64 max = max_seq(s), young = 0;

	(void)state;
	assert_int_equal(count_accessed(), PAGES);
	assert_int_equal(proactive_clear_references(s, &young), PROACTIVE_DONE);
	assert_int_equal(young, PAGES);
	assert_int_equal(count_accessed(), 0);
	/* The vCPU's TLB had all of them: only after a flush does a touch set the bit again. */
	for (u64 page = 0; page < PAGES; page += 100)
		assert_int_equal(fake_read(&guests[0], 0, page, 3), page + 1);
	assert_int_equal(count_accessed(), PAGES / 100);
	assert_true(accessed(900));
	assert_false(accessed(901));
	assert_int_equal(max_seq(s), max);
	assert_int_equal(proactive_clear_references(s, &young), PROACTIVE_DONE);
	assert_int_equal(young, PAGES / 100);
}

/* What it clears has been seen by the generations: two sightings promote, as those of passes do. */
static void test_clear_refs_takes_nothing_from_the_generations(void **state)
{
	struct space *s = start("watched", PAGES);
	u64 young;

	(void)state;
	fake_make_cold(&guests[0]);
	flush_wait(s, flush_request(s));
	for (unsigned touch = 0; touch < 2; touch++) {
		(void)fake_read(&guests[0], 0, 700, 3);
		assert_int_equal(proactive_clear_references(s, &young), PROACTIVE_DONE);
		assert_int_equal(young, 1);
		assert_true(steps(700) == 0 || touch == 0);
	}
	assert_true(fake_state(&guests[0], 700) & FRAME_WORKINGSET);
	assert_true(steps(701) > 0);
}

/* An MMU without fast aging is asked as well: it is the accurate question. */
static void test_clear_refs_asks_slow_mmus(void **state)
{
	const struct fake_config c = {.name = "both",
	                              .npages = 600,
	                              .base = 300,
	                              .nr_mmus = 2,
	                              .nr_vcpus = 2,
	                              .second_is_slow = true};
	struct fake_guest *g = &guests[nr_guests++];
	u64 young;

	(void)state;
	fake_guest_create(g, &c);
	fake_write(g, 0, 1, 0, 1);
	fake_write(g, 1, 2, 0, 1);
	fake_write(g, 1, 599, 0, 1);
	assert_int_equal(proactive_clear_references(g->space, &young), PROACTIVE_DONE);
	assert_int_equal(young, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_false(notifier_age_one(g->space, gfn(300 + (const u64[]){1, 2, 599}[i]),
		                              NOTIFIER_TEST));
	assert_int_equal(fake_read(g, 1, 2, 0), 1);
	assert_true(notifier_age_one(g->space, gfn(302), NOTIFIER_TEST));
	assert_false(notifier_age_one(g->space, gfn(301), NOTIFIER_TEST));
}

static void test_clear_refs_needs_generations(void **state)
{
	struct space *s = start("watched", PAGES);
	u64 young;

	(void)state;
	a32_store(&policy.twolist, 1);
	assert_int_equal(proactive_clear_references(s, &young), PROACTIVE_INVALID);
	a32_store(&policy.twolist, 0);
	assert_int_equal(count_accessed(), PAGES);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_proactive_age_makes_the_next_generation),
	        T(test_proactive_age_errors),
	        T(test_proactive_age_says_when_another_was_faster),
	        T(test_proactive_age_by_force_walks_a_guest_that_did_not_run),
	        T(test_proactive_evict_frees_what_was_asked_for),
	        T(test_proactive_evict_errors),
	        T(test_proactive_evict_takes_the_old_generations_only),
	        T(test_proactive_evict_leaves_younger_generations_alone),
	        T(test_proactive_evict_ends_when_all_comes_back),
	        T(test_proactive_evict_ends_when_no_store_takes_anything),
	        T(test_proactive_reclaim_from_one),
	        T(test_proactive_reclaim_from_all),
	        T(test_proactive_reclaim_says_when_it_is_short),
	        T(test_clear_refs_shows_what_is_touched_since),
	        T(test_clear_refs_takes_nothing_from_the_generations),
	        T(test_clear_refs_asks_slow_mmus),
	        T(test_clear_refs_needs_generations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
