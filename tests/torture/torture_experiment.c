/*
 * A guest that experiments with its own memory while its other vCPUs use it and an evictor takes it away:
 * translations zapped, pages protected, slots closed, dropped, removed and added again. Under the race detector, on
 * real cores, with generations and with the pair of lists. Every vCPU has a word of its own in each page of RAM
 * and remembers it; pages of the window hold a number that follows from the page, or nothing.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/experiment.h"
#include "mm/audit.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/policy.h"
#include "mm/reclaim.h"
#include "mm/store.h"
#include "tests/host/hal.h"
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

/* As in torture_tdp.c: what an evictor read of a page that was rescued is dropped. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "race:store_put\n";
}

static struct host_vm vm;
static u64 oracle[VCPUS][PAGES];
static u64 steps;
static a32 running; /* vCPU threads that are */
static u64 nothing[VCPUS], zapped, slots_changed;

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

	nothing[cpu] += r == FAULT_NO_SLOT;
	if (r != FAULT_FIXED && r != FAULT_NO_SLOT)
		fail(cpu, "access to the window fails", g, FAULT_FIXED, r);
	if (value && value != g * 7 + 1)
		fail(cpu, "window reads", g, g * 7 + 1, value);
}

static void *run_vcpu(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	u64 seed = 0x5eed + cpu;

	host_cpu_set(cpu);
	for (u64 i = 0; i < steps; i++) {
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
	a32_fetch_add(&running, -1u);
	return NULL;
}

static bool ask(u32 command, u64 arg0, u64 arg1, u64 *result)
{
	struct experiment e = {.command = command, .arg = {arg0, arg1}};
	u32 status = experiment_run(vm.space, &e);

	*result += status == EXPERIMENT_OK ? e.result[0] : 0;
	return status == EXPERIMENT_OK;
}

static void experiment_once(u64 *seed)
{
	u64 r = host_random(seed), g = (r >> 8) % PAGES, n = 1 + (r >> 32) % 60, unused = 0;
	u64 slot = WINDOW + (r >> 48) % SLOTS * SLOT;

	switch (r % 8) {
	case 0:
	case 1:
		(void)ask(EXPERIMENT_ZAP, g, n, &zapped);
		break;
	case 2:
		(void)ask(EXPERIMENT_PROTECT, g, n, &unused);
		(void)ask(EXPERIMENT_AGES, g, n, &unused);
		if (!ask(EXPERIMENT_PROTECT, 0, 0, &unused))
			fail(EXPERIMENTER, "protection stays", g, 0, 1);
		break;
	case 3:
		slots_changed += ask(EXPERIMENT_SLOT_ADD, slot, SLOT, &unused);
		break;
	case 4:
		slots_changed += ask(EXPERIMENT_SLOT_REMOVE, slot, 1, &unused);
		break;
	case 5:
		(void)ask(EXPERIMENT_UNMAP, slot + n % SLOT, SLOT / 2, &unused);
		break;
	case 6:
		(void)ask(EXPERIMENT_AGE, r >> 60 & 1, 0, &unused);
		break;
	default:
		(void)ask(EXPERIMENT_RECLAIM, n, 0, &unused);
		break;
	}
}

static void *run_experimenter(void *arg)
{
	u64 seed = 0xe4e;

	(void)arg;
	host_cpu_set(EXPERIMENTER);
	for (unsigned i = 0; i < EXPERIMENTS_MIN || a32_load(&running); i++) {
		experiment_once(&seed);
		epoch_poll();
		hal_pause();
	}
	return NULL;
}

static void *run_evictor(void *arg)
{
	(void)arg;
	host_cpu_set(EVICTOR);
	while (a32_load(&running)) {
		evict_space(vm.space, evict_any(16));
		epoch_poll();
		hal_pause();
	}
	return NULL;
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
	if (!zapped || !slots_changed || !nothing[0] || !a64_load(&s->refaults_total))
		fail(0, "something never happened", zapped, slots_changed, nothing[0]);
	printf("%s, %s: %llu zapped, %llu slots changed, %llu times nothing, %llu evictions, "
	       "%llu refaults\n",
	       vm.tdp.format->name, a32_load(&policy.twolist) ? "twolist" : "mglru",
	       (unsigned long long)zapped, (unsigned long long)slots_changed,
	       (unsigned long long)(nothing[0] + nothing[1]),
	       (unsigned long long)a64_load(&s->evictions_total),
	       (unsigned long long)a64_load(&s->refaults_total));
}

static void torture(const struct host_machine *m, bool twolist)
{
	void *(*const run[CPUS])(void *) = {run_vcpu, run_vcpu, run_experimenter, run_evictor};
	pthread_t thread[CPUS];

	memset(oracle, 0, sizeof(oracle));
	memset(nothing, 0, sizeof(nothing));
	zapped = slots_changed = 0;
	a32_store(&policy.twolist, twolist);
	host_vm_create(&vm, m, PAGES, VCPUS);
	a32_store(&running, VCPUS);
	for (unsigned i = 0; i < CPUS; i++)
		if (pthread_create(&thread[i], NULL, run[i], (void *)(uintptr_t)i))
			fail(i, "no thread", 0, 0, 0);
	for (unsigned i = 0; i < CPUS; i++)
		pthread_join(thread[i], NULL);
	check();
	host_vm_destroy(&vm);
	epoch_barrier();
}

static void wake(void)
{
}
static void out_of_memory(struct space *victim, const char *why)
{
	(void)victim;
	fail(hal_cpu_id(), why, 0, 0, 0);
}

int main(void)
{
	static const struct reclaim_ops ops = {.wake = wake, .out_of_memory = out_of_memory};

	steps = host_steps(20000);
	host_cpu_count_set(CPUS);
	host_frames_create(FRAMES);
	reclaim_init(&ops);
	if (!store_init())
		return 1;
	for (unsigned i = 0; i < HOST_MACHINES; i++)
		for (unsigned twolist = 0; twolist < 2; twolist++)
			torture(&host_machines[i], twolist);
	return 0;
}
