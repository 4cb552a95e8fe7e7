#include "hv/reclaimer.h"

#include "arch/hal.h"
#include "hv/sched.h"
#include "hv/thread.h"
#include "hv/value.h"
#include "hv/vm.h"
#include "hv/world.h"
#include "mm/age_flush.h"
#include "mm/collapse.h"
#include "mm/controller.h"
#include "mm/epoch.h"
#include "mm/reclaim.h"
#include "mm/space.h"

/* Between two rounds that are worth repeating, so that what they waited for can happen. */
#define ROUND_PAUSE_NS 1000000ull

static struct thread *thread;
static u64 period_ns;

static void wake(void)
{
	if (thread)
		thread_wake(thread);
}

static void out_of_memory(struct space *victim, const char *why)
{
	vm_stop(victim->priv, VM_STOPPED, "out of memory: %s", why);
}

/* Others run when the slice is over. Stays in the world: its stopper waits for the round's end. */
static void let_others_run(void)
{
	sched_irq_window();
	sched_check();
}

static const struct reclaim_ops ops = {
        .wake = wake,
        .out_of_memory = out_of_memory,
        .yield = let_others_run,
};

static void reclaimer(void *arg)
{
	u64 next = hal_time_ns() + period_ns;

	(void)arg;
	for (;;) {
		bool again = false;
		u64 now = hal_time_ns(), kick;

		world_enter();
		if (reclaim_needed())
			again = reclaim_background();
		reclaim_limits();
		if (now >= next) {
			collapse_scan(); /* what it asks for, the passes clear */
			reclaim_age_periodic(now, period_ns);
			controller_run(hal_time_ns());
			next = now + period_ns;
		}
		kick = age_flush_poll(hal_time_ns());
		world_leave();
		epoch_poll();
		thread_sleep_until(again ? hal_time_ns() + ROUND_PAUSE_NS : min_of(next, kick));
	}
}

bool reclaimer_create(u64 aging_ns)
{
	period_ns = aging_ns;
	reclaim_init(&ops);
	thread = thread_create("reclaimer", THREAD_ANY_CPU, NULL, true, reclaimer, NULL);
	return thread != NULL;
}

void reclaimer_set_target(struct space *s, const struct target *target)
{
	struct controller_target t = {CONTROLLER_INHERIT, 0};

	switch (target->kind) {
	case TARGET_NONE:
		break;
	case TARGET_FREE:
		t = (struct controller_target){CONTROLLER_FREE, target->free_bytes >> PAGE_SHIFT};
		break;
	case TARGET_REFAULTS:
		t = (struct controller_target){CONTROLLER_REFAULTS, target->refaults_ppm};
		break;
	}
	controller_set(s, t);
}

void reclaimer_start(void)
{
	thread_wake(thread);
}
