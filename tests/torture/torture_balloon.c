/*
 * Guests that use their memory while others of their CPUs lend pages of it, take them back and report them free, and an
 * evictor is at work. Under the race detector, on real cores. Every vCPU has a word of its own in each page: it reads
 * what it wrote last, or zero if the page was given away since; and whoever gives pages away says so before. At the
 * end, what is inside has no memory and the count is right (audit).
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "hv/pv.h"
#include "mm/age.h"
#include "mm/audit.h"
#include "mm/balloon.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/store.h"
#include "tests/host/hal.h"
#include "tests/host/vm.h"

#define PAGES   400u
#define FRAMES  500u
#define VCPUS   2u
#define GIVERS  2u
#define EVICTOR (VCPUS + GIVERS)
#define CPUS    (VCPUS + GIVERS + 1)
/* Also when the others are done, on a busy machine. */
#define CALLS_MIN 300u
/* A busy machine may keep a thread from its work for long: the guests wait for everything to have happened, up to here. */
#define STEPS_MAX_TIMES 200u

/* As in torture_tdp.c: what an evictor read of a page that was rescued is dropped. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "race:store_put\n";
}

static struct host_vm vm;
static u64 oracle[VCPUS][PAGES];
static a32 running;
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

/* What did not happen, of all that shows that the threads met; NULL if it all did. */
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

	host_cpu_set(cpu);
	for (u64 i = 0; i < steps || (missing() && i < STEPS_MAX_TIMES * steps); i++) {
		u64 r = host_random(&seed);

		use(cpu, (r >> 8) % PAGES, r & 1, i + 1);
		if (i >= steps)
			hal_pause(); /* else a guest takes back all that is lent before the others run again */
	}
	a32_fetch_add(&running, -1u);
	return NULL;
}

static void *run_giver(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	u64 seed = 0x91fe + cpu;

	host_cpu_set(cpu);
	for (unsigned i = 0; i < CALLS_MIN || a32_load(&running); i++) {
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
	host_cpu_set(EVICTOR);
	while (a32_load(&running)) {
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
	if (missing())
		fail(missing(), 0, 1, 0);
}

int main(void)
{
	void *(*const run[CPUS])(void *) = {run_vcpu, run_vcpu, run_giver, run_giver, run_evictor};
	pthread_t thread[CPUS];

	steps = host_steps(15000);
	host_cpu_count_set(CPUS);
	host_frames_create(FRAMES);
	ASSERT(store_init());
	for (unsigned m = 0; m < HOST_MACHINES; m++) {
		for (u64 g = 0; g < PAGES; g++)
			oracle[0][g] = oracle[1][g] = 0;
		host_vm_create(&vm, &host_machines[m], PAGES, VCPUS);
		ASSERT(balloon_enable(vm.space));
		a64_store(&zeroed, 0);
		a32_store(&running, VCPUS);
		for (unsigned cpu = 0; cpu < CPUS; cpu++)
			ASSERT(!pthread_create(&thread[cpu], NULL, run[cpu],
			                       (void *)(uintptr_t)cpu));
		for (unsigned cpu = 0; cpu < CPUS; cpu++)
			pthread_join(thread[cpu], NULL);
		check();
		host_vm_destroy(&vm);
	}
	printf("torture_balloon: %llu pages lent, %llu returned, %llu reported free\n",
	       (unsigned long long)a64_load(&results[PV_GIVE]),
	       (unsigned long long)a64_load(&results[PV_RETURN]),
	       (unsigned long long)a64_load(&results[PV_REPORT_FREE]));
	return 0;
}
