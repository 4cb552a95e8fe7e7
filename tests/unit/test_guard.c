/* policy.guard: what is counted, when recency rules, and what that is good for. */
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
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/guard.h"
#include "mm/limits.h"
#include "mm/policy.h"
#include "mm/policy_switch.h"
#include "mm/reclaim.h"
#include "mm/store.h"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"

#define FRAMES 4096u
#define PAGES  1000u
#define LIMIT  400u

static struct fake_guest guest;

static int setup(void **state)
{
	const struct fake_config c = {.name = "guarded", .npages = PAGES, .upper_bits = true};

	(void)state;
	policy_init();
	a32_store(&policy.guard, 1);
	reclaim_init(NULL);
	fake_frames_create(FRAMES);
	assert_true(store_init());
	fake_guest_create(&guest, &c);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	epoch_barrier();
	assert_int_equal(audit_all(NULL), 0);
	fake_guest_destroy(&guest);
	fake_frames_destroy();
	policy_init();
	return 0;
}

static struct lruvec *lru(void)
{
	return &guest.space->lru;
}

static const struct space_stats *stats(void)
{
	return &guest.space->stats;
}

static void touch(u64 first, u64 n)
{
	for (u64 page = first; page < first + n; page++)
		fake_write(&guest, 0, page, 5, page + 1);
}

static void pass(void)
{
	flush_wait(guest.space, flush_request(guest.space));
	assert_true(age_space(guest.space, a64_load(&lru()->max_seq), true).produced);
}

static s64 gone(void)
{
	s64 n = 0;

	for (unsigned i = 0; i < GUARD_LABELS; i++)
		n += lru()->guard.gone[i];
	return n;
}

/* At least n pages go. Passes that are asked for meanwhile are not made. */
static void evict(u64 n)
{
	u64 freed = 0;

	for (unsigned i = 0; i < 64 && freed < n; i++)
		freed += evict_space(guest.space, evict_any(n - freed)).freed;
	assert_true(freed >= n);
}

/* --- the count ------------------------------------------------------------------------------------- */

static void test_guard_counts_who_is_gone(void **state)
{
	s64 n;

	(void)state;
	touch(0, 300);
	pass();
	assert_int_equal(gone(), 0);
	evict(100);
	n = (s64)a64_load(&stats()->evictions_total);
	assert_int_equal(gone(), n);
	assert_int_equal(audit_all(NULL), 0);
	/* Some come back, some are given up, one by one and with those that are there. */
	touch(0, 10);
	assert_int_equal(gone(), n - 10);
	space_drop_range(guest.space, gfn(5), 15);
	assert_int_equal(gone(), n - 20);
	assert_int_equal(audit_all(NULL), 0);
	/* By request, whatever its age. */
	assert_int_equal(evict_page(guest.space, gfn(0)), EVICT_PAGE_DONE);
	assert_int_equal(gone(), n - 19);
	space_drop_range(guest.space, gfn(0), PAGES);
	assert_int_equal(gone(), 0);
}

/* The auditor notices a count that is none. */
static void test_guard_is_audited(void **state)
{
	(void)state;
	touch(0, 100);
	pass();
	evict(50);
	for (unsigned i = 0; i < GUARD_LABELS; i++) {
		lru()->guard.gone[i]++;
		assert_int_equal(audit_all(NULL), 1);
		lru()->guard.gone[i]--;
	}
}

/* Who has been gone for too long is not counted, and does not count when it comes back. */
static void test_guard_forgets(void **state)
{
	s64 before;

	(void)state;
	touch(0, 100);
	pass();
	evict(50);
	before = gone();
	assert_true(before >= 50);
	/* They were of the last generation but one. */
	for (unsigned i = 0; i < GUARD_LABELS - 2; i++)
		pass();
	assert_int_equal(gone(), before);
	pass();
	assert_int_equal(gone(), 0);
	touch(0, 100);
	assert_int_equal(gone(), 0);
	assert_false(lru()->guard.inexact);
	assert_int_equal(lru()->guard.loss, 0);
}

/* Labels have 12 bits in a shadow: after a round of them, one that comes back may be what it is not. */
static void test_guard_labels_come_round(void **state)
{
	(void)state;
	touch(0, 100);
	pass();
	evict(50);
	while (a64_load(&lru()->max_seq) < GFN_SEQ >> GFN_SEQ_SHIFT)
		assert_true(gen_advance(lru(), a64_load(&lru()->max_seq)));
	assert_false(lru()->guard.inexact);
	for (unsigned i = 0; i < 8; i++)
		assert_true(gen_advance(lru(), a64_load(&lru()->max_seq)));
	assert_true(lru()->guard.inexact);
	touch(0, 100);
	assert_true(gone() < 0);
	/* And that does not make the cut older than it is. */
	pass();
	assert_true(lru()->guard.cut <= a64_load(&lru()->max_seq));
}

static void test_guard_leaves_two_lists_alone(void **state)
{
	(void)state;
	touch(0, 200);
	pass();
	evict(50);
	policy_switch(true);
	touch(0, 20);
	(void)evict_space(guest.space, evict_any(50));
	assert_true(lru()->guard.inexact);
	assert_int_equal(lru()->guard.loss, 0);
	policy_switch(false);
	touch(0, 200);
	pass();
}

/* --- the cut --------------------------------------------------------------------------------------- */

/* Pages of a generation and gone ones with its label, as if they had been there; the cut is found with the next pass. */
static void set(u64 seq, u64 here, s64 away)
{
	for (unsigned type = 0; type < GEN_TYPES; type++)
		a64_store(&lru()->size[gen_index(seq)][type], type == GEN_DIRTY ? here : 0);
	lru()->guard.gone[seq % GUARD_LABELS] = away;
}

static void cut(void)
{
	spin_lock(&lru()->lock);
	lru()->guard.gone[a64_load(&lru()->max_seq) % GUARD_LABELS] = 0;
	guard_advance_locked(lru());
	spin_unlock(&lru()->lock);
}

static void loss(u64 seq, u64 expected)
{
	lru()->guard.loss = 0;
	(void)guard_came_back(lru(), seq << GFN_SEQ_SHIFT);
	assert_int_equal(lru()->guard.loss, expected);
}

static void gain(u64 seq, u64 expected)
{
	lru()->guard.gain = 0;
	spin_lock(&lru()->lock);
	guard_seen_locked(lru(), seq, 1);
	spin_unlock(&lru()->lock);
	assert_int_equal(lru()->guard.gain, expected);
}

static void test_guard_cut(void **state)
{
	u64 max;

	(void)state;
	pass();
	max = a64_load(&lru()->max_seq);
	/* 400 pages. Younger than max - 1 are 250; of 300 with that label, LRU has 150: 100 that are here, 50 of the others. */
	set(max, 100, 0);
	set(max - 1, 150, 0);
	set(max - 2, 100, 200);
	set(max - 3, 50, 80);
	lru()->guard.until_tick = 1000; /* while its hands are on it */
	cut();
	assert_int_equal(lru()->guard.cut, max - 2);
	loss(max, GUARD_ONE);
	loss(max - 1, GUARD_ONE);
	loss(max - 2, GUARD_ONE / 4);
	loss(max - 3, 0);
	gain(max - 1, 0);
	gain(max - 2, 0);
	gain(max - 3, GUARD_ONE);
	/* Here it is among those that are there. */
	set(max - 1, 150, 100);
	cut();
	assert_int_equal(lru()->guard.cut, max - 2);
	loss(max - 2, 0);
	gain(max - 2, GUARD_ONE / 2);
	/* While it rules, nothing is counted. */
	a32_store(&lru()->guard.rules, 1);
	loss(max, 0);
	gain(max - 3, 0);
	a32_store(&lru()->guard.rules, 0);
	for (u64 seq = max - 3; seq <= max; seq++)
		set(seq, 0, 0);
	pass();
	lru()->guard.loss = 0;
}

/* --- the alarm ------------------------------------------------------------------------------------- */

static bool rules(void)
{
	return guard_rules(lru());
}

/* So many pages come back that LRU would have, or would not; until something changes, at most n. Returns how many. */
static u64 come_back(u64 n, bool young)
{
	u64 max = a64_load(&lru()->max_seq), i;
	bool was = rules();

	for (i = 0; i < n && rules() == was; i++) {
		lru()->guard.gone[max % GUARD_LABELS]++;
		lru()->guard.cut = young ? max - 1 : max + 1;
		(void)guard_came_back(lru(), max << GFN_SEQ_SHIFT);
	}
	return i;
}

static void near(u64 found, u64 expected, u64 by)
{
	assert_in_range(found, expected - min_of(by, expected), expected + by);
}

static void test_guard_alarm(void **state)
{
	const u64 tick = LIMIT / GUARD_TICKS + 1;

	(void)state;
	touch(0, LIMIT);
	pass();
	/* Each time it lasts longer, and has an end. */
	near(come_back(10000, true), LIMIT / GUARD_SLACK, tick);
	assert_true(rules());
	near(come_back(10000, true), (u64)GUARD_ROUNDS * LIMIT, 2 * GUARD_ROUNDS * tick);
	assert_false(rules());
	assert_true(come_back(10000, true) <= 2 * tick);
	near(come_back(10000, true), 2ull * GUARD_ROUNDS * LIMIT, 4 * GUARD_ROUNDS * tick);
	assert_true(come_back(10000, true) <= 2 * tick);
	near(come_back(10000, true), (u64)GUARD_MAX * LIMIT, 2 * GUARD_MAX * tick);
	assert_false(rules());
	/* The next time is short again after two memories without one. */
	assert_int_equal(come_back(LIMIT, false), LIMIT);
	assert_int_equal(lru()->guard.rounds, GUARD_MAX);
	assert_int_equal(come_back(2 * LIMIT, false), 2 * LIMIT);
	assert_int_equal(lru()->guard.rounds, 1);
	/* Gains outweigh losses. */
	lru()->guard.gain = 10000 * GUARD_ONE;
	assert_int_equal(come_back(LIMIT, true), LIMIT);
	lru()->guard.gain = 0;
	assert_true(come_back(10000, true) < LIMIT);
	assert_true(rules());
	/* Who does not want to be guarded is not; nor is there anything to guard by age alone. */
	a32_store(&policy.guard, 0);
	assert_false(rules());
	a32_store(&policy.guard, 1);
	a32_store(&policy.probation, 0);
	assert_false(rules());
	a32_store(&policy.probation, 1);
	assert_true(rules());
}

/* Do losses alarm that are more than the slack at first, and less than with trust? */
static bool losses_between_alarm(void)
{
	lru()->guard.gain = 0;
	lru()->guard.loss = LIMIT * GUARD_ONE / 50;
	lru()->guard.until_tick = 0;
	(void)come_back(1, false);
	return rules();
}

/* Else the beginning that follows would alarm in turn: a scan over a hot set was left to recency for good. */
static void test_guard_has_more_slack_once_it_has_ruled(void **state)
{
	(void)state;
	touch(0, LIMIT);
	pass();
	assert_false(lru()->guard.trust);
	assert_true(losses_between_alarm());
	assert_false(lru()->guard.trust);
	(void)come_back(10000, true);
	assert_false(rules());
	assert_true(lru()->guard.trust);
	assert_int_equal(lru()->guard.rounds, 2 * GUARD_ROUNDS);
	assert_false(losses_between_alarm());
}

/* It comes with two memories without an alarm as well. */
static void test_guard_has_more_slack_after_calm(void **state)
{
	(void)state;
	touch(0, LIMIT);
	pass();
	assert_int_equal(come_back(LIMIT, false), LIMIT);
	assert_false(lru()->guard.trust);
	assert_int_equal(come_back(2 * LIMIT, false), 2 * LIMIT);
	assert_true(lru()->guard.trust);
	assert_false(losses_between_alarm());
}

/* Nobody is on probation, comes on it, or is spared while recency rules. */
static void test_guard_by_age(void **state)
{
	struct gen_chunk chunk;
	u64 at;

	(void)state;
	touch(0, 200);
	pass();
	assert_int_equal(lru()->on_probation, 200);
	touch(100, 100);
	pass();
	pass();
	pass();
	a32_store(&lru()->guard.rules, 1);
	lru()->guard.ticks = 1000;
	touch(300, 10);
	gen_isolate(lru(), POLICY_SWAPPINESS, GEN_ANY_SEQ, GEN_BATCH, &chunk);
	assert_int_equal(lru()->on_probation, 0);
	assert_int_equal(chunk.demoted, 0);
	assert_true(chunk.n > 0);
	for (unsigned i = 0; i < chunk.n; i++) {
		assert_true(frame_gfn(frame_at(chunk.frame[i])).v < 100);
		gen_insert(lru(), chunk.frame[i], GEN_ENTER_REJECTED);
	}
	/* Who comes back is as young as it is. */
	evict(50);
	for (at = 0; gfn_word_tag(fake_word(&guest, at)) == GFN_RESIDENT; at++)
		;
	touch(at, 1);
	assert_false(fake_state(&guest, at) & FRAME_PROBATION);
	assert_int_equal(gen_label_seq(fake_state(&guest, at), a64_load(&lru()->max_seq)),
	                 a64_load(&lru()->max_seq));
	a32_store(&lru()->guard.rules, 0);
	touch(at == 600 ? 601 : 600, 1);
	assert_int_equal(lru()->on_probation, 1);
}

/* --- what it is good for --------------------------------------------------------------------------- */

/* An access as hardware makes it; a pass each time that as many were made as memory has pages. */
static void access_page(u64 page, unsigned i)
{
	guest.vcpu[0].tlb[page] = 0;
	if (i % 2)
		fake_write(&guest, 0, page, 5, page);
	else
		(void)fake_read(&guest, 0, page, 5);
	if (i % LIMIT == 0)
		(void)age_space(guest.space, a64_load(&lru()->max_seq), false);
}

static void start_limited(void)
{
	limits_set_limit(guest.space, LIMIT);
	a64_store(&guest.vcpu[0].flushed, ~0ull);
	for (u64 page = 0; page < PAGES; page++)
		access_page(page, (unsigned)page);
}

/* Refaults of a set that is as large as memory allows, and moves `phases` times. */
static u64 moving_set(void)
{
	u64 x = 7;

	start_limited();
	for (unsigned i = 0; i < 16 * 3000; i++)
		access_page((i / 3000 * 311 + host_random(&x) / 16 % (LIMIT - 40)) % PAGES, i);
	return a64_load(&stats()->refaults_total);
}

/* ... of a loop that does not fit. */
static u64 loop(void)
{
	start_limited();
	for (unsigned i = 0; i < 40 * LIMIT; i++)
		access_page(i % (LIMIT + LIMIT / 4), i);
	return a64_load(&stats()->refaults_total);
}

static u64 with(bool guarded, bool twolist, u64 (*run)(void), u64 *alarms)
{
	u64 refaults;

	assert_int_equal(setup(NULL), 0);
	a32_store(&policy.guard, guarded);
	policy_switch(twolist);
	refaults = run();
	*alarms = a64_load(&stats()->guard_alarms_total);
	assert_true(!*alarms || a64_load(&stats()->guard_refaults_total));
	assert_int_equal(teardown(NULL), 0);
	return refaults;
}

static void test_guard_moving_set(void **state)
{
	u64 alarms, without, lists, guarded;

	(void)state;
	without = with(false, false, moving_set, &alarms);
	assert_int_equal(alarms, 0);
	lists = with(false, true, moving_set, &alarms);
	guarded = with(true, false, moving_set, &alarms);
	assert_true(alarms > 0);
	assert_true(guarded * 10 < without * 9);
	assert_true(guarded < lists);
}

static void test_guard_loop(void **state)
{
	u64 alarms, without, lists, guarded;

	(void)state;
	without = with(false, false, loop, &alarms);
	guarded = with(true, false, loop, &alarms);
	lists = with(false, true, loop, &alarms);
	assert_true(guarded * 10 < without * 11);
	assert_true(guarded * 3 < lists * 2);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_guard_counts_who_is_gone),
	        T(test_guard_is_audited),
	        T(test_guard_forgets),
	        T(test_guard_labels_come_round),
	        T(test_guard_leaves_two_lists_alone),
	        T(test_guard_cut),
	        T(test_guard_alarm),
	        T(test_guard_has_more_slack_once_it_has_ruled),
	        T(test_guard_has_more_slack_after_calm),
	        T(test_guard_by_age),
	        cmocka_unit_test(test_guard_moving_set),
	        cmocka_unit_test(test_guard_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
