/* mm/age_flush: what passes see of a guest whose translations stay cached, under each mode. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mm/age.h"
#include "mm/age_flush.h"
#include "mm/audit.h"
#include "mm/policy.h"
#include "tests/host/fake/store.c"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"

#define FRAMES 700u
#define PAGES  512u

static struct fake_guest guest;

static void start(enum policy_flush mode, bool stays)
{
	const struct fake_config c = {
	        .name = "cached", .npages = PAGES, .nr_vcpus = 2, .upper_bits = true};

	a32_store(&policy.flush, mode);
	fake_guest_create(&guest, &c);
	guest.vcpu[0].stays = stays;
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
	host_time_set(HOST_TIME_REAL);
	assert_int_equal(audit_all(NULL), 0);
	fake_guest_destroy(&guest);
	fake_frames_destroy();
	fake_store_reset();
	return 0;
}

static void touch_all(void)
{
	for (u64 page = 0; page < PAGES; page++)
		(void)fake_read(&guest, 0, page, 0);
}

static u64 pass(void)
{
	return age_space(guest.space, a64_load(&guest.space->lru.max_seq), false).young;
}

static u64 wanted(void)
{
	return a64_load(&guest.space->flush.wanted);
}

static void test_flush_none_hot_pages_look_old(void **state)
{
	(void)state;
	start(POLICY_FLUSH_NONE, false);
	touch_all();
	assert_int_equal(pass(), PAGES);
	touch_all();
	assert_int_equal(pass(), 0);
	assert_int_equal(wanted(), 0);
}

static void test_flush_per_pass_is_exact(void **state)
{
	(void)state;
	start(POLICY_FLUSH_PER_PASS, false);
	for (u64 i = 1; i <= 4; i++) {
		touch_all();
		assert_int_equal(pass(), PAGES);
		assert_int_equal(wanted(), i);
	}
	for (u64 page = 0; page < PAGES; page += 3)
		(void)fake_read(&guest, 0, page, 0);
	assert_int_equal(pass(), (PAGES + 2) / 3);
	/* Everybody left by himself, in time. */
	assert_int_equal(guest.vcpu[0].kicks, 0);
	assert_int_equal(a64_load(&guest.space->flush.done), 0);
}

static void test_flush_kicks_who_stays_when_the_grace_is_over(void **state)
{
	u64 due;

	(void)state;
	host_time_set(1000);
	start(POLICY_FLUSH_PER_PASS, true);
	touch_all();
	assert_int_equal(pass(), PAGES);
	touch_all(); /* in its grace it is not disturbed, and not seen */
	due = age_flush_poll(1000);
	assert_int_equal(due, 1000 + AGE_FLUSH_GRACE_NS);
	assert_int_equal(guest.vcpu[0].kicks, 0);
	due = age_flush_poll(due);
	assert_int_equal(guest.vcpu[0].kicks, 1);
	touch_all();
	assert_int_equal(age_flush_poll(due), ~0ull); /* it is in again, and has flushed */
	assert_int_equal(pass(), PAGES);
	assert_int_equal(guest.vcpu[0].kicks, 1);
}

static void test_flush_kicks_who_stays_when_the_next_pass_begins(void **state)
{
	(void)state;
	host_time_set(1000);
	start(POLICY_FLUSH_PER_PASS, true);
	touch_all();
	(void)pass();
	touch_all();
	assert_int_equal(pass(), 0);
	assert_int_equal(guest.vcpu[0].kicks, 1);
	touch_all();
	assert_int_equal(pass(), PAGES);
}

static void test_flush_sampled_flushes_one_pass_in_some(void **state)
{
	(void)state;
	start(POLICY_FLUSH_SAMPLED, false);
	for (unsigned i = 0; i < 3 * AGE_FLUSH_SAMPLE; i++) {
		touch_all();
		(void)pass();
	}
	assert_int_equal(wanted(), 3);
	assert_int_equal(a64_load(&guest.space->stats.sampled_passes_flushed_total), 3);
}

/* Of each page's translation, how likely it leaves the TLB between two passes, in percent. */
static void estimate_is_right(unsigned percent)
{
	u64 seed = 77 + percent, touched = 0, missed = 0;
	unsigned truth, estimate;

	start(POLICY_FLUSH_SAMPLED, false);
	touch_all();
	(void)pass();
	for (unsigned i = 0; i < 20 * AGE_FLUSH_SAMPLE; i++) {
		bool flushed = a32_load(&guest.space->age_flush.flushed);

		for (u64 page = 0; page < PAGES; page++)
			if (host_random(&seed) % 100 < percent)
				guest.vcpu[0].tlb[page] = 0;
		touch_all();
		for (u64 page = 0; page < PAGES && !flushed; page++, touched++)
			missed += !(a64_load(&guest.mmu[0].entry[page]) & FAKE_A);
		(void)pass();
	}
	truth = (unsigned)(missed * 1000 / touched);
	estimate = age_false_old_permille(&guest.space->stats);
	assert_in_range(truth, 1000 - percent * 10 - 20, 1000 - percent * 10 + 20);
	assert_in_range(estimate, truth < 30 ? 0 : truth - 30, truth + 30);
}

static void test_flush_sampled_estimates_what_is_missed(void **state)
{
	(void)state;
	estimate_is_right(30);
	fake_guest_destroy(&guest);
	estimate_is_right(80);
	fake_guest_destroy(&guest);
	estimate_is_right(95);
}

static void test_flush_estimate_needs_both_kinds(void **state)
{
	struct space_stats stats = {.sampled_passes_flushed_total = {3}};

	(void)state;
	start(POLICY_FLUSH_NONE, false);
	assert_int_equal(age_false_old_permille(&stats), 0);
	a64_store(&stats.sampled_young_flushed_total, 300);
	assert_int_equal(age_false_old_permille(&stats), 0);
	a64_store(&stats.sampled_passes_unflushed_total, 4);
	assert_int_equal(age_false_old_permille(&stats), 1000);
	a64_store(&stats.sampled_young_unflushed_total, 300);
	assert_int_equal(age_false_old_permille(&stats), 250);
	a64_store(&stats.sampled_young_unflushed_total, 4000);
	assert_int_equal(age_false_old_permille(&stats), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_flush_none_hot_pages_look_old),
	        T(test_flush_per_pass_is_exact),
	        T(test_flush_kicks_who_stays_when_the_grace_is_over),
	        T(test_flush_kicks_who_stays_when_the_next_pass_begins),
	        T(test_flush_sampled_flushes_one_pass_in_some),
	        T(test_flush_sampled_estimates_what_is_missed),
	        T(test_flush_estimate_needs_both_kinds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
