#include "tests/host/torture.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "arch/hal.h"
#include "lib/atomic.h"
#include "tests/host/hal.h"

/*
 * Seconds of a run, and of one with a fault: so many are enough, on a slow machine, if nothing is missing; and what did
 * not happen after so many does not happen any more.
 */
#define ENOUGH_S          8
#define ENOUGH_SPOILT_S   6
#define HOPELESS_S        90
#define HOPELESS_SPOILT_S 20

unsigned torture_fault;
u64 torture_attempt;

static a32 vcpus_running;
static time_t began;
static bool has_time; /* asked for a number of steps: those */
static const struct torture_threads *threads;

void torture_fail(const char *why, int status)
{
	printf("%s\n", why);
	fflush(stdout);
	_Exit(status);
}

bool torture_runs(void)
{
	return a32_load_acquire(&vcpus_running);
}

/* Of this run. */
static time_t seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec - began;
}

bool torture_goes_on(u64 done, u64 steps)
{
	if (done < steps && (has_time || seconds() < (torture_fault ? ENOUGH_SPOILT_S : ENOUGH_S)))
		return true;
	/* Slower now: else the vCPUs undo what the others do before these run again. */
	hal_pause();
	return seconds() < (torture_fault ? HOPELESS_SPOILT_S : HOPELESS_S) && threads->missing();
}

void torture_wait_for_two(const a64 *counter)
{
	u64 before = a64_load(counter);

	while (a64_load(counter) < before + 2 && torture_runs())
		hal_pause();
}

static void *thread_main(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;

	host_cpu_set(cpu);
	threads->run[cpu](arg);
	if (cpu < threads->vcpus)
		a32_fetch_add(&vcpus_running, -1u);
	return NULL;
}

void torture_run(const struct torture_threads *t)
{
	pthread_t thread[ARRAY_SIZE(t->run)];
	const char *missing;

	threads = t;
	began = 0;
	began = seconds();
	has_time = getenv("VARVE_STEPS");
	a32_store(&vcpus_running, t->vcpus);
	for (unsigned i = 0; i < t->cpus; i++)
		if (pthread_create(&thread[i], NULL, thread_main, (void *)(uintptr_t)i))
			torture_fail("no thread", TORTURE_FAILED);
	for (unsigned i = 0; i < t->cpus; i++)
		pthread_join(thread[i], NULL);
	missing = t->missing();
	if (missing)
		torture_fail(missing, TORTURE_MISSED);
}
