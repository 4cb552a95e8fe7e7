/* hv/mmu: pages that a shadow MMU beside the TDP keeps from being written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/mmu/tdp_iter.h"
#include "mm/audit.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/store.h"
#include "tests/host/hal.h"
#include "tests/unit/host_vm.h"

#define PAGES  2048u
#define FRAMES 2048u
#define PAGE   7u

static struct host_vm vm;

static gpa_t page(u64 g)
{
	return gfn_gpa(gfn(g));
}

static void stop(void)
{
	assert_int_equal(audit_all(NULL), 0);
	assert_int_equal(host_vm_leaks(&vm), 0);
	host_vm_destroy(&vm);
}

static bool protect(u64 g)
{
	bool flush;

	write_lock(&vm.space->mmu_lock);
	flush = tdp_write_protect_locked(&vm.tdp, gfn(g));
	write_unlock(&vm.space->mmu_lock);
	return flush;
}

static u64 rights(u64 g)
{
	return spte_saved_rights(vm.tdp.format, host_vm_spte(&vm, gfn(g)));
}

static bool age_one(u64 g)
{
	return notifier_age_one(vm.space, gfn(g), NOTIFIER_CLEAR) & NOTIFIER_YOUNG;
}

static void test_tdp_track_protect_takes_w_alone(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 before, value;

		host_vm_create(&vm, m, PAGES, 2);
		assert_false(protect(PAGE));
		assert_int_equal(host_vm_write(&vm, 0, page(PAGE), 5), FAULT_FIXED);
		before = host_vm_spte(&vm, gfn(PAGE));
		assert_true(protect(PAGE));
		assert_int_equal(host_vm_spte(&vm, gfn(PAGE)), before & ~m->format->write);
		assert_false(protect(PAGE));
		/* Reads go on without a fault; the write that comes takes one and has W back. */
		vm_flush(vm.space);
		before = vm.vcpu[1].faults;
		assert_int_equal(host_vm_read(&vm, 1, page(PAGE), &value), FAULT_FIXED);
		assert_int_equal(value, 5);
		assert_int_equal(vm.vcpu[1].faults, before);
		assert_int_equal(host_vm_write(&vm, 1, page(PAGE), 6), FAULT_FIXED);
		assert_int_equal(vm.vcpu[1].faults, before + 1);
		assert_true(rights(PAGE) & SPTE_W);
		stop();
	}
}

/* What was written before W went is what comes back from the store, and an aged entry stays protected. */
static void test_tdp_track_protected_page_keeps_its_contents(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 value;

		host_vm_create(&vm, m, PAGES, 2);
		assert_int_equal(host_vm_write(&vm, 0, page(PAGE), 5), FAULT_FIXED);
		assert_true(age_one(PAGE));
		assert_true(protect(PAGE));
		vm_flush(vm.space);
		assert_false(age_one(PAGE));
		assert_int_equal(host_vm_read(&vm, 0, page(PAGE), &value), FAULT_FIXED);
		assert_true(age_one(PAGE));
		assert_int_equal(rights(PAGE) & SPTE_W, 0);
		assert_int_equal(host_vm_evict(&vm, 1), 1);
		assert_int_equal(host_vm_spte(&vm, gfn(PAGE)), 0);
		assert_int_equal(host_vm_read(&vm, 0, page(PAGE), &value), FAULT_FIXED);
		assert_int_equal(value, 5);
		stop();
	}
}

/* One page of a large leaf: the other 511 may be written as before. */
static void test_tdp_track_protect_splits_a_large_leaf(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		host_vm_create(&vm, m, PAGES, 2);
		a32_store(&vm.space->wants_huge, 1);
		assert_int_equal(host_vm_write(&vm, 0, page(PAGE), 5), FAULT_FIXED);
		assert_int_equal(a64_load(&vm.space->huge_mappings), 1);
		assert_true(protect(PAGE));
		assert_int_equal(a64_load(&vm.space->huge_mappings), 0);
		assert_int_equal(rights(PAGE) & SPTE_W, 0);
		assert_true(rights(PAGE + 1) & SPTE_W);
		stop();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_tdp_track_protect_takes_w_alone),
	        cmocka_unit_test(test_tdp_track_protected_page_keeps_its_contents),
	        cmocka_unit_test(test_tdp_track_protect_splits_a_large_leaf),
	};

	return vm_group_run(tests, FRAMES);
}
