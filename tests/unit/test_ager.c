/* mm/ager: passes for a declared share of the time, over the space that was named, until it is told to end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "mm/ager.h"
#include "tests/host/hal.h"
#include "tests/unit/host_vm.h"

#define PAGES 600u

static struct host_vm vm;
static unsigned woken;

static void wake(void)
{
	woken++;
}

static int begin(void **state)
{
	(void)state;
	host_vm_create(&vm, &host_machines[0], PAGES, 1);
	for (u64 g = 0; g < PAGES; g++)
		assert_int_equal(host_vm_write(&vm, 0, gfn_gpa(gfn(g)), g), FAULT_FIXED);
	woken = 0;
	ager_on_set(wake);
	return 0;
}

static int end(void **state)
{
	(void)state;
	(void)ager_stop(vm.space);
	ager_on_set(NULL);
	host_vm_destroy(&vm);
	return 0;
}

static void test_ager_rests_until_it_is_asked(void **state)
{
	u64 seq = a64_load(&vm.space->lru.max_seq);

	(void)state;
	assert_true(ager_turn() == AGER_OFF);
	ager_set(vm.space, 50, AGER_PASSES);
	assert_int_equal(woken, 1);
	assert_true(ager_turn() != AGER_OFF);
	assert_int_equal(a64_load(&vm.space->lru.max_seq), seq + 1);
	assert_int_equal(ager_stop(vm.space).passes, 1);
	assert_true(ager_turn() == AGER_OFF);
	assert_int_equal(a64_load(&vm.space->lru.max_seq), seq + 1);
}

/* The pause that it asks for is to the pass as the rest is to the duty. */
static void test_ager_pauses_by_its_duty(void **state)
{
	static const unsigned duties[] = {10, 50, 92, 100};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(duties); i++) {
		struct ager_result before, after;
		u64 next;

		ager_set(vm.space, duties[i], AGER_PASSES);
		next = ager_turn();
		before = ager_stop(vm.space);
		assert_int_equal(before.passes, 1);
		assert_true(before.busy_ns && before.whole_ns >= before.busy_ns);
		/* The end of the pass was not before its length, and is not later than now. */
		assert_true(next <= hal_time_ns() + before.busy_ns * (100 - duties[i]) / duties[i]);
		if (duties[i] < 100)
			assert_true(next > before.busy_ns * (100 - duties[i]) / duties[i]);
		/* Told once: what follows begins with nothing. */
		after = ager_stop(vm.space);
		assert_int_equal(after.passes + after.busy_ns + after.whole_ns, 0);
	}
}

/* All tables, although nothing was touched since the pass before. */
static void test_ager_walks_every_table(void **state)
{
	u64 tables;

	(void)state;
	ager_set(vm.space, 100, AGER_PASSES);
	(void)ager_turn();
	tables = a64_load(&vm.space->stats.tables_visited_total);
	(void)ager_turn();
	assert_int_equal(a64_load(&vm.space->stats.tables_visited_total), tables + 2);
}

static void test_ager_burns_the_same_time(void **state)
{
	u64 passes = a64_load(&vm.space->stats.passes_total), start = hal_time_ns();
	struct ager_result r;

	(void)state;
	ager_set(vm.space, 50, AGER_BURNS);
	assert_true(ager_turn() != AGER_OFF);
	r = ager_stop(vm.space);
	assert_true(r.busy_ns >= 100000 && hal_time_ns() - start >= 100000);
	assert_int_equal(r.passes, 0);
	assert_int_equal(a64_load(&vm.space->stats.passes_total), passes);
}

/* Whoever asks last has it; who does not have it ends nothing. */
static void test_ager_serves_one_space(void **state)
{
	struct host_vm other;

	(void)state;
	host_vm_create(&other, &host_machines[0], PAGES, 1);
	ager_set(vm.space, 50, AGER_PASSES);
	ager_set(other.space, 50, AGER_PASSES);
	(void)ager_turn();
	assert_int_equal(ager_stop(vm.space).passes, 0);
	assert_int_equal(a64_load(&other.space->stats.passes_total), 1);
	assert_int_equal(a64_load(&vm.space->stats.passes_total), 0);
	(void)ager_turn();
	assert_int_equal(ager_stop(other.space).passes, 2);
	ager_set(other.space, 50, AGER_PASSES);
	host_vm_destroy(&other);
	/* Nobody told it that the space is gone. */
	assert_true(ager_turn() == AGER_OFF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_ager_rests_until_it_is_asked, begin, end),
	        cmocka_unit_test_setup_teardown(test_ager_pauses_by_its_duty, begin, end),
	        cmocka_unit_test_setup_teardown(test_ager_walks_every_table, begin, end),
	        cmocka_unit_test_setup_teardown(test_ager_burns_the_same_time, begin, end),
	        cmocka_unit_test_setup_teardown(test_ager_serves_one_space, begin, end),
	};

	return vm_group_run(tests, 2048);
}
