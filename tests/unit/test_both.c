/*
 * A guest with two MMUs behind one notifier: vCPU 0 on a TDP, vCPU 1 on shadow tables. Who is asked what, in which
 * order, and that what one MMU needs of the other is done.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/mmu/guest_mem.h"
#include "hv/mmu/shadow_core.h"
#include "mm/audit.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/policy.h"
#include "mm/store.h"
#include "tests/host/cpu_walker.h"
#include "tests/host/hal.h"
#include "tests/unit/host_vm.h"

#define PAGES     1024u
#define FRAMES    1024u
#define DIRECTORY 600u
#define TABLE     601u

static struct {
	struct host_vm tdp; /* its space is the guest's */
	struct shadow shadow;
	struct guest_mem mem;
	struct shadow_vcpu vcpu;
	struct cpu_walker walker;
	u64 flushed;
	u64 faults;
} both;

static void start(const struct host_machine *m, const struct spte_format *format)
{
	memset(&both, 0, sizeof(both));
	host_vm_create(&both.tdp, m, PAGES, 1);
	assert_true(shadow_create(&both.shadow, both.tdp.space, format, &both.tdp.tdp,
	                          (struct shadow_window){.npages = 0}));
	both.mem = (struct guest_mem){.space = both.tdp.space, .shadow = &both.shadow};
	assert_true(shadow_vcpu_create(&both.vcpu, &both.shadow));
}

static void stop(void)
{
	assert_int_equal(audit_all(NULL), 0);
	assert_int_equal(host_vm_leaks(&both.tdp), 0);
	space_drain(both.tdp.space);
	shadow_vcpu_destroy(&both.vcpu);
	shadow_destroy(&both.shadow);
	tdp_destroy(&both.tdp.tdp);
	space_destroy(both.tdp.space);
	epoch_barrier();
	assert_int_equal(frame_table_count(), 0);
}

/* Of the guest's memory, on the TDP. */
static void tdp_touch(u64 g, bool write)
{
	u64 value = g;

	assert_int_equal(write ? host_vm_write(&both.tdp, 0, gpa(g * PAGE_SIZE + 8), g)
	                       : host_vm_read(&both.tdp, 0, gpa(g * PAGE_SIZE + 8), &value),
	                 FAULT_FIXED);
}

static void shadow_enter(void)
{
	u64 wanted = a64_load(&both.tdp.space->flush.wanted);

	if (both.flushed != wanted)
		cpu_flush(&both.walker);
	both.flushed = wanted;
}

/* At the address, on shadow tables; what was there, or is from now on. */
static u64 shadow_touch(u64 at, bool write, u64 value)
{
	struct shadow_outcome out;
	hpa_t where;
	u32 error;

	for (;;) {
		assert_int_equal(shadow_vcpu_root(&both.vcpu, &both.walker.cr3), SHADOW_FIXED);
		shadow_enter();
		if (cpu_translate(&both.walker, gva(at), write ? CPU_WRITE : 0, false, &where,
		                  &error))
			break;
		both.faults++;
		assert_in_range(shadow_fault(&both.vcpu, gva(at), error, false, &out), SHADOW_FIXED,
		                SHADOW_RETRY);
	}
	if (write)
		a64_store((a64 *)(uintptr_t)where.v, value);
	return a64_load((a64 *)(uintptr_t)where.v);
}

static void shadow_touch_page(u64 g, bool write)
{
	(void)shadow_touch(g * PAGE_SIZE + 8, write, g);
}

static void poke32(u64 at, u32 value)
{
	assert_int_equal(guest_write(&both.mem, gpa(at), &value, 4), 4);
}

/* 32-bit paging on the shadow vCPU: its first addresses go through TABLE. */
static void start_paging(void)
{
	const struct shadow_regs regs = {
	        .cr0 = BIT(0) | BIT(16) | BIT(31), .cr3 = DIRECTORY * PAGE_SIZE, .phys_bits = 36};

	poke32(DIRECTORY * PAGE_SIZE, TABLE * PAGE_SIZE | 0x27);
	shadow_vcpu_set(&both.vcpu, &regs);
	cpu_flush(&both.walker);
}

/* As MOV CR3 with what it has: the moment at which changed entries count. */
static void reload_cr3(void)
{
	struct shadow_regs regs = both.vcpu.regs;

	shadow_vcpu_set(&both.vcpu, &regs);
	cpu_flush(&both.walker);
}

static unsigned ask(u64 *bitmap, unsigned flags, u64 *visited)
{
	*visited = 0;
	return notifier_age(both.tdp.space, gfn(0), 64, bitmap, flags, visited);
}

static unsigned ask_all(u64 *young, unsigned flags)
{
	u64 visited;

	*young = ~0ull;
	return ask(young, flags, &visited);
}

/* --- questions ------------------------------------------------------------------------------------- */

/* Each tells what was accessed through it, and the answer is both. */
static void test_both_young_in_either_is_young(void **state)
{
	u64 young;

	(void)state;
	for_each_machine(m)
	{
		start(m, spte_shadow_format(spte_has_dirty(m->format)));
		tdp_touch(1, true);
		shadow_touch_page(2, true);
		tdp_touch(3, false);
		shadow_touch_page(3, false);
		assert_true(ask_all(&young, NOTIFIER_CLEAR) & NOTIFIER_YOUNG);
		assert_int_equal(young, 0xe);
		assert_int_equal(ask_all(&young, NOTIFIER_CLEAR), 0);
		flush_wait(both.tdp.space, flush_request(both.tdp.space));
		shadow_touch_page(3, false);
		assert_true(ask_all(&young, NOTIFIER_CLEAR) & NOTIFIER_YOUNG);
		assert_int_equal(young, 8);
		stop();
	}
}

/* The TDP first; if that says young and nothing is to be cleared, no shadow entry is read. */
static void test_both_test_stops_at_the_tdp(void **state)
{
	u64 bitmap[NOTIFIER_WORDS], visited, tdp_alone;

	(void)state;
	start(&host_machines[2], &spte_shadow_ad);
	for (unsigned g = 0; g < 8; g++) {
		tdp_touch(g, false);
		shadow_touch_page(g, false);
	}
	bitmap[0] = ~0ull;
	assert_true(ask(bitmap, NOTIFIER_TEST | NOTIFIER_FIRST_MMU, &tdp_alone) & NOTIFIER_YOUNG);
	bitmap[0] = ~0ull;
	assert_true(ask(bitmap, NOTIFIER_TEST, &visited) & NOTIFIER_YOUNG);
	assert_int_equal(visited, tdp_alone);
	/* The TDP's are old: now the shadow entries are looked at, up to the first. */
	bitmap[0] = ~0ull;
	(void)ask(bitmap, NOTIFIER_CLEAR | NOTIFIER_FIRST_MMU, &visited);
	bitmap[0] = ~0ull;
	(void)ask(bitmap, NOTIFIER_TEST | NOTIFIER_FIRST_MMU, &tdp_alone);
	bitmap[0] = ~0ull;
	assert_true(ask(bitmap, NOTIFIER_TEST, &visited) & NOTIFIER_YOUNG);
	assert_int_equal(visited, tdp_alone + 1);
	assert_int_equal(bitmap[0], 1);
	stop();
}

/* No shadow entries: the second question is a load. There is one, and then none again: likewise. */
static void test_both_second_question_is_free_without_shadow_entries(void **state)
{
	u64 bitmap[NOTIFIER_WORDS] = {~0ull}, visited, alone;

	(void)state;
	start(&host_machines[0], &spte_shadow_ad);
	tdp_touch(1, true);
	(void)ask(bitmap, NOTIFIER_CLEAR | NOTIFIER_FIRST_MMU, &alone);
	for (unsigned round = 0; round < 2; round++) {
		assert_false(both.shadow.notifier.ops->populated(&both.shadow.notifier));
		bitmap[0] = ~0ull;
		(void)ask(bitmap, NOTIFIER_CLEAR, &visited);
		assert_int_equal(visited, alone);
		shadow_touch_page(5, false);
		assert_true(both.shadow.notifier.ops->populated(&both.shadow.notifier));
		bitmap[0] = ~0ull;
		(void)ask(bitmap, NOTIFIER_CLEAR, &visited);
		assert_int_equal(visited, alone + 1);
		/* the first time they have just been used */
		assert_int_equal(shadow_shrink(&both.shadow.notifier, 100), 0);
		assert_true(shadow_shrink(&both.shadow.notifier, 100) > 0);
	}
	stop();
}

/*
 * Who asks may miss that there are shadow entries by now: then the page looks old, as if it were asked a moment
 * earlier. An eviction that believes it finds the entries all the same, and what was written through them.
 */
static void test_both_missed_shadow_entries_cost_an_answer_only(void **state)
{
	u64 young, leaves;

	(void)state;
	start(&host_machines[0], &spte_shadow_ad);
	shadow_touch_page(5, true);
	leaves = a64_load(&both.shadow.leaves);
	a64_store(&both.shadow.leaves, 0);
	assert_int_equal(ask_all(&young, NOTIFIER_CLEAR), 0);
	assert_int_equal(young, 0);
	a64_store(&both.shadow.leaves, leaves);
	assert_int_equal(evict_page(both.tdp.space, gfn(5)), EVICT_PAGE_DONE);
	epoch_barrier();
	assert_int_equal(a64_load(&both.shadow.leaves), 0);
	assert_int_equal(shadow_touch(5 * PAGE_SIZE + 8, false, 0), 5);
	stop();
}

/* Fast-only asks the fast ones: a shadow MMU without Accessed bits is left alone; accurate asks it as well. */
static void test_both_fast_only_leaves_a_slow_shadow_mmu(void **state)
{
	u64 young;

	(void)state;
	start(&host_machines[0], &spte_shadow_track);
	assert_true(notifier_any_fast(both.tdp.space));
	assert_false(notifier_all_fast(both.tdp.space));
	tdp_touch(1, true);
	shadow_touch_page(2, true);
	assert_int_equal(ask_all(&young, NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY),
	                 NOTIFIER_YOUNG | NOTIFIER_WAS_FAST);
	assert_int_equal(young, 2);
	/* Young in a slow MMU only: that is no reason to look around. */
	assert_int_equal(ask_all(&young, NOTIFIER_CLEAR), NOTIFIER_YOUNG);
	assert_int_equal(young, 4);
	stop();
}

static void test_both_fast_only_asks_a_fast_shadow_mmu(void **state)
{
	u64 young;

	(void)state;
	start(&host_machines[0], &spte_shadow_ad);
	assert_true(notifier_all_fast(both.tdp.space));
	shadow_touch_page(2, true);
	assert_int_equal(ask_all(&young, NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY),
	                 NOTIFIER_YOUNG | NOTIFIER_WAS_FAST);
	assert_int_equal(young, 4);
	stop();
}

/* A whole pass, and questions of every kind, while another CPU has the MMU lock: nobody waits, by the lock's own count. */
static void test_both_fast_only_waits_for_no_lock(void **state)
{
	struct rwlock *lock;
	u64 young;

	(void)state;
	for (unsigned track = 0; track < 2; track++) {
		start(&host_machines[0], spte_shadow_format(!track));
		lock = &both.tdp.space->mmu_lock;
		for (unsigned g = 0; g < 64; g++) {
			tdp_touch(g, true);
			shadow_touch_page(g, true);
		}
		host_cpu_set(1);
		write_lock(lock);
		host_cpu_set(0);
		(void)ask_all(&young, NOTIFIER_TEST | NOTIFIER_FAST_ONLY);
		assert_true(young & 1);
		(void)vm_age(both.tdp.space, true);
		(void)ask_all(&young, NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY);
		assert_int_equal(young, 0);
		/* Accurate waits for the words of the reverse maps only. */
		(void)ask_all(&young, NOTIFIER_CLEAR);
		assert_int_equal(young, track ? ~0ull : 0);
		assert_int_equal(rw_waits(lock), 0);
		host_cpu_set(1);
		write_unlock(lock);
		host_cpu_set(0);
		stop();
	}
}

static struct rwlock *held;

static void let_go(void *arg)
{
	(void)arg;
	host_on_pause(NULL, NULL);
	host_cpu_set(1);
	write_unlock(held);
	host_cpu_set(0);
}

/* The same question as it was before: with policy.locked it does wait, and is counted. */
static void test_both_locked_harvest_waits(void **state)
{
	u64 young;

	(void)state;
	start(&host_machines[0], &spte_shadow_ad);
	shadow_touch_page(2, true);
	held = &both.tdp.space->mmu_lock;
	host_cpu_set(1);
	write_lock(held);
	host_cpu_set(0);
	a32_store(&policy.locked, 1);
	host_on_pause(let_go, NULL);
	(void)ask_all(&young, NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY);
	a32_store(&policy.locked, 0);
	assert_int_equal(young, 4);
	assert_int_equal(rw_waits(held), 1);
	stop();
}

static bool is_resident(u64 g)
{
	u64 word;

	epoch_enter();
	word = a64_load(gfnmap_word(both.tdp.space, gfn(g)));
	epoch_exit();
	return gfn_word_tag(word) == GFN_RESIDENT;
}

/* The evictor asks accurately: what only the slow shadow MMU saw is not evicted, what nobody saw is. */
static void test_both_evictor_asks_the_slow_mmu(void **state)
{
	(void)state;
	start(&host_machines[0], &spte_shadow_track);
	for (unsigned g = 0; g < 64; g++) {
		tdp_touch(g, true);
		shadow_touch_page(g, false);
	}
	for (unsigned i = 0; i < 3; i++) {
		u64 young;

		(void)vm_age(both.tdp.space, true);
		(void)ask_all(&young, NOTIFIER_CLEAR);
	}
	flush_wait(both.tdp.space, flush_request(both.tdp.space));
	for (unsigned g = 0; g < 64; g += 2)
		shadow_touch_page(g, false);
	assert_true(evict_space(both.tdp.space, evict_any(32)).freed > 0);
	epoch_barrier();
	for (unsigned g = 0; g < 64; g += 2)
		assert_true(is_resident(g));
	stop();
}

/*
 * In one guest: young in the fast MMU is a reason to look around, in the slow one it is none, and the sweep does not
 * touch the slow one's entries.
 */
static void test_both_looks_around_in_the_fast_mmu_only(void **state)
{
	struct space_stats *stats;
	u64 young;

	(void)state;
	start(&host_machines[0], &spte_shadow_track);
	stats = &both.tdp.space->stats;
	for (unsigned g = 0; g < 64; g++) {
		tdp_touch(g, true);
		shadow_touch_page(g, false);
	}
	(void)ask_all(&young, NOTIFIER_CLEAR);
	flush_wait(both.tdp.space, flush_request(both.tdp.space));
	for (unsigned g = 0; g < 64; g++)
		if (g % 4)
			tdp_touch(g, false);
		else
			shadow_touch_page(g, false);
	age_look_around(both.tdp.space, gfn(8),
	                notifier_age_one(both.tdp.space, gfn(8), NOTIFIER_CLEAR));
	assert_int_equal(a64_load(&stats->lookarounds_total), 0);
	age_look_around(both.tdp.space, gfn(9),
	                notifier_age_one(both.tdp.space, gfn(9), NOTIFIER_CLEAR));
	assert_int_equal(a64_load(&stats->lookarounds_total), 1);
	/* Those of the shadow MMU are as they were, but for page 8. */
	assert_int_equal(ask_all(&young, NOTIFIER_CLEAR), NOTIFIER_YOUNG);
	assert_int_equal(young, 0x1111111111111011);
	stop();
}

/* --- what one needs of the other ------------------------------------------------------------------- */

static u64 tdp_rights(u64 g)
{
	return spte_saved_rights(both.tdp.tdp.format, host_vm_spte(&both.tdp, gfn(g)));
}

/*
 * The vCPU on the TDP owns the page table of the one on shadow tables: it writes entries, and they count from the next
 * load of CR3 on. While the table is in sync the TDP has no W on it.
 */
static void test_both_tdp_writes_a_shadowed_table(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start(m, spte_shadow_format(spte_has_dirty(m->format)));
		tdp_touch(10, true);
		tdp_touch(11, true);
		assert_int_equal(
		        host_vm_write(&both.tdp, 0, gpa(TABLE * PAGE_SIZE), 10 * PAGE_SIZE | 0x67),
		        FAULT_FIXED);
		assert_true(tdp_rights(TABLE) & SPTE_W);
		start_paging();
		assert_int_equal(shadow_touch(8, false, 0), 10);
		assert_int_equal(tdp_rights(TABLE) & SPTE_W, 0);
		assert_int_equal(both.shadow.notifier.ops->audit(&both.shadow.notifier), 0);
		/* Remapped by the other vCPU. */
		assert_int_equal(
		        host_vm_write(&both.tdp, 0, gpa(TABLE * PAGE_SIZE), 11 * PAGE_SIZE | 0x67),
		        FAULT_FIXED);
		assert_true(tdp_rights(TABLE) & SPTE_W);
		reload_cr3();
		assert_int_equal(shadow_touch(8, false, 0), 11);
		stop();
	}
}

/* A page of the table's that the TDP has not mapped yet: mapped by a read without W, by a write with it. */
static void test_both_tdp_maps_a_tracked_page_read_only(void **state)
{
	u64 value;

	(void)state;
	for_each_machine(m)
	{
		start(m, spte_shadow_format(spte_has_dirty(m->format)));
		poke32(TABLE * PAGE_SIZE, 10 * PAGE_SIZE | 0x67);
		start_paging();
		(void)shadow_touch(8, true, 77);
		assert_int_equal(host_vm_spte(&both.tdp, gfn(TABLE)), 0);
		assert_int_equal(host_vm_read(&both.tdp, 0, gpa(TABLE * PAGE_SIZE), &value),
		                 FAULT_FIXED);
		assert_int_equal(value & ~0xfffull, 10 * PAGE_SIZE);
		assert_int_equal(tdp_rights(TABLE) & SPTE_W, 0);
		assert_int_equal(host_vm_write(&both.tdp, 0, gpa(TABLE * PAGE_SIZE + 16), 0),
		                 FAULT_FIXED);
		assert_true(tdp_rights(TABLE) & SPTE_W);
		assert_false(shadow_tracks(&both.shadow, gfn(TABLE)));
		stop();
	}
}

/* Both map a page; it is taken from both, and what either wrote comes back. */
static void test_both_zap_takes_the_page_from_both(void **state)
{
	u64 value;

	(void)state;
	for_each_machine(m)
	{
		start(m, spte_shadow_format(spte_has_dirty(m->format)));
		tdp_touch(5, true);
		(void)shadow_touch(5 * PAGE_SIZE + 16, true, 123);
		assert_int_equal(evict_page(both.tdp.space, gfn(5)), EVICT_PAGE_DONE);
		epoch_barrier();
		assert_int_equal(host_vm_spte(&both.tdp, gfn(5)), 0);
		assert_int_equal(a64_load(&both.shadow.leaves), 0);
		assert_int_equal(host_vm_read(&both.tdp, 0, gpa(5 * PAGE_SIZE + 16), &value),
		                 FAULT_FIXED);
		assert_int_equal(value, 123);
		assert_int_equal(shadow_touch(5 * PAGE_SIZE + 8, false, 0), 5);
		stop();
	}
}

/* A shadow MMU beside the TDP needs W on single pages: no large leaves. */
static void test_both_has_no_large_leaves(void **state)
{
	(void)state;
	start(&host_machines[0], &spte_shadow_ad);
	a32_store(&both.tdp.space->wants_huge, 1);
	tdp_touch(1, true);
	assert_int_equal(a64_load(&both.tdp.space->huge_mappings), 0);
	assert_false(notifier_may_map_huge(both.tdp.space));
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_both_young_in_either_is_young),
	        cmocka_unit_test(test_both_test_stops_at_the_tdp),
	        cmocka_unit_test(test_both_second_question_is_free_without_shadow_entries),
	        cmocka_unit_test(test_both_missed_shadow_entries_cost_an_answer_only),
	        cmocka_unit_test(test_both_fast_only_leaves_a_slow_shadow_mmu),
	        cmocka_unit_test(test_both_fast_only_asks_a_fast_shadow_mmu),
	        cmocka_unit_test(test_both_fast_only_waits_for_no_lock),
	        cmocka_unit_test(test_both_locked_harvest_waits),
	        cmocka_unit_test(test_both_evictor_asks_the_slow_mmu),
	        cmocka_unit_test(test_both_looks_around_in_the_fast_mmu_only),
	        cmocka_unit_test(test_both_tdp_writes_a_shadowed_table),
	        cmocka_unit_test(test_both_tdp_maps_a_tracked_page_read_only),
	        cmocka_unit_test(test_both_zap_takes_the_page_from_both),
	        cmocka_unit_test(test_both_has_no_large_leaves),
	};

	return vm_group_run(tests, FRAMES);
}
