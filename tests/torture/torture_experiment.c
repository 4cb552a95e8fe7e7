/*
 * A guest that experiments with its own memory while its other vCPUs use it and an evictor takes it away:
 * translations zapped, pages protected, slots closed, dropped, removed and added again. Under the race detector, on
 * real cores, with generations and with the pair of lists. Every vCPU has a word of its own in each page of RAM
 * and remembers it; pages of the window hold a number that follows from the page, or nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/experiment.h"
#include "mm/audit.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/policy.h"
#include "tests/host/hal.h"
#include "tests/host/torture.h"
#include "tests/host/vm.h"

#define PAGES        500u
#define FRAMES       400u
#define VCPUS        2u
#define EXPERIMENTER VCPUS
#define EVICTOR      (VCPUS + 1)
#define CPUS         (VCPUS + 2)
#define WINDOW       EXPERIMENT_WINDOW_FIRST
#define SLOT         40u
#define SLOTS        3u
/* Also when the others are done, on a busy machine: each of them is to happen. */
#define EXPERIMENTS_MIN 200u

static struct host_vm vm;
static u64 oracle[VCPUS][PAGES];
static u64 steps;
static a64 nothing, zapped, slots_changed;

static void fail(unsigned cpu, const char *what, u64 g, u64 expected, u64 found)
{
	printf("cpu %u: %s: gfn %llu, expected %#llx, found %#llx\n", cpu, what,
	       (unsigned long long)g, (unsigned long long)expected, (unsigned long long)found);
	fflush(stdout);
	_Exit(1);
}

static enum fault_result access_word(unsigned cpu, u64 g, bool write, u64 *value)
{
	gpa_t at = gpa(g * PAGE_SIZE + cpu * 8);
	enum fault_result r;

	for (;;) {
		r = write ? host_vm_write(&vm, cpu, at, *value) : host_vm_read(&vm, cpu, at, value);
		if (r != FAULT_NO_MEMORY)
			return r;
		epoch_poll();
		hal_pause();
	}
}

static void use_ram(unsigned cpu, u64 g, bool write)
{
	u64 value = oracle[cpu][g];
	enum fault_result r = access_word(cpu, g, write, &value);

	if (r != FAULT_FIXED)
		fail(cpu, "access fails", g, FAULT_FIXED, r);
	if (value != oracle[cpu][g])
		fail(cpu, "reads", g, oracle[cpu][g], value);
}

static void use_window(unsigned cpu, u64 g, bool write)
{
	u64 value = g * 7 + 1;
	enum fault_result r = access_word(cpu, WINDOW + g, write, &value);

	a64_count(&nothing, r == FAULT_NO_SLOT);
	if (r != FAULT_FIXED && r != FAULT_NO_SLOT)
		fail(cpu, "access to the window fails", g, FAULT_FIXED, r);
	if (value && value != g * 7 + 1)
		fail(cpu, "window reads", g, g * 7 + 1, value);
}

static void *run_vcpu(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	u64 seed = 0x5eed + cpu;

	for (u64 i = 0; torture_goes_on(i, steps); i++) {
		u64 r = host_random(&seed), g = (r >> 8) % (r % 4 ? PAGES / 8 : PAGES);
		bool write = r >> 40 & 1;

		if (r >> 48 & 3) {
			if (write)
				oracle[cpu][g] = host_random(&seed);
			use_ram(cpu, g, write);
		} else {
			use_window(cpu, g % (SLOT * SLOTS), write);
		}
		if (i % 64 == 0)
			epoch_poll();
	}
	return NULL;
}

static bool ask(u32 command, u64 arg0, u64 arg1, u64 *result)
{
	struct experiment e = {.command = command, .arg = {arg0, arg1}};
	u32 status = experiment_run(vm.space, &e);

	*result = status == EXPERIMENT_OK ? e.result[0] : 0;
	return status == EXPERIMENT_OK;
}

static void experiment_once(u64 *seed)
{
	u64 r = host_random(seed), g = (r >> 8) % PAGES, n = 1 + (r >> 32) % 60, result;
	u64 slot = WINDOW + (r >> 48) % SLOTS * SLOT;

	switch (r % 8) {
	case 0:
	case 1:
		(void)ask(EXPERIMENT_ZAP, g, n, &result);
		a64_count(&zapped, result);
		break;
	case 2:
		(void)ask(EXPERIMENT_PROTECT, g, n, &result);
		(void)ask(EXPERIMENT_AGES, g, n, &result);
		if (!ask(EXPERIMENT_PROTECT, 0, 0, &result))
			fail(EXPERIMENTER, "protection stays", g, 0, 1);
		break;
	case 3:
		a64_count(&slots_changed, ask(EXPERIMENT_SLOT_ADD, slot, SLOT, &result));
		break;
	case 4:
		a64_count(&slots_changed, ask(EXPERIMENT_SLOT_REMOVE, slot, 1, &result));
		break;
	case 5:
		(void)ask(EXPERIMENT_UNMAP, slot + n % SLOT, SLOT / 2, &result);
		break;
	case 6:
		(void)ask(EXPERIMENT_AGE, r >> 60 & 1, 0, &result);
		break;
	default:
		(void)ask(EXPERIMENT_RECLAIM, n, 0, &result);
		break;
	}
}

static void *run_experimenter(void *arg)
{
	u64 seed = 0xe4e;

	(void)arg;
	for (unsigned i = 0; i < EXPERIMENTS_MIN || torture_runs(); i++) {
		experiment_once(&seed);
		epoch_poll();
		hal_pause();
	}
	return NULL;
}

static void *run_evictor(void *arg)
{
	(void)arg;
	while (torture_runs()) {
		evict_space(vm.space, evict_any(16));
		epoch_poll();
		hal_pause();
	}
	return NULL;
}

static const char *missing(void)
{
	return !a64_load(&zapped)                           ? "nothing was zapped"
	       : !a64_load(&slots_changed)                  ? "no slot came or went"
	       : !a64_load(&nothing)                        ? "nobody touched a slot that was gone"
	       : !a64_load(&vm.space->stats.refaults_total) ? "nothing came back"
	                                                    : NULL;
}

static void check(void)
{
	const struct space_stats *s = &vm.space->stats;
	u64 leaks, faults;

	for (unsigned cpu = 0; cpu < VCPUS; cpu++)
		for (u64 g = 0; g < PAGES; g++)
			use_ram(cpu, g, false);
	leaks = host_vm_leaks(&vm);
	faults = audit_all(NULL);
	if (leaks || faults)
		fail(0, faults ? host_log_last() : "frame numbers left behind", 0, 0,
		     leaks + faults);
	printf("%s, %s: %llu zapped, %llu slots changed, %llu times nothing, %llu evictions, "
	       "%llu refaults\n",
	       vm.tdp.format->name, a32_load(&policy.twolist) ? "twolist" : "mglru",
	       (unsigned long long)a64_load(&zapped), (unsigned long long)a64_load(&slots_changed),
	       (unsigned long long)a64_load(&nothing),
	       (unsigned long long)a64_load(&s->evictions_total),
	       (unsigned long long)a64_load(&s->refaults_total));
}

static void torture(const struct host_machine *m, bool twolist)
{
	static const struct torture_threads threads = {
	        .run = {run_vcpu, run_vcpu, run_experimenter, run_evictor},
	        .vcpus = VCPUS,
	        .cpus = CPUS,
	        .missing = missing,
	};

	memset(oracle, 0, sizeof(oracle));
	a64_store(&nothing, 0);
	a64_store(&zapped, 0);
	a64_store(&slots_changed, 0);
	a32_store(&policy.twolist, twolist);
	host_vm_create(&vm, m, PAGES, VCPUS);
	torture_run(&threads);
	check();
	host_vm_destroy(&vm);
	epoch_barrier();
}

int main(void)
{
	steps = host_steps(20000);
	torture_start(CPUS, FRAMES);
	for (unsigned i = 0; i < HOST_MACHINES; i++)
		for (unsigned twolist = 0; twolist < 2; twolist++)
			torture(&host_machines[i], twolist);
	return 0;
}
