#include "tests/host/torture.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "arch/hal.h"
#include "lib/atomic.h"
#include "mm/reclaim.h"
#include "mm/store.h"
#include "tests/host/hal.h"
#include "tests/host/shrink.h"
#include "tests/host/vm.h"

#define ATTEMPTS 20u

/*
 * An evictor reads a page that is rescued and written meanwhile: on purpose, what it stored is dropped
 * then (mm/evict.c). All else that the detector finds is a fault.
 */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "race:store_put\n";
}

static a32 vcpus_running;
static time_t began;
static const struct torture_threads *threads;

noreturn_fn static void fail(const char *why)
{
	printf("%s\n", why);
	fflush(stdout);
	_Exit(1);
}

static void wake(void)
{
}

static void out_of_memory(struct space *victim, const char *why)
{
	(void)victim;
	fail(why);
}

void torture_start(unsigned cpus, u64 frames)
{
	static const struct reclaim_ops ops = {.wake = wake, .out_of_memory = out_of_memory};

	host_cpu_count_set(cpus);
	host_frames_create(frames);
	reclaim_init(&ops);
	ASSERT(store_init());
}

bool torture_runs(void)
{
	return a32_load_acquire(&vcpus_running);
}

static time_t seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

bool torture_goes_on(u64 done, u64 steps)
{
	if (done < steps)
		return true;
	/* Slower now: else the vCPUs undo what the others do before these run again. */
	hal_pause();
	return seconds_now() < began + TORTURE_SECONDS && threads->missing();
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
	began = seconds_now();
	a32_store(&vcpus_running, t->vcpus);
	for (unsigned i = 0; i < t->cpus; i++)
		if (pthread_create(&thread[i], NULL, thread_main, (void *)(uintptr_t)i))
			fail("no thread");
	for (unsigned i = 0; i < t->cpus; i++)
		pthread_join(thread[i], NULL);
	missing = t->missing();
	if (missing)
		fail(missing);
}

bool torture_notices(void (*run)(void *attempt), const char *what, unsigned seconds)
{
	unsigned attempts = 0;
	bool fails = false;

	while (attempts < ATTEMPTS && !fails)
		fails = shrink_fails(run, (void *)(uintptr_t)++attempts, true, seconds);
	printf("missing: %s: %s, %u attempts\n", what, fails ? "noticed" : "NOT noticed", attempts);
	fflush(stdout);
	return fails;
}
