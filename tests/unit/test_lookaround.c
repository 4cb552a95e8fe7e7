/* mm/age: the evictor's look at the neighbours of a young page, under each rule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mm/age.h"
#include "mm/audit.h"
#include "mm/policy.h"
#include "tests/host/fake/store.c"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"

#define FRAMES 600u
#define WAS    (NOTIFIER_YOUNG | NOTIFIER_WAS_FAST)

static struct fake_guest guest;

/* Every page touched twice: harvesting it promotes it. */
static void start(u64 base, u64 npages, unsigned nr_mmus, bool second_is_slow)
{
	const struct fake_config c = {.name = "surveyed",
	                              .npages = npages,
	                              .base = base,
	                              .nr_vcpus = nr_mmus,
	                              .nr_mmus = nr_mmus,
	                              .second_is_slow = second_is_slow};

	fake_guest_create(&guest, &c);
	for (u64 page = 0; page < npages; page++)
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

static u64 sweeps(void)
{
	return a64_load(&guest.space->stats.lookarounds_total);
}

static u64 promoted(void)
{
	return a64_load(&guest.space->stats.lookaround_promoted_total);
}

static void test_lookaround_window_is_aligned_and_ends_with_the_slot(void **state)
{
	(void)state;
	start(100, 300, 1, false);
	age_look_around(guest.space, gfn(110), WAS);
	assert_int_equal(promoted(), 128 - 100);
	age_look_around(guest.space, gfn(200), WAS);
	assert_int_equal(promoted(), 128 - 100 + 64);
	age_look_around(guest.space, gfn(399), WAS);
	assert_int_equal(promoted(), 128 - 100 + 64 + 400 - 384);
	assert_int_equal(sweeps(), 3);
	assert_int_equal(a64_load(&guest.space->stats.promoted_total), promoted());
}

static void test_lookaround_of_a_page_alone_is_nothing(void **state)
{
	(void)state;
	start(127, 66, 1, false);
	age_look_around(guest.space, gfn(127), WAS);
	age_look_around(guest.space, gfn(192), WAS);
	age_look_around(guest.space, gfn(500), WAS); /* in no slot */
	assert_int_equal(sweeps(), 0);
	assert_int_equal(promoted(), 0);
}

static void test_lookaround_rules(void **state)
{
	static const struct {
		enum policy_lookaround rule;
		u32 caps;
		unsigned young;
		bool slow; /* the second MMU */
		bool sweeps;
	} row[] = {
	        {POLICY_LOOK_OFF, POLICY_CAPS, WAS, false, false},
	        {POLICY_LOOK_ANY, POLICY_CAPS, WAS, false, true},
	        {POLICY_LOOK_ANY, POLICY_CAPS, WAS, true, true},
	        {POLICY_LOOK_ANY, POLICY_CAPS, NOTIFIER_YOUNG, false, false},
	        {POLICY_LOOK_ANY, POLICY_CAPS, 0, false, false},
	        {POLICY_LOOK_ALL, POLICY_CAPS, WAS, false, true},
	        {POLICY_LOOK_ALL, POLICY_CAPS, WAS, true, false},
	        {POLICY_LOOK_ALL, POLICY_CAPS, NOTIFIER_YOUNG, false, false},
	        {POLICY_LOOK_ANY, POLICY_CAPS & ~POLICY_CORE, WAS, false, false},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		if (i)
			fake_guest_destroy(&guest);
		start(0, 64, 2, row[i].slow);
		a32_store(&policy.lookaround, row[i].rule);
		a32_store(&policy.caps, row[i].caps);
		age_look_around(guest.space, gfn(7), row[i].young);
		assert_int_equal(sweeps(), row[i].sweeps);
	}
}

/* The sweep asks no slow MMU: what only that one saw stays as it is. */
static void test_lookaround_goes_through_the_fast_path(void **state)
{
	(void)state;
	start(0, 64, 2, true);
	age_look_around(guest.space, gfn(7), WAS);
	assert_int_equal(promoted(), 32);
	for (u64 page = 1; page < 64; page += 2)
		assert_true(a64_load(&guest.mmu[1].entry[page]) & FAKE_A);
}

/* What each rule finds of 64 young pages, half of them young in the second MMU only. */
static void test_lookaround_promotions_by_rule(void **state)
{
	static const struct {
		enum policy_lookaround rule;
		bool slow; /* the second MMU */
		u64 promoted;
	} row[] = {
	        {POLICY_LOOK_OFF, false, 0},  {POLICY_LOOK_OFF, true, 0},
	        {POLICY_LOOK_ANY, false, 64}, {POLICY_LOOK_ANY, true, 32},
	        {POLICY_LOOK_ALL, false, 64}, {POLICY_LOOK_ALL, true, 0},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(row); i++) {
		if (i)
			fake_guest_destroy(&guest);
		start(0, 64, 2, row[i].slow);
		a32_store(&policy.lookaround, row[i].rule);
		age_look_around(guest.space, gfn(7), WAS);
		assert_int_equal(promoted(), row[i].promoted);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_lookaround_window_is_aligned_and_ends_with_the_slot),
	        T(test_lookaround_of_a_page_alone_is_nothing),
	        T(test_lookaround_rules),
	        T(test_lookaround_promotions_by_rule),
	        T(test_lookaround_goes_through_the_fast_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
