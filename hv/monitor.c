#include "hv/monitor.h"

#include "arch/hal.h"
#include "arch/x86/console.h"
#include "hv/chaos.h"
#include "hv/monitor_command.h"
#include "hv/monitor_input.h"
#include "hv/monitor_say.h"
#include "hv/reclaimer.h"
#include "hv/scenario.h"
#include "hv/stats.h"
#include "hv/swapper.h"
#include "hv/thread.h"
#include "hv/verdict.h"
#include "hv/vm.h"
#include "hv/world.h"
#include "lib/fmt.h"
#include "lib/hist.h"
#include "mm/audit.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/store.h"
#include "mm/trace.h"

#define TRACE_PERIOD_NS 20000000ull

#define MIB(bytes) ((ull)(bytes) >> 20)

typedef unsigned long long ull;

static struct thread *thread;
static const struct scenario *scenario;

static struct {
	u64 audits, faults; /* audits so far, and what they found */
	u64 frames_checked;
	u64 saved_pages;            /* most pages beyond the frames in use, seen at a time */
	struct store_stats fullest; /* the store when it held most */
	bool down[VM_MAX];          /* dealt with */
	bool quit;                  /* somebody said so */
	u64 started_ns;
	struct timeline_run timeline; /* ns from started_ns */
} run;

/* Frames that guests' pages and the pool have now. */
static u64 frames_in_use(void)
{
	return frame_total() - frame_free_count();
}

static void note_savings(void)
{
	struct store_stats st;
	u64 pages = 0, frames = frames_in_use();

	for (unsigned i = 0; i < vm_count; i++)
		pages += vm_pages_in_use(&vms[i]);
	if (pages > frames)
		run.saved_pages = max_of(run.saved_pages, pages - frames);
	store_snapshot(&st);
	if (st.objects + st.shared_pages >= run.fullest.objects + run.fullest.shared_pages)
		run.fullest = st;
}

static void show_all(u64 now)
{
	struct stats_vm s;

	for (unsigned i = 0; i < vm_count; i++) {
		stats_take(&vms[i], now, &s);
		table_row(&s);
		stats_vm(&s, stats_write);
	}
	stats_host(now, stats_write);
	stats_trace();
}

static u64 audit(const char *when)
{
	u64 start = hal_time_ns(), stopped, frames = 0, faults;

	world_stop();
	epoch_barrier();
	stopped = hal_time_ns();
	faults = audit_all(&frames);
	world_resume();
	run.audits++;
	run.faults += faults;
	run.frames_checked += frames;
	hal_log(HAL_DEBUG, "audit %s: %llu us until the world stood still, %llu us", when,
	        (ull)(stopped - start) / 1000, (ull)(hal_time_ns() - stopped) / 1000);
	if (faults)
		hal_log(HAL_ERROR, "audit %s: %llu faults", when, (ull)faults);
	return faults;
}

void monitor_audit(void)
{
	u64 before = run.frames_checked, faults = audit("on request");

	say("audit: %llu faults in %llu frames", (ull)faults, (ull)(run.frames_checked - before));
}

void monitor_quit(void)
{
	run.quit = true;
}

static unsigned still_running(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < vm_count; i++)
		n += !run.down[i];
	return n;
}

/* Does its end agree with `expect`? */
static bool as_expected(const struct vm *vm)
{
	switch (vm->config->expect) {
	case SCENARIO_EXPECT_PASS:
		return a32_load(&vm->state) == VM_PASSED;
	case SCENARIO_EXPECT_FAIL:
		return a32_load(&vm->state) == VM_FAILED;
	case SCENARIO_EXPECT_STOP:
		return a32_load(&vm->state) == VM_STOPPED;
	}
	return false;
}

/* Its memory is kept for the last audit if nobody is left who could use it. */
static void vm_is_over(unsigned i)
{
	struct vm *vm = &vms[i];

	note_savings();
	audit(vm->name);
	run.down[i] = true;
	if (still_running())
		vm_take_down(vm);
	stats_result(vm, as_expected(vm), vm->why);
}

static void collect_ended(void)
{
	for (unsigned i = 0; i < vm_count; i++)
		if (!run.down[i] && vm_is_left(&vms[i]))
			vm_is_over(i);
}

/* Ends those that run. Not to have been told is a failure; to be stopped is one unless it is expected. */
static void stop_all(void)
{
	for (unsigned i = 0; i < vm_count; i++)
		if (run.quit)
			vm_stop(&vms[i], VM_STOPPED, "the monitor was told to quit");
		else
			vm_stop(&vms[i], VM_FAILED,
			        "it neither passed nor failed in the scenario's time");
	while (still_running()) {
		thread_block();
		collect_ended();
	}
}

/* One command at a time: between two of them those who wait are served. */
static void take_from_timeline(u64 now)
{
	const struct timeline_entry *e = timeline_take(&run.timeline, now - run.started_ns);

	if (e)
		monitor_at(e->text, &e->command);
}

/*
 * When there is something to do at the latest. Somebody may type at any time; the rings of the trace are
 * emptied before they are written over, if they are not filled too fast.
 */
static u64 next_look(u64 now, u64 next)
{
	u64 due = timeline_due(&run.timeline);

	if (due != TIMELINE_NEVER)
		next = min_of(next, run.started_ns + due);
	next = min_of(next, now + MONITOR_INPUT_NS);
	return trace_on() ? min_of(next, now + TRACE_PERIOD_NS) : next;
}

static void watch(void)
{
	u64 end, next;

	run.started_ns = hal_time_ns();
	end = run.started_ns + scenario->time_ns;
	next = run.started_ns + scenario->stats_ns;
	timeline_start(&run.timeline, &scenario->timeline);
	while (still_running()) {
		u64 now = hal_time_ns();

		collect_ended();
		if (now >= end || run.quit) {
			stop_all();
			break;
		}
		if (now >= next) {
			note_savings();
			show_all(now);
			next = max_of(next + scenario->stats_ns, now);
		}
		if (trace_on())
			stats_trace();
		take_from_timeline(now);
		monitor_input_poll();
		if (still_running() && !run.quit)
			thread_sleep_until(next_look(now, min_of(next, end)));
	}
}

/* The memory of all VMs must come back whole. */
static u64 frames_lost(void)
{
	for (unsigned i = 0; i < vm_count; i++)
		if (vms[i].space)
			vm_take_down(&vms[i]);
	epoch_barrier();
	return frames_in_use() - frame_pool_count();
}

static u64 worst_fault(void)
{
	u64 worst = 0;

	for (unsigned i = 0; i < vm_count; i++)
		worst = max_of(worst, a64_load(&vm_stats(&vms[i])->fault_ns.max));
	return worst;
}

/* The leaves that are split when the VM is taken down count as well. */
static void show_huge(const struct vm *vm)
{
	const struct space_stats *st = vm_stats(vm);

	if (vm->config->huge)
		hal_log(HAL_INFO,
		        "vm %s: 2 MiB leaves: %llu by first touch, %llu split, %llu collapsed; "
		        "%llu times too cold, %llu times pinned",
		        vm->name, (ull)a64_load(&st->huge_faults_total),
		        (ull)a64_load(&st->splits_total), (ull)a64_load(&st->collapses_total),
		        (ull)a64_load(&st->collapses_cold_total),
		        (ull)a64_load(&st->collapses_pinned_total));
}

static void show_shadow(const struct vm *vm)
{
	const struct shadow_stats *st = &vm->shadow.stats;

	hal_log(HAL_INFO,
	        "vm %s: shadow: %llu faults, %llu more the guest's; %llu tables made, %llu "
	        "recycled, %llu evicted with the guest's, which were kept %llu times; "
	        "%llu let be written, %llu read again, %llu entries stale",
	        vm->name, (ull)a64_load(&st->faults_total), (ull)a64_load(&st->guest_total),
	        (ull)a64_load(&st->made_total), (ull)a64_load(&st->recycled_total),
	        (ull)a64_load(&st->unshadowed_total), (ull)a64_load(&st->kept_total),
	        (ull)a64_load(&st->unsync_total), (ull)a64_load(&st->synced_total),
	        (ull)a64_load(&st->stale_total));
}

static void show_pressure(const struct vm *vm)
{
	const struct space_stats *st = vm_stats(vm);

	if (!a64_load(&st->stall_ns_total))
		return;
	hal_log(HAL_INFO,
	        "vm %s: waited for memory: some vCPU %llu ms, all %llu ms; %llu direct reclaims, "
	        "%llu refused",
	        vm->name, (ull)a64_load(&st->stall_some_ns_total) / 1000000,
	        (ull)a64_load(&st->stall_all_ns_total) / 1000000,
	        (ull)a64_load(&st->direct_reclaims_total),
	        (ull)a64_load(&st->direct_refused_total));
}

/* mm/guard.h: how often recency began to rule, and how many pages came back meanwhile. */
static void show_guard(const struct vm *vm)
{
	const struct space_stats *st = vm_stats(vm);

	if (a64_load(&st->refaults_total))
		hal_log(HAL_INFO, "vm %s: guard: %llu alarms; recency ruled for %llu refaults",
		        vm->name, (ull)a64_load(&st->guard_alarms_total),
		        (ull)a64_load(&st->guard_refaults_total));
}

static void show_walks(const struct vm *vm)
{
	const struct space_stats *st = vm_stats(vm);

	hal_log(HAL_INFO,
	        "vm %s: walks: %llu tables read, %llu untouched, %llu sparse; %llu given up",
	        vm->name, (ull)a64_load(&st->tables_visited_total),
	        (ull)a64_load(&st->tables_skipped_nonleaf_total),
	        (ull)a64_load(&st->tables_skipped_bloom_total),
	        (ull)a64_load(&st->walks_given_up_total));
	if (vm->mmu != SCENARIO_MMU_TDP)
		show_shadow(vm);
	if (vm->config->null_mmu)
		hal_log(HAL_INFO, "vm %s: null MMU: asked %llu times, %llu translations aged",
		        vm->name, (ull)a64_load(&vm->null.asked_total),
		        (ull)a64_load(&vm->null.aged_total));
}

static void show_results(void)
{
	for (unsigned i = 0; i < vm_count; i++) {
		struct vm *vm = &vms[i];
		const struct space_stats *st = vm_stats(vm);

		hal_log(HAL_INFO,
		        "vm %s: %s: %s%s%s after %llu ms; %llu faults (p50 %llu us, p99 %llu us, "
		        "worst "
		        "%llu us), %llu evictions, %llu refaults",
		        vm->name, as_expected(vm) ? "PASS" : "FAIL", vm_state_name(vm),
		        vm->why[0] ? ": " : "", vm->why,
		        (ull)(vm->ended_ns - vm->started_ns) / 1000000,
		        (ull)a64_load(&st->faults_total),
		        (ull)hist_percentile(&st->fault_ns, 500) / 1000,
		        (ull)hist_percentile(&st->fault_ns, 990) / 1000,
		        (ull)a64_load(&st->fault_ns.max) / 1000,
		        (ull)a64_load(&st->evictions_total), (ull)a64_load(&st->refaults_total));
		show_pressure(vm);
		show_guard(vm);
		show_walks(vm);
		show_huge(vm);
	}
}

/* Percent of its pages' size that the pool took when it was fullest, with all that it needs. */
static u64 pool_ratio_pct(void)
{
	const struct store_stats *st = &run.fullest;
	u64 pages = (st->objects - st->on_disk + st->shared_pages) << PAGE_SHIFT;

	return pages ? ((st->pool_frames << PAGE_SHIFT) + st->meta_bytes) * 100 / pages : 0;
}

/* How it was when the pool had most; nothing if no VM ever found an equal page. */
static void show_sharing(void)
{
	const struct store_stats *st = &run.fullest;
	u64 all = st->compressed_bytes + st->shared_bytes;

	if (!st->shared_total)
		return;
	hal_log(HAL_INFO,
	        "sharing: %llu of %llu pages had no copy of their own, %llu KiB and %llu %% of "
	        "what "
	        "all would have taken",
	        (ull)st->shared_pages, (ull)(st->objects + st->shared_pages),
	        (ull)st->shared_bytes / 1024, (ull)(all ? st->shared_bytes * 100 / all : 0));
}

static const char *why_failed(u64 lost, char *text, size_t size)
{
	for (unsigned i = 0; i < vm_count; i++) {
		if (as_expected(&vms[i]))
			continue;
		fmt_snprintf(text, size, "vm %s %s%s%s", vms[i].name, vm_state_name(&vms[i]),
		             vms[i].why[0] ? ": " : "", vms[i].why);
		return text;
	}
	if (run.faults)
		fmt_snprintf(text, size, "the audit found %llu faults", (ull)run.faults);
	else if (lost)
		fmt_snprintf(text, size, "%llu frames did not come back", (ull)lost);
	else
		return NULL;
	return text;
}

static noreturn_fn void end_of_scenario(void)
{
	char text[VM_WHY_MAX + 64];
	struct stats_end end = {.why = ""};
	const char *why;
	u64 lost;

	audit("at the end");
	show_all(hal_time_ns());
	lost = frames_lost();
	show_results();
	show_sharing();
	swapper_report();
	chaos_report();
	end.saved_bytes = run.saved_pages << PAGE_SHIFT;
	end.pool_ratio_pct = pool_ratio_pct();
	end.worst_fault_ns = worst_fault();
	why = why_failed(lost, text, sizeof(text));
	end.pass = !why;
	end.why = why ? why : "";
	hal_log(HAL_INFO,
	        "memory saved: %llu MiB at most; pool: %llu pages in %llu %% of their size at "
	        "most; "
	        "worst fault: %llu us; audit: %llu passes over %llu frames, %llu faults",
	        MIB(end.saved_bytes), (ull)(run.fullest.objects + run.fullest.shared_pages),
	        (ull)end.pool_ratio_pct, (ull)end.worst_fault_ns / 1000, (ull)run.audits,
	        (ull)run.frames_checked, (ull)run.faults);
	stats_verdict(&end);
	if (why)
		verdict_fail("%s", why);
	verdict_pass();
}

static void monitor(void *arg)
{
	(void)arg;
	stats_boot(scenario);
	watch();
	end_of_scenario();
}

bool monitor_create(const struct scenario *s)
{
	scenario = s;
	thread = thread_create("monitor", THREAD_ANY_CPU, NULL, true, monitor, NULL);
	return thread != NULL;
}

void monitor_start(void)
{
	thread_wake(thread);
}

void monitor_wake(void)
{
	thread_wake(thread);
}
