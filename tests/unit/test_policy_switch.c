/* mm/policy_switch: from generations to two lists and back, with pages everywhere and others at work in between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mm/age.h"
#include "mm/audit.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/gen_view.h"
#include "mm/policy.h"
#include "mm/policy_switch.h"
#include "mm/twolist.h"
#include "tests/host/fake/store.c"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"

#define FRAMES (6 * GEN_MAX_BATCH)
#define PAGES  (5 * GEN_MAX_BATCH)

static struct fake_guest guest;

static struct lruvec *lru(void)
{
	return &guest.space->lru;
}

/* `seq`: the number of the youngest generation; labels are from there on, and the bound is zero. */
static void start(u64 npages, u64 seq)
{
	const struct fake_config c = {.name = "switched", .npages = npages};

	policy_init();
	a32_store(&policy.probation, 0); /* what is tested here goes by age alone */
	host_time_set(1000000000);
	fake_frames_create(FRAMES);
	fake_guest_create(&guest, &c);
	assert_true(store_init());
	a64_store(&lru()->max_seq, seq);
	for (unsigned type = 0; type < GEN_TYPES; type++)
		lru()->min_seq[type] = seq - (GEN_MAX - 1);
}

static void stop(void)
{
	assert_int_equal(audit_all(NULL), 0);
	fake_guest_destroy(&guest);
	fake_frames_destroy();
	fake_store_reset();
	host_time_set(HOST_TIME_REAL);
	policy_init();
}

/* Pages from `first` on, every third of them written; those that were before keep what they had. */
static void touch(u64 first, u64 n)
{
	for (u64 page = first; page < first + n; page++) {
		u64 found = fake_read(&guest, 0, page, 5);

		assert_true(!found || found == page + 1);
		if (!found && page % 3)
			fake_write(&guest, 0, page, 5, page + 1);
	}
}

static void age(void)
{
	(void)age_space(guest.space, a64_load(&lru()->max_seq), true);
}

/* Sizes are those of the lists, and of all that is resident: audit_all() compares each with each. */
static void assert_consistent(void)
{
	assert_int_equal(audit_all(NULL), 0);
	assert_int_equal(gen_total(lru()), a64_load(&guest.space->resident));
}

static u64 listed(u64 seq)
{
	return a64_load(&lru()->size[gen_index(seq)][GEN_CLEAN]) +
	       a64_load(&lru()->size[gen_index(seq)][GEN_DIRTY]);
}

/* Pages in all four generations: 64 for each pass, the last ones touched throughout, and seen since the last pass. */
static void fill_window(void)
{
	struct gen_batch batch = {.promoted = 0};
	u64 visited = 0;

	for (u64 i = 0; i < 6; i++) {
		touch(i * 64, 64);
		touch(500, 10);
		age();
		flush_wait(guest.space, flush_request(guest.space));
	}
	touch(500, 10);
	assert_true(age_block(guest.space, gfn(500), 10, &batch, &visited));
	gen_batch_flush(lru(), &batch);
	for (unsigned g = 0; g < GEN_MAX; g++)
		assert_true(listed(a64_load(&lru()->max_seq) - g) > 0);
}

static void test_switch_joins_without_a_visit(void **state)
{
	u64 youngest, all, seen[64];

	(void)state;
	start(600, GEN_MAX - 1);
	fill_window();
	youngest = listed(a64_load(&lru()->max_seq));
	all = gen_total(lru());
	for (u64 i = 0; i < 64; i++)
		seen[i] = fake_state(&guest, i);
	assert_true(policy_switch_step(lru(), true));
	assert_true(twolist_in(lru()));
	for (u64 i = 0; i < 64; i++)
		assert_int_equal(fake_state(&guest, i), seen[i]);
	assert_int_equal(listed(twolist_active(lru())), youngest);
	assert_int_equal(listed(twolist_inactive(lru())), all - youngest);
	assert_consistent();
	stop();
}

/* What would have gone first under one policy goes first under the other. */
static void test_switch_keeps_the_order_of_eviction(void **state)
{
	(void)state;
	start(600, GEN_MAX - 1);
	fill_window();
	for (u64 page = 0; page < 600; page++)
		a64_store(&guest.mmu[0].entry[page], a64_load(&guest.mmu[0].entry[page]) & ~FAKE_A);
	policy_switch(true);
	assert_int_equal(a32_load(&policy.twolist), 1);
	a32_store(&policy.swappiness, POLICY_SWAPPINESS_MAX); /* one type, one order */
	assert_true(evict_space(guest.space, evict_any(30)).freed >= 30);
	for (u64 page = 64; page < 384; page++)
		assert_int_equal(gfn_word_tag(fake_word(&guest, page)), GFN_RESIDENT);
	touch(0, 384);
	stop();
}

static void test_switch_back_lets_the_window_move(void **state)
{
	struct gen_view view[GEN_MAX];
	u64 max_seq;

	(void)state;
	start(600, GEN_MAX - 1);
	fill_window();
	policy_switch(true);
	max_seq = a64_load(&lru()->max_seq);
	age();
	assert_int_equal(a64_load(&lru()->max_seq), max_seq);
	assert_false(gen_advance(lru(), max_seq));
	touch(400, 50);
	assert_consistent();
	host_time_add(5000000000ull);
	policy_switch(false);
	assert_int_equal(gen_snapshot(lru(), view), GEN_MIN);
	assert_true(view[0].age_ns < 1000000000ull);
	for (unsigned i = 0; i < 2 * GEN_MAX; i++) {
		age();
		assert_consistent();
	}
	assert_int_equal(a64_load(&lru()->max_seq), max_seq + 2 * GEN_MAX);
	assert_true(evict_space(guest.space, evict_any(64)).freed > 0);
	touch(0, 450);
	stop();
}

/*
 * Labels that have to be written anew: 4096 for each hold of the lock, and between two holds pages come, go and are
 * promoted.
 */
static void test_switch_of_many_pages_in_steps(void **state)
{
	u64 evictions = 0, steps = 0, value = PAGES - 100;

	(void)state;
	start(PAGES, GEN_RELABEL + GEN_MAX);
	touch(0, PAGES - 1000);
	for (unsigned i = 0; i < 4; i++) {
		age();
		touch(PAGES - 1000 + i * 100, 100);
	}
	/* A bound that is as good, and too far away. */
	for (unsigned type = 0; type < GEN_TYPES; type++)
		lru()->oldest_label[type] = lru()->min_seq[type] - GEN_RELABEL;
	assert_consistent();
	while (!policy_switch_step(lru(), true)) {
		struct gen_batch batch = {.promoted = 0};
		u64 page = steps * 1000 + 17;

		assert_true(twolist_in(lru()));
		assert_consistent();
		/* A fault, a sighting, an eviction of what the lists say and one of a certain page. */
		touch(value++, 1);
		epoch_enter();
		(void)gen_promote(lru(), (u32)gfn_word_frame(fake_word(&guest, page)),
		                  guest.space->id, &batch);
		epoch_exit();
		gen_batch_flush(lru(), &batch);
		evictions += evict_space(guest.space, evict_any(8)).freed;
		evictions += evict_page(guest.space, gfn(page + 1)) == EVICT_PAGE_DONE;
		assert_consistent();
		assert_false(gen_advance(lru(), a64_load(&lru()->max_seq)));
		steps++;
	}
	assert_true(steps >= 3);
	for (unsigned type = 0; type < GEN_TYPES; type++)
		assert_int_equal(lru()->min_seq[type], twolist_inactive(lru()));
	assert_true(evictions >= steps);
	assert_consistent();
	assert_int_equal(listed(twolist_active(lru())) + listed(twolist_inactive(lru())),
	                 gen_total(lru()));
	assert_true(policy_switch_step(lru(), false));
	for (unsigned i = 0; i < GEN_MAX; i++)
		age();
	assert_consistent();
	touch(0, PAGES - 600);
	stop();
}

/* To and fro while pages come and go, under a limit that keeps the evictor busy; all come back as they were. */
static void test_switch_to_and_fro_under_pressure(void **state)
{
	(void)state;
	start(1200, GEN_MAX - 1);
	for (u64 i = 0; i < 40; i++) {
		policy_switch(i % 2);
		touch(i * 97 % 900, 300);
		flush_wait(guest.space, flush_request(guest.space));
		if (!evict_space(guest.space, evict_any(100)).freed)
			age();
		if (i % 3)
			age();
		assert_consistent();
	}
	assert_true(a64_load(&guest.space->stats.refaults_total) > 100);
	stop();
}

static void test_switch_of_what_is_so_changes_nothing(void **state)
{
	u64 birth;

	(void)state;
	start(600, GEN_MAX - 1);
	fill_window();
	birth = lru()->birth_ns[0];
	host_time_add(1000);
	policy_switch(false);
	assert_int_equal(lru()->birth_ns[0], birth);
	policy_switch(true);
	lru()->credit[GEN_DIRTY] = 7;
	policy_switch(true);
	assert_int_equal(lru()->credit[GEN_DIRTY], 7);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_switch_joins_without_a_visit),
	        cmocka_unit_test(test_switch_keeps_the_order_of_eviction),
	        cmocka_unit_test(test_switch_back_lets_the_window_move),
	        cmocka_unit_test(test_switch_of_many_pages_in_steps),
	        cmocka_unit_test(test_switch_to_and_fro_under_pressure),
	        cmocka_unit_test(test_switch_of_what_is_so_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
