#include "tests/host/machine.h"

#include <string.h>

#include "arch/hal.h"
#include "mm/age.h"
#include "mm/audit.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/policy.h"
#include "tests/host/hal.h"
#include "tests/host/machine_shadow.h"

/* --- checks, with everybody out -------------------------------------------------------------------- */

static void check_contents(u64 page, const u64 *words, bool all)
{
	for (unsigned i = 0; i < PAGE_SIZE / 8; i += all ? 1 : PAGE_SIZE / 8 / MACHINE_CPUS) {
		bool used = i % (PAGE_SIZE / 8 / MACHINE_CPUS) == 0;
		u64 expected = used ? machine.oracle[page][i / (PAGE_SIZE / 8 / MACHINE_CPUS)] : 0;

		if (used ? words[i] != expected : !machine_table_word(page, i, words[i]))
			machine_fail("contents", page, expected, words[i]);
	}
}

static void check_pages(u64 round)
{
	epoch_enter();
	for (u64 page = 0; page < pages_all(); page++) {
		const a64 *where = gfnmap_word(machine.vm.space, page_gfn(page));
		u64 word = where ? a64_load(where) : 0;

		if (gfn_word_tag(word) == GFN_RESIDENT)
			check_contents(page, frame_ptr(gfn_word_frame(word)),
			               page == round % pages_all() || machine_is_table(page));
		else if (gfn_word_tag(word) == GFN_ZERO || gfn_word_tag(word) == GFN_NONE)
			for (unsigned i = 0; i < MACHINE_CPUS; i++)
				if (machine.oracle[page][i])
					machine_fail("not kept", page, machine.oracle[page][i], 0);
	}
	epoch_exit();
}

void machine_settle(void)
{
	for (unsigned cpu = 0; cpu < MACHINE_CPUS; cpu++) {
		host_cpu_set(cpu);
		machine_leave(cpu);
		epoch_barrier();
	}
	host_cpu_set(0);
}

void machine_check(u64 round)
{
	u64 leaks = machine.plan.mmu == MACHINE_SHADOW ? 0 : host_vm_leaks(&machine.vm);

	if (leaks)
		machine_fail("frame numbers in entries that are not present (I6)", 0, 0, leaks);
	if (evict_active())
		machine_fail("somebody is said to have frames in hand", 0, 0, 1);
	if (audit_all(NULL))
		machine_fail(host_log_last(), 0, 0, 1);
	check_pages(round);
}

/* --- exact ages ------------------------------------------------------------------------------------ */

static void clear_ages(void)
{
	for (u64 first = 0; first < plug_base() + MACHINE_PLUGGED; first += TABLE_PAGES) {
		u64 bitmap[NOTIFIER_WORDS], visited = 0;

		memset(bitmap, 0xff, sizeof(bitmap));
		(void)notifier_age(machine.vm.space, gfn(first), TABLE_PAGES, bitmap,
		                   NOTIFIER_CLEAR, &visited);
	}
}

static bool page_walked(u64 page)
{
	u32 frame;
	u64 word;
	bool young = false;

	epoch_enter();
	word = a64_load(gfnmap_word(machine.vm.space, page_gfn(page)));
	frame = gfn_word_frame(word);
	epoch_exit();
	if (gfn_word_tag(word) != GFN_RESIDENT || !frame_is_huge(frame))
		return machine.walked[page / 64] & BIT(page % 64);
	for (u64 p = align_down(page, (u64)TABLE_PAGES), end = p + TABLE_PAGES; p < end; p++)
		young |= (machine.walked[p / 64] & BIT(p % 64)) != 0;
	return young;
}

/* Touches some pages; whether all of them by a walk. What is touched now is only read: nothing is evicted. */
static bool touch_some(u64 random)
{
	bool all = true;

	for (unsigned i = 0; i < 16; i++) {
		u64 r = host_random(&random) >> 8;
		struct action a = {.cpu = (u8)(i % MACHINE_VCPUS),
		                   .op = OP_READ,
		                   .page = (u32)(r % pages_all())};
		u64 hits;

		if (a.page >= pages_first() && machine.plug != PLUG_HERE)
			continue;
		host_cpu_set(a.cpu);
		hits = machine.vm.vcpu[a.cpu].walker.hits;
		machine_access(&a, true);
		all &= machine.vm.vcpu[a.cpu].walker.hits == hits || page_walked(a.page);
	}
	host_cpu_set(0);
	return all;
}

static u64 changes(void)
{
	const struct space_stats *s = &machine.vm.space->stats;
	u64 n = a64_load(&s->evictions_total) + a64_load(&s->splits_total) +
	        a64_load(&s->collapses_total);

	/* What a shadow page knew goes with it. */
	if (machine.plan.mmu != MACHINE_TDP)
		n += a64_load(&machine.shadow.stats.zapped_total) +
		     a64_load(&machine.shadow.stats.stale_total);
	return n;
}

/* A page with a table that a shadow page mirrors is young, walked or not: hardware walks ours (hv/mmu/shadow.h). */
static bool page_mirrored(u64 page)
{
	const struct shadow_slot *slot;

	if (machine.plan.mmu == MACHINE_TDP || !machine_is_table(page))
		return false;
	slot = shadow_slot(&machine.shadow, page_gfn(page));
	return slot && shadow_mirrored(slot, page_gfn(page).v - slot->base.v) & 1;
}

static void compare_ages(void)
{
	for (u64 page = 0; page < pages_all(); page++) {
		bool young, expected;

		if (page >= pages_first() && machine.plug != PLUG_HERE)
			break;
		expected = page_walked(page) || page_mirrored(page);
		young = notifier_age_one(machine.vm.space, page_gfn(page), NOTIFIER_TEST) &
		        NOTIFIER_YOUNG;
		if (young != expected)
			machine_fail("age", page, expected, young);
	}
}

void machine_check_ages(void)
{
	u64 flushes = a64_load(&machine.vm.space->flush.wanted), before;
	bool all, flushed;
	u32 probation;

	(void)age_space(machine.vm.space, a64_load(&machine.vm.space->lru.max_seq), true);
	flushed = a64_load(&machine.vm.space->flush.wanted) != flushes &&
	          machine.plan.flush == POLICY_FLUSH_PER_PASS;
	clear_ages(); /* of what the pass had no generation for */
	memset(machine.walked, 0, sizeof(machine.walked));
	before = changes();
	/* Else who came in is asked some faults later (mm/probation.h): no touch is lost, but its bit is gone. */
	probation = a32_load(&policy.probation);
	a32_store(&policy.probation, 0);
	all = touch_some(machine.exact_wanted);
	a32_store(&policy.probation, probation);
	machine.exact_wanted = 0;
	if (changes() != before)
		return;
	if (flushed && !all)
		machine_fail("touched after a flush, and no walk", 0, 1, 0);
	compare_ages();
	machine.totals->exact++;
	machine.totals->exact_flushed += flushed;
}
