/*
 * Threads: a virtual CPU each, and the hypervisor's own. A thread stays on the CPU it was created
 * for, unless the scheduler moves a waiting vCPU to an idle CPU.
 *
 * Nothing is preempted inside the hypervisor. A thread gives up the CPU in thread_yield(),
 * thread_block(), thread_sleep_until() and at its end, and a vCPU between two guest entries.
 */
#pragma once

#include "arch/x86/context.h"
#include "hv/timer.h"
#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"

#define THREAD_NAME_MAX 40u
#define THREAD_MAX      640u
#define THREAD_ANY_CPU  (~0u)

enum thread_state { THREAD_RUNNABLE, THREAD_RUNNING, THREAD_BLOCKED, THREAD_DEAD };

struct vcpu;

struct thread {
	struct context context;
	char name[THREAD_NAME_MAX];
	void (*fn)(void *arg);
	void *arg;
	struct vcpu *vcpu; /* NULL: one of the hypervisor's own */
	bool counted;      /* in its CPU's `threads` */
	a32 cpu;           /* changes under the queue locks of both CPUs, one after the other */
	u32 state;         /* enum thread_state; queue lock of its CPU */
	bool wake_pending; /* woken while it was not blocked: the next thread_block() returns at once */
	bool urgent;       /* goes ahead of the others and ends their slice */
	struct thread *next;
	struct timer sleep;
	void *stack;
	a32 in_world; /* hv/world.c */
};

/*
 * A blocked thread on CPU `cpu`, or on the one with the fewest vCPUs; thread_wake() starts it. NULL:
 * no memory, or too many. `vcpu`: whose control block is loaded when the thread is switched in.
 */
struct thread *thread_create(const char *name, unsigned cpu, struct vcpu *vcpu, bool urgent,
                             void (*fn)(void *arg), void *arg) must_check;
/* The thread that runs here. */
struct thread *thread_self(void);
noreturn_fn void thread_exit(void);
/* Gives back the stack of a dead thread that was switched away from. */
void thread_release(struct thread *t);
/* Lets others run, takes pending interrupts. No lock held, not in an epoch section. */
void thread_yield(void);
/*
 * Sleeps until a thread_wake() that came after the last return from here. May return early: the
 * caller checks its condition again. No lock held.
 */
void thread_block(void);
void thread_sleep_until(u64 deadline_ns);
/* Any context with no lock at or above LOCK_SCHED. */
void thread_wake(struct thread *t);
/* fn for every living thread; the list lock (LOCK_VM_LIST) is held meanwhile. */
void thread_for_each(void (*fn)(struct thread *t, void *arg), void *arg);
