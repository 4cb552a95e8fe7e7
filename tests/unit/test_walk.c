/* mm/walk: which tables a pass harvests, by the bits above them and by what the policy lets it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mm/age.h"
#include "mm/audit.h"
#include "mm/gen.h"
#include "mm/notifier.h"
#include "mm/policy.h"
#include "mm/reclaim.h"
#include "tests/host/fake/store.c"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"
#include "tests/unit/host_vm.h"

#define FRAMES 4600u
#define DENSE  64u /* pages of a table that make it worth a visit */
#define TABLES 64u

static struct host_vm vm;
static struct fake_guest guest;

static void touch(u64 g)
{
	assert_int_equal(host_vm_write(&vm, 0, gfn_gpa(gfn(g)), g), FAULT_FIXED);
}

static void touch_table(u64 table)
{
	for (u64 i = 0; i < DENSE; i++)
		touch(table * TABLE_PAGES + i * 8);
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

/* Every table, then one page of one: the other 63 cost an entry each. */
static void test_walk_reads_only_tables_that_were_touched(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		bool knows = spte_has_dirty(m->format);
		struct age_result r;

		start(m, TABLES * TABLE_PAGES);
		for (u64 table = 0; table < TABLES; table++)
			touch_table(table);
		r = vm_age(vm.space, false);
		assert_int_equal(r.tables, TABLES);
		assert_int_equal(r.young, TABLES * DENSE);
		vm_flush(vm.space);
		touch(17 * TABLE_PAGES + 16);
		r = vm_age(vm.space, false);
		assert_int_equal(r.upper, TABLES);
		assert_int_equal(r.tables, knows ? 1 : TABLES);
		assert_int_equal(r.visited, r.tables * TABLE_PAGES);
		assert_int_equal(r.skipped_nonleaf, knows ? TABLES - 1 : 0);
		assert_int_equal(r.skipped_bloom, 0);
		assert_int_equal(r.young, 1);
		assert_int_equal(a64_load(&vm.space->stats.tables_skipped_nonleaf_total),
		                 r.skipped_nonleaf);
		assert_int_equal(a64_load(&vm.space->stats.tables_visited_total),
		                 TABLES + r.tables);
		stop();
	}
}

static void test_walk_asks_above_a_gib_first(void **state)
{
	struct age_result r;

	(void)state;
	start(&host_machines[0], 2 * TABLE_PAGES * TABLE_PAGES + 100);
	touch(5);
	touch(2 * TABLE_PAGES * TABLE_PAGES + 7);
	r = vm_age(vm.space, false);
	assert_int_equal(r.upper, 1 + TABLE_PAGES + 1);
	assert_int_equal(r.skipped_nonleaf, TABLE_PAGES - 1 + TABLE_PAGES);
	assert_int_equal(r.tables, 1 + 1); /* the last block is a piece: it is not asked about */
	assert_int_equal(r.young, 2);
	vm_flush(vm.space);
	touch(TABLE_PAGES * TABLE_PAGES + 3 * TABLE_PAGES);
	r = vm_age(vm.space, false);
	assert_int_equal(r.upper, 1 + 1 + TABLE_PAGES);
	assert_int_equal(r.young, 1);
	stop();
}

static bool ran_and_superseded(struct space *s)
{
	(void)gen_advance(&s->lru, a64_load(&s->lru.max_seq));
	return true;
}

/* A pass that was cut short cleared the bit above a GiB and left young pages below it. */
static void test_walk_after_a_pass_cut_short_believes_no_gib(void **state)
{
	struct space_ops cut;
	const struct space_ops *ops;
	struct age_result r;

	(void)state;
	start(&host_machines[0], TABLE_PAGES * TABLE_PAGES);
	touch_table(9);
	touch(0);
	(void)vm_age(vm.space, false);
	vm_flush(vm.space);
	touch(9 * TABLE_PAGES);
	ops = vm.space->ops;
	cut = *ops;
	cut.ran = ran_and_superseded;
	vm.space->ops = &cut;
	r = vm_age(vm.space, false);
	assert_false(r.produced);
	assert_int_equal(r.young, 0);
	vm.space->ops = ops;
	r = vm_age(vm.space, false);
	assert_int_equal(r.young, 1);
	assert_int_equal(r.skipped_nonleaf, TABLE_PAGES - 1);
	touch(9 * TABLE_PAGES); /* so that it is no idle guest */
	r = vm_age(vm.space, false);
	assert_int_equal(r.skipped_nonleaf, TABLE_PAGES);
	stop();
}

/*
 * The hazard: hardware walks from what it has cached of the upper entries and marks the leaf alone. The
 * table is skipped until a flush; the evictor, who reads the leaf, is not deceived.
 */
static void test_walk_is_deceived_by_a_cached_upper_entry_until_a_flush(void **state)
{
	struct age_result r;

	(void)state;
	start(&host_machines[2], 2 * TABLE_PAGES);
	touch_table(0);
	touch(2);
	touch(2 + WALKER_TLB); /* takes its place in the TLB */
	(void)vm_age(vm.space, false);
	touch(2);
	r = vm_age(vm.space, false);
	assert_int_equal(r.tables, 0);
	assert_int_equal(notifier_age_one(vm.space, gfn(2), NOTIFIER_TEST),
	                 NOTIFIER_YOUNG | NOTIFIER_WAS_FAST);
	vm_flush(vm.space);
	touch(2 + WALKER_TLB);
	r = vm_age(vm.space, false);
	assert_int_equal(r.young, 2);
	stop();
}

static void test_walk_forced_reads_everything(void **state)
{
	struct age_result r;

	(void)state;
	start(&host_machines[0], TABLES * TABLE_PAGES);
	touch(0);
	(void)vm_age(vm.space, false);
	r = age_space(vm.space, a64_load(&vm.space->lru.max_seq), true);
	assert_int_equal(r.tables, TABLES);
	assert_int_equal(r.skipped_nonleaf, 0);
	stop();
}

static void test_walk_does_what_the_capabilities_say(void **state)
{
	struct age_result r;

	(void)state;
	start(&host_machines[0], TABLES * TABLE_PAGES);
	touch_table(0);
	(void)vm_age(vm.space, false);
	vm_flush(vm.space);
	touch(0);
	a32_store(&policy.caps, POLICY_CAPS & ~POLICY_WALK);
	r = age_space(vm.space, a64_load(&vm.space->lru.max_seq), true);
	assert_true(r.produced);
	assert_int_equal(r.tables + r.upper, 0);
	a32_store(&policy.caps, POLICY_CAPS & ~POLICY_NONLEAF);
	r = vm_age(vm.space, false);
	assert_int_equal(r.tables, TABLES);
	assert_int_equal(r.upper, 0);
	assert_int_equal(r.young, 1);
	stop();
}

static void test_walk_core_off_ages_on_demand_only(void **state)
{
	u64 seq;

	(void)state;
	start(&host_machines[0], TABLE_PAGES);
	seq = a64_load(&vm.space->lru.max_seq);
	a32_store(&policy.caps, POLICY_CAPS & ~POLICY_CORE);
	reclaim_age_periodic(hal_time_ns(), 0);
	assert_int_equal(a64_load(&vm.space->lru.max_seq), seq);
	assert_true(vm_age(vm.space, false).produced);
	a32_store(&policy.caps, POLICY_CAPS);
	reclaim_age_periodic(hal_time_ns(), 0);
	assert_int_equal(a64_load(&vm.space->lru.max_seq), seq + 2);
	stop();
}

/* --- the filter ------------------------------------------------------------------------------------ */

static void test_walk_leaves_sparse_tables_to_the_evictor(void **state)
{
	struct age_result r;

	(void)state;
	for_each_machine(m)
	{
		start(m, 4 * TABLE_PAGES);
		touch_table(0);
		touch(TABLE_PAGES);
		r = vm_age(vm.space, false);
		assert_int_equal(r.young, DENSE + 1);
		assert_int_equal(r.skipped_bloom, 0);
		vm_flush(vm.space);
		touch_table(0);
		touch(TABLE_PAGES);
		r = vm_age(vm.space, false);
		assert_int_equal(r.young, DENSE);
		assert_int_equal(r.skipped_bloom, spte_has_dirty(m->format) ? 1 : 3);
		/* ... who brings it back, dense or not: the 64 neighbours count. */
		for (u64 i = 0; i < 8; i++)
			touch(TABLE_PAGES + i);
		age_look_around(vm.space, gfn(TABLE_PAGES), NOTIFIER_YOUNG | NOTIFIER_WAS_FAST);
		touch(TABLE_PAGES + 300);
		r = vm_age(vm.space, false);
		assert_int_equal(r.young, 1);
		stop();
	}
}

static void test_walk_forced_heeds_no_filter(void **state)
{
	struct age_result r;

	(void)state;
	start(&host_machines[0], 2 * TABLE_PAGES);
	touch(1);
	(void)vm_age(vm.space, false);
	vm_flush(vm.space);
	touch(1);
	r = age_space(vm.space, a64_load(&vm.space->lru.max_seq), true);
	assert_int_equal(r.skipped_bloom, 0);
	assert_int_equal(r.young, 1);
	stop();
}

/* What the filter made the walk leave out is not forgotten: its upper bit still stands. */
static void test_walk_skipped_by_the_filter_is_found_later(void **state)
{
	struct age_result r;

	(void)state;
	start(&host_machines[0], 2 * TABLE_PAGES);
	touch(1);
	(void)vm_age(vm.space, false);
	vm_flush(vm.space);
	touch(1);
	r = vm_age(vm.space, false);
	assert_int_equal(r.young, 0);
	assert_int_equal(r.skipped_bloom, 1);
	/* A pass that is not walked leaves no filter. */
	(void)vm_age(vm.space, false);
	(void)a32_xchg(&vm.ran, 1);
	r = vm_age(vm.space, false);
	assert_int_equal(r.young, 1);
	stop();
}

/* --- batches and locks ----------------------------------------------------------------------------- */

static void test_walk_asks_in_batches(void **state)
{
	static const u32 batch[] = {1, 64, 100, 512, 0, 100000};

	(void)state;
	start(&host_machines[0], 3 * TABLE_PAGES + 11);
	for (unsigned i = 0; i < sizeof(batch) / sizeof(batch[0]); i++) {
		struct age_result r;

		a32_store(&policy.batch, batch[i]);
		vm_flush(vm.space);
		for (u64 table = 0; table < 3; table++)
			touch_table(table);
		r = vm_age(vm.space, false);
		assert_int_equal(r.young, 3 * DENSE);
		assert_int_equal(r.tables, 3 + (i == 0));
	}
	stop();
}

/* Who sits on the lock lets go when the harvest is seen to wait for it; as another CPU. */
static u32 waits;

static void let_go(void *arg)
{
	waits++;
	host_on_pause(NULL, NULL);
	host_cpu_set(1);
	write_unlock(&vm.space->mmu_lock);
	host_cpu_set(0);
	(void)arg;
}

static void sit_on_the_lock(void)
{
	waits = 0;
	host_cpu_set(1);
	write_lock(&vm.space->mmu_lock);
	host_cpu_set(0);
	host_on_pause(let_go, NULL);
}

static void get_up(void)
{
	host_on_pause(NULL, NULL);
	if (waits)
		return;
	host_cpu_set(1);
	write_unlock(&vm.space->mmu_lock);
	host_cpu_set(0);
}

static void walk_it(void)
{
	assert_int_equal(vm_age(vm.space, false).young, DENSE);
}

static void look_around_it(void)
{
	age_look_around(vm.space, gfn(8), NOTIFIER_YOUNG | NOTIFIER_WAS_FAST);
	assert_int_equal(a64_load(&vm.space->stats.lookarounds_total), 1);
}

static void ask_for_it(void)
{
	assert_true(notifier_age_one(vm.space, gfn(8), NOTIFIER_CLEAR) & NOTIFIER_YOUNG);
}

static void ask_above_it(void)
{
	(void)notifier_range_young(vm.space, gfn(0), TABLE_PAGES, NOTIFIER_TEST);
}

/* I11: lockless, nothing waits for who has the lock; `reclaim = locked` waits for it everywhere. */
static void test_walk_waits_for_the_lock_only_if_told_to(void **state)
{
	static void (*const way[])(void) = {walk_it, look_around_it, ask_for_it, ask_above_it};

	(void)state;
	host_cpu_count_set(2);
	for_each_machine(m)
	{
		for (unsigned i = 0; i < 2 * sizeof(way) / sizeof(way[0]); i++) {
			start(m, TABLE_PAGES);
			touch_table(0);
			a32_store(&policy.locked, i % 2);
			sit_on_the_lock();
			way[i / 2]();
			get_up();
			assert_int_equal(waits, i % 2);
			stop();
		}
	}
	host_cpu_count_set(1);
}

/* --- several MMUs ---------------------------------------------------------------------------------- */

static void start_fake(bool second_is_slow)
{
	const struct fake_config c = {.name = "walked",
	                              .npages = 4 * TABLE_PAGES,
	                              .nr_mmus = 2,
	                              .nr_vcpus = 2,
	                              .second_is_slow = second_is_slow,
	                              .upper_bits = true};

	fake_guest_create(&guest, &c);
	for (u64 page = 0; page < 4 * TABLE_PAGES; page += 8) {
		(void)fake_read(&guest, 0, page, 0);
		(void)fake_read(&guest, 1, page, 0);
	}
	(void)vm_age(guest.space, false);
	vm_flush(guest.space);
}

static void test_walk_skips_what_no_mmu_saw(void **state)
{
	struct age_result r;

	(void)state;
	start_fake(false);
	(void)fake_read(&guest, 0, 1 * TABLE_PAGES, 0);
	(void)fake_read(&guest, 1, 2 * TABLE_PAGES, 0);
	r = vm_age(guest.space, false);
	assert_int_equal(r.tables, 2);
	assert_int_equal(r.young, 2);
	fake_guest_destroy(&guest);
}

/* A slow MMU is not harvested by walks, so what it says is no reason to read a table. */
static void test_walk_does_not_ask_a_slow_mmu(void **state)
{
	struct age_result r;

	(void)state;
	start_fake(true);
	(void)fake_read(&guest, 1, 2 * TABLE_PAGES, 0);
	r = vm_age(guest.space, false);
	assert_int_equal(r.tables, 0);
	assert_int_equal(r.skipped_nonleaf, 4);
	fake_guest_destroy(&guest);
}

static void test_walk_secondary_off_asks_the_first_mmu(void **state)
{
	struct age_result r;

	(void)state;
	start_fake(false);
	a32_store(&policy.caps, POLICY_CAPS & ~POLICY_SECONDARY);
	(void)fake_read(&guest, 0, 1 * TABLE_PAGES, 0);
	(void)fake_read(&guest, 1, 2 * TABLE_PAGES, 0);
	r = vm_age(guest.space, false);
	assert_int_equal(r.tables, 1);
	assert_int_equal(r.young, 1);
	assert_true(a64_load(&guest.mmu[1].entry[2 * TABLE_PAGES]) & FAKE_A);
	/* The evictor's question goes to both, whatever walks do. */
	assert_true(notifier_age_one(guest.space, gfn(2 * TABLE_PAGES), NOTIFIER_TEST));
	fake_guest_destroy(&guest);
}

/* --- the mode of a space: whom its walks ask ------------------------------------------------------- */

static u64 mode_young(enum walk_mode mode)
{
	a32_store(&guest.space->walk, mode);
	return vm_age(guest.space, false).young;
}

static void test_walk_off_for_one_space_leaves_the_others(void **state)
{
	u64 max_seq;

	(void)state;
	start_fake(false);
	start(&host_machines[0], TABLE_PAGES);
	(void)fake_read(&guest, 0, 1 * TABLE_PAGES, 0);
	touch(3);
	max_seq = a64_load(&guest.space->lru.max_seq);
	assert_int_equal(mode_young(WALK_OFF), 0);
	assert_int_equal(a64_load(&guest.space->lru.max_seq), max_seq + 1);
	assert_true(a64_load(&guest.mmu[0].entry[1 * TABLE_PAGES]) & FAKE_A);
	assert_int_equal(vm_age(vm.space, false).young, 1);
	/* Switched back, what was touched meanwhile is still there to be found. */
	assert_int_equal(mode_young(WALK_FAST), 1);
	stop();
	fake_guest_destroy(&guest);
}

static void test_walk_all_asks_a_slow_mmu(void **state)
{
	(void)state;
	start_fake(true);
	for (u64 i = 0; i < DENSE; i++) /* or the filter would leave the table out */
		(void)fake_read(&guest, 1, 2 * TABLE_PAGES + i, 0);
	assert_true(mode_young(WALK_ALL) >= DENSE);
	vm_flush(guest.space);
	(void)fake_read(&guest, 1, 2 * TABLE_PAGES, 0);
	assert_int_equal(mode_young(WALK_FAST), 0);
	assert_true(a64_load(&guest.mmu[1].entry[2 * TABLE_PAGES]) & FAKE_A);
	a32_store(&guest.ran, 1);
	assert_int_equal(mode_young(WALK_ALL), 1);
	assert_false(a64_load(&guest.mmu[1].entry[2 * TABLE_PAGES]) & FAKE_A);
	fake_guest_destroy(&guest);
}

/* The capability is the host's. */
static void test_walk_mode_is_below_the_capability(void **state)
{
	(void)state;
	start_fake(true);
	(void)fake_read(&guest, 0, 2 * TABLE_PAGES, 0);
	a32_store(&policy.caps, POLICY_CAPS & ~POLICY_WALK);
	assert_int_equal(mode_young(WALK_ACCURATE), 0);
	policy_init();
	assert_true(mode_young(WALK_ACCURATE) > 0);
	fake_guest_destroy(&guest);
}

/* One page, in every interval: fast walks lose sight of it, by the TLB and by the filter; accurate ones see it. */
static void test_walk_accurate_ages_are_exact(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 seen = 0;

		start(m, 4 * TABLE_PAGES);
		touch(7);
		touch(TABLE_PAGES + 9);
		(void)vm_age(vm.space, false);
		for (unsigned i = 0; i < 4; i++) {
			touch(7);
			seen += vm_age(vm.space, false).young;
		}
		assert_true(seen < 4);
		a32_store(&vm.space->walk, WALK_ACCURATE);
		(void)vm_age(vm.space, false);
		for (unsigned i = 0; i < 4; i++) {
			struct age_result r;

			touch(7);
			r = vm_age(vm.space, false);
			assert_int_equal(r.young, 1);
			assert_int_equal(r.tables, 4);
			assert_true(flush_is_done(vm.space, a64_load(&vm.space->flush.wanted)));
		}
		assert_int_equal(vm_age(vm.space, false).young, 0);
		stop();
	}
}

static int setup(void **state)
{
	(void)state;
	policy_init();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	policy_init();
	return 0;
}

static int group_setup(void **state)
{
	(void)state;
	fake_frames_create(FRAMES);
	return store_init() ? 0 : -1;
}

static int group_teardown(void **state)
{
	(void)state;
	fake_frames_destroy();
	fake_store_reset();
	return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_walk_reads_only_tables_that_were_touched),
	        T(test_walk_asks_above_a_gib_first),
	        T(test_walk_after_a_pass_cut_short_believes_no_gib),
	        T(test_walk_is_deceived_by_a_cached_upper_entry_until_a_flush),
	        T(test_walk_forced_reads_everything),
	        T(test_walk_does_what_the_capabilities_say),
	        T(test_walk_core_off_ages_on_demand_only),
	        T(test_walk_leaves_sparse_tables_to_the_evictor),
	        T(test_walk_forced_heeds_no_filter),
	        T(test_walk_skipped_by_the_filter_is_found_later),
	        T(test_walk_asks_in_batches),
	        T(test_walk_waits_for_the_lock_only_if_told_to),
	        T(test_walk_skips_what_no_mmu_saw),
	        T(test_walk_does_not_ask_a_slow_mmu),
	        T(test_walk_secondary_off_asks_the_first_mmu),
	        T(test_walk_off_for_one_space_leaves_the_others),
	        T(test_walk_all_asks_a_slow_mmu),
	        T(test_walk_mode_is_below_the_capability),
	        T(test_walk_accurate_ages_are_exact),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
