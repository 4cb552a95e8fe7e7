/* mm/notifier: the sentences of its contract that no test of an MMU shows by itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <string.h>
#include <cmocka.h>

#include "mm/age.h"
#include "mm/audit.h"
#include "mm/epoch.h"
#include "mm/notifier.h"
#include "mm/policy.h"
#include "tests/host/fake/store.c"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"

#define FRAMES 600u
#define FAST   (NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY)
#define WAS    (NOTIFIER_YOUNG | NOTIFIER_WAS_FAST)

static struct fake_guest guest;

/* Two MMUs, unless it is to be one; all pages are touched, even ones through the first and odd ones through the other. */
static void start(unsigned nr_mmus, bool second_is_slow)
{
	const struct fake_config c = {.name = "asked",
	                              .npages = 64,
	                              .nr_vcpus = nr_mmus,
	                              .nr_mmus = nr_mmus,
	                              .second_is_slow = second_is_slow};

	fake_guest_create(&guest, &c);
	for (u64 page = 0; page < 64; page++)
		fake_write(&guest, (unsigned)page % nr_mmus, page, 0, page + 1);
}

static int setup(void **state)
{
	(void)state;
	policy_init();
	fake_frames_create(FRAMES);
	return !store_init();
}

static int teardown(void **state)
{
	(void)state;
	policy_init();
	assert_int_equal(audit_all(NULL), 0);
	fake_guest_destroy(&guest);
	fake_frames_destroy();
	fake_store_reset();
	return 0;
}

static unsigned ask(u64 *young, unsigned flags)
{
	u64 visited = 0;

	*young = ~0ull;
	return notifier_age(guest.space, gfn(0), 64, young, flags, &visited);
}

/* --- who is called --------------------------------------------------------------------------------- */

static struct notifier_ops real;
static unsigned calls;

static unsigned counted_age(struct notifier *n, gfn_t first, unsigned npages, u64 *bitmap,
                            unsigned flags, u64 *visited)
{
	calls++;
	return real.age(n, first, npages, bitmap, flags, visited);
}

static bool counted_populated(struct notifier *n)
{
	calls++;
	return real.populated(n);
}

static bool counted_range_young(struct notifier *n, gfn_t first, u64 npages, bool clear)
{
	(void)n;
	(void)first;
	(void)npages;
	(void)clear;
	calls++;
	return false;
}

/* From now on `calls` counts what is called of this MMU's in a harvest. */
static void count_calls(struct fake_mmu *m)
{
	real = m->ops;
	m->ops.age = counted_age;
	m->ops.populated = counted_populated;
	m->ops.range_young = counted_range_young;
	calls = 0;
}

/* The flag is looked at before anything is called: a slow MMU costs a fast-only question a load. */
static void test_notifier_calls_nothing_of_who_is_left_out(void **state)
{
	u64 young;

	(void)state;
	start(2, true);
	count_calls(&guest.mmu[1]);
	assert_int_equal(ask(&young, NOTIFIER_TEST | NOTIFIER_FAST_ONLY), WAS);
	(void)notifier_range_young(guest.space, gfn(0), TABLE_PAGES, FAST);
	assert_true(age_space(guest.space, a64_load(&guest.space->lru.max_seq), true).produced);
	age_look_around(guest.space, gfn(7), WAS);
	assert_int_equal(ask(&young, NOTIFIER_CLEAR | NOTIFIER_FIRST_MMU), 0);
	assert_int_equal(calls, 0);
	assert_int_equal(ask(&young, NOTIFIER_CLEAR), NOTIFIER_YOUNG);
	assert_int_equal(young, 0xaaaaaaaaaaaaaaaa);
	assert_int_equal(calls, 2);
}

/* 64 neighbours are one question. */
static void test_notifier_look_around_is_one_question(void **state)
{
	(void)state;
	start(1, false);
	count_calls(&guest.mmu[0]);
	age_look_around(guest.space, gfn(7), WAS);
	assert_int_equal(calls, 2); /* is anything mapped, and which of it is young */
	assert_int_equal(a64_load(&guest.space->stats.lookaround_promoted_total), 64);
}

/* Without an MMU nobody has seen anything. */
static void test_notifier_of_a_space_without_mmus(void **state)
{
	u64 young;

	(void)state;
	start(1, false);
	a32_store(&guest.space->nr_notifiers, 0);
	assert_int_equal(ask(&young, NOTIFIER_CLEAR), 0);
	assert_int_equal(young, 0);
	assert_int_equal(notifier_age_one(guest.space, gfn(1), NOTIFIER_TEST), 0);
	assert_false(notifier_range_young(guest.space, gfn(0), TABLE_PAGES, NOTIFIER_TEST));
	assert_false(notifier_any_fast(guest.space));
	a32_store(&guest.space->nr_notifiers, 1);
	assert_int_equal(ask(&young, NOTIFIER_TEST), WAS);
}

/* --- what is declared ------------------------------------------------------------------------------ */

/* Is it worth calling, and is that all? The same before and after whatever was asked. */
static void test_notifier_fast_is_what_was_declared(void **state)
{
	static const struct {
		unsigned nr_mmus;
		bool slow, first_is_slow; /* the second */
		bool any, all;
	} row[] = {
	        {1, false, false, true, true}, {1, false, true, false, false},
	        {2, false, false, true, true}, {2, true, false, true, false},
	        {2, false, true, true, false}, {2, true, true, false, false},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(row); i++) {
		u64 young;

		if (i)
			fake_guest_destroy(&guest);
		start(row[i].nr_mmus, row[i].slow);
		guest.mmu[0].ops.has_fast_aging = !row[i].first_is_slow;
		for (unsigned again = 0; again < 2; again++) {
			assert_int_equal(notifier_any_fast(guest.space), row[i].any);
			assert_int_equal(notifier_all_fast(guest.space), row[i].all);
			assert_int_equal(!!(ask(&young, FAST) & NOTIFIER_YOUNG),
			                 row[i].any && !again);
			(void)ask(&young, NOTIFIER_CLEAR);
		}
	}
}

/* --- locks ----------------------------------------------------------------------------------------- */

static unsigned seen_locked, seen_read, seen_free;

static void note_lock(struct fake_guest *g, enum fake_seam seam, gfn_t at)
{
	bool is_free, is_read;

	(void)at;
	if (seam != FAKE_AGE)
		return;
	host_cpu_set(1);
	is_free = write_trylock(&g->space->mmu_lock);
	if (is_free)
		write_unlock(&g->space->mmu_lock);
	is_read = !is_free && read_trylock(&g->space->mmu_lock);
	if (is_read)
		read_unlock(&g->space->mmu_lock);
	host_cpu_set(0);
	seen_free += is_free;
	seen_read += is_read;
	seen_locked += !is_free && !is_read;
}

/* The one or the other, as the policy says; a slow MMU is called without the lock, for it takes it by itself. */
static void test_notifier_harvest_is_lockless_or_locked(void **state)
{
	u64 young;

	(void)state;
	start(2, true);
	guest.hook = note_lock;
	for (u32 locked = POLICY_LOCKLESS; locked <= POLICY_READ; locked++) {
		seen_locked = seen_read = seen_free = 0;
		a32_store(&policy.locked, locked);
		(void)ask(&young, NOTIFIER_CLEAR);
		assert_int_equal(seen_locked, locked == POLICY_LOCKED);
		assert_int_equal(seen_read, locked == POLICY_READ);
		assert_int_equal(seen_free, locked == POLICY_LOCKLESS ? 2 : 1);
		assert_true(write_trylock(&guest.space->mmu_lock));
		write_unlock(&guest.space->mmu_lock);
	}
	guest.hook = NULL;
}

static void ask_fast(void *arg)
{
	(void)notifier_age_one(guest.space, gfn(1), FAST);
	(void)arg;
}

static void ask_accurate(void *arg)
{
	(void)notifier_age_one(guest.space, gfn(1), NOTIFIER_CLEAR);
	(void)arg;
}

/* Both at once cannot be: who asks for a locked harvest holding the lock is stopped. */
static void test_notifier_locked_harvest_under_the_lock_is_a_bug(void **state)
{
	(void)state;
	start(1, false);
	write_lock(&guest.space->mmu_lock);
	assert_false(host_panics(ask_fast, NULL));
	a32_store(&policy.locked, POLICY_LOCKED);
	assert_true(host_panics(ask_fast, NULL));
	epoch_exit();
	a32_store(&policy.locked, POLICY_READ);
	assert_true(host_panics(ask_accurate, NULL));
	epoch_exit();
	write_unlock(&guest.space->mmu_lock);
}

/* --- the read side --------------------------------------------------------------------------------- */

static unsigned pauses, pauses_till_free;

static void count_pause(void *arg)
{
	(void)arg;
	if (++pauses != pauses_till_free)
		return;
	host_cpu_set(1);
	write_unlock(&guest.space->mmu_lock);
	host_cpu_set(0);
}

/* Another CPU is the writer, until somebody has paused so often; 0: for good. */
static void writer_stays(unsigned so_long)
{
	pauses = 0;
	pauses_till_free = so_long;
	host_cpu_set(1);
	write_lock(&guest.space->mmu_lock);
	host_cpu_set(0);
	host_on_pause(count_pause, NULL);
}

static void writer_leaves(void)
{
	host_on_pause(NULL, NULL);
	if (pauses_till_free && pauses >= pauses_till_free)
		return;
	host_cpu_set(1);
	write_unlock(&guest.space->mmu_lock);
	host_cpu_set(0);
}

#define PAUSES_MAX ((1u << NOTIFIER_READ_TRIES) - 1)

static void harvest_counters(u64 waits, u64 left)
{
	assert_int_equal(a64_load(&guest.space->stats.harvest_waits_total), waits);
	assert_int_equal(a64_load(&guest.space->stats.harvest_left_total), left);
}

/*
 * Fast-only tries for a bounded while and leaves: nothing young is reported, nothing is forgotten, and the
 * writer does not find it in its queue. Of the upper entry it knows nothing, so it says that it may be young.
 */
static void test_notifier_read_fast_only_leaves(void **state)
{
	u64 young;

	(void)state;
	start(1, false);
	a32_store(&policy.locked, POLICY_READ);
	writer_stays(0);
	assert_int_equal(ask(&young, FAST), 0);
	assert_int_equal(young, 0);
	assert_int_equal(pauses, PAUSES_MAX);
	harvest_counters(1, 1);
	count_calls(&guest.mmu[0]);
	assert_true(notifier_range_young(guest.space, gfn(0), TABLE_PAGES, FAST));
	assert_int_equal(pauses, 2 * PAUSES_MAX);
	harvest_counters(2, 2);
	assert_int_equal(calls, 1); /* is anything mapped */
	writer_leaves();
	assert_false(notifier_range_young(guest.space, gfn(0), TABLE_PAGES, FAST));
	assert_int_equal(rw_waits(&guest.space->mmu_lock), 0);
	assert_int_equal(ask(&young, FAST), WAS);
	assert_int_equal(young, ~0ull);
	harvest_counters(2, 2);
}

/* It pauses longer from try to try, and comes in when the writer is gone. */
static void test_notifier_read_backs_off(void **state)
{
	static const struct {
		unsigned free_after, had_after;
	} row[] = {{1, 1}, {2, 3}, {3, 3}, {4, 7}, {100, 127}, {PAUSES_MAX, PAUSES_MAX}};
	u64 young;

	(void)state;
	start(1, false);
	a32_store(&policy.locked, POLICY_READ);
	for (unsigned i = 0; i < ARRAY_SIZE(row); i++) {
		writer_stays(row[i].free_after);
		assert_int_equal(ask(&young, NOTIFIER_TEST | NOTIFIER_FAST_ONLY), WAS);
		assert_int_equal(pauses, row[i].had_after);
		writer_leaves();
		harvest_counters(i + 1, 0);
	}
	assert_int_equal(rw_waits(&guest.space->mmu_lock), 0);
}

/* An accurate question gives up the tries, not the answer: it queues for the lock. */
static void test_notifier_read_accurate_waits(void **state)
{
	u64 young;

	(void)state;
	start(1, false);
	a32_store(&policy.locked, POLICY_READ);
	writer_stays(PAUSES_MAX + 50);
	assert_int_equal(ask(&young, NOTIFIER_CLEAR), WAS);
	assert_int_equal(young, ~0ull);
	assert_int_equal(pauses, PAUSES_MAX + 50);
	writer_leaves();
	harvest_counters(1, 0);
	assert_int_equal(a32_load(&guest.space->mmu_lock.reader_waits), 1);
}

static a32 writer_came;

static void *come_to_write(void *arg)
{
	host_cpu_set(2);
	invalidate_begin(guest.space, gfn(0), gfn(0));
	a32_store(&writer_came, 1);
	invalidate_end(guest.space, gfn(0), gfn(0));
	return arg;
}

static pthread_t writer;

/* While the MMU is asked a writer comes. Under a lock it stays outside until the harvest is over. */
static void bring_a_writer(struct fake_guest *g, enum fake_seam seam, gfn_t at)
{
	u32 inside = a32_load(&policy.locked) == POLICY_LOCKED; /* the harvest is a writer itself */

	(void)at;
	if (seam != FAKE_AGE)
		return;
	g->hook = NULL;
	a32_store(&writer_came, 0);
	assert_int_equal(pthread_create(&writer, NULL, come_to_write, NULL), 0);
	if (a32_load(&policy.locked) == POLICY_LOCKLESS) {
		pthread_join(writer, NULL);
		return;
	}
	while (rw_writers(&g->space->mmu_lock) < inside + 1)
		hal_pause();
	assert_int_equal(a32_load(&writer_came), 0);
}

/* What the seeds argue about: whoever evicts waits for who ages, under the read side as well. It is counted. */
static void test_notifier_writers_wait_for_harvests(void **state)
{
	u64 young;

	(void)state;
	start(1, false);
	for (u32 locked = POLICY_LOCKLESS; locked <= POLICY_READ; locked++) {
		a32_store(&policy.locked, locked);
		guest.hook = bring_a_writer;
		assert_int_equal(ask(&young, NOTIFIER_TEST | NOTIFIER_FAST_ONLY), WAS);
		if (locked != POLICY_LOCKLESS)
			pthread_join(writer, NULL);
		assert_int_equal(a32_load(&writer_came), 1);
		assert_int_equal(a64_load(&guest.space->stats.harvest_delays_total), locked);
	}
}

static void wait_for_flush(void *arg)
{
	flush_wait(guest.space, *(u64 *)arg);
}

/* Clear and flush: clearing needs no lock, and waiting for the flush under one is a bug. */
static void test_notifier_flush_is_waited_for_without_a_lock(void **state)
{
	u64 gen;

	(void)state;
	start(1, false);
	gen = flush_request(guest.space);
	write_lock(&guest.space->mmu_lock);
	assert_true(host_panics(wait_for_flush, &gen));
	write_unlock(&guest.space->mmu_lock);
	assert_false(flush_is_done(guest.space, gen));
	flush_wait(guest.space, gen);
	assert_true(flush_is_done(guest.space, gen));
}

/* --- the invalidate protocol ----------------------------------------------------------------------- */

/* Aging is no invalidation, and goes on while there is one. */
static void test_notifier_aging_takes_no_part_in_invalidations(void **state)
{
	u64 young, seq;

	(void)state;
	start(2, false);
	seq = invalidate_seq(guest.space);
	assert_int_equal(ask(&young, NOTIFIER_TEST), WAS);
	assert_int_equal(ask(&young, FAST), WAS);
	assert_int_equal(young, ~0ull);
	assert_int_equal(invalidate_seq(guest.space), seq);
	read_lock(&guest.space->mmu_lock);
	assert_false(invalidate_retry(guest.space, seq, gfn(1)));
	read_unlock(&guest.space->mmu_lock);
	flush_wait(guest.space, flush_request(guest.space));
	for (u64 page = 0; page < 4; page++)
		assert_int_equal(fake_read(&guest, (unsigned)page % 2, page, 0), page + 1);
	invalidate_begin(guest.space, gfn(0), gfn(63));
	assert_int_equal(ask(&young, FAST), WAS);
	assert_int_equal(young, 0xf);
	invalidate_end(guest.space, gfn(0), gfn(63));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_notifier_calls_nothing_of_who_is_left_out),
	        T(test_notifier_look_around_is_one_question),
	        T(test_notifier_of_a_space_without_mmus),
	        T(test_notifier_fast_is_what_was_declared),
	        T(test_notifier_harvest_is_lockless_or_locked),
	        T(test_notifier_locked_harvest_under_the_lock_is_a_bug),
	        T(test_notifier_read_fast_only_leaves),
	        T(test_notifier_read_backs_off),
	        T(test_notifier_read_accurate_waits),
	        T(test_notifier_writers_wait_for_harvests),
	        T(test_notifier_flush_is_waited_for_without_a_lock),
	        T(test_notifier_aging_takes_no_part_in_invalidations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
