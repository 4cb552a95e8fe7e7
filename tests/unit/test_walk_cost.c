/* mm/walk_cost: when walks are given up, and when they are taken up again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mm/age.h"
#include "mm/policy.h"
#include "mm/store.h"
#include "mm/walk_cost.h"
#include "tests/host/hal.h"
#include "tests/unit/host_vm.h"

#define FRAMES 300u

static struct host_vm vm;

static void touch(u64 g)
{
	assert_int_equal(host_vm_write(&vm, 0, gfn_gpa(gfn(g)), g), FAULT_FIXED);
}

static void start(const struct host_machine *m, u64 npages)
{
	host_vm_create(&vm, m, npages, 1);
}

static void stop(void)
{
	assert_int_equal(vm.tdp.notifier.ops->audit(&vm.tdp.notifier), 0);
	host_vm_destroy(&vm);
}

/* One pass in which `young` pages of four tables were touched and all tables stand in the filter. */
static struct age_result pass_that_finds(u64 young)
{
	u64 seq = a64_load(&vm.space->lru.max_seq);

	vm_flush(vm.space);
	for (u64 i = 0; i < young; i++)
		touch(i * 8);
	for (u64 table = 0; table < 4; table++)
		(void)bloom_add(&vm.space->bloom, seq, table);
	return vm_age(vm.space, false);
}

/* Passes made without a walk before the next one with. */
static unsigned passes_left_out(void)
{
	for (unsigned n = 0;; n++)
		if (pass_that_finds(2).tables)
			return n;
}

static void start_poor(const struct host_machine *m)
{
	start(m, 4 * TABLE_PAGES);
	a32_store(&policy.caps, POLICY_CAPS & ~POLICY_NONLEAF);
	assert_int_equal(pass_that_finds(2).tables, 4);
}

static void test_walk_that_does_not_pay_is_given_up(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start_poor(m);
		assert_int_equal(passes_left_out(), 0); /* one is chance */
		assert_int_equal(passes_left_out(), 1);
		assert_int_equal(passes_left_out(), 2);
		assert_int_equal(passes_left_out(), 4);
		assert_int_equal(passes_left_out(), 8);
		assert_int_equal(passes_left_out(), 8);
		assert_int_equal(a64_load(&vm.space->stats.walks_given_up_total), 23);
		assert_int_equal(a64_load(&vm.space->stats.passes_total), 23 + 7);
		stop();
	}
}

static void test_walk_that_pays_again_is_taken_up(void **state)
{
	(void)state;
	start_poor(&host_machines[0]);
	assert_int_equal(passes_left_out(), 0);
	assert_int_equal(pass_that_finds(4 * 512 / WALK_POOR).tables, 0);
	assert_int_equal(pass_that_finds(4 * 512 / WALK_POOR).young, 4 * 512 / WALK_POOR);
	assert_int_equal(passes_left_out(), 0);
	assert_int_equal(passes_left_out(), 0);
	assert_int_equal(passes_left_out(), 1);
	stop();
}

static void test_walk_the_evictor_asks_for_is_taken_up(void **state)
{
	(void)state;
	start_poor(&host_machines[0]);
	for (unsigned i = 0; i < 4; i++)
		(void)passes_left_out();
	assert_int_equal(pass_that_finds(2).tables, 0);
	a64_count(&vm.space->stats.rejected_total, WALK_REJECTED - 1);
	assert_int_equal(pass_that_finds(2).tables, 0);
	a64_count(&vm.space->stats.rejected_total, 1);
	assert_int_equal(passes_left_out(), 0);
	stop();
}

static void test_walk_forced_is_never_given_up(void **state)
{
	(void)state;
	start_poor(&host_machines[0]);
	assert_int_equal(passes_left_out(), 0);
	for (unsigned i = 0; i < 4; i++) {
		u64 seq = a64_load(&vm.space->lru.max_seq);

		assert_int_equal(age_space(vm.space, seq, true).tables, 4);
	}
	stop();
}

static int setup(void **state)
{
	(void)state;
	policy_init();
	host_frames_create(FRAMES);
	return store_init() ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	policy_init();
	host_frames_destroy();
	return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_walk_that_does_not_pay_is_given_up),
	        T(test_walk_that_pays_again_is_taken_up),
	        T(test_walk_the_evictor_asks_for_is_taken_up),
	        T(test_walk_forced_is_never_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
