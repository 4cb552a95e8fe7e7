/* hv/mmu: faults and zaps of the TDP MMU, over the real mm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/mmu/tdp_iter.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/policy.h"
#include "mm/store.h"
#include "tests/host/hal.h"
#include "tests/unit/host_vm.h"

#define PAGES  2048u
#define FRAMES 1024u

static struct host_vm vm;

static gpa_t page(u64 g)
{
	return gfn_gpa(gfn(g));
}

static void start(const struct host_machine *m)
{
	policy_init();
	a32_store(&policy.probation, 0); /* what is tested here goes by age alone */
	host_vm_create(&vm, m, PAGES, 2);
}

static void stop(void)
{
	assert_int_equal(vm.tdp.notifier.ops->audit(&vm.tdp.notifier), 0);
	assert_int_equal(host_vm_leaks(&vm), 0);
	host_vm_destroy(&vm);
	assert_int_equal(frame_free_count() + frame_pool_count(), FRAMES);
	assert_int_equal(frame_pool_count(), 0);
}

static u64 word_of(u64 g)
{
	u64 word;

	epoch_enter();
	word = a64_load(gfnmap_word(vm.space, gfn(g)));
	epoch_exit();
	return word;
}

static bool copy_kept(u64 g)
{
	return !(a64_load(&frame_at(gfn_word_frame(word_of(g)))->state) & FRAME_DIRTY);
}

static struct notifier_zap zap(u64 g)
{
	struct notifier_zap z;

	invalidate_begin(vm.space, gfn(g), gfn(g));
	notifier_zap(vm.space, gfn(g), &z);
	invalidate_end(vm.space, gfn(g), gfn(g));
	flush_wait(vm.space, flush_request(vm.space));
	return z;
}

static void test_tdp_first_touch(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 value = 1, spte;

		start(m);
		assert_int_equal(host_vm_read(&vm, 0, page(7), &value), FAULT_FIXED);
		assert_int_equal(value, 0);
		assert_int_equal(a64_load(&vm.tdp.tables), 4);
		assert_int_equal(a64_load(&vm.tdp.leaves), 1);
		spte = host_vm_spte(&vm, gfn(7));
		assert_true(spte_young(m->format, spte));
		assert_false(spte_dirty(m->format, spte));
		assert_int_equal(spte_pfn(m->format, spte).v,
		                 frame_pfn(gfn_word_frame(word_of(7))).v);
		assert_int_equal(a64_load(&vm.space->stats.faults_total), 1);
		assert_int_equal(hist_count(&vm.space->stats.fault_ns), 1);
		assert_int_equal(a64_load(&vm.tdp.fixed_fast_total), 0);
		assert_int_equal(vm.vcpu[0].faults, 1);
		stop();
	}
}

/* With a Dirty bit a read maps writable at once; without, the first write faults, once. */
static u64 state_of(u64 g)
{
	return a64_load(&frame_at(gfn_word_frame(word_of(g)))->state);
}

/*
 * A fault counts as a use, whatever it had to do: first touch, a refault, a missing entry of a resident page,
 * one that was access-tracked. The entry is young, and what came in by it is referenced.
 */
static void test_tdp_fault_ref(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		for (unsigned write = 0; write < 2; write++) {
			u64 value;

			start(m);
			a32_store(&policy.fault_touch, 1);
			for (unsigned how = 0; how < 4; how++) {
				if (how == 1)
					assert_int_equal(evict_page(vm.space, gfn(5)),
					                 EVICT_PAGE_DONE);
				if (how == 2)
					assert_true(zap(5).mapped);
				if (how == 3)
					assert_true(
					        notifier_age_one(vm.space, gfn(5), NOTIFIER_CLEAR));
				flush_wait(vm.space, flush_request(vm.space));
				assert_int_equal(write ? host_vm_write(&vm, 0, page(5), 1)
				                       : host_vm_read(&vm, 0, page(5), &value),
				                 FAULT_FIXED);
				assert_true(spte_young(m->format, host_vm_spte(&vm, gfn(5))));
				assert_true(state_of(5) & FRAME_REFERENCED);
			}
			stop();
		}
	}
}

static void test_tdp_write_after_read(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		bool has_dirty = spte_has_dirty(m->format);
		u64 value, spte;

		start(m);
		assert_int_equal(host_vm_read(&vm, 0, page(3), &value), FAULT_FIXED);
		assert_true(copy_kept(3));
		assert_int_equal(host_vm_write(&vm, 0, page(3), 42), FAULT_FIXED);
		assert_int_equal(vm.vcpu[0].faults, has_dirty ? 1 : 2);
		spte = host_vm_spte(&vm, gfn(3));
		assert_true(spte_dirty(m->format, spte));
		/* Without Dirty bits the copy goes at once; with them, the zap will tell. */
		assert_int_equal(copy_kept(3), has_dirty);
		assert_int_equal(host_vm_write(&vm, 1, page(3), 43), FAULT_FIXED);
		assert_int_equal(host_vm_read(&vm, 1, page(3), &value), FAULT_FIXED);
		assert_int_equal(value, 43);
		assert_int_equal(vm.vcpu[1].faults, 0);
		/* Only the first touch counts as a fault that was waited for. */
		assert_int_equal(a64_load(&vm.space->stats.faults_total), 1);
		stop();
	}
}

static void test_tdp_write_first_is_dirty_and_has_no_copy(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start(m);
		assert_int_equal(host_vm_write(&vm, 0, page(3), 42), FAULT_FIXED);
		assert_int_equal(vm.vcpu[0].faults, 1);
		assert_true(spte_dirty(m->format, host_vm_spte(&vm, gfn(3))));
		assert_false(copy_kept(3));
		stop();
	}
}

static void test_tdp_fetch(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 value;

		start(m);
		assert_int_equal(host_vm_fetch(&vm, 0, page(9), &value), FAULT_FIXED);
		assert_int_equal(vm.vcpu[0].faults, 1);
		stop();
	}
}

static void test_tdp_spurious_fault_changes_nothing(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		struct tdp_access a = {.gpa = page(5), .write = true};
		u64 before;

		start(m);
		assert_int_equal(tdp_fault(&vm.tdp, &a), FAULT_FIXED);
		before = host_vm_spte(&vm, gfn(5));
		assert_int_equal(tdp_fault(&vm.tdp, &a), FAULT_FIXED);
		assert_int_equal(host_vm_spte(&vm, gfn(5)), before);
		assert_int_equal(a64_load(&vm.tdp.fixed_fast_total), 1);
		assert_int_equal(a64_load(&vm.tdp.leaves), 1);
		stop();
	}
}

static void test_tdp_outside_of_memory(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		const u64 bad[] = {PAGES, 1ull << 20, (1ull << TDP_GFN_BITS) - 1,
		                   1ull << TDP_GFN_BITS, ~0ull >> PAGE_SHIFT};

		start(m);
		for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
			struct tdp_access a = {.gpa = page(bad[i])};

			assert_int_equal(tdp_fault(&vm.tdp, &a), FAULT_NO_SLOT);
		}
		assert_int_equal(a64_load(&vm.tdp.tables), 1);
		stop();
	}
}

static void test_tdp_zap_tells_what_happened(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 value;

		start(m);
		assert_false(zap(1).mapped);
		assert_int_equal(host_vm_read(&vm, 0, page(1), &value), FAULT_FIXED);
		assert_int_equal(host_vm_write(&vm, 0, page(2), 1), FAULT_FIXED);
		assert_false(zap(1).dirty);
		assert_int_equal(host_vm_spte(&vm, gfn(1)), SPTE_EMPTY);
		assert_true(zap(2).dirty);
		assert_false(zap(2).mapped);
		assert_int_equal(a64_load(&vm.tdp.leaves), 0);
		/* The page is still there: a fault maps it again. */
		assert_int_equal(host_vm_read(&vm, 0, page(2), &value), FAULT_FIXED);
		assert_int_equal(value, 1);
		stop();
	}
}

static void test_tdp_zap_of_aged_page_keeps_dirty(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		struct notifier_zap z;

		start(m);
		assert_int_equal(host_vm_write(&vm, 0, page(2), 1), FAULT_FIXED);
		assert_int_equal(notifier_age_one(vm.space, gfn(2), NOTIFIER_CLEAR),
		                 NOTIFIER_YOUNG | NOTIFIER_WAS_FAST);
		z = zap(2);
		assert_true(z.mapped && z.dirty && !z.young);
		stop();
	}
}

/* A fault that looked the page up, then was overtaken by an eviction, must not install it. */
static void test_tdp_fault_inside_invalidation_retries(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		struct tdp_access a = {.gpa = page(4)};

		start(m);
		invalidate_begin(vm.space, gfn(0), gfn(10));
		assert_int_equal(tdp_fault(&vm.tdp, &a), FAULT_RETRY);
		assert_int_equal(host_vm_spte(&vm, gfn(4)), SPTE_EMPTY);
		a.gpa = page(11);
		assert_int_equal(tdp_fault(&vm.tdp, &a), FAULT_FIXED);
		invalidate_end(vm.space, gfn(0), gfn(10));
		a.gpa = page(4);
		assert_int_equal(tdp_fault(&vm.tdp, &a), FAULT_FIXED);
		stop();
	}
}

/* W comes to what is mapped, whoever is about to take it away; he finds it written. What is gone stays away. */
static void test_tdp_write_grant_inside_invalidation(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		struct tdp_access a = {.gpa = page(4)};
		struct notifier_zap z;

		if (spte_has_dirty(m->format))
			continue;
		start(m);
		assert_int_equal(tdp_fault(&vm.tdp, &a), FAULT_FIXED);
		invalidate_begin(vm.space, gfn(4), gfn(4));
		a.write = true;
		assert_int_equal(tdp_fault(&vm.tdp, &a), FAULT_FIXED);
		assert_false(copy_kept(4));
		notifier_zap(vm.space, gfn(4), &z);
		assert_true(z.dirty);
		assert_int_equal(tdp_fault(&vm.tdp, &a), FAULT_RETRY);
		assert_int_equal(host_vm_spte(&vm, gfn(4)), SPTE_EMPTY);
		invalidate_end(vm.space, gfn(4), gfn(4));
		assert_int_equal(tdp_fault(&vm.tdp, &a), FAULT_FIXED);
		assert_true(spte_dirty(m->format, host_vm_spte(&vm, gfn(4))));
		stop();
	}
}

/* The MMU lock is held for writing while an access-tracked page is touched: it must not matter. */
static void test_tdp_restore_needs_no_lock(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		struct tdp_access a = {.gpa = page(4)};
		u64 value;

		start(m);
		assert_int_equal(host_vm_write(&vm, 0, page(4), 8), FAULT_FIXED);
		notifier_age_one(vm.space, gfn(4), NOTIFIER_CLEAR);
		write_lock(&vm.space->mmu_lock);
		assert_int_equal(tdp_fault(&vm.tdp, &a), FAULT_FIXED);
		write_unlock(&vm.space->mmu_lock);
		assert_int_equal(a64_load(&vm.tdp.fixed_fast_total), 1);
		assert_int_equal(host_vm_read(&vm, 0, page(4), &value), FAULT_FIXED);
		assert_int_equal(value, 8);
		/* Still known to be dirty, and writable without another fault. */
		assert_true(spte_dirty(m->format, host_vm_spte(&vm, gfn(4))));
		assert_true(spte_rights(m->format, host_vm_spte(&vm, gfn(4))) & SPTE_W);
		stop();
	}
}

static void test_tdp_no_memory_for_tables(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		struct tdp_access a = {.gpa = page(1000)};

		start(m);
		/* What was built before memory ran out stays: three are needed in the end. */
		for (u64 n = 0; n < 3; n++) {
			host_pages_limit(n != 0);
			assert_int_equal(tdp_fault(&vm.tdp, &a), FAULT_NO_MEMORY);
			host_pages_limit(HOST_NO_LIMIT);
			assert_int_equal(a64_load(&vm.tdp.leaves), 0);
		}
		assert_int_equal(tdp_fault(&vm.tdp, &a), FAULT_FIXED);
		stop();
		host_pages_limit(HOST_NO_LIMIT);
	}
}

static void test_tdp_create_without_memory(void **state)
{
	struct host_vm other;

	(void)state;
	start(&host_machines[0]);
	host_pages_limit(0);
	assert_false(tdp_create(&other.tdp, vm.space, &spte_ept_ad));
	host_pages_limit(HOST_NO_LIMIT);
	stop();
}

static void test_tdp_destroy_gives_all_tables_back(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 used = hal_pages_used();

		start(m);
		for (u64 g = 0; g < PAGES; g += 100)
			assert_int_equal(host_vm_write(&vm, 0, page(g), g), FAULT_FIXED);
		assert_int_equal(a64_load(&vm.tdp.tables), 3 + PAGES / TABLE_PAGES);
		stop();
		epoch_barrier();
		assert_int_equal(hal_pages_used(), used);
	}
}

static void test_tdp_iter_visits_in_order(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		const u64 touched[] = {0, 1, 511, 512, 1025, 2047};
		unsigned leaves = 0, tables = 1;
		struct tdp_iter it;

		start(m);
		for (unsigned i = 0; i < ARRAY_SIZE(touched); i++)
			assert_int_equal(host_vm_write(&vm, 0, page(touched[i]), 1), FAULT_FIXED);
		epoch_enter();
		tdp_iter_start(&it, &vm.tdp, gfn(0), gfn(~0ull));
		while (tdp_iter_next(&it)) {
			if (spte_is_table(m->format, it.entry.level, it.entry.seen))
				tables++;
			else
				assert_int_equal(it.pos, touched[leaves++]);
		}
		assert_int_equal(leaves, ARRAY_SIZE(touched));
		assert_int_equal(tables, a64_load(&vm.tdp.tables));
		/* A range that starts and ends within tables. */
		tdp_iter_start(&it, &vm.tdp, gfn(511), gfn(1024));
		for (leaves = 0; tdp_iter_next(&it);)
			leaves += spte_is_leaf(m->format, it.entry.level, it.entry.seen);
		assert_int_equal(leaves, 2);
		epoch_exit();
		stop();
	}
}

static a64 *entry_of(u64 g)
{
	a64 *at;

	epoch_enter();
	at = tdp_find(&vm.tdp, gfn(g)).at;
	epoch_exit();
	return at;
}

/* Whether the audit finds a fault once the entry of page 6 is `bad`. */
static bool audit_finds(u64 bad)
{
	u64 good = a64_load(entry_of(6)), found;

	a64_store(entry_of(6), bad);
	found = vm.tdp.notifier.ops->audit(&vm.tdp.notifier);
	a64_store(entry_of(6), good);
	return found;
}

static void test_tdp_audit_finds_planted_faults(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 spte, value;

		start(m);
		assert_int_equal(host_vm_read(&vm, 0, page(6), &value), FAULT_FIXED);
		assert_int_equal(host_vm_read(&vm, 0, page(8), &value), FAULT_FIXED);
		spte = host_vm_spte(&vm, gfn(6));
		assert_false(audit_finds(spte));
		assert_true(audit_finds(host_vm_spte(&vm, gfn(8)))); /* another's frame */
		assert_true(audit_finds(SPTE_EMPTY));                /* miscounted */
		assert_true(audit_finds(spte & SPTE_ADDRESS));       /* I6: left behind */
		assert_true(audit_finds(spte & ~(m->format->present | m->format->accessed)));
		if (!spte_has_dirty(m->format))
			assert_true(audit_finds(spte | m->format->write));
		stop();
	}
}

static void test_tdp_refault_returns_the_contents(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 value;

		start(m);
		for (u64 g = 0; g < 64; g++) {
			assert_int_equal(host_vm_write(&vm, 0, page(g), 1000 + g), FAULT_FIXED);
			assert_int_equal(host_vm_write(&vm, 0, gpa(page(g).v + 8), ~g),
			                 FAULT_FIXED);
		}
		assert_true(host_vm_evict(&vm, 64) > 32);
		for (u64 g = 0; g < 64; g++) {
			assert_int_equal(host_vm_read(&vm, 1, page(g), &value), FAULT_FIXED);
			assert_int_equal(value, 1000 + g);
		}
		assert_true(a64_load(&vm.space->stats.refaults_total) > 32);
		stop();
	}
}

/* Evicted, read back (copy kept), written through the walker, evicted again: I8. */
static void test_tdp_write_after_refault_is_not_lost(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start(m);
		for (u64 round = 0; round < 4; round++) {
			for (u64 g = 0; g < 64; g++) {
				u64 value;

				assert_int_equal(host_vm_read(&vm, 0, page(g), &value),
				                 FAULT_FIXED);
				assert_int_equal(value, round ? round * 1000 + g : 0);
				assert_int_equal(
				        host_vm_write(&vm, 0, page(g), (round + 1) * 1000 + g),
				        FAULT_FIXED);
			}
			assert_true(host_vm_evict(&vm, 64) > 32);
		}
		stop();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_tdp_first_touch),
	        cmocka_unit_test(test_tdp_fault_ref),
	        cmocka_unit_test(test_tdp_write_after_read),
	        cmocka_unit_test(test_tdp_write_first_is_dirty_and_has_no_copy),
	        cmocka_unit_test(test_tdp_fetch),
	        cmocka_unit_test(test_tdp_spurious_fault_changes_nothing),
	        cmocka_unit_test(test_tdp_outside_of_memory),
	        cmocka_unit_test(test_tdp_zap_tells_what_happened),
	        cmocka_unit_test(test_tdp_zap_of_aged_page_keeps_dirty),
	        cmocka_unit_test(test_tdp_fault_inside_invalidation_retries),
	        cmocka_unit_test(test_tdp_write_grant_inside_invalidation),
	        cmocka_unit_test(test_tdp_restore_needs_no_lock),
	        cmocka_unit_test(test_tdp_no_memory_for_tables),
	        cmocka_unit_test(test_tdp_create_without_memory),
	        cmocka_unit_test(test_tdp_destroy_gives_all_tables_back),
	        cmocka_unit_test(test_tdp_iter_visits_in_order),
	        cmocka_unit_test(test_tdp_audit_finds_planted_faults),
	        cmocka_unit_test(test_tdp_refault_returns_the_contents),
	        cmocka_unit_test(test_tdp_write_after_refault_is_not_lost),
	};

	return vm_group_run(tests, FRAMES);
}
