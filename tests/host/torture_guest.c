#include "tests/host/torture.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "mm/reclaim.h"
#include "mm/store.h"
#include "tests/host/hal.h"
#include "tests/host/shrink.h"
#include "tests/host/vm.h"

#define ATTEMPTS 20u
/* An attempt that takes longer has no end: then something else was noticed. */
#define ATTEMPT_S 60u
#define ENDLESS_S 10u

/*
 * An evictor reads a page that is rescued and written meanwhile: on purpose, what it stored is dropped
 * then (mm/evict.c). All else that the detector finds is a fault.
 */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "race:store_put\n";
}

static void wake(void)
{
}

static void out_of_memory(struct space *victim, const char *why)
{
	(void)victim;
	torture_fail(why, TORTURE_FAILED);
}

void torture_start(unsigned cpus, u64 frames)
{
	static const struct reclaim_ops ops = {.wake = wake, .out_of_memory = out_of_memory};

	host_cpu_count_set(cpus);
	host_frames_create(frames);
	reclaim_init(&ops);
	ASSERT(store_init());
}

/* --- planted faults -------------------------------------------------------------------------------- */

static void as_it_is(void *arg)
{
	const struct torture_program *p = arg;

	torture_start(p->cpus, p->frames);
	for (unsigned i = 0; i < p->variants; i++)
		p->run(i);
}

static void spoilt(void *arg)
{
	const struct torture_program *p = arg;

	torture_start(p->cpus, p->frames);
	p->run(p->spoilt[torture_attempt % 2]);
}

static bool attempt(const struct torture_program *p, bool endless)
{
	int status = shrink_status(spoilt, (void *)(uintptr_t)p, true,
	                           endless ? ENDLESS_S : ATTEMPT_S);

	return status && !(WIFEXITED(status) && WEXITSTATUS(status) == TORTURE_MISSED);
}

static bool notices(const struct torture_program *p, unsigned fault)
{
	bool noticed = false;

	torture_fault = fault;
	for (torture_attempt = 0; !noticed && torture_attempt++ < ATTEMPTS;)
		noticed = attempt(p, fault == p->endless);
	printf("missing: %s: %s, %llu attempts\n", p->planted[fault],
	       noticed ? "noticed" : "NOT noticed", (unsigned long long)torture_attempt);
	fflush(stdout);
	return noticed;
}

int torture_main(const struct torture_program *p)
{
	bool good = !shrink_fails(as_it_is, (void *)(uintptr_t)p, false, 0);

	for (unsigned fault = 1; fault < p->faults && !getenv("VARVE_AS_IS"); fault++)
		if (p->planted[fault])
			good &= notices(p, fault);
	return good ? 0 : 1;
}
