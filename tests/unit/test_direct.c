/* mm/direct, mm/stall: how often vCPUs may reclaim, and for how long they waited. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mm/audit.h"
#include "mm/direct.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/policy.h"
#include "mm/reclaim.h"
#include "mm/stall.h"
#include "tests/host/fake/store.c"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"

#define FRAMES 1024u
#define SECOND 1000000000ull

static struct fake_guest guests[3];
static unsigned nr_guests, ooms;

static void on_wake(void)
{
}
static void on_oom(struct space *s, const char *why)
{
	(void)s;
	(void)why;
	ooms++;
}
static const struct reclaim_ops ops = {.wake = on_wake, .out_of_memory = on_oom};

static void start(const char *name, u64 npages)
{
	const struct fake_config c = {.name = name, .npages = npages};

	fake_guest_create(&guests[nr_guests++], &c);
}

static int setup(void **state)
{
	(void)state;
	policy_init();
	host_time_set(100 * SECOND);
	nr_guests = ooms = 0;
	fake_frames_create(FRAMES);
	reclaim_init(&ops);
	return !store_init();
}

static int teardown(void **state)
{
	(void)state;
	policy_init();
	assert_int_equal(audit_all(NULL), 0);
	while (nr_guests)
		fake_guest_destroy(&guests[--nr_guests]);
	fake_frames_destroy();
	fake_store_reset();
	host_time_set(HOST_TIME_REAL);
	return 0;
}

static void rate(u32 per_s)
{
	a32_store(&policy.direct_rate, per_s);
}

/* How often it may until it may not. */
static unsigned take_all(unsigned i)
{
	unsigned n = 0;

	while (n < 10000 && direct_take(guests[i].space))
		n++;
	return n;
}

static void test_direct_no_bound_by_default(void **state)
{
	(void)state;
	start("one", 64);
	assert_int_equal(direct_left(guests[0].space), DIRECT_RATE_MAX);
	assert_int_equal(take_all(0), 10000);
}

/* A second's worth at once, and one; then as time goes by, and no more of it than that however long it was. */
static void test_direct_rate_is_kept(void **state)
{
	unsigned n = 0;

	(void)state;
	start("one", 64);
	rate(100);
	assert_int_equal(direct_left(guests[0].space), 101);
	/* Of its own, and what is left of all spaces' together: they are the same for one alone. */
	assert_int_equal(take_all(0), 101);
	assert_int_equal(direct_left(guests[0].space), 0);
	for (unsigned ms = 0; ms < 10000; ms++) {
		host_time_add(1000000);
		n += take_all(0);
	}
	assert_in_range(n, 999, 1001);
	host_time_add(3600 * SECOND);
	assert_int_equal(take_all(0), 101);
}

/* One a second is one a second, though no bucket ever holds more. */
static void test_direct_slow_rate_still_gives(void **state)
{
	unsigned n = 0;

	(void)state;
	start("one", 64);
	start("two", 64);
	rate(1);
	for (unsigned s = 0; s < 100; s++) {
		host_time_add(SECOND);
		n += take_all(0);
	}
	assert_in_range(n, 99, 104);
}

/* What the others leave may be had; what is theirs may not. */
static void test_direct_share_is_guaranteed(void **state)
{
	unsigned greedy = 0, calm = 0, refused = 0;

	(void)state;
	start("greedy", 64);
	start("calm", 64);
	rate(100);
	for (unsigned ms = 0; ms < 10000; ms++) {
		host_time_add(1000000);
		greedy += take_all(0);
		if (ms % 25)
			continue;
		refused += !direct_take(guests[1].space);
		calm++;
	}
	assert_int_equal(refused, 0); /* 40 a second: less than its share of 50 */
	assert_int_equal(calm, 400);
	assert_in_range(greedy, 590, 710);
}

/* Two who want all they can get have it by weight. */
static void test_direct_shares_go_by_weight(void **state)
{
	unsigned n[2] = {0, 0};

	(void)state;
	start("light", 64);
	start("heavy", 64);
	a32_store(&guests[1].space->limits.weight, 3 * SPACE_WEIGHT);
	rate(400);
	for (unsigned ms = 0; ms < 10000; ms++) {
		host_time_add(1000000);
		for (unsigned i = 0; i < 2; i++) {
			unsigned k = (i + ms) % 2;

			n[k] += take_all(k);
		}
	}
	/* Two bursts: what all have at first, and what each has, of which all are in debt in the end. */
	assert_in_range(n[0] + n[1], 4000, 4810);
	assert_in_range(n[0], 1000, 1510);
	assert_true(n[1] > 2 * n[0]);
}

/* Who comes late finds the rate as it is, not what was owed under the one before. */
static void test_direct_rate_may_change(void **state)
{
	(void)state;
	start("one", 64);
	rate(1);
	assert_int_equal(take_all(0), 2);
	rate(1000);
	host_time_add(SECOND / 1000);
	assert_in_range(take_all(0), 0, 2);
	host_time_add(SECOND / 2);
	assert_in_range(take_all(0), 499, 502);
	rate(0);
	assert_int_equal(take_all(0), 10000);
}

/* --- the fault path -------------------------------------------------------------------------------- */

static u64 stat(unsigned i, size_t offset)
{
	return a64_load((const a64 *)((const char *)&guests[i].space->stats + offset));
}
#define STAT(i, name) stat(i, offsetof(struct space_stats, name##_total))

static enum fault_result touch(unsigned i, u64 page)
{
	struct fault_page out;

	return fault_bring_in(guests[i].space, gfn(page % guests[i].npages), true, false, &out);
}

/* Page after page, as a vCPU that is sent to wait and comes back: how many it got of `tries`. */
static unsigned storm(unsigned i, unsigned tries, u64 *page)
{
	unsigned got = 0;

	for (unsigned n = 0; n < tries; n++) {
		enum fault_result r = touch(i, *page);

		got += r == FAULT_FIXED;
		*page += r == FAULT_FIXED;
		assert_true(r == FAULT_FIXED || r == FAULT_NO_MEMORY);
		epoch_poll();
	}
	return got;
}

/*
 * One guest needs page after page and nobody makes room but vCPUs themselves. With the rate used up it
 * waits, takes nothing of the reserve, and nobody is stopped for it; the other, which faults now and then,
 * gets every page at the first try.
 */
static void test_direct_storm_waits_and_the_calm_does_not(void **state)
{
	u64 page = 0, reclaims;

	(void)state;
	start("storm", 16 * FRAMES);
	start("calm", 512);
	rate(20);
	storm(0, 4 * FRAMES, &page); /* what could be had at this time, is gone */
	reclaims = STAT(0, direct_reclaims);
	assert_in_range(reclaims, 20, 33);
	assert_true(STAT(0, direct_refused) > 100);
	assert_int_equal(storm(0, 50, &page), 0);
	assert_true(frame_free_count() + 1 >= frame_marks.min);
	for (u64 i = 0; i < 200; i++) {
		assert_int_equal(touch(1, i), FAULT_FIXED);
		(void)storm(0, 400, &page);
		host_time_add(SECOND / 8);
	}
	/* 25 seconds: of 500 chunks the storm has had what the other did not need. */
	assert_in_range(STAT(0, direct_reclaims) - reclaims, 250, 510);
	assert_in_range(STAT(1, direct_reclaims), 0, 200);
	assert_int_equal(STAT(1, direct_refused), 0);
	assert_int_equal(ooms, 0);
}

/* Without a bound the storm never waits, and reclaims for every page it is short of. */
static void test_direct_without_a_bound_nobody_waits(void **state)
{
	u64 page = 0;

	(void)state;
	start("storm", 16 * FRAMES);
	assert_int_equal(storm(0, 4 * FRAMES, &page), 4 * FRAMES);
	assert_true(STAT(0, direct_reclaims) > 30);
	assert_int_equal(STAT(0, direct_refused), 0);
}

/* --- waiting --------------------------------------------------------------------------------------- */

static void test_stall_some_and_all(void **state)
{
	struct space *s;
	u64 one, two;

	(void)state;
	start("two vcpus", 64);
	s = guests[0].space;
	s->vcpus = 2;
	one = stall_begin(s);
	host_time_add(10);
	two = stall_begin(s);
	host_time_add(5);
	stall_end(s, one);
	assert_int_equal(STAT(0, stall_all_ns), 5);
	assert_int_equal(STAT(0, stall_some_ns), 15);
	host_time_add(7);
	stall_end(s, two);
	host_time_add(100);
	assert_int_equal(STAT(0, stall_ns), 15 + 12);
	assert_int_equal(STAT(0, stall_some_ns), 22);
	assert_int_equal(STAT(0, stall_all_ns), 5);
	one = stall_begin(s);
	host_time_add(3);
	stall_end(s, one);
	assert_int_equal(STAT(0, stall_some_ns), 25);
	assert_int_equal(STAT(0, stall_all_ns), 5);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_direct_no_bound_by_default),
	        T(test_direct_rate_is_kept),
	        T(test_direct_slow_rate_still_gives),
	        T(test_direct_share_is_guaranteed),
	        T(test_direct_shares_go_by_weight),
	        T(test_direct_rate_may_change),
	        T(test_direct_storm_waits_and_the_calm_does_not),
	        T(test_direct_without_a_bound_nobody_waits),
	        T(test_stall_some_and_all),
	};

	return cmocka_run_group_tests_name("direct", tests, NULL, NULL);
}
