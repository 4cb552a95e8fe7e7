/* hv/experiment: what a guest may ask about its own memory, and that nothing it can say does any harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/experiment.h"
#include "mm/ager.h"
#include "mm/audit.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/zap.h"
#include "tests/unit/host_vm.h"

#define FRAMES 2048u
#define PAGES  600u
#define WINDOW EXPERIMENT_WINDOW_FIRST

static struct host_vm vm;
static struct experiment last;

static u32 ask(u32 command, u64 arg0, u64 arg1)
{
	last = (struct experiment){.command = command, .arg = {arg0, arg1}};
	return experiment_run(vm.space, &last);
}

static void start(const struct host_machine *m)
{
	host_vm_create(&vm, m, PAGES, 2);
}

static void stop(void)
{
	epoch_barrier();
	assert_int_equal(audit_all(NULL), 0);
	assert_int_equal(host_vm_leaks(&vm), 0);
	host_vm_destroy(&vm);
	assert_int_equal(frame_free_count(), FRAMES);
}

static gpa_t word_of(u64 g)
{
	return gpa(g << PAGE_SHIFT | (g % 512) * 8);
}

static void write_all(u64 first, u64 n, u64 salt)
{
	for (u64 g = first; g < first + n; g++)
		assert_int_equal(host_vm_write(&vm, g % 2, word_of(g), g * 31 + salt), FAULT_FIXED);
}

static void check_all(u64 first, u64 n, u64 salt)
{
	u64 value;

	for (u64 g = first; g < first + n; g++) {
		assert_int_equal(host_vm_read(&vm, g % 2, word_of(g), &value), FAULT_FIXED);
		assert_int_equal(value, salt ? g * 31 + salt : 0);
	}
}

static void test_experiment_ages_tell_touched_from_idle(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start(m);
		write_all(0, 512, 1);
		for (unsigned i = 0; i < 2; i++) {
			assert_int_equal(ask(EXPERIMENT_AGE, 1, 0), EXPERIMENT_OK);
			vm_flush(vm.space);
		}
		check_all(0, 100, 1);
		assert_int_equal(ask(EXPERIMENT_AGE, 1, 0), EXPERIMENT_OK);
		assert_int_equal(last.result[3], 100);
		assert_int_equal(ask(EXPERIMENT_AGES, 0, 100), EXPERIMENT_OK);
		assert_int_equal(last.result[0] + last.result[1], 100);
		assert_int_equal(last.result[7], a64_load(&vm.space->lru.max_seq));
		assert_int_equal(ask(EXPERIMENT_AGES, 100, 412), EXPERIMENT_OK);
		assert_int_equal(last.result[2] + last.result[3], 412);
		assert_int_equal(ask(EXPERIMENT_AGES, 500, 200), EXPERIMENT_OK);
		assert_int_equal(last.result[6], 188); /* 88 never touched, and no memory */
		assert_int_equal(ask(EXPERIMENT_RECLAIM, 64, 0), EXPERIMENT_OK);
		assert_int_equal(last.result[0], 64);
		assert_int_equal(ask(EXPERIMENT_AGES, 0, PAGES), EXPERIMENT_OK);
		assert_int_equal(last.result[5], 64);
		check_all(0, 512, 1);
		stop();
	}
}

static void test_experiment_zap_loses_nothing(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start(m);
		write_all(0, 300, 5);
		assert_int_equal(ask(EXPERIMENT_ZAP, 100, 400), EXPERIMENT_OK);
		assert_int_equal(last.result[0], 200);
		for (u64 g = 0; g < 300; g++)
			assert_int_equal(host_vm_spte(&vm, gfn(g)) != 0, g < 100);
		assert_int_equal(ask(EXPERIMENT_ZAP, 100, 400), EXPERIMENT_OK);
		assert_int_equal(last.result[0], 0);
		check_all(0, 300, 5);
		stop();
	}
}

/* A page that came back to be read, with its copy, and was written then: the zap has the only Dirty bit. */
static void test_zap_tells_the_state_word_of_dirty(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 away = 0, wanted;

		start(m);
		write_all(0, 64, 7);
		while (!away)
			away = host_vm_evict(&vm, 64);
		check_all(0, 64, 7);
		write_all(0, 64, 9);
		wanted = a64_load(&vm.space->flush.wanted);
		assert_int_equal(zap_range(vm.space, gfn(0), 64), 64);
		/* Nobody has any of it in a TLB when it returns. */
		assert_true(a64_load(&vm.space->flush.done) > wanted);
		for (away = 0; away < 64;)
			away += host_vm_evict(&vm, 64);
		check_all(0, 64, 9);
		stop();
	}
}

static enum fault_result try_write(u64 g)
{
	struct tdp_access a = {.gpa = word_of(g), .write = true};

	return tdp_fault(&vm.tdp, &a);
}

static void test_experiment_protected_pages_are_read_only(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start(m);
		write_all(0, 200, 3);
		assert_int_equal(ask(EXPERIMENT_PROTECT, 50, 100), EXPERIMENT_OK);
		check_all(0, 200, 3);
		for (u64 g = 50; g < 150; g++) {
			assert_true(space_write_protected(vm.space, gfn(g)));
			assert_int_equal(try_write(g), FAULT_RETRY);
			assert_int_equal(spte_saved_rights(m->format, host_vm_spte(&vm, gfn(g))) &
			                         SPTE_W,
			                 0);
		}
		/* Not even after aging and an eviction. */
		assert_int_equal(ask(EXPERIMENT_AGE, 1, 0), EXPERIMENT_OK);
		while (host_vm_evict(&vm, 64) < 1)
			;
		check_all(50, 100, 3);
		assert_int_equal(try_write(60), FAULT_RETRY);
		write_all(0, 50, 4);
		write_all(150, 50, 4);
		assert_int_equal(ask(EXPERIMENT_PROTECT, 0, 0), EXPERIMENT_OK);
		write_all(0, 200, 4);
		check_all(0, 200, 4);
		stop();
	}
}

static void test_experiment_refuses_what_an_mmu_cannot(void **state)
{
	struct notifier_ops ops;
	const struct notifier_ops *real;

	(void)state;
	start(&host_machines[0]);
	real = vm.tdp.notifier.ops;
	ops = *real;
	ops.protects = ops.late_slots = false;
	vm.tdp.notifier.ops = &ops;
	assert_int_equal(ask(EXPERIMENT_PROTECT, 0, 1), EXPERIMENT_REFUSED);
	assert_false(space_write_protected(vm.space, gfn(0)));
	assert_int_equal(ask(EXPERIMENT_SLOT_ADD, WINDOW, 1), EXPERIMENT_REFUSED);
	vm.tdp.notifier.ops = real;
	assert_int_equal(ask(EXPERIMENT_PROTECT, 0, 1), EXPERIMENT_OK);
	assert_true(space_write_protected(vm.space, gfn(0)));
	assert_int_equal(ask(EXPERIMENT_SLOT_ADD, WINDOW, 1), EXPERIMENT_OK);
	stop();
}

static void test_experiment_unmapped_pages_are_zero(void **state)
{
	(void)state;
	start(&host_machines[0]);
	write_all(0, 200, 3);
	assert_int_equal(ask(EXPERIMENT_UNMAP, 100, 50), EXPERIMENT_OK);
	assert_int_equal(a64_load(&vm.space->resident), 150);
	check_all(0, 100, 3);
	check_all(100, 50, 0);
	check_all(150, 50, 3);
	stop();
}

static void test_experiment_slots_come_and_go(void **state)
{
	u64 value;

	(void)state;
	for_each_machine(m)
	{
		start(m);
		assert_int_equal(host_vm_read(&vm, 0, word_of(WINDOW), &value), FAULT_NO_SLOT);
		assert_int_equal(ask(EXPERIMENT_SLOT_ADD, WINDOW, 100), EXPERIMENT_OK);
		assert_int_equal(ask(EXPERIMENT_SLOT_ADD, WINDOW + 99, 1), EXPERIMENT_REFUSED);
		assert_int_equal(ask(EXPERIMENT_SLOT_ADD, WINDOW + 100, 28), EXPERIMENT_OK);
		write_all(WINDOW, 128, 1);
		assert_int_equal(ask(EXPERIMENT_SLOT_REMOVE, WINDOW + 1, 1), EXPERIMENT_REFUSED);
		assert_int_equal(ask(EXPERIMENT_SLOT_REMOVE, WINDOW, ~0ull), EXPERIMENT_OK);
		assert_int_equal(ask(EXPERIMENT_SLOT_REMOVE, WINDOW, 1), EXPERIMENT_REFUSED);
		assert_int_equal(host_vm_read(&vm, 0, word_of(WINDOW), &value), FAULT_NO_SLOT);
		check_all(WINDOW + 100, 28, 1);
		assert_int_equal(a64_load(&vm.space->resident), 28);
		assert_int_equal(ask(EXPERIMENT_SLOT_ADD, WINDOW, 100), EXPERIMENT_OK);
		check_all(WINDOW, 100, 0);
		stop();
	}
}

/* A fault that comes while a slot is closed finds no memory: what is dropped stays dropped. */
static void test_gfnmap_close_keeps_faults_out(void **state)
{
	u64 value;

	(void)state;
	start(&host_machines[0]);
	assert_true(gfnmap_add(vm.space, gfn(WINDOW), 10));
	write_all(WINDOW, 5, 1);
	assert_false(gfnmap_close(vm.space, gfn(WINDOW + 1)));
	assert_true(gfnmap_close(vm.space, gfn(WINDOW)));
	assert_false(gfnmap_close(vm.space, gfn(WINDOW)));
	check_all(WINDOW, 5, 1); /* what is there is still there */
	assert_int_equal(host_vm_read(&vm, 0, word_of(WINDOW + 5), &value), FAULT_NO_SLOT);
	space_drop_range(vm.space, gfn(WINDOW), 10);
	assert_int_equal(host_vm_read(&vm, 0, word_of(WINDOW), &value), FAULT_NO_SLOT);
	assert_int_equal(a64_load(&vm.space->resident), 0);
	gfnmap_remove(vm.space, gfn(WINDOW));
	stop();
}

static void test_experiment_counters(void **state)
{
	(void)state;
	start(&host_machines[0]);
	write_all(0, 64, 1);
	assert_int_equal(ask(EXPERIMENT_COUNTER, EXPERIMENT_RESIDENT, 0), EXPERIMENT_OK);
	assert_int_equal(last.result[0], 64);
	assert_int_equal(ask(EXPERIMENT_COUNTER, EXPERIMENT_FIRST_TOUCHES, 0), EXPERIMENT_OK);
	assert_int_equal(last.result[0], 64);
	a64_count(&vm.space->protect.caught_total, 7);
	assert_int_equal(ask(EXPERIMENT_COUNTER, EXPERIMENT_CAUGHT, 0), EXPERIMENT_OK);
	assert_int_equal(last.result[0], 7);
	assert_int_equal(ask(EXPERIMENT_COUNTER, EXPERIMENT_COUNTERS, 0), EXPERIMENT_UNKNOWN);
	assert_int_equal(ask(EXPERIMENT_COUNTER, ~0ull, 0), EXPERIMENT_UNKNOWN);
	stop();
}

static void test_experiment_refuses_what_is_out_of_bounds(void **state)
{
	static const u32 ranged[] = {EXPERIMENT_AGES,    EXPERIMENT_ZAP,
	                             EXPERIMENT_UNMAP,   EXPERIMENT_SLOT_ADD,
	                             EXPERIMENT_PROTECT, EXPERIMENT_DIRTY_READ};

	(void)state;
	start(&host_machines[0]);
	for (unsigned i = 0; i < ARRAY_SIZE(ranged); i++) {
		if (ranged[i] != EXPERIMENT_PROTECT)
			assert_int_equal(ask(ranged[i], 0, 0), EXPERIMENT_RANGE);
		assert_int_equal(ask(ranged[i], 0, EXPERIMENT_PAGES_MAX + 1), EXPERIMENT_RANGE);
		assert_int_equal(ask(ranged[i], 0, ~0ull), EXPERIMENT_RANGE);
		assert_int_equal(ask(ranged[i], ~0ull, 1), EXPERIMENT_RANGE);
	}
	assert_int_equal(ask(EXPERIMENT_SLOT_ADD, 5, 1), EXPERIMENT_RANGE);
	assert_int_equal(ask(EXPERIMENT_SLOT_ADD, WINDOW + EXPERIMENT_WINDOW_PAGES - 1, 2),
	                 EXPERIMENT_RANGE);
	assert_int_equal(ask(EXPERIMENT_SLOT_REMOVE, 0, 1), EXPERIMENT_RANGE);
	assert_int_equal(ask(EXPERIMENT_AGE, 2, 0), EXPERIMENT_RANGE);
	assert_int_equal(ask(EXPERIMENT_RECLAIM, 0, 0), EXPERIMENT_RANGE);
	assert_int_equal(ask(EXPERIMENT_RECLAIM, EXPERIMENT_PAGES_MAX + 1, 0), EXPERIMENT_RANGE);
	assert_int_equal(ask(EXPERIMENT_HEAT, 0, 0), EXPERIMENT_REFUSED);
	assert_int_equal(ask(EXPERIMENT_HEAT, ~0ull, 0), EXPERIMENT_REFUSED);
	assert_int_equal(ask(EXPERIMENT_FAULT_TIMES + 1, 0, 0), EXPERIMENT_UNKNOWN);
	assert_int_equal(ask(~0u, 0, 0), EXPERIMENT_UNKNOWN);
	a32_store(&vm.space->wants_huge, 1);
	assert_int_equal(ask(EXPERIMENT_PROTECT, 0, 1), EXPERIMENT_REFUSED);
	assert_int_equal(ask(EXPERIMENT_SLOT_ADD, WINDOW, 1), EXPERIMENT_REFUSED);
	a32_store(&vm.space->wants_huge, 0);
	stop();
}

static void test_experiment_dirty_log(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start(m);
		assert_int_equal(ask(EXPERIMENT_DIRTY_READ, 0, 1), EXPERIMENT_REFUSED);
		assert_int_equal(ask(EXPERIMENT_DIRTY, DIRTY_LOG_MODES, 0), EXPERIMENT_RANGE);
		assert_int_equal(ask(EXPERIMENT_DIRTY, DIRTY_LOG_HARDWARE, 0), EXPERIMENT_REFUSED);
		write_all(0, 20, 1);
		assert_int_equal(ask(EXPERIMENT_DIRTY, DIRTY_LOG_PROTECT, 0), EXPERIMENT_OK);
		assert_int_equal(ask(EXPERIMENT_DIRTY, DIRTY_LOG_PROTECT, 0), EXPERIMENT_REFUSED);
		write_all(3, 2, 2);
		write_all(530, 1, 2);
		assert_int_equal(ask(EXPERIMENT_DIRTY_READ, 0, 513), EXPERIMENT_RANGE);
		assert_int_equal(ask(EXPERIMENT_DIRTY_READ, 2, 512), EXPERIMENT_OK);
		assert_int_equal(last.result[0], 6);
		assert_int_equal(last.result[7], 0);
		assert_int_equal(ask(EXPERIMENT_DIRTY_READ, 88, 512), EXPERIMENT_OK);
		assert_int_equal(last.result[6], BIT(530 - 88 - 6 * 64));
		assert_int_equal(ask(EXPERIMENT_DIRTY, DIRTY_LOG_OFF, 0), EXPERIMENT_OK);
		stop();
	}
}

static u64 dice(u64 *x)
{
	*x = *x * 6364136223846793005ull + 1442695040888963407ull;
	return *x >> 33;
}

/* Numbers that are nearly right, and accesses in between. */
static u64 number(u64 *x)
{
	static const u64 near[] = {0,   1,      PAGES,      EXPERIMENT_PAGES_MAX, 4095, 511,
	                           512, WINDOW, WINDOW + 1, WINDOW + 4095,        ~0ull};
	u64 pick = dice(x);

	return pick % 3 ? near[pick % ARRAY_SIZE(near)] + dice(x) % 3 - 1 : dice(x) % 700;
}

static void test_experiment_duty_is_bounded_and_told(void **state)
{
	(void)state;
	start(&host_machines[0]);
	write_all(0, PAGES, 1);
	assert_int_equal(ask(EXPERIMENT_DUTY, 101, 0), EXPERIMENT_RANGE);
	assert_int_equal(ask(EXPERIMENT_DUTY, 50, AGER_WORKS), EXPERIMENT_RANGE);
	assert_int_equal(ask(EXPERIMENT_DUTY, 92, 0), EXPERIMENT_OK);
	(void)ager_turn();
	(void)ager_turn();
	assert_int_equal(ask(EXPERIMENT_DUTY, 0, 0), EXPERIMENT_OK);
	assert_int_equal(last.result[2], 2);
	assert_true(last.result[0] && last.result[0] <= last.result[1]);
	assert_true(ager_turn() == AGER_OFF);
	stop();
}

static void test_experiment_fault_times_begin_anew(void **state)
{
	(void)state;
	start(&host_machines[0]);
	assert_int_equal(ask(EXPERIMENT_FAULT_TIMES, 2, 0), EXPERIMENT_RANGE);
	write_all(0, 100, 1);
	assert_int_equal(ask(EXPERIMENT_FAULT_TIMES, 1, 0), EXPERIMENT_OK);
	assert_true(last.result[0] >= 100);
	assert_true(last.result[1] <= last.result[2] && last.result[2] <= last.result[3]);
	assert_true(last.result[3] <= last.result[4] && last.result[4] <= last.result[5]);
	write_all(100, 7, 1);
	assert_int_equal(ask(EXPERIMENT_FAULT_TIMES, 0, 0), EXPERIMENT_OK);
	assert_int_equal(last.result[0], 7);
	assert_int_equal(last.result[6] + last.result[7], 0); /* nobody waited for a lock */
	stop();
}

static void test_experiment_any_call_is_harmless(void **state)
{
	u64 x = 4711, ok = 0;

	(void)state;
	for_each_machine(m)
	{
		start(m);
		for (unsigned i = 0; i < 3000; i++) {
			u64 g = dice(&x) % 2 ? dice(&x) % PAGES : WINDOW + dice(&x) % 600, value;
			u64 a = number(&x), b = number(&x);

			(void)host_vm_read(&vm, 0, word_of(g), &value);
			if (!space_write_protected(vm.space, gfn(g)))
				(void)host_vm_write(&vm, 1, word_of(g), i);
			ok += ask((u32)dice(&x) % 17, a, b) == EXPERIMENT_OK;
		}
		stop();
	}
	assert_true(ok > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_experiment_ages_tell_touched_from_idle),
	        cmocka_unit_test(test_experiment_zap_loses_nothing),
	        cmocka_unit_test(test_zap_tells_the_state_word_of_dirty),
	        cmocka_unit_test(test_experiment_protected_pages_are_read_only),
	        cmocka_unit_test(test_experiment_refuses_what_an_mmu_cannot),
	        cmocka_unit_test(test_experiment_unmapped_pages_are_zero),
	        cmocka_unit_test(test_experiment_slots_come_and_go),
	        cmocka_unit_test(test_gfnmap_close_keeps_faults_out),
	        cmocka_unit_test(test_experiment_counters),
	        cmocka_unit_test(test_experiment_refuses_what_is_out_of_bounds),
	        cmocka_unit_test(test_experiment_dirty_log),
	        cmocka_unit_test(test_experiment_duty_is_bounded_and_told),
	        cmocka_unit_test(test_experiment_fault_times_begin_anew),
	        cmocka_unit_test(test_experiment_any_call_is_harmless),
	};

	return vm_group_run(tests, FRAMES);
}
