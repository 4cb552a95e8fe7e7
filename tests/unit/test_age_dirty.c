/* mm/age: Dirty comes along with Accessed; a page that was written leaves the clean type. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/mmu/tdp_iter.h"
#include "mm/age.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/store.h"
#include "mm/zap.h"
#include "tests/host/hal.h"
#include "tests/unit/host_vm.h"

#define PAGES  64u
#define FRAMES 200u

static struct host_vm vm;

/* Pages with contents of their own, all of them away, then read back: resident, clean, with a copy. */
static void start(const struct host_machine *m)
{
	u64 value;

	host_vm_create(&vm, m, PAGES, 1);
	for (u64 g = 0; g < PAGES; g++)
		assert_int_equal(host_vm_write(&vm, 0, gfn_gpa(gfn(g)), g + 1), FAULT_FIXED);
	for (unsigned i = 0; i < 8 && a64_load(&vm.space->resident); i++)
		(void)host_vm_evict(&vm, PAGES);
	assert_int_equal(a64_load(&vm.space->resident), 0);
	for (u64 g = 0; g < PAGES; g++) {
		assert_int_equal(host_vm_read(&vm, 0, gfn_gpa(gfn(g)), &value), FAULT_FIXED);
		assert_int_equal(value, g + 1);
	}
}

static void stop(void)
{
	assert_int_equal(vm.tdp.notifier.ops->audit(&vm.tdp.notifier), 0);
	host_vm_destroy(&vm);
}

static struct frame *frame_of(u64 g)
{
	u64 word;

	epoch_enter();
	word = a64_load(gfnmap_word(vm.space, gfn(g)));
	epoch_exit();
	assert_int_equal(gfn_word_tag(word), GFN_RESIDENT);
	return frame_at(gfn_word_frame(word));
}

static bool is_dirty(u64 g)
{
	return a64_load(&frame_of(g)->state) & FRAME_DIRTY;
}

static void age(void)
{
	vm_flush(vm.space);
	assert_true(vm_age(vm.space, true).produced);
}

static u64 copies(void)
{
	struct store_stats st;

	store_snapshot(&st);
	return st.objects;
}

static void test_age_dirty_written_pages_leave_the_clean_type(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 before;

		start(m);
		age();
		for (u64 g = 0; g < PAGES; g++)
			assert_false(is_dirty(g));
		before = copies();
		for (u64 g = 0; g < PAGES; g += 4)
			assert_int_equal(host_vm_write(&vm, 0, gfn_gpa(gfn(g)), ~g), FAULT_FIXED);
		age();
		for (u64 g = 0; g < PAGES; g++) {
			assert_int_equal(is_dirty(g), g % 4 == 0);
			assert_int_equal(a64_load(&frame_of(g)->copy) == 0, g % 4 == 0);
		}
		/* Their copies are gone, the others' are kept. */
		assert_true(copies() == before - PAGES / 4);
		if (spte_has_dirty(m->format))
			assert_int_equal(a64_load(&vm.space->stats.dirtied_total), PAGES / 4);
		else /* the fault of the first write has done it already */
			assert_int_equal(a64_load(&vm.space->stats.dirtied_total), 0);
		stop();
	}
}

static void test_age_dirty_pages_only_read_stay_clean(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 value;

		start(m);
		for (unsigned pass = 0; pass < 4; pass++) {
			for (u64 g = 0; g < PAGES; g++)
				assert_int_equal(host_vm_read(&vm, 0, gfn_gpa(gfn(g)), &value),
				                 FAULT_FIXED);
			age();
		}
		for (u64 g = 0; g < PAGES; g++) {
			assert_false(is_dirty(g));
			assert_true(a64_load(&frame_of(g)->copy) != 0);
		}
		assert_int_equal(a64_load(&vm.space->stats.dirtied_total), 0);
		stop();
	}
}

/* The contents are what was written last, whoever learned of the write first. */
static void test_age_dirty_loses_no_write(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 value;

		start(m);
		for (u64 g = 0; g < PAGES; g++) {
			assert_int_equal(host_vm_write(&vm, 0, gfn_gpa(gfn(g)), g * 3),
			                 FAULT_FIXED);
			if (g % 2)
				age();
		}
		for (unsigned i = 0; i < 8 && a64_load(&vm.space->resident); i++)
			(void)host_vm_evict(&vm, PAGES);
		assert_int_equal(a64_load(&vm.space->resident), 0);
		for (u64 g = 0; g < PAGES; g++) {
			assert_int_equal(host_vm_read(&vm, 0, gfn_gpa(gfn(g)), &value),
			                 FAULT_FIXED);
			assert_int_equal(value, g * 3);
		}
		stop();
	}
}

/* A zap that is no eviction finds Dirty: the page stays, its copy must not. */
static void test_age_dirty_found_by_a_zap_of_the_range(void **state)
{
	u64 value = 0;

	(void)state;
	for_each_machine(m)
	{
		start(m);
		assert_int_equal(host_vm_write(&vm, 0, gfn_gpa(gfn(9)), 99), FAULT_FIXED);
		assert_true(zap_range(vm.space, gfn(0), PAGES) > 0);
		assert_true(is_dirty(9));
		for (unsigned i = 0; i < 8 && a64_load(&vm.space->resident); i++)
			(void)host_vm_evict(&vm, PAGES);
		assert_int_equal(a64_load(&vm.space->resident), 0);
		assert_int_equal(host_vm_read(&vm, 0, gfn_gpa(gfn(9)), &value), FAULT_FIXED);
		assert_int_equal(value, 99);
		stop();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_age_dirty_written_pages_leave_the_clean_type),
	        cmocka_unit_test(test_age_dirty_found_by_a_zap_of_the_range),
	        cmocka_unit_test(test_age_dirty_pages_only_read_stay_clean),
	        cmocka_unit_test(test_age_dirty_loses_no_write),
	};

	return vm_group_run(tests, FRAMES);
}
