#include "hv/sampler_thread.h"

#include "arch/hal.h"
#include "hv/thread.h"
#include "hv/world.h"
#include "mm/epoch.h"
#include "mm/sampler.h"

static struct thread *thread;

/* Urgent: an interval is shorter than a time slice, and the work in it a few questions. */
static void sample_all(void *arg)
{
	(void)arg;
	for (;;) {
		u64 start = hal_time_ns();
		bool any;

		world_enter();
		any = sampler_run();
		world_leave();
		epoch_poll();
		if (any)
			thread_sleep_until(start + SAMPLER_INTERVAL_NS);
		else
			thread_block();
	}
}

bool sampler_thread_create(void)
{
	thread = thread_create("sampler", THREAD_ANY_CPU, NULL, true, sample_all, NULL);
	return thread != NULL;
}

void sampler_thread_start(void)
{
	thread_wake(thread);
}

void sampler_thread_switch(struct space *s, bool on)
{
	sampler_switch(s, on);
	if (thread)
		thread_wake(thread);
}
