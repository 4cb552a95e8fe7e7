/* mm/evict, mm/reclaim: what does not pack, before what does. A search for the latter has an end, and lets others run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "mm/audit.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/limits.h"
#include "mm/policy.h"
#include "mm/reclaim.h"
#include "tests/host/fake/store.c"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"

#define FRAMES   2048u
#define PAGES    300u
#define BAD_WORD 77u

static struct fake_guest guests[2];
static unsigned nr_guests, ooms, yields;
static u64 tries;

static void on_wake(void)
{
}

static void on_oom(struct space *s, const char *why)
{
	(void)s;
	(void)why;
	ooms++;
}

static void on_yield(void)
{
	yields++;
}

static const struct reclaim_ops ops = {.wake = on_wake, .out_of_memory = on_oom, .yield = on_yield};

static void start(const char *name, u64 npages)
{
	const struct fake_config c = {.name = name, .npages = npages};

	fake_guest_create(&guests[nr_guests++], &c);
}

static int setup(void **state)
{
	(void)state;
	nr_guests = ooms = yields = 0;
	policy_init();
	fake_frames_create(FRAMES);
	reclaim_init(&ops);
	return !store_init();
}

static int teardown(void **state)
{
	(void)state;
	fake_store.on_put = NULL;
	assert_int_equal(audit_all(NULL), 0);
	while (nr_guests)
		fake_guest_destroy(&guests[--nr_guests]);
	fake_frames_destroy();
	assert_int_equal(fake_store.objects, 0);
	fake_store_reset();
	return 0;
}

static u64 resident(unsigned i)
{
	return a64_load(&guests[i].space->resident);
}

/* Takes what does not say that it does not pack. */
static void judge_page(u32 frame)
{
	tries++;
	fake_store.put = ((const u64 *)frame_ptr(frame))[5] == BAD_WORD ? STORE_INCOMPRESSIBLE
	                                                                : STORE_OK;
}

static void write_bad(struct fake_guest *g, u64 first, u64 n)
{
	for (u64 page = first; page < first + n; page++)
		fake_write(g, 0, page, 5, BAD_WORD);
}

/* Pages that do not pack, older than `good` ones that do. */
static void bad_before_good(u64 bad, u64 good)
{
	start("front", FRAMES);
	fake_store.on_put = judge_page;
	write_bad(&guests[0], 0, bad);
	fake_make_cold(&guests[0]);
	for (u64 page = bad; page < bad + good; page++)
		fake_write(&guests[0], 0, page, 5, page + 1);
	tries = 0;
}

/* On its CPU nobody else has a turn while it packs. What is known not to pack is no bound: it costs no packing. */
static void test_evict_does_not_pack_all_in_vain(void **state)
{
	struct evict_result r;

	(void)state;
	a32_store(&policy.probation, 0); /* by age alone, and so in one go */
	bad_before_good(PAGES, 0);
	r = evict_space(guests[0].space, evict_any(64));
	assert_int_equal(r.freed, 0);
	assert_int_equal(r.declined, EVICT_DECLINED_MAX);
	assert_int_equal(tries, EVICT_DECLINED_MAX);
	/* The next call goes on where this one ended, and has an end of its own. */
	r = evict_space(guests[0].space, evict_any(64));
	assert_int_equal(r.declined, PAGES - EVICT_DECLINED_MAX);
	assert_int_equal(tries, PAGES);
	for (unsigned i = 0; i < 40; i++) {
		fake_make_cold(&guests[0]);
		assert_int_equal(evict_space(guests[0].space, evict_any(64)).declined, 0);
	}
	assert_int_equal(tries, PAGES);
	/* A full pool is another matter: whom it declines may find room, or a copy, in the next page. */
	for (u64 page = 0; page < PAGES; page++)
		fake_write(&guests[0], 0, page, 5, page + 1);
	fake_make_cold(&guests[0]);
	fake_store.on_put = NULL;
	fake_store.put = STORE_FULL;
	assert_int_equal(evict_space(guests[0].space, evict_any(64)).declined, 0);
	fake_store.put = STORE_OK;
	for (u64 page = 0; page < PAGES; page++)
		assert_int_equal(fake_read(&guests[0], 0, page, 5), page + 1);
}

/* However long that takes, nobody is stopped for it; and others have a turn after each few hundred pages. */
static void test_reclaim_direct_finds_what_packs_behind_what_does_not(void **state)
{
	u64 freed = 0, before = 0;
	unsigned n = 0;

	(void)state;
	host_time_set(1000000000);
	bad_before_good(1500, 100);
	for (; !freed && n < 100; n++) {
		freed = reclaim_direct(guests[0].space);
		assert_in_range(tries - before, 1, 2 * EVICT_DECLINED_MAX + GEN_BATCH);
		before = tries;
		assert_false(reclaim_out_of_memory());
		host_time_add(1000000000);
	}
	assert_in_range(n, 1500 / (2 * EVICT_DECLINED_MAX + GEN_BATCH) + 1, 10);
	assert_int_not_equal(freed, 0);
	assert_int_equal(ooms, 0);
	host_time_set(HOST_TIME_REAL);
}

/* Meanwhile it is no reason to take what others are to keep. */
static void test_reclaim_direct_keeps_lows_while_it_searches(void **state)
{
	u64 freed = 0;

	(void)state;
	bad_before_good(1200, 100);
	start("low", 400);
	for (u64 page = 0; page < 300; page++)
		fake_write(&guests[1], 0, page, 5, page + 1);
	limits_set_low(guests[1].space, 400);
	fake_make_cold(&guests[1]);
	for (unsigned n = 0; !freed && n < 20; n++)
		freed = reclaim_direct(guests[0].space);
	assert_int_not_equal(freed, 0);
	assert_int_equal(resident(1), 300);
}

/* Who lets others run between goes on to the end of it. */
static void test_reclaim_background_goes_past_what_does_not_pack(void **state)
{
	u64 n = FRAMES - frame_marks.low + 1;

	(void)state;
	bad_before_good(n - 200, 200);
	yields = 0;
	(void)reclaim_background();
	assert_false(reclaim_needed());
	assert_in_range(frame_free_count(), frame_marks.high, FRAMES);
	assert_true(yields >= (n - 200) / (2 * EVICT_DECLINED_MAX + GEN_BATCH));
	assert_in_range(tries, n - 200, n);
}

/* With the idle ones first, again and again, until they have shown what they have. */
static void test_reclaim_idle_is_not_passed_over_while_it_is_searched(void **state)
{
	(void)state;
	host_time_set(1000000000);
	bad_before_good(1000, 100);
	(void)space_idle(guests[0].space);
	host_time_add(SPACE_IDLE_NS);
	assert_true(space_idle(guests[0].space));
	assert_int_equal(reclaim_direct(guests[0].space), 0);
	assert_int_equal(a32_load(&guests[0].space->barren), 0);
	host_time_set(HOST_TIME_REAL);
}

/* Rounds of the background thread until it sees no hope; it comes back as long as it does. */
static u64 rounds_of_hope(void)
{
	u64 n = 0;

	while (n < 1000 && reclaim_background())
		n++;
	return n;
}

static void test_reclaim_hope_ends_where_nothing_packs(void **state)
{
	(void)state;
	bad_before_good(FRAMES - frame_marks.low + 1, 0);
	assert_in_range(rounds_of_hope(), 0, FRAMES / EVICT_DECLINED_MAX + 1);
	assert_int_equal(frame_packable_count(), 0);
	assert_int_equal(tries, FRAMES - frame_marks.low + 1);
	/* What was written since is tried once more, and that is all. */
	write_bad(&guests[0], 0, 600);
	assert_in_range(rounds_of_hope(), 0, FRAMES / EVICT_DECLINED_MAX + 1);
	assert_int_equal(frame_packable_count(), 0);
}

static void test_reclaim_hope_ends_where_the_pool_is_full(void **state)
{
	(void)state;
	start("full", FRAMES);
	fake_store.put = STORE_FULL;
	write_bad(&guests[0], 0, FRAMES - frame_marks.low + 1);
	assert_in_range(rounds_of_hope(), 0, FRAMES / EVICT_DECLINED_MAX + 1);
}

/* The guest writes to a page as soon as another was tried: each is always as good as never tried. */
static void rewrite(u32 frame)
{
	u64 page = frame_gfn(frame_at(frame)).v;

	judge_page(frame);
	page = (page + 800) % 1600;
	if (gfn_word_tag(fake_word(&guests[0], page)) == GFN_RESIDENT)
		gen_make_dirty(&guests[0].space->lru, gfn_word_frame(fake_word(&guests[0], page)));
}

static void test_reclaim_search_ends_where_guests_rewrite(void **state)
{
	unsigned n = 0;

	(void)state;
	host_time_set(1000000000);
	bad_before_good(1600, 0);
	fake_store.on_put = rewrite;
	/* A pass ends. */
	(void)reclaim_background();
	(void)reclaim_asked(GEN_BATCH, EVICT_SWAPPINESS_POLICY);
	/* The time without a frame goes on when as much was declined as there is memory. */
	for (; !reclaim_out_of_memory() && n < 100; n++) {
		assert_int_equal(reclaim_direct(guests[0].space), 0);
		host_time_add(250000000);
	}
	assert_in_range(n, 8, 8 + FRAMES / EVICT_DECLINED_MAX + 2);
	host_time_set(HOST_TIME_REAL);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
	        T(test_evict_does_not_pack_all_in_vain),
	        T(test_reclaim_direct_finds_what_packs_behind_what_does_not),
	        T(test_reclaim_direct_keeps_lows_while_it_searches),
	        T(test_reclaim_background_goes_past_what_does_not_pack),
	        T(test_reclaim_idle_is_not_passed_over_while_it_is_searched),
	        T(test_reclaim_hope_ends_where_nothing_packs),
	        T(test_reclaim_hope_ends_where_the_pool_is_full),
	        T(test_reclaim_search_ends_where_guests_rewrite),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
