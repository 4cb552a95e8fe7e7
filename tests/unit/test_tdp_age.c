/* hv/mmu/tdp_age: harvesting Accessed bits through the notifier contract. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/mmu/tdp_iter.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/store.h"
#include "tests/host/hal.h"
#include "tests/unit/host_vm.h"

#define PAGES  2048u
#define FRAMES 2300u
#define YOUNG  (NOTIFIER_YOUNG | NOTIFIER_WAS_FAST)

static struct host_vm vm;
static u64 bitmap[NOTIFIER_WORDS];

static void start(const struct host_machine *m)
{
	host_vm_create(&vm, m, PAGES, 2);
}

static void stop(void)
{
	assert_int_equal(vm.tdp.notifier.ops->audit(&vm.tdp.notifier), 0);
	assert_int_equal(host_vm_leaks(&vm), 0);
	host_vm_destroy(&vm);
}

static void touch(u64 g, bool write)
{
	u64 value = g;

	if (write)
		assert_int_equal(host_vm_write(&vm, 0, gfn_gpa(gfn(g)), g), FAULT_FIXED);
	else
		assert_int_equal(host_vm_read(&vm, 0, gfn_gpa(gfn(g)), &value), FAULT_FIXED);
}

static void flush(void)
{
	flush_wait(vm.space, flush_request(vm.space));
}

static bool bit(const u64 *map, unsigned i)
{
	return map[i / 64] >> (i % 64) & 1;
}

static unsigned age(u64 first, unsigned n, unsigned flags, u64 *visited)
{
	unsigned result;
	u64 dummy = 0;

	epoch_enter();
	result = vm.tdp.notifier.ops->age(&vm.tdp.notifier, gfn(first), n, bitmap, flags,
	                                  visited ? visited : &dummy);
	epoch_exit();
	return result;
}

static void ask_all(void)
{
	memset(bitmap, 0xff, sizeof(bitmap));
}

static void test_age_reports_exactly_the_young(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start(m);
		for (u64 g = 512; g < 1024; g += 7)
			touch(g, g % 2);
		ask_all();
		assert_int_equal(age(512, 512, NOTIFIER_CLEAR, NULL), YOUNG);
		for (unsigned i = 0; i < 512; i++)
			assert_int_equal(bit(bitmap, i), i % 7 == 0);
		ask_all();
		assert_int_equal(age(512, 512, NOTIFIER_CLEAR, NULL), 0);
		for (unsigned i = 0; i < NOTIFIER_WORDS; i++)
			assert_int_equal(bitmap[i], 0);
		stop();
	}
}

static void test_age_leaves_alone_what_was_not_asked(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start(m);
		for (u64 g = 0; g < 16; g++)
			touch(g, true);
		memset(bitmap, 0, sizeof(bitmap));
		bitmap[0] = 0xf0f;
		assert_int_equal(age(0, 16, NOTIFIER_CLEAR, NULL), YOUNG);
		assert_int_equal(bitmap[0], 0xf0f);
		ask_all();
		assert_int_equal(age(0, 16, NOTIFIER_CLEAR, NULL), YOUNG);
		assert_int_equal(bitmap[0] & 0xffff, 0xf0f0);
		memset(bitmap, 0, sizeof(bitmap));
		assert_int_equal(age(0, 16, NOTIFIER_CLEAR, NULL), 0);
		stop();
	}
}

static void test_age_test_changes_nothing(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 before;

		start(m);
		touch(100, true);
		touch(300, true);
		before = host_vm_spte(&vm, gfn(100));
		for (unsigned i = 0; i < 2; i++) {
			ask_all();
			assert_int_equal(age(0, 512, NOTIFIER_TEST, NULL), YOUNG);
			assert_true(bit(bitmap, 100));
			assert_int_equal(host_vm_spte(&vm, gfn(100)), before);
		}
		ask_all();
		assert_int_equal(age(0, 99, NOTIFIER_TEST, NULL), 0);
		stop();
	}
}

static void test_age_test_stops_at_the_first_young(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 visited = 0;

		start(m);
		for (u64 g = 0; g < 512; g++)
			touch(g, false);
		ask_all();
		assert_int_equal(age(0, 512, NOTIFIER_TEST, &visited), YOUNG);
		assert_int_equal(visited, 8);
		/* Nothing is said of the rest. */
		assert_int_equal(bitmap[1] | bitmap[7], 0);
		stop();
	}
}

static void test_age_counts_the_entries_it_read(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 visited = 0;

		start(m);
		touch(0, false);
		ask_all();
		age(0, 512, NOTIFIER_CLEAR, &visited);
		assert_int_equal(visited, 512);
		/* No table there: one entry says so for all of them. */
		age(1024, 512, NOTIFIER_CLEAR, &visited);
		assert_int_equal(visited, 513);
		memset(bitmap, 0, sizeof(bitmap));
		bitmap[0] = BIT(5);
		age(0, 64, NOTIFIER_CLEAR, &visited);
		assert_int_equal(visited, 521);
		bitmap[0] = 1;
		age(5, 1, NOTIFIER_CLEAR, &visited);
		assert_int_equal(visited, 522);
		stop();
	}
}

/* I11: the MMU lock is in somebody's hands, for as long as it likes. */
static void test_age_waits_for_nobody(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start(m);
		touch(9, true);
		write_lock(&vm.space->mmu_lock);
		ask_all();
		assert_int_equal(age(0, 64, NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY, NULL), YOUNG);
		write_unlock(&vm.space->mmu_lock);
		assert_int_equal(bitmap[0], BIT(9));
		stop();
	}
}

static void test_age_registers_as_fast(void **state)
{
	(void)state;
	start(&host_machines[0]);
	assert_true(notifier_any_fast(vm.space));
	touch(4, false);
	assert_int_equal(notifier_age_one(vm.space, gfn(4), NOTIFIER_TEST | NOTIFIER_FAST_ONLY),
	                 YOUNG);
	assert_int_equal(notifier_age_one(vm.space, gfn(5), NOTIFIER_TEST), 0);
	stop();
}

static void test_age_sees_the_next_touch_after_a_flush(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start(m);
		touch(50, true);
		ask_all();
		age(0, 512, NOTIFIER_CLEAR, NULL);
		/* The TLB still has the translation: the touch goes unseen. */
		touch(50, true);
		ask_all();
		assert_int_equal(age(0, 512, NOTIFIER_CLEAR, NULL), 0);
		flush();
		touch(50, false);
		ask_all();
		assert_int_equal(age(0, 512, NOTIFIER_CLEAR, NULL), YOUNG);
		assert_true(bit(bitmap, 50));
		/* Aging never loses what a write said. */
		assert_true(spte_dirty(m->format, host_vm_spte(&vm, gfn(50))));
		stop();
	}
}

/* Without A/D bits: one fault for the next touch, no more, and W comes back with it. */
static void test_age_tracked_page_faults_once(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 faults;

		start(m);
		touch(50, true);
		ask_all();
		age(0, 512, NOTIFIER_CLEAR, NULL);
		flush();
		faults = vm.vcpu[0].faults;
		touch(50, false);
		touch(50, true);
		assert_int_equal(vm.vcpu[0].faults - faults, spte_has_dirty(m->format) ? 0 : 1);
		assert_int_equal(a64_load(&vm.space->stats.faults_total), 1);
		stop();
	}
}

/* Random ranges, alignments and questions against a plain list of what was touched. */
static void test_age_agrees_with_an_oracle(void **state)
{
	u64 seed = 0xa9e;

	(void)state;
	for_each_machine(m)
	{
		bool young[PAGES] = {false};

		start(m);
		for (unsigned step = 0; step < 2000; step++) {
			u64 first = host_random(&seed) % (PAGES - 512);
			unsigned n = 1 + (unsigned)(host_random(&seed) % 512);
			bool clear = host_random(&seed) % 4;
			u64 asked[NOTIFIER_WORDS];
			bool any = false;

			for (unsigned i = 0; i < 40; i++) {
				u64 g = host_random(&seed) % PAGES;

				flush();
				touch(g, host_random(&seed) % 2);
				young[g] = true;
			}
			for (unsigned i = 0; i < NOTIFIER_WORDS; i++)
				asked[i] = bitmap[i] = host_random(&seed) | host_random(&seed);
			any = age(first, n, clear ? NOTIFIER_CLEAR : NOTIFIER_TEST, NULL);
			for (unsigned i = 0; i < n; i++) {
				bool expected = young[first + i] && bit(asked, i);

				if (clear)
					assert_int_equal(bit(bitmap, i), expected);
				else
					assert_true(expected || !bit(bitmap, i));
				assert_true(any || !expected);
				young[first + i] &= !clear || !bit(asked, i);
			}
		}
		stop();
	}
}

/* The iterator's and the ager's half of large pages: an entry put there by hand. */
static void test_age_large_leaf_is_one_entry(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		struct tdp_entry e;
		u64 visited = 0;

		start(m);
		touch(0, false);
		epoch_enter();
		e = tdp_find(&vm.tdp, gfn(1024));
		epoch_exit();
		assert_int_equal(e.level, 2);
		assert_true(spte_replace(m->format, 2, e.at, &e.seen,
		                         spte_make_leaf(m->format, 2, pfn(512), SPTE_R, false)));
		ask_all();
		assert_int_equal(age(1024 + 8, 100, NOTIFIER_TEST, NULL), YOUNG);
		ask_all();
		assert_int_equal(age(1024 - 8, 64, NOTIFIER_CLEAR, &visited), YOUNG);
		assert_int_equal(visited, 1 + 1); /* the empty entry before it, and its own */
		assert_int_equal(bitmap[0], ~0ull << 8);
		ask_all();
		assert_int_equal(age(1024, 512, NOTIFIER_CLEAR, NULL), 0);
		(void)spte_zap(m->format, 2, e.at);
		stop();
	}
}

static void test_age_beyond_the_tables(void **state)
{
	(void)state;
	start(&host_machines[0]);
	ask_all();
	assert_int_equal(age((1ull << TDP_GFN_BITS) - 8, 64, NOTIFIER_CLEAR, NULL), 0);
	assert_int_equal(bitmap[0], 0);
	ask_all();
	assert_int_equal(age(1ull << TDP_GFN_BITS, 64, NOTIFIER_CLEAR, NULL), 0);
	assert_int_equal(bitmap[0], 0);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_age_reports_exactly_the_young),
	        cmocka_unit_test(test_age_leaves_alone_what_was_not_asked),
	        cmocka_unit_test(test_age_test_changes_nothing),
	        cmocka_unit_test(test_age_test_stops_at_the_first_young),
	        cmocka_unit_test(test_age_counts_the_entries_it_read),
	        cmocka_unit_test(test_age_waits_for_nobody),
	        cmocka_unit_test(test_age_registers_as_fast),
	        cmocka_unit_test(test_age_sees_the_next_touch_after_a_flush),
	        cmocka_unit_test(test_age_tracked_page_faults_once),
	        cmocka_unit_test(test_age_agrees_with_an_oracle),
	        cmocka_unit_test(test_age_large_leaf_is_one_entry),
	        cmocka_unit_test(test_age_beyond_the_tables),
	};

	return vm_group_run(tests, FRAMES);
}
