/*
 * Wake-ups are not lost. Whoever gives a CPU work first changes its queue under its lock, then sets
 * `attention`, then sends the interrupt unless `attention` was set already. The CPU clears `attention`
 * before it takes the lock to look at the queue, and reads it with interrupts off before it halts or
 * enters a guest. Of the two sections under the lock one comes first:
 *
 *	the CPU's: then its clearing is known to whoever comes later, who finds 0, or a 1 that another has
 *	set since and sends an interrupt for: the interrupt is still pending and ends the halt, or the
 *	guest, at once;
 *
 *	the other's: then the CPU finds the work, and a flag that is set after that costs a look.
 *
 * So it is the lock that orders, and `attention` needs to be neither exchanged nor ordered; the exchange
 * in sched_notify() only saves an interrupt when two come at a time.
 */
#include "hv/sched.h"

#include "arch/hal.h"
#include "arch/x86/apic.h"
#include "arch/x86/fpu.h"
#include "arch/x86/insn.h"
#include "arch/x86/trap.h"
#include "arch/x86/vendor.h"
#include "hv/vcpu.h"
#include "lib/fmt.h"
#include "mm/epoch.h"

#define EPOCH_POLL_NS 10000000ull

static struct thread idle_threads[HAL_MAX_CPUS];

static void timer_interrupt(struct trap_frame *frame)
{
	struct hv_cpu *c = this_hv_cpu();

	(void)frame;
	c->programmed_ns = TIMER_NEVER;
	a32_store(&c->attention, 1);
}

/* The interrupt itself is the message: it ended the halt or the guest. */
static void kick_interrupt(struct trap_frame *frame)
{
	(void)frame;
}

void sched_init(void)
{
	hv_cpu_init_all();
	trap_set_irq(IRQ_TIMER, timer_interrupt);
	trap_set_irq(IRQ_KICK, kick_interrupt);
	trap_set_nmi(vendor_nmi); /* makes a guest about to be entered leave again */
}

void sched_irq_window(void)
{
	irq_window();
}

void sched_kick(unsigned cpu)
{
	apic_ipi(cpu, IRQ_KICK);
	if (vendor->kick_by_nmi)
		apic_nmi(cpu);
}

void sched_notify(struct hv_cpu *c)
{
	if (a32_xchg(&c->attention, 1) == 0 && c != this_hv_cpu())
		sched_kick(c->id);
}

static void queue_add_locked(struct hv_cpu *c, struct thread *t)
{
	if (t->urgent) {
		t->next = c->head;
		c->head = t;
		if (!c->tail)
			c->tail = t;
	} else {
		t->next = NULL;
		if (c->tail)
			c->tail->next = t;
		else
			c->head = t;
		c->tail = t;
	}
	a32_store(&c->queued, a32_load(&c->queued) + 1);
}

static void queue_remove_locked(struct hv_cpu *c, struct thread *t)
{
	struct thread **at = &c->head, *before = NULL;

	while (*at != t) {
		before = *at;
		at = &(*at)->next;
	}
	*at = t->next;
	if (c->tail == t)
		c->tail = before;
	t->next = NULL;
	a32_store(&c->queued, a32_load(&c->queued) - 1);
}

void sched_enqueue_locked(struct hv_cpu *c, struct thread *t)
{
	DEBUG_ASSERT(spin_held(&c->lock));
	t->state = THREAD_RUNNABLE;
	queue_add_locked(c, t);
}

/* Sets the hardware to the earlier of the timers and, if somebody waits, the end of the slice. */
static void program_deadline(struct hv_cpu *c)
{
	u64 deadline = timer_next();

	if (a32_load(&c->queued))
		deadline = min_of(deadline, c->slice_end_ns);
	c->deadline_ns = deadline;
	if (deadline == c->programmed_ns)
		return;
	c->programmed_ns = deadline;
	if (deadline == TIMER_NEVER)
		apic_timer_stop();
	else
		apic_timer_set(deadline);
}

/* Loads what the thread that runs now needs; after every switch, on the CPU where it goes on. */
static void load_current(struct hv_cpu *c)
{
	struct vcpu *v = c->current->vcpu;

	if (!v || c->loaded == v)
		return;
	if (c->loaded)
		vendor->put(&c->loaded->arch);
	vendor->load(&v->arch);
	c->loaded = v;
}

void sched_unload(struct vcpu *v)
{
	struct hv_cpu *c = this_hv_cpu();

	if (c->loaded != v)
		return;
	vendor->put(&v->arch);
	c->loaded = NULL;
}

/* The waiting vCPU thread that has waited longest, off the queue; NULL if there is none to spare. */
static struct thread *take_spare_locked(struct hv_cpu *c)
{
	struct thread *t = c->head;

	while (t && !t->vcpu)
		t = t->next;
	if (!t || !(c->current->vcpu || a32_load(&c->queued) > 1))
		return NULL;
	queue_remove_locked(c, t);
	return t;
}

/* Gives a waiting vCPU to the idle CPU that asked. Here, because the control block is here. */
static void hand_over(struct hv_cpu *c)
{
	struct hv_cpu *to = &hv_cpus[a32_load(&c->pull_for) - 1];
	struct thread *t;

	a32_store(&c->pull_for, 0); /* as long as it was set, nobody else changed it */
	spin_lock(&c->lock);
	t = take_spare_locked(c);
	if (t)
		a32_store(&t->cpu, to->id); /* from here on wakers take the other lock */
	spin_unlock(&c->lock);
	if (!t)
		return;
	sched_unload(t->vcpu);
	fpu_put(t->vcpu->arch.fpu);
	a32_fetch_add(&c->threads, (u32)-1);
	a32_fetch_add(&to->threads, 1);
	spin_lock(&to->lock);
	sched_enqueue_locked(to, t);
	spin_unlock(&to->lock);
	sched_notify(to);
}

/*
 * Not inlined: the thread may have come to another CPU in the switch, and the compiler may keep what
 * this_hv_cpu() returned once for the rest of a function.
 */
__attribute__((noinline)) void sched_finish_switch(void)
{
	struct hv_cpu *c = this_hv_cpu();

	if (c->last && c->last->state == THREAD_DEAD)
		thread_release(c->last);
	c->last = NULL;
	load_current(c);
	if (unlikely(a32_load(&c->pull_for)))
		hand_over(c);
	program_deadline(c);
}

void sched_switch_locked(void)
{
	struct hv_cpu *c = this_hv_cpu();
	struct thread *from = c->current, *to;

	DEBUG_ASSERT(spin_held(&c->lock));
	if (from->state == THREAD_RUNNABLE && from != c->idle) {
		if (from->urgent && c->head) { /* it has had its turn: behind the next one */
			from->urgent = false;
			queue_add_locked(c, from);
			from->urgent = true;
		} else {
			queue_add_locked(c, from);
		}
	}
	to = c->head;
	if (to)
		queue_remove_locked(c, to);
	else
		to = c->idle;
	to->state = THREAD_RUNNING;
	c->current = to;
	c->slice_end_ns = hal_time_ns() + SCHED_SLICE_NS;
	spin_unlock(&c->lock);
	if (to == from) {
		program_deadline(c);
		return;
	}
	c->last = from;
	context_switch(&from->context, &to->context);
	sched_finish_switch();
}

void sched_check(void)
{
	struct hv_cpu *c = this_hv_cpu();
	u64 now = hal_time_ns();
	bool over;

	a32_store(&c->attention, 0); /* before the locks of timers and queue are taken */
	timer_run_due(now);
	epoch_poll();
	spin_lock(&c->lock);
	over = c->head && (now >= c->slice_end_ns || c->head->urgent);
	if (over) {
		c->current->state = THREAD_RUNNABLE;
		sched_switch_locked();
		return;
	}
	if (now >= c->slice_end_ns)
		c->slice_end_ns = now + SCHED_SLICE_NS;
	spin_unlock(&c->lock);
	program_deadline(c);
}

/* Asks a CPU that has vCPUs waiting for one of them. */
static void ask_for_work(struct hv_cpu *c, u64 now)
{
	if (now - c->pulled_ns < SCHED_PULL_NS)
		return;
	c->pulled_ns = now;
	for (unsigned i = 0; i < hal_cpu_count(); i++) {
		u32 nobody = 0;

		if (i == c->id || !a32_load(&hv_cpus[i].queued))
			continue;
		if (a32_cas(&hv_cpus[i].pull_for, &nobody, c->id + 1))
			return;
	}
}

/* When an idle CPU has to look again by itself: deferred frees, and work to take over. */
static u64 idle_deadline(u64 now)
{
	u64 deadline = min_of(timer_next(), now + SCHED_PULL_NS);

	return epoch_pending() ? min_of(deadline, now + EPOCH_POLL_NS) : deadline;
}

static void idle_wait(struct hv_cpu *c)
{
	u64 now = hal_time_ns();

	c->programmed_ns = idle_deadline(now);
	apic_timer_set(c->programmed_ns);
	if (a32_load(&c->attention))
		return;
	cpu_idle();
	c->idle_ns += hal_time_ns() - now;
}

void sched_start(void)
{
	struct hv_cpu *c = this_hv_cpu();
	struct thread *idle = &idle_threads[c->id];

	fmt_snprintf(idle->name, sizeof(idle->name), "idle/%u", c->id);
	idle->state = THREAD_RUNNING;
	a32_store(&idle->cpu, c->id);
	c->idle = idle;
	c->current = idle;
	a32_store(&c->state, HV_CPU_ONLINE); /* who puts a thread here takes the lock */
	for (;;) {
		thread_yield();
		epoch_poll();
		lock_assert_none();
		ask_for_work(c, hal_time_ns());
		idle_wait(c);
	}
}
