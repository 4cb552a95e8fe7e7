#include "hv/timer.h"

#include "arch/hal.h"
#include "hv/percpu.h"
#include "lib/util.h"

static void timer_insert_locked(struct hv_cpu *c, struct timer *t)
{
	struct timer **at = &c->timers;

	while (*at && (*at)->deadline_ns <= t->deadline_ns)
		at = &(*at)->next;
	t->next = *at;
	*at = t;
	t->armed = true;
}

static void timer_remove_locked(struct hv_cpu *c, struct timer *t)
{
	struct timer **at = &c->timers;

	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	t->armed = false;
}

void timer_set(struct timer *t, u64 deadline_ns)
{
	struct hv_cpu *c = this_hv_cpu();

	timer_cancel(t);
	spin_lock(&c->timer_lock);
	t->deadline_ns = deadline_ns;
	a32_store(&t->cpu, c->id + 1);
	timer_insert_locked(c, t);
	spin_unlock(&c->timer_lock);
	if (deadline_ns < c->deadline_ns)
		a32_store(&c->attention,
		          1); /* own CPU: the hardware deadline is set in sched_check() */
}

/* One try; false: its function runs on another CPU just now and may arm it again. */
static bool timer_cancel_try(struct timer *t)
{
	u32 cpu = a32_load(&t->cpu);
	bool running;

	if (!cpu)
		return true;
	struct hv_cpu *c = &hv_cpus[cpu - 1];

	spin_lock(&c->timer_lock);
	if (a32_load(&t->cpu) != cpu) {
		spin_unlock(&c->timer_lock);
		return false;
	}
	if (t->armed)
		timer_remove_locked(c, t);
	running = c->running == t && c != this_hv_cpu();
	spin_unlock(&c->timer_lock);
	return !running;
}

void timer_cancel(struct timer *t)
{
	while (!timer_cancel_try(t))
		hal_pause();
}

void timer_run_due(u64 now_ns)
{
	struct hv_cpu *c = this_hv_cpu();

	spin_lock(&c->timer_lock);
	while (c->timers && c->timers->deadline_ns <= now_ns) {
		struct timer *t = c->timers;

		timer_remove_locked(c, t);
		c->running = t;
		spin_unlock(&c->timer_lock);
		t->fn(t);
		spin_lock(&c->timer_lock);
		c->running = NULL;
	}
	spin_unlock(&c->timer_lock);
}

u64 timer_next(void)
{
	struct hv_cpu *c = this_hv_cpu();
	u64 next;

	spin_lock(&c->timer_lock);
	next = c->timers ? c->timers->deadline_ns : TIMER_NEVER;
	spin_unlock(&c->timer_lock);
	return next;
}
