/*
 * Guests that use their memory while others of their CPUs lend pages of it, take them back and report them free, and an
 * evictor is at work. Under the race detector, on real cores. Every vCPU has a word of its own in each page: it reads
 * what it wrote last, or zero if the page was given away since; and whoever gives pages away says so before. At the
 * end, what is inside has no memory and the count is right (audit).
 */
#include <stdio.h>
#include <stdlib.h>

#include "hv/pv.h"
#include "mm/age.h"
#include "mm/audit.h"
#include "mm/balloon.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "tests/host/hal.h"
#include "tests/host/torture.h"
#include "tests/host/vm.h"

#define PAGES   400u
#define FRAMES  500u
#define VCPUS   2u
#define GIVERS  2u
#define EVICTOR (VCPUS + GIVERS)
#define CPUS    (VCPUS + GIVERS + 1)
/* Also when the others are done, on a busy machine. */
#define CALLS_MIN 300u

static struct host_vm vm;
static u64 oracle[VCPUS][PAGES];
static a64 results[PV_FORGET + 1];
static u64 steps;
static a64 zeroed;

static void fail(const char *what, u64 g, u64 expected, u64 found)
{
	printf("%s: gfn %llu, expected %#llx, found %#llx\n", what, (unsigned long long)g,
	       (unsigned long long)expected, (unsigned long long)found);
	fflush(stdout);
	_Exit(1);
}

static void use(unsigned cpu, u64 g, bool write, u64 salt)
{
	gpa_t at = gpa(g * PAGE_SIZE + cpu * 8);
	u64 value = salt;
	enum fault_result r;

	do {
		r = write ? host_vm_write(&vm, cpu, at, value) : host_vm_read(&vm, cpu, at, &value);
		epoch_poll();
	} while (r == FAULT_NO_MEMORY);
	if (r != FAULT_FIXED)
		fail("access fails", g, FAULT_FIXED, r);
	if (!write && value && value != oracle[cpu][g])
		fail("reads", g, oracle[cpu][g], value);
	if (!write && !value && oracle[cpu][g])
		a64_count(&zeroed, 1);
	oracle[cpu][g] = value;
}

static const char *missing(void)
{
	const struct space_stats *st = &vm.space->stats;

	return !a64_load(&zeroed)                       ? "no page became zero"
	       : !a64_load(&st->balloon_given_total)    ? "none was lent"
	       : !a64_load(&st->balloon_returned_total) ? "none was returned"
	       : !a64_load(&st->balloon_touched_total)  ? "none was touched inside"
	       : !a64_load(&st->reported_free_total)    ? "none was reported free"
	       : !a64_load(&st->evictions_total)        ? "none was evicted"
	                                                : NULL;
}

static void *run_vcpu(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	u64 seed = 0x5eed + cpu;

	for (u64 i = 0; torture_goes_on(i, steps); i++) {
		u64 r = host_random(&seed);

		use(cpu, (r >> 8) % PAGES, r & 1, i + 1);
	}
	return NULL;
}

static void *run_giver(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	u64 seed = 0x91fe + cpu;

	for (unsigned i = 0; i < CALLS_MIN || torture_runs(); i++) {
		u64 r = host_random(&seed), first = (r >> 8) % PAGES;
		struct pv_call c = {.command = (u32)(r % (PV_FORGET + 1)),
		                    .arg = {first, 1 + (r >> 32) % 40}};

		if (pv_run(vm.space, &c) == PV_OK)
			a64_count(&results[c.command], c.result[0]);
		epoch_poll();
		hal_pause();
	}
	return NULL;
}

static void *run_evictor(void *arg)
{
	(void)arg;
	while (torture_runs()) {
		age_space(vm.space, a64_load(&vm.space->lru.max_seq), false);
		evict_space(vm.space, evict_any(16));
		epoch_poll();
		hal_pause();
	}
	return NULL;
}

static void check(void)
{
	if (audit_all(NULL))
		fail(host_log_last(), 0, 0, 1);
}

int main(void)
{
	static const struct torture_threads threads = {
	        .run = {run_vcpu, run_vcpu, run_giver, run_giver, run_evictor},
	        .vcpus = VCPUS,
	        .cpus = CPUS,
	        .missing = missing,
	};

	steps = host_steps(15000);
	torture_start(CPUS, FRAMES);
	for (unsigned m = 0; m < HOST_MACHINES; m++) {
		for (u64 g = 0; g < PAGES; g++)
			oracle[0][g] = oracle[1][g] = 0;
		host_vm_create(&vm, &host_machines[m], PAGES, VCPUS);
		ASSERT(balloon_enable(vm.space));
		a64_store(&zeroed, 0);
		torture_run(&threads);
		check();
		host_vm_destroy(&vm);
	}
	printf("torture_balloon: %llu pages lent, %llu returned, %llu reported free\n",
	       (unsigned long long)a64_load(&results[PV_GIVE]),
	       (unsigned long long)a64_load(&results[PV_RETURN]),
	       (unsigned long long)a64_load(&results[PV_REPORT_FREE]));
	return 0;
}
