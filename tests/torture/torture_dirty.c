/*
 * A guest is copied while it runs, as who moves it to another machine would: vCPUs write their words of its pages and
 * count, an evictor and ager takes pages away and brings them to age, and somebody reads the dirty log and copies what is
 * in it. Under the race detector, on real cores. A copy is right if, after each reading, it has of every page at least
 * what was written when the reading began. The log is switched off and on again, each time by another way of logging,
 * and everything is copied anew.
 *
 * vCPUs stay inside over some writes, so that what hardware writes down (PML) fills its log now and then.
 *
 * The log's sources are part of the program: a thread may lose its turn at each of their atomic operations. And
 * then the test is tested: one at a time, the code is spoilt, and the threads have to notice.
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
#include "mm/dirty_log.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/fault.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/notifier.h"
#include "mm/space.h"
#include "tests/host/hal.h"
#include "tests/host/torture.h"
#include "tests/host/vm.h"

/* --- what can be missing --------------------------------------------------------------------------- */

/* X(name, what is missing) */
#define LOG_FAULTS(X)                                                             \
	X(SOUND, "nothing")                                                       \
	X(FLUSH, "the flush of a reading")                                        \
	X(SECTIONS, "the wait for zaps that are under way")                       \
	X(ZAP, "what a zap finds noted")                                          \
	X(FRAME, "the frame told of a Dirty bit that is cleared")                 \
	X(CLEAN, "Dirty cleared of what hardware wrote down")                     \
	X(HAND_ON, "what hardware wrote down handed on before the vCPU has left") \
	X(SHOOTDOWN, "the wait for vCPUs that are inside")                        \
	X(ENTRY_FLUSH, "the flush of a vCPU that enters")

#define LOG_FAULT_ENUM(name, what) FAULT_##name,
enum planted { LOG_FAULTS(LOG_FAULT_ENUM) FAULTS };
#define LOG_FAULT_TEXT(name, what) what,
static const char *const fault_text[FAULTS] = {LOG_FAULTS(LOG_FAULT_TEXT)};

static inline bool planted(enum planted fault)
{
	return unlikely(torture_fault == fault);
}

static inline void spoilt_flush_wait(struct space *s, u64 gen)
{
	if (!planted(FAULT_FLUSH))
		flush_wait(s, gen);
	lose_turn_for_long();
}

static inline void spoilt_write_lock(struct rwlock *lock)
{
	if (!planted(FAULT_SECTIONS))
		write_lock(lock);
}
static inline void spoilt_write_unlock(struct rwlock *lock)
{
	if (!planted(FAULT_SECTIONS))
		write_unlock(lock);
}

static inline void spoilt_make_dirty(struct space *s, u32 frame)
{
	if (!planted(FAULT_FRAME))
		fault_make_dirty_busy(s, frame);
}

static inline bool spoilt_log_clean(struct space *s, gfn_t g)
{
	if (planted(FAULT_CLEAN) && dirty_log_mode(s) == DIRTY_LOG_HARDWARE)
		return false;
	return notifier_log_clean(s, g);
}

/* The entry is gone, and that it was written is not yet noted. */
static inline void spoilt_mark(struct space *s, gfn_t g)
{
	lose_turn_for_long();
	if (!planted(FAULT_ZAP))
		dirty_log_mark(s, g);
}

#define flush_wait            spoilt_flush_wait
#define write_lock            spoilt_write_lock
#define write_unlock          spoilt_write_unlock
#define fault_make_dirty_busy spoilt_make_dirty
#define notifier_log_clean    spoilt_log_clean
#include "mm/dirty_log.c"
#undef notifier_log_clean
#undef fault_make_dirty_busy
#undef write_unlock
#undef write_lock
#undef flush_wait

#define dirty_log_mark spoilt_mark
#include "hv/mmu/tdp_log.c"
#undef dirty_log_mark

/* --- the guest ------------------------------------------------------------------------------------- */

#define PAGES   400u
#define HOT     24u
#define FRAMES  300u
#define VCPUS   2u
#define READER  VCPUS
#define EVICTOR (VCPUS + 1)
#define CPUS    (VCPUS + 2)
#define STAY    16u /* writes, unless it is kicked */
/* Readings between two starts of the log. */
#define READINGS 40u

static struct host_vm vm;
static u64 steps;
/* By vCPU and page: written so often, and copied by the reader. A word of the page has the number. */
static a64 written[VCPUS][PAGES];
static u64 copied[VCPUS][PAGES];
static a64 started[DIRTY_LOG_MODES], reported, full;

static void fail(const char *what, u64 g, u64 expected, u64 found)
{
	printf("%s, %s: %s: gfn %llu, expected %llu, found %llu\n", vm.tdp.format->name,
	       dirty_log_names[dirty_log_mode(vm.space)], what, (unsigned long long)g,
	       (unsigned long long)expected, (unsigned long long)found);
	fflush(stdout);
	_Exit(1);
}

/* --- a vCPU ---------------------------------------------------------------------------------------- */

static u64 draw_page(u64 *seed)
{
	u64 r = host_random(seed);

	return (r >> 8) % (r % 4 ? HOT : PAGES);
}

/* Inside the guest; anything but WALKER_OK: it has to leave first. Whoever copies reads at the same time. */
static enum walker_result write_inside(unsigned cpu, u64 g)
{
	gpa_t at = gpa(g * PAGE_SIZE + cpu * 8);
	u64 n = a64_load(&written[cpu][g]) + 1;
	enum walker_result r;
	hpa_t where;
	a64 *word;

	r = walker_translate(&vm.vcpu[cpu].walker, at, true, false, &where);
	if (r != WALKER_OK)
		return r;
	/* Now and then it stays for long, with what it has translated: who reads the log has to wait for it. */
	lose_turn_for_long();
	word = (a64 *)(uintptr_t)where.v;
	if (a64_load(word) != n - 1)
		fail("a write was lost", g, n - 1, a64_load(word));
	a64_store(word, n);
	a64_store_release(&written[cpu][g], n);
	return r;
}

/* One for a read maps the page as clean, with what was stored of it kept: then it is Dirty that tells of the write. */
static void take_fault(u64 g, bool write)
{
	const struct tdp_access a = {.gpa = gfn_gpa(gfn(g)), .write = write};
	enum fault_result r = tdp_fault(&vm.tdp, &a);

	if (r != FAULT_FIXED && r != FAULT_RETRY && r != FAULT_NO_MEMORY)
		fail("a fault fails", g, FAULT_FIXED, r);
}

/* Until it has to leave; how many writes were made. */
static u64 stay_inside(unsigned cpu, u64 *g, u64 *seed)
{
	enum walker_result r = WALKER_OK;
	u64 done = 0;

	host_vm_enter(&vm, cpu);
	while (done < STAY && !a32_load(&vm.vcpu[cpu].kicked)) {
		r = write_inside(cpu, *g);
		if (r != WALKER_OK)
			break;
		*g = draw_page(seed);
		done++;
	}
	host_vm_leave(&vm, cpu);
	if (r == WALKER_LOG_FULL)
		a64_fetch_add(&full, 1);
	else if (r != WALKER_OK)
		take_fault(*g, host_random(seed) >> 8 & 1);
	return done;
}

static void *run_vcpu(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	u64 seed = 0xd1 + cpu + 16 * torture_attempt, g = draw_page(&seed);

	for (u64 done = 0; torture_goes_on(done, steps);) {
		done += stay_inside(cpu, &g, &seed);
		epoch_poll();
	}
	return NULL;
}

/* --- who copies ------------------------------------------------------------------------------------ */

/* The frame of the page, pinned; FRAME_NONE: it is just going. */
static u32 pin_page(u64 g)
{
	struct fault_page page;
	u64 word;
	bool pinned;

	if (fault_bring_in(vm.space, gfn(g), false, true, &page) != FAULT_FIXED)
		return FRAME_NONE;
	epoch_enter();
	word = gfn_word(GFN_RESIDENT, page.frame);
	pinned = a64_load(gfnmap_word(vm.space, gfn(g))) == word && frame_pin_try(page.frame);
	if (pinned && a64_load(gfnmap_word(vm.space, gfn(g))) != word) {
		frame_unpin(page.frame);
		pinned = false;
	}
	epoch_exit();
	return pinned ? page.frame : FRAME_NONE;
}

static void copy_page(u64 g)
{
	u32 frame;

	while ((frame = pin_page(g)) == FRAME_NONE) {
		epoch_poll();
		hal_pause();
	}
	for (unsigned cpu = 0; cpu < VCPUS; cpu++)
		copied[cpu][g] = a64_load((a64 *)frame_ptr(frame) + cpu);
	frame_unpin(frame);
}

/* Pages first .. first + n - 1 were written so often, at least, when it began. */
struct reading {
	u64 first, n;
	u64 least[VCPUS][PAGES];
};

static void reading_begin(struct reading *r, u64 first, u64 n)
{
	r->first = first;
	r->n = n;
	for (unsigned cpu = 0; cpu < VCPUS; cpu++)
		for (u64 i = 0; i < n; i++)
			r->least[cpu][i] = a64_load_acquire(&written[cpu][first + i]);
}

static void reading_check(const struct reading *r, const char *what)
{
	for (unsigned cpu = 0; cpu < VCPUS; cpu++)
		for (u64 i = 0; i < r->n; i++)
			if (copied[cpu][r->first + i] < r->least[cpu][i])
				fail(what, r->first + i, r->least[cpu][i],
				     copied[cpu][r->first + i]);
}

static void read_log(u64 first, u64 n)
{
	static struct reading r;
	u64 bitmap[NOTIFIER_WORDS];

	reading_begin(&r, first, n);
	dirty_log_sync(vm.space, gfn(first), n);
	a64_count(&reported, dirty_log_take(vm.space, gfn(first), (unsigned)n, bitmap));
	for (u64 i = 0; i < n; i++)
		if (bitmap[i / 64] >> i % 64 & 1)
			copy_page(first + i);
	reading_check(&r, "a write is in no reading");
}

/* Another way of logging; all pages are copied, for the log knows only what comes. */
static void start_log(u64 *seed)
{
	unsigned ways = spte_has_dirty(vm.tdp.format) ? DIRTY_LOG_MODES - 1 : 1;
	enum dirty_log_mode mode = DIRTY_LOG_PROTECT + (host_random(seed) >> 8) % ways;
	static struct reading all;

	dirty_log_stop(vm.space);
	reading_begin(&all, 0, PAGES);
	if (!dirty_log_start(vm.space, mode))
		fail("the log is not switched on", 0, mode, 0);
	for (u64 g = 0; g < PAGES; g++)
		copy_page(g);
	reading_check(&all, "a write is not in the page");
	a64_count(&started[mode], 1);
}

static void *run_reader(void *arg)
{
	u64 seed = 0x4ead + torture_attempt;

	for (unsigned i = 0; torture_runs(); i++) {
		u64 first = host_random(&seed) % PAGES;

		if (i % READINGS == 0)
			start_log(&seed);
		read_log(first, min_of(1 + host_random(&seed) % PAGES, PAGES - first));
		epoch_poll();
	}
	read_log(0, PAGES);
	return arg;
}

/* --- the others ------------------------------------------------------------------------------------ */

static void *run_evictor(void *arg)
{
	u64 seed = 0xe71 + torture_attempt;

	while (torture_runs()) {
		u64 r = host_random(&seed);

		age_space(vm.space, a64_load(&vm.space->lru.max_seq), false);
		if (r % 2)
			evict_space(vm.space, evict_any(16));
		else if (evict_page(vm.space, gfn((r >> 8) % HOT)) >= EVICT_PAGE_RESULTS)
			fail("eviction of a page", 0, 0, 0);
		epoch_poll();
		hal_pause();
	}
	return arg;
}

static const char *missing(void)
{
	bool dirty = spte_has_dirty(vm.tdp.format);

	return !a64_load(&started[DIRTY_LOG_PROTECT])              ? "no log by write protection"
	       : dirty && !a64_load(&started[DIRTY_LOG_BITS])      ? "no log by Dirty bits"
	       : dirty && !a64_load(&started[DIRTY_LOG_HARDWARE])  ? "no log by hardware"
	       : dirty && !a64_load(&full)                         ? "hardware's log was never full"
	       : !a64_load(&reported)                              ? "nothing was in a reading"
	       : !a64_load(&vm.space->stats.refaults_total)        ? "nothing came back"
	       : !a64_load(&vm.space->stats.clean_evictions_total) ? "nothing was evicted as clean"
	                                                           : NULL;
}

static void check(void)
{
	if (audit_all(NULL))
		fail(host_log_last(), 0, 0, 1);
	for (unsigned cpu = 0; cpu < VCPUS; cpu++)
		for (u64 g = 0; g < PAGES; g++)
			if (copied[cpu][g] != a64_load(&written[cpu][g]))
				fail("in the end, the copy", g, a64_load(&written[cpu][g]),
				     copied[cpu][g]);
}

static void torture(unsigned variant)
{
	const struct host_machine *m = &host_machines[variant];
	static const struct torture_threads threads = {
	        .run = {run_vcpu, run_vcpu, run_reader, run_evictor},
	        .vcpus = VCPUS,
	        .cpus = CPUS,
	        .missing = missing,
	};

	memset(written, 0, sizeof(written));
	memset(copied, 0, sizeof(copied));
	memset(started, 0, sizeof(started));
	a64_store(&reported, 0);
	a64_store(&full, 0);
	host_vm_create(&vm, m, PAGES, VCPUS);
	vm.space->logs_writes = spte_has_dirty(m->format);
	vm.fault = planted(FAULT_HAND_ON)       ? HOST_VM_LOG_LATE
	           : planted(FAULT_SHOOTDOWN)   ? HOST_VM_NO_SHOOTDOWN
	           : planted(FAULT_ENTRY_FLUSH) ? HOST_VM_NO_FLUSH
	                                        : HOST_VM_SOUND;
	torture_run(&threads);
	check();
	printf("%s: the log started %llu, %llu and %llu times, %llu pages in readings, %llu "
	       "written "
	       "down, full %llu times, %llu evictions (%llu clean), %llu refaults\n",
	       m->format->name, (unsigned long long)a64_load(&started[DIRTY_LOG_PROTECT]),
	       (unsigned long long)a64_load(&started[DIRTY_LOG_BITS]),
	       (unsigned long long)a64_load(&started[DIRTY_LOG_HARDWARE]),
	       (unsigned long long)a64_load(&reported),
	       (unsigned long long)a64_load(&vm.space->dirty_log.hardware_total),
	       (unsigned long long)a64_load(&full),
	       (unsigned long long)a64_load(&vm.space->stats.evictions_total),
	       (unsigned long long)a64_load(&vm.space->stats.clean_evictions_total),
	       (unsigned long long)a64_load(&vm.space->stats.refaults_total));
	host_vm_destroy(&vm);
	epoch_barrier();
}

int main(void)
{
	static const struct torture_program program = {
	        .cpus = CPUS,
	        .frames = FRAMES,
	        .run = torture,
	        .variants = HOST_MACHINES,
	        .spoilt = {2, 0}, /* with Dirty bits: there the log has all its ways */
	        .planted = fault_text,
	        .faults = FAULTS,
	};

	steps = host_steps(40000);
	return torture_main(&program);
}
