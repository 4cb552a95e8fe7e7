/*
 * The CPUs of hv/ as actors of the explorer, under the weak memory of tests/host/weak.h: scheduler, threads, timers
 * and the world as they are, each thread with a stack of its own, each actor a CPU on which the scheduler may switch
 * from one to the other. What is hardware's is here: interrupts, a halt, a clock that stands still.
 *
 * A halted CPU is not woken by its clock. In the hypervisor it is, before long, and what should have woken it earlier
 * would go unnoticed; here a lost wake-up is a deadlock.
 *
 * Include instead of tests/host/explorer.h. A scene's setup begins with hv_cpus_reset(); an actor that is a CPU runs
 * hv_cpu_run(), which comes back when `hv_over` is set and nothing is left to do there. Any other actor is code that
 * runs on a CPU of its own.
 */
#pragma once

#define UNTIMED        /* lib/lock.c, lib/profile.h */
#define ATOMIC_YIELD() explorer_yield()
#define hal_panic      explorer_panic
#define hal_pause      explorer_pause
#define hal_cpu_id     explorer_self

#include "tests/host/explorer.h"
#include "tests/host/weak.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

#include "lib/lock.c"

#include "arch/x86/apic.h"
#include "arch/x86/context.h"
#include "arch/x86/fpu.h"
#include "arch/x86/insn.h"
#include "arch/x86/percpu.h"
#include "arch/x86/stack.h"
#include "arch/x86/vendor.h"
#include "hv/percpu.h"
#include "mm/epoch.h"
#include "tests/host/hal.h"

static void cpu_halt(void);
static void cpu_take_interrupts(void);
static struct percpu hv_cpu_block[EXPLORER_ACTORS];

#define this_cpu()      (&hv_cpu_block[explorer_self()])
#define this_hv_cpu()   (&hv_cpus[explorer_self()])
#define epoch_poll()    ((void)0)
#define epoch_pending() 0

#include "hv/percpu.c"
#define cpu_idle   cpu_halt
#define irq_window cpu_take_interrupts
#include "hv/sched.c"
#undef cpu_idle
#undef irq_window
#define list_lock thread_list_lock
#include "hv/thread.c"
#undef list_lock
#include "hv/timer.c"
#include "hv/world.c"

#define FIBERS      6u
#define FIBER_BYTES 65536u

/* What context_switch() goes to: a thread, with its stack, or where an actor began. */
struct fiber {
	struct context *of;
	ucontext_t at;
	void (*fn)(void *);
	void *arg;
};

static struct fiber fibers[FIBERS + EXPLORER_ACTORS];
static u8 fiber_stack[FIBERS][FIBER_BYTES] aligned_to(16);
static unsigned nr_stacks;
static jmp_buf cpu_end[EXPLORER_ACTORS];
static bool irq_pending[EXPLORER_ACTORS]; /* an interrupt is pending */
static bool hv_over;

/* --- threads change places --- */

static struct fiber *fiber_of(struct context *c)
{
	struct fiber *f = fibers;

	while (f->of && f->of != c)
		f++;
	f->of = c;
	return f;
}

static void fiber_main(unsigned number)
{
	fibers[number].fn(fibers[number].arg);
}

void *stack_alloc(const char *name)
{
	(void)name;
	return nr_stacks < FIBERS ? fiber_stack[nr_stacks++] : NULL;
}

/* No schedule needs as many threads that a stack would have to be used again. */
void stack_free(void *low)
{
	(void)low;
}

void context_init(struct context *c, void *low, size_t bytes, void (*fn)(void *), void *arg)
{
	struct fiber *f = fiber_of(c);

	(void)bytes;
	f->fn = fn;
	f->arg = arg;
	getcontext(&f->at);
	f->at.uc_stack.ss_sp = low;
	f->at.uc_stack.ss_size = FIBER_BYTES;
	f->at.uc_link = NULL;
	makecontext(&f->at, (void (*)(void))fiber_main, 1, (unsigned)(f - fibers));
}

void context_switch(struct context *from, const struct context *to)
{
	swapcontext(&fiber_of(from)->at, &fiber_of((struct context *)to)->at);
}

/* --- interrupts --- */

/* Sending one is ordered behind all stores of this CPU: arch/x86/apic.c sees to that. */
void apic_ipi(unsigned cpu, u8 vector)
{
	(void)vector;
	fence_full();
	irq_pending[cpu] = true;
}

void apic_nmi(unsigned cpu)
{
	fence_full();
	irq_pending[cpu] = true;
}

void apic_timer_set(u64 deadline_ns)
{
	(void)deadline_ns;
}

void apic_timer_stop(void)
{
}

void trap_set_irq(u8 vector, void (*fn)(struct trap_frame *frame))
{
	(void)vector;
	(void)fn;
}

void trap_set_nmi(void (*fn)(void))
{
	(void)fn;
}

void vendor_nmi(void)
{
}

static bool interrupt_pending(void *cpu)
{
	return irq_pending[(uintptr_t)cpu] || hv_over;
}

/* Who takes one sees what its sender had done; one that comes meanwhile is for the next time. */
static void cpu_take_interrupts(void)
{
	irq_pending[explorer_self()] = false;
	fence_full();
}

/* Runs in the idle thread, on the stack on which the actor began. */
static void cpu_halt(void)
{
	explorer_wait(interrupt_pending, (void *)(uintptr_t)explorer_self());
	if (!irq_pending[explorer_self()])
		longjmp(cpu_end[explorer_self()], 1);
	cpu_take_interrupts();
}

static void hv_cpu_run(void)
{
	if (!setjmp(cpu_end[explorer_self()]))
		sched_start();
}

/* CPUs 0 .. nr - 1 are there for threads. */
static void hv_cpus_reset(unsigned nr, unsigned old_reads)
{
	weak_reset(old_reads);
	memset(held_locks, 0, sizeof(held_locks));
	memset(used, 0, sizeof(used));
	memset(fibers, 0, sizeof(fibers));
	memset(irq_pending, 0, sizeof(irq_pending));
	memset(idle_threads, 0, EXPLORER_ACTORS * sizeof(idle_threads[0]));
	spin_init(&thread_list_lock, LOCK_VM_LIST, "threads");
	nr_stacks = 0;
	hv_over = false;
	host_time_set(1);
	host_cpu_count_set(nr);
	world_closed.raw = 0;
	for (unsigned i = 0; i < EXPLORER_ACTORS; i++) {
		struct hv_cpu *c = &hv_cpus[i];

		*c = (struct hv_cpu){
		        .id = i, .deadline_ns = TIMER_NEVER, .programmed_ns = TIMER_NEVER};
		spin_init(&c->lock, LOCK_SCHED, "run queue");
		spin_init(&c->timer_lock, LOCK_TIMER, "timers");
		c->state.raw = i < nr ? HV_CPU_ONLINE : HV_CPU_ABSENT;
	}
}
