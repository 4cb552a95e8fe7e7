/* mm/age: what a pass looks at, what it promotes, and who makes the generation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mm/age.h"
#include "mm/audit.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/reclaim.h"
#include "tests/host/fake/store.c"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"

#define FRAMES 7000u
#define PAGES \
	4700u /* nine tables and a piece, from a base that is not aligned: a walker takes fewer */
#define BASE 700u

static struct fake_guest guest;

static void start(unsigned nr_mmus, bool second_is_slow)
{
	const struct fake_config c = {.name = "aged",
	                              .npages = PAGES,
	                              .base = BASE,
	                              .nr_mmus = nr_mmus,
	                              .nr_vcpus = nr_mmus,
	                              .second_is_slow = second_is_slow};

	fake_guest_create(&guest, &c);
}

static int setup(void **state)
{
	(void)state;
	fake_frames_create(FRAMES);
	return !store_init();
}

static int teardown(void **state)
{
	(void)state;
	assert_int_equal(audit_all(NULL), 0);
	guest.hook = NULL;
	fake_guest_destroy(&guest);
	fake_frames_destroy();
	fake_store_reset();
	return 0;
}

static u64 max_seq(void)
{
	return a64_load(&guest.space->lru.max_seq);
}

static struct age_result age(void)
{
	return age_space(guest.space, max_seq(), false);
}

static void touch_all(void)
{
	for (u64 page = 0; page < PAGES; page++)
		fake_write(&guest, 0, page, 0, page + 1);
}

/* The translations are flushed: accesses set the bit again. */
static void flush(void)
{
	flush_wait(guest.space, flush_request(guest.space));
}

static u64 seq_of(u64 page)
{
	assert_true(fake_state(&guest, page) & FRAME_LISTED);
	return gen_seq_locked(&guest.space->lru, fake_state(&guest, page));
}

static void test_age_visits_every_entry_once(void **state)
{
	struct age_result r;

	(void)state;
	start(1, false);
	touch_all();
	r = age();
	assert_true(r.produced);
	assert_int_equal(r.visited, PAGES);
	assert_int_equal(r.young, PAGES);
	assert_int_equal(r.promoted,
	                 PAGES); /* the fault was the first touch, its access the second */
	assert_int_equal(max_seq(), 4);
	assert_int_equal(a64_load(&guest.space->stats.visited_total), PAGES);
	assert_int_equal(a64_load(&guest.space->stats.passes_total), 1);
}

static void test_age_separates_touched_from_untouched(void **state)
{
	(void)state;
	start(1, false);
	touch_all();
	(void)age();
	flush();
	for (u64 page = 0; page < PAGES; page += 3)
		(void)fake_read(&guest, 0, page, 0);
	(void)age();
	for (u64 page = 0; page < PAGES; page++)
		assert_int_equal(seq_of(page), page % 3 ? max_seq() - 2 : max_seq() - 1);
}

static void test_age_skips_a_guest_that_did_not_run(void **state)
{
	struct age_result r;

	(void)state;
	start(1, false);
	touch_all();
	(void)age();
	r = age();
	assert_true(r.produced);
	assert_int_equal(r.visited, 0);
	(void)fake_read(&guest, 0, 0, 0);
	r = age();
	assert_int_equal(r.visited, PAGES);
	r = age_space(guest.space, max_seq(), true);
	assert_int_equal(r.visited, PAGES);
}

static void test_age_of_a_superseded_generation_does_nothing(void **state)
{
	struct age_result r;

	(void)state;
	start(1, false);
	touch_all();
	r = age_space(guest.space, max_seq() - 1, false);
	assert_false(r.produced);
	assert_int_equal(r.visited, 0);
	assert_int_equal(max_seq(), 3);
}

/* Fast-only: the slow MMU is not asked, and what only it saw stays as it is. */
static void test_age_asks_fast_mmus_only(void **state)
{
	struct age_result r;

	(void)state;
	start(2, true);
	for (u64 page = 0; page < PAGES; page++)
		fake_write(&guest, page % 2, page, 0, 1);
	r = age();
	assert_int_equal(r.visited, PAGES);
	assert_int_equal(r.young, PAGES / 2);
	for (u64 page = 1; page < PAGES; page += 2)
		assert_true(a64_load(&guest.mmu[1].entry[page]) & FAKE_A);
}

static void test_age_asks_both_fast_mmus(void **state)
{
	(void)state;
	start(2, false);
	for (u64 page = 0; page < PAGES; page++)
		fake_write(&guest, page % 2, page, 0, 1);
	assert_int_equal(age().young, PAGES);
	for (u64 page = 0; page < PAGES; page++)
		assert_int_equal(seq_of(page), max_seq() - 1);
}

/* Another CPU makes the generation in the middle of the pass: the rest is not walked. */
static void supersede(struct fake_guest *g, enum fake_seam seam, gfn_t at)
{
	(void)at;
	if (seam == FAKE_AGE)
		(void)gen_advance(&g->space->lru, 3);
}

static void test_age_ends_early_when_superseded(void **state)
{
	struct age_result r;

	(void)state;
	start(1, false);
	touch_all();
	guest.hook = supersede;
	r = age();
	assert_false(r.produced);
	assert_true(r.visited < PAGES);
	assert_int_equal(max_seq(), 4);
}

/* A second walker of the pass takes what the first has not: together they visit each entry once. */
static u64 others_visited;

static void help(struct fake_guest *g, enum fake_seam seam, gfn_t at)
{
	struct age_result r;

	if (seam != FAKE_AGE || at.v != BASE)
		return;
	host_cpu_set(1);
	r = age_space(g->space, 3, false);
	host_cpu_set(0);
	assert_true(r.produced);
	others_visited = r.visited;
}

static void test_age_two_walkers_share_the_pass(void **state)
{
	struct age_result r;

	(void)state;
	host_cpu_count_set(2);
	start(1, false);
	touch_all();
	guest.hook = help;
	r = age();
	host_cpu_count_set(1);
	assert_false(r.produced);
	assert_true(r.visited > 0 && others_visited > 0);
	assert_int_equal(r.visited + others_visited, PAGES);
	assert_int_equal(max_seq(), 4);
	for (u64 page = 0; page < PAGES; page++)
		assert_true(seq_of(page) >= 3);
}

static void test_age_stops_for_a_dying_space(void **state)
{
	struct age_result r;

	(void)state;
	start(1, false);
	touch_all();
	a32_store(&guest.space->dying, 1);
	r = age();
	assert_false(r.produced);
	assert_int_equal(r.visited, 0);
	assert_int_equal(max_seq(), 3);
}

/* Non-resident pages cost their entry and nothing else. */
static void test_age_of_an_empty_space(void **state)
{
	(void)state;
	start(1, false);
	assert_true(age().produced);
	assert_int_equal(gen_total(&guest.space->lru), 0);
}

static void test_age_periodic_keeps_the_period(void **state)
{
	(void)state;
	host_time_set(1000000);
	start(1, false);
	reclaim_age_periodic(1500000, 1000000);
	assert_int_equal(max_seq(), 3);
	host_time_set(2000000);
	reclaim_age_periodic(2000000, 1000000);
	assert_int_equal(max_seq(), 4);
	reclaim_age_periodic(2999999, 1000000);
	assert_int_equal(max_seq(), 4);
	host_time_set(HOST_TIME_REAL);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_age_visits_every_entry_once),
	        T(test_age_separates_touched_from_untouched),
	        T(test_age_skips_a_guest_that_did_not_run),
	        T(test_age_of_a_superseded_generation_does_nothing),
	        T(test_age_asks_fast_mmus_only),
	        T(test_age_asks_both_fast_mmus),
	        T(test_age_ends_early_when_superseded),
	        T(test_age_two_walkers_share_the_pass),
	        T(test_age_stops_for_a_dying_space),
	        T(test_age_of_an_empty_space),
	        T(test_age_periodic_keeps_the_period),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
