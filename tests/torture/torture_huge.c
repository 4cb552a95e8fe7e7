/*
 * Threads that do to a guest with 2 MiB mappings what CPUs do, all at the same time: two vCPUs that access its memory,
 * staying inside over many accesses, an ager that harvests, an evictor that zaps single pages and so splits, and one that
 * splits, and collapses what is whole. Under the race detector, on real cores. Every vCPU has a word of its own in each page
 * and remembers it.
 *
 * I11: every now and then the evictor sits on the write side of the MMU lock, or on the lock of large leaves, until the
 * ager, which asks fast-only, has made two more harvests and passes.
 *
 * The sources about large leaves are part of the program, for two things. At each atomic operation of theirs a thread
 * may lose its turn. And then the test is tested: one at a time, the code is spoilt, and the threads have to notice.
 */
#include "tests/host/lose_turn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/hal.h"
#include "hv/mmu/tdp_huge.h"
#include "hv/mmu/tdp_iter.h"
#include "hv/mmu/tdp_ops.h"
#include "mm/age.h"
#include "mm/audit.h"
#include "mm/collapse.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "tests/host/hal.h"
#include "tests/host/torture.h"
#include "tests/host/vm.h"

/* --- what can be missing --------------------------------------------------------------------------- */

/* X(name, what is missing) */
#define HUGE_FAULTS(X)                                                              \
	X(SOUND, "nothing")                                                         \
	X(AGE_EXCHANGE, "the comparison when an Accessed bit is cleared")           \
	X(SPLIT_DIRTY, "Dirty in the parts of a large leaf")                        \
	X(ZAP_SPLIT, "the split before a page of a large leaf is taken away")       \
	X(BEGIN, "the invalidation around a collapse")                              \
	X(FLUSH, "the flush before pages are copied")                               \
	X(ISOLATE, "frames kept from evictors while they are collapsed")            \
	X(COLLAPSE_DIRTY, "Dirty of the small leaves noted before they are merged") \
	X(GRACE, "the grace period before a merged table is free")                  \
	X(AGER_WAITS, "a harvest that takes no lock")

#define HUGE_FAULT_ENUM(name, what) FAULT_##name,
enum planted { HUGE_FAULTS(HUGE_FAULT_ENUM) FAULTS };
#define HUGE_FAULT_TEXT(name, what) what,
static const char *const fault_text[FAULTS] = {HUGE_FAULTS(HUGE_FAULT_TEXT)};

static inline bool planted(enum planted fault)
{
	return unlikely(torture_fault == fault);
}

/* hv/mmu/tdp_age.c: what was seen, without Accessed, whatever is there by now. */
static inline void spoilt_age(const struct spte_format *f, unsigned level, a64 *entry, u64 seen)
{
	if (!planted(FAULT_AGE_EXCHANGE)) {
		spte_age(f, level, entry, seen);
		return;
	}
	for (unsigned i = 0; i < 4; i++)
		lose_turn_for_long();
	(void)a64_xchg(entry, spte_make_old(f, seen));
}

/* That a split compares is for the explorer (model_explore_huge): threads lose a Dirty by it too seldom. */
static inline bool late_resize(const struct spte_format *f, unsigned level, a64 *entry, u64 *seen,
                               u64 want)
{
	lose_turn_for_long();
	return spte_resize(f, level, entry, seen, want);
}

static inline u64 spoilt_part(const struct spte_format *f, u64 large, unsigned i)
{
	u64 part = spte_make_part(f, large, i);

	return planted(FAULT_SPLIT_DIRTY) ? part & ~f->dirty : part;
}

static inline void spoilt_defer(struct epoch_node *node, void (*fn)(struct epoch_node *node))
{
	if (!planted(FAULT_GRACE))
		epoch_defer(node, fn);
}

static inline void spoilt_barrier(void)
{
	if (!planted(FAULT_GRACE))
		epoch_barrier();
}

static inline void spoilt_split(struct tdp *t, gfn_t g)
{
	if (!planted(FAULT_ZAP_SPLIT))
		tdp_split_locked(t, g);
}

static inline void spoilt_begin(struct space *s, gfn_t first, gfn_t last)
{
	if (!planted(FAULT_BEGIN))
		invalidate_begin(s, first, last);
}

static inline void spoilt_end(struct space *s, gfn_t first, gfn_t last)
{
	if (!planted(FAULT_BEGIN))
		invalidate_end(s, first, last);
}

static inline void spoilt_flush_wait(struct space *s, u64 gen)
{
	if (!planted(FAULT_FLUSH))
		flush_wait(s, gen);
	lose_turn_for_long();
}

/* The frames of those that were copied before they were merged. */
static a64 left_behind;

static inline void counted_retire(u32 frame)
{
	a64_count(&left_behind, 1);
	frame_retire(frame);
}

/* They stay listed, and whoever evicts may take them. */
static inline bool spoilt_remove(struct lruvec *lru, u32 frame)
{
	return planted(FAULT_ISOLATE) || gen_remove(lru, frame);
}

static inline void spoilt_change(u32 frame, u64 clear, u64 set)
{
	if (!planted(FAULT_COLLAPSE_DIRTY))
		frame_state_change(frame, clear, set);
}

#define spte_age spoilt_age
#include "hv/mmu/tdp_age.c"
#undef spte_age

#define spte_resize    late_resize
#define spte_make_part spoilt_part
#define epoch_defer    spoilt_defer
#define epoch_barrier  spoilt_barrier
#include "hv/mmu/tdp_huge.c"
#undef epoch_barrier
#undef epoch_defer
#undef spte_make_part
#undef spte_resize

#define tdp_split_locked spoilt_split
#include "hv/mmu/tdp_zap.c"
#undef tdp_split_locked

/* So few that there is always something to collapse. */
#undef COLLAPSE_YOUNG
#define COLLAPSE_YOUNG     8u
#define invalidate_begin   spoilt_begin
#define invalidate_end     spoilt_end
#define flush_wait         spoilt_flush_wait
#define gen_remove         spoilt_remove
#define frame_state_change spoilt_change
#define frame_retire       counted_retire
#include "mm/collapse.c"
#undef frame_retire
#undef frame_state_change
#undef gen_remove
#undef flush_wait
#undef invalidate_end
#undef invalidate_begin

/* --- the guest ------------------------------------------------------------------------------------- */

#define RANGES  3u
#define PAGES   (RANGES * TABLE_PAGES)
#define FRAMES  8192u
#define VCPUS   2u
#define AGER    VCPUS
#define EVICTOR (VCPUS + 1)
#define CHANGER (VCPUS + 2)
#define CPUS    (VCPUS + 3)
#define STAY    32u /* accesses, unless it is kicked */
/* Turns of the evictor, after which it waits for collapses to be tried. */
#define BREATHER 256u
/* Pages that the stores keep for the next time. */
#define POOL_SLACK 64u

static struct host_vm vm;
static u64 oracle[VCPUS][PAGES];
static u64 steps;
static a64 harvests;
static a64 sat[2], tried, collapsed;
static u64 raced;

static void fail(unsigned cpu, const char *what, u64 g, u64 expected, u64 found)
{
	printf("%s: cpu %u: %s: gfn %llu, expected %#llx, found %#llx\n", vm.tdp.format->name, cpu,
	       what, (unsigned long long)g, (unsigned long long)expected,
	       (unsigned long long)found);
	fflush(stdout);
	_Exit(1);
}

/* --- a vCPU ---------------------------------------------------------------------------------------- */

struct access {
	u64 g;
	bool write;
};

static gpa_t word_at(unsigned cpu, u64 g)
{
	return gpa(g * PAGE_SIZE + cpu * 8);
}

/* Inside the guest. False: it takes a fault first. */
static bool access_inside(unsigned cpu, const struct access *a)
{
	gpa_t at = word_at(cpu, a->g);
	enum walker_result r;
	hpa_t where;
	u64 *word;

	r = walker_translate(&vm.vcpu[cpu].walker, at, a->write, false, &where);
	if (r == WALKER_FAULT)
		return false;
	if (r != WALKER_OK)
		fail(cpu, "no such translation", a->g, WALKER_OK, r);
	word = (u64 *)(uintptr_t)where.v;
	/* Now and then it takes long: who needs the translation gone has to wait for it. */
	if (a->write && oracle[cpu][a->g] % 8 == 1)
		lose_turn_for_long();
	if (a->write)
		*word = oracle[cpu][a->g];
	else if (*word != oracle[cpu][a->g])
		fail(cpu, "reads", a->g, oracle[cpu][a->g], *word);
	return true;
}

static void take_fault(unsigned cpu, const struct access *a)
{
	const struct tdp_access access = {.gpa = gfn_gpa(gfn(a->g)), .write = a->write};
	enum fault_result r = tdp_fault(&vm.tdp, &access);

	if (r != FAULT_FIXED && r != FAULT_RETRY && r != FAULT_NO_MEMORY)
		fail(cpu, "a fault fails", a->g, FAULT_FIXED, r);
	epoch_poll();
}

static struct access draw_access(unsigned cpu, u64 *seed)
{
	u64 r = host_random(seed);
	/* Mostly a few pages next to each other; else anywhere. */
	struct access a = {r % 4 ? (r >> 8) % RANGES * TABLE_PAGES + (r >> 16) % 24
	                         : (r >> 8) % PAGES,
	                   (r >> 40) % 2};

	if (a.write)
		oracle[cpu][a.g] = host_random(seed) % 4 ? host_random(seed) : 0;
	return a;
}

/* Until it has to leave, or a fault makes it; how many accesses were made. */
static u64 stay_inside(unsigned cpu, struct access *a, u64 *seed, bool *fault)
{
	u64 done = 0;

	host_vm_enter(&vm, cpu);
	while (done < STAY && !a32_load(&vm.vcpu[cpu].kicked)) {
		*fault = !access_inside(cpu, a);
		if (*fault)
			break;
		*a = draw_access(cpu, seed);
		done++;
	}
	host_vm_leave(&vm, cpu);
	return done;
}

static void *run_vcpu(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	u64 seed = 0x70c + cpu + 16 * torture_attempt;
	struct access a = draw_access(cpu, &seed);

	for (u64 done = 0; torture_goes_on(done, steps);) {
		bool fault = false;

		done += stay_inside(cpu, &a, &seed, &fault);
		if (fault)
			take_fault(cpu, &a);
		epoch_poll();
	}
	/* The one that was drawn last. */
	if (a.write && host_vm_write(&vm, cpu, word_at(cpu, a.g), oracle[cpu][a.g]) != FAULT_FIXED)
		fail(cpu, "writes", a.g, FAULT_FIXED, 0);
	return NULL;
}

/* --- the others ------------------------------------------------------------------------------------ */

/* What the test would do to a harvest that waits: it is one that never ends. */
static void harvest(u64 first, u64 *visited)
{
	u64 bitmap[NOTIFIER_WORDS];

	memset(bitmap, 0xff, sizeof(bitmap));
	if (planted(FAULT_AGER_WAITS))
		read_lock(&vm.space->mmu_lock);
	notifier_age(vm.space, gfn(first), TABLE_PAGES, bitmap, NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY,
	             visited);
	if (planted(FAULT_AGER_WAITS))
		read_unlock(&vm.space->mmu_lock);
}

static void *run_ager(void *arg)
{
	u64 seed = 0xa9e + torture_attempt, visited = 0;

	(void)arg;
	while (torture_runs()) {
		harvest(host_random(&seed) % (PAGES - TABLE_PAGES), &visited);
		age_space(vm.space, a64_load(&vm.space->lru.max_seq), false);
		a64_count(&harvests, 1);
		epoch_poll();
		hal_pause();
	}
	return NULL;
}

static void sit_on_a_lock(bool large)
{
	if (large)
		spin_lock(&vm.tdp.huge_lock);
	else
		write_lock(&vm.space->mmu_lock);
	torture_wait_for_two(&harvests);
	if (large)
		spin_unlock(&vm.tdp.huge_lock);
	else
		write_unlock(&vm.space->mmu_lock);
	a64_count(&sat[large], 1);
}

static void evict_one(u64 g)
{
	if (evict_page(vm.space, gfn(g)) >= EVICT_PAGE_RESULTS)
		fail(EVICTOR, "eviction of a page", g, 0, 0);
}

static void *run_evictor(void *arg)
{
	u64 seed = 0xe71 + torture_attempt;

	(void)arg;
	for (u64 n = 0; torture_runs(); n++) {
		u64 r = host_random(&seed);

		/* Else, where threads run by turns, a range would never be whole when it is to be collapsed. */
		if (n % BREATHER == 0)
			torture_wait_for_two(&tried);
		if (r % 2)
			evict_one((r >> 8) % RANGES * TABLE_PAGES + (r >> 16) % 24);
		else
			evict_space(vm.space, evict_any(4));
		if (r >> 32 & 1)
			sit_on_a_lock(r >> 33 & 1);
		epoch_poll();
		hal_pause();
	}
	return NULL;
}

/* All pages of the range are there, so that it can be made whole; without Dirty bits only if all count as dirty. */
static void bring_back(u64 first, bool write)
{
	for (u64 g = first; g < first + TABLE_PAGES; g++)
		take_fault(CHANGER, &(struct access){g, write});
}

static void *run_changer(void *arg)
{
	u64 seed = 0x5b1 + torture_attempt;

	(void)arg;
	while (torture_runs()) {
		u64 r = host_random(&seed), first = (r >> 8) % RANGES * TABLE_PAGES;
		enum collapse_result result;

		if (r % 8 == 0) {
			notifier_split(vm.space, gfn(first + (r >> 32) % TABLE_PAGES));
			continue;
		}
		bring_back(first, r >> 41 & 1);
		result = collapse_range(vm.space, gfn(first));
		a64_count(&tried, 1);
		a64_count(&collapsed, result == COLLAPSE_DONE);
		raced += result == COLLAPSE_RACED || result == COLLAPSE_PINNED;
		/* At once: its first write may just be on its way. */
		if (r >> 40 & 1)
			notifier_split(vm.space, gfn(first));
		epoch_poll();
		hal_pause();
	}
	return NULL;
}

/* --- what is left ---------------------------------------------------------------------------------- */

static const char *missing(void)
{
	const struct space_stats *s = &vm.space->stats;

	return !a64_load(&s->huge_faults_total)                  ? "no large first touch"
	       : a64_load(&s->splits_total) < 4                  ? "hardly a split"
	       : a64_load(&collapsed) < 4                        ? "hardly a collapse"
	       : a64_load(&left_behind) < 8 * TABLE_PAGES        ? "hardly one with a copy"
	       : !a64_load(&s->refaults_total)                   ? "nothing came back"
	       : !a64_load(&sat[false]) || !a64_load(&sat[true]) ? "nobody sat on one of the locks"
	                                                         : NULL;
}

static void check(void)
{
	u64 leaks = host_vm_leaks(&vm), faults = audit_all(NULL);

	if (leaks || faults)
		fail(0, faults ? host_log_last() : "frame numbers left behind", 0, 0,
		     leaks + faults);
	for (unsigned cpu = 0; cpu < VCPUS; cpu++)
		for (u64 g = 0; g < PAGES; g++) {
			u64 value;

			if (host_vm_read(&vm, cpu, word_at(cpu, g), &value) != FAULT_FIXED)
				fail(cpu, "does not come back", g, 0, 1);
			if (value != oracle[cpu][g])
				fail(cpu, "in the end reads", g, oracle[cpu][g], value);
		}
}

static void report(void)
{
	const struct space_stats *s = &vm.space->stats;

	printf("%s: %llu large first touches, %llu splits, %llu collapses (%llu raced), %llu "
	       "evictions, %llu refaults, %llu young, %llu and %llu times on a lock\n",
	       vm.tdp.format->name, (unsigned long long)a64_load(&s->huge_faults_total),
	       (unsigned long long)a64_load(&s->splits_total),
	       (unsigned long long)a64_load(&collapsed), (unsigned long long)raced,
	       (unsigned long long)a64_load(&s->evictions_total),
	       (unsigned long long)a64_load(&s->refaults_total),
	       (unsigned long long)a64_load(&s->young_total), (unsigned long long)a64_load(&sat[0]),
	       (unsigned long long)a64_load(&sat[1]));
}

static void torture(unsigned variant)
{
	static const struct torture_threads threads = {
	        .run = {run_vcpu, run_vcpu, run_ager, run_evictor, run_changer},
	        .vcpus = VCPUS,
	        .cpus = CPUS,
	        .missing = missing,
	};
	u64 pages_used = hal_pages_used();

	memset(oracle, 0, sizeof(oracle));
	a64_store(&sat[0], 0);
	a64_store(&sat[1], 0);
	a64_store(&tried, 0);
	a64_store(&collapsed, 0);
	a64_store(&left_behind, 0);
	raced = 0;
	host_vm_create(&vm, &host_machines[variant], PAGES, VCPUS);
	a32_store(&vm.space->wants_huge, 1);
	/* Read first: what a large leaf maps is then clean until its Dirty bit says otherwise. */
	for (u64 g = 0; g < PAGES; g += TABLE_PAGES)
		take_fault(0, &(struct access){g, false});
	torture_run(&threads);
	check();
	report();
	host_vm_destroy(&vm);
	epoch_barrier();
	if (hal_pages_used() > pages_used + POOL_SLACK)
		fail(0, "tables or maps leaked", 0, pages_used, hal_pages_used());
}

int main(void)
{
	static const struct torture_program program = {
	        .cpus = CPUS,
	        .frames = FRAMES,
	        .run = torture,
	        .variants = HOST_MACHINES,
	        .spoilt = {2, 0}, /* with Dirty bits: most of what can be spoilt is about them */
	        .planted = fault_text,
	        .faults = FAULTS,
	        .endless = FAULT_AGER_WAITS,
	};

	steps = host_steps(400000);
	return torture_main(&program);
}
