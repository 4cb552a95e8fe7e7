/*
 * Threads that do to one guest's memory what CPUs do: vCPUs that touch it through their TLBs and fault, an
 * ager, an evictor, somebody who drops translations. Under the race detector, on real cores. Every vCPU
 * has a word of its own in each page and remembers it.
 *
 * I11: every now and then somebody sits on the write side of the MMU lock until the ager, which asks fast-only, has
 * made two more harvests and passes. If it waited for anything that a fault waits for, neither would ever go on.
 * Once more with a second MMU that can only unmap, through which the hypervisor's accesses go then, and once more
 * with harvests under the read side of the MMU lock, which try it for a while and leave.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/mmu/null.h"
#include "mm/age.h"
#include "mm/audit.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/policy.h"
#include "tests/host/hal.h"
#include "tests/host/torture.h"
#include "tests/host/vm.h"

#define PAGES   600u
#define FRAMES  400u
#define VCPUS   2u
#define AGER    VCPUS
#define EVICTOR (VCPUS + 1)
#define CPUS    (VCPUS + 2)
/* Pages that the stores keep for the next time: scratch of each CPU, handles. */
#define POOL_SLACK 64u

static struct host_vm vm;
static u64 oracle[VCPUS][PAGES];
static u64 steps;
static a64 harvests;
static a64 sat; /* on the MMU lock: times */
static struct null_mmu device;
static bool with_device;
static u64 hypervisor_accesses[VCPUS];

static void fail(unsigned cpu, const char *what, u64 g, u64 expected, u64 found)
{
	printf("%s: cpu %u: %s: gfn %llu, expected %#llx, found %#llx\n", vm.tdp.format->name, cpu,
	       what, (unsigned long long)g, (unsigned long long)expected,
	       (unsigned long long)found);
	fflush(stdout);
	_Exit(1);
}

/* FAULT_NO_MEMORY: let the evictor work, as a scheduler would. */
static void access_page(unsigned cpu, u64 g, bool write)
{
	gpa_t at = gpa(g * PAGE_SIZE + cpu * 8);
	enum fault_result r;
	u64 value = 0;

	do {
		r = write ? host_vm_write(&vm, cpu, at, oracle[cpu][g])
		          : host_vm_read(&vm, cpu, at, &value);
		if (r == FAULT_NO_MEMORY) {
			epoch_poll();
			hal_pause();
		}
	} while (r == FAULT_NO_MEMORY);
	if (r != FAULT_FIXED)
		fail(cpu, "access fails", g, FAULT_FIXED, r);
	if (!write && value != oracle[cpu][g])
		fail(cpu, "reads", g, oracle[cpu][g], value);
}

static u64 copy_by_hypervisor(gpa_t at, bool write, u64 *value)
{
	if (with_device)
		return write ? null_write(&device, at, value, 8) : null_read(&device, at, value, 8);
	return write ? guest_write(&vm.mem, at, value, 8) : guest_read(&vm.mem, at, value, 8);
}

static void access_by_hypervisor(unsigned cpu, u64 g, bool write)
{
	gpa_t at = gpa(g * PAGE_SIZE + cpu * 8);
	u64 value = write ? oracle[cpu][g] : 0, done = copy_by_hypervisor(at, write, &value);

	hypervisor_accesses[cpu] += done == 8;
	/* Short of memory: nothing was copied, say it again through the guest. */
	if (done != 8)
		access_page(cpu, g, write);
	else if (!write && value != oracle[cpu][g])
		fail(cpu, "hypervisor reads", g, oracle[cpu][g], value);
}

static void *run_vcpu(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	u64 seed = 0x70c + cpu;

	for (u64 i = 0; torture_goes_on(i, steps); i++) {
		u64 r = host_random(&seed);
		u64 g = r % 4 ? (r >> 8) % (PAGES / 8) : (r >> 8) % PAGES;
		bool write = r >> 40 & 1;

		if (write)
			oracle[cpu][g] = host_random(&seed) % 3 ? host_random(&seed) : 0;
		if ((r >> 48) % 16)
			access_page(cpu, g, write);
		else
			access_by_hypervisor(cpu, g, write);
		if (i % 64 == 0)
			epoch_poll();
	}
	return NULL;
}

/* Pins the page's frame, so that no evictor has it in hand or takes it; FRAME_NONE if it cannot. */
static u32 pin_page(u64 g)
{
	u32 frame = FRAME_NONE;
	u64 word;

	epoch_enter();
	word = a64_load(gfnmap_word(vm.space, gfn(g)));
	if (gfn_word_tag(word) == GFN_RESIDENT && frame_pin_try(gfn_word_frame(word)))
		frame = gfn_word_frame(word);
	if (frame != FRAME_NONE &&
	    a64_load(gfnmap_word(vm.space, gfn(g))) != gfn_word(GFN_RESIDENT, frame)) {
		frame_unpin(frame);
		frame = FRAME_NONE;
	}
	epoch_exit();
	return frame;
}

/* Translations may go at any time, if what they knew of Dirty is handed on. */
static void drop_translation(u64 g)
{
	struct notifier_zap zap;
	u32 frame = pin_page(g);

	if (frame == FRAME_NONE)
		return;
	invalidate_begin(vm.space, gfn(g), gfn(g));
	notifier_zap(vm.space, gfn(g), &zap);
	/* Before anybody can map the page anew: a fault inside the range starts over. */
	if (zap.dirty)
		while (fault_make_dirty(vm.space, gfn(g)) == FAULT_RETRY)
			hal_pause();
	invalidate_end(vm.space, gfn(g), gfn(g));
	flush_wait(vm.space, flush_request(vm.space));
	frame_unpin(frame);
}

static void *run_ager(void *arg)
{
	u64 seed = 0xa9e, visited = 0;

	(void)arg;
	while (torture_runs()) {
		u64 bitmap[NOTIFIER_WORDS];

		memset(bitmap, 0xff, sizeof(bitmap));
		notifier_age(vm.space, gfn(host_random(&seed) % PAGES), 256, bitmap,
		             NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY, &visited);
		age_space(vm.space, a64_load(&vm.space->lru.max_seq), false);
		a64_count(&harvests, 1);
		epoch_poll();
		hal_pause();
	}
	return NULL;
}

static void sit_on_the_lock(void)
{
	u64 before = a64_load(&harvests);

	write_lock(&vm.space->mmu_lock);
	while (a64_load(&harvests) < before + 2 && torture_runs())
		hal_pause();
	write_unlock(&vm.space->mmu_lock);
	a64_count(&sat, 1);
}

static void *run_evictor(void *arg)
{
	u64 seed = 0xe71;

	(void)arg;
	while (torture_runs()) {
		evict_space(vm.space, evict_any(16));
		drop_translation(host_random(&seed) % PAGES);
		if (host_random(&seed) % 16 == 0)
			sit_on_the_lock();
		epoch_poll();
		hal_pause();
	}
	return NULL;
}

static const char *missing(void)
{
	const struct space_stats *s = &vm.space->stats;
	bool may_leave = a32_load(&policy.locked) == POLICY_READ;

	return !a64_load(&sat)                                  ? "nobody sat on the lock"
	       : with_device && !a64_load(&device.asked_total)  ? "the device was not asked"
	       : may_leave && !a64_load(&s->harvest_left_total) ? "no harvest left the lock alone"
	       : !a64_load(&s->evictions_total)                 ? "nothing was evicted"
	       : !a64_load(&s->refaults_total)                  ? "nothing came back"
	                                                        : NULL;
}

static void check(void)
{
	u64 leaks = host_vm_leaks(&vm), faults = audit_all(NULL);

	if (leaks || faults)
		fail(0, faults ? host_log_last() : "frame numbers left behind", 0, 0,
		     leaks + faults);
	for (unsigned cpu = 0; cpu < VCPUS; cpu++)
		for (u64 g = 0; g < PAGES; g++)
			access_page(cpu, g, false);
}

static void report(void)
{
	const struct space_stats *s = &vm.space->stats;

	printf("%s%s%s: %llu faults, %llu fast, %llu evictions (%llu clean), %llu refaults, %llu "
	       "rescues, "
	       "%llu visited, %llu by the hypervisor, %llu times on the lock\n",
	       vm.tdp.format->name, with_device ? " and a device" : "",
	       a32_load(&policy.locked) == POLICY_READ ? ", under the read side" : "",
	       (unsigned long long)a64_load(&s->faults_total),
	       (unsigned long long)a64_load(&vm.tdp.fixed_fast_total),
	       (unsigned long long)a64_load(&s->evictions_total),
	       (unsigned long long)a64_load(&s->clean_evictions_total),
	       (unsigned long long)a64_load(&s->refaults_total),
	       (unsigned long long)a64_load(&s->rescues_total),
	       (unsigned long long)a64_load(&s->visited_total),
	       (unsigned long long)(hypervisor_accesses[0] + hypervisor_accesses[1]),
	       (unsigned long long)a64_load(&sat));
}

static void torture(const struct host_machine *m, bool device_too, enum policy_locked locked)
{
	static const struct torture_threads threads = {
	        .run = {run_vcpu, run_vcpu, run_ager, run_evictor},
	        .vcpus = VCPUS,
	        .cpus = CPUS,
	        .missing = missing,
	};
	u64 pages_used = hal_pages_used();

	memset(oracle, 0, sizeof(oracle));
	a64_store(&sat, 0);
	a32_store(&policy.locked, locked);
	host_vm_create(&vm, m, PAGES, VCPUS);
	with_device = device_too;
	if (with_device)
		null_create(&device, vm.space);
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
	steps = host_steps(50000);
	torture_start(CPUS, FRAMES);
	for (unsigned i = 0; i < HOST_MACHINES; i++)
		torture(&host_machines[i], false, POLICY_LOCKLESS);
	torture(&host_machines[0], true, POLICY_LOCKLESS);
	torture(&host_machines[2], true, POLICY_LOCKLESS);
	torture(&host_machines[0], false, POLICY_READ);
	return 0;
}
