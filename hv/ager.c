#include "hv/ager.h"

#include "arch/hal.h"
#include "hv/percpu.h"
#include "hv/sched.h"
#include "hv/thread.h"
#include "hv/world.h"
#include "mm/ager.h"
#include "mm/epoch.h"

/* A shorter pause is not worth a timer and a halt, which take longer. */
#define SLEEP_MIN_NS 20000u

static struct thread *thread;

static void wake(void)
{
	thread_wake(thread);
}

static u64 turn(void)
{
	u64 next;

	world_enter();
	next = ager_turn();
	world_leave();
	epoch_poll();
	return next;
}

static void wait_until(u64 next)
{
	if (next > hal_time_ns() + SLEEP_MIN_NS) {
		thread_sleep_until(next);
		return;
	}
	while (hal_time_ns() < next)
		hal_pause();
	/* Pinned, but not alone there if the machine has fewer CPUs than vCPUs and one. */
	sched_irq_window();
	sched_check();
}

static void ager(void *arg)
{
	(void)arg;
	for (;;) {
		u64 next = turn();

		if (next == AGER_OFF)
			thread_block();
		else
			wait_until(next);
	}
}

/* vCPUs are placed from the first CPU on, so the last one is free if any is. */
static unsigned last_cpu(void)
{
	unsigned cpu = hal_cpu_count() - 1;

	while (cpu && a32_load(&hv_cpus[cpu].state) != HV_CPU_ONLINE)
		cpu--;
	return cpu;
}

bool ager_create(void)
{
	thread = thread_create("ager", last_cpu(), NULL, false, ager, NULL);
	if (thread)
		ager_on_set(wake);
	return thread != NULL;
}
