#include "hv/thread.h"

#include "arch/hal.h"
#include "arch/x86/stack.h"
#include "hv/percpu.h"
#include "hv/sched.h"
#include "lib/fmt.h"
#include "lib/lock.h"

/*
 * Entries are used again but never freed: a late thread_wake() meets a living entry, and a wake-up
 * too many is harmless to whoever has it then.
 */
static struct thread threads[THREAD_MAX];
static bool used[THREAD_MAX];
static struct spinlock list_lock = SPINLOCK_INIT(LOCK_VM_LIST, "threads");

static void sleep_over(struct timer *timer)
{
	thread_wake(container_of(timer, struct thread, sleep));
}

static void thread_start(void *arg)
{
	struct thread *t = arg;

	sched_finish_switch();
	t->fn(t->arg);
	thread_exit();
}

static unsigned least_loaded_cpu(void)
{
	unsigned best = 0;

	for (unsigned i = 0; i < hal_cpu_count(); i++) {
		if (a32_load(&hv_cpus[i].state) != HV_CPU_ONLINE)
			continue;
		if (a32_load(&hv_cpus[i].threads) < a32_load(&hv_cpus[best].threads))
			best = i;
	}
	return best;
}

static struct thread *entry_take(void)
{
	struct thread *t = NULL;

	spin_lock(&list_lock);
	for (unsigned i = 0; i < THREAD_MAX && !t; i++) {
		if (used[i])
			continue;
		used[i] = true;
		t = &threads[i];
		*t = (struct thread){.state = THREAD_DEAD};
	}
	spin_unlock(&list_lock);
	return t;
}

static void entry_give_back(struct thread *t)
{
	spin_lock(&list_lock);
	used[t - threads] = false;
	spin_unlock(&list_lock);
}

struct thread *thread_create(const char *name, unsigned cpu, struct vcpu *vcpu, bool urgent,
                             void (*fn)(void *arg), void *arg)
{
	struct thread *t = entry_take();

	if (!t)
		return NULL;
	fmt_snprintf(t->name, sizeof(t->name), "%s", name);
	t->stack = stack_alloc(t->name);
	if (!t->stack) {
		entry_give_back(t);
		return NULL;
	}
	if (cpu == THREAD_ANY_CPU)
		cpu = least_loaded_cpu();
	t->fn = fn;
	t->arg = arg;
	t->vcpu = vcpu;
	t->urgent = urgent;
	timer_init(&t->sleep, sleep_over);
	a32_store(&t->cpu, cpu);
	t->counted = vcpu != NULL;
	if (t->counted)
		a32_fetch_add(&hv_cpus[cpu].threads, 1);
	context_init(&t->context, t->stack, STACK_BYTES, thread_start, t);
	t->state = THREAD_BLOCKED;
	return t;
}

void thread_release(struct thread *t)
{
	stack_free(t->stack);
	entry_give_back(t);
}

struct thread *thread_self(void)
{
	return this_hv_cpu()->current;
}

void thread_exit(void)
{
	struct hv_cpu *c = this_hv_cpu();
	struct thread *t = c->current;

	lock_assert_none();
	timer_cancel(&t->sleep);
	if (t->counted)
		a32_fetch_add(&c->threads, (u32)-1);
	spin_lock(&c->lock);
	t->state = THREAD_DEAD;
	sched_switch_locked();
	hal_panic("a dead thread runs again: %s", t->name);
}

void thread_yield(void)
{
	struct hv_cpu *c;

	lock_assert_none();
	sched_irq_window();
	c = this_hv_cpu();
	a32_store(&c->attention, 0); /* before the locks of timers and queue are taken */
	timer_run_due(hal_time_ns());
	spin_lock(&c->lock);
	c->current->state = THREAD_RUNNABLE;
	sched_switch_locked();
}

void thread_block(void)
{
	struct hv_cpu *c = this_hv_cpu();
	struct thread *t = c->current;

	lock_assert_none();
	spin_lock(&c->lock);
	if (t->wake_pending) {
		t->wake_pending = false;
		spin_unlock(&c->lock);
		return;
	}
	t->state = THREAD_BLOCKED;
	sched_switch_locked();
}

void thread_sleep_until(u64 deadline_ns)
{
	struct thread *t = thread_self();

	if (hal_time_ns() >= deadline_ns)
		return;
	timer_set(&t->sleep, deadline_ns);
	thread_block();
	timer_cancel(&t->sleep);
}

void thread_wake(struct thread *t)
{
	struct hv_cpu *c;
	bool woken;

	for (;;) {
		unsigned cpu = a32_load(&t->cpu);

		c = &hv_cpus[cpu];
		spin_lock(&c->lock);
		if (a32_load(&t->cpu) == cpu)
			break;
		spin_unlock(&c->lock);
	}
	woken = t->state == THREAD_BLOCKED;
	if (woken)
		sched_enqueue_locked(c, t);
	else
		t->wake_pending = true;
	spin_unlock(&c->lock);
	if (woken)
		sched_notify(c);
}

void thread_for_each(void (*fn)(struct thread *t, void *arg), void *arg)
{
	spin_lock(&list_lock);
	for (unsigned i = 0; i < THREAD_MAX; i++)
		if (used[i])
			fn(&threads[i], arg);
	spin_unlock(&list_lock);
}
