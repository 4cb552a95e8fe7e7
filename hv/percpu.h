/* What hv keeps for each CPU: run queue, timers, and who is loaded there. */
#pragma once

#include "arch/hal.h"
#include "arch/x86/percpu.h"
#include "hv/timer.h"
#include "lib/atomic.h"
#include "lib/lock.h"
#include "lib/types.h"

struct thread;
struct vcpu;

enum hv_cpu_state {
	HV_CPU_ABSENT,
	HV_CPU_ONLINE, /* virtualization is on, the scheduler may use it */
	HV_CPU_FAILED, /* came up, but cannot run guests */
};

struct hv_cpu {
	/*
	 * "Look at your run queue and timers": set by whoever puts work here, cleared by sched_check().
	 * Read before every guest entry and before every halt (hv/sched.c).
	 */
	a32 attention;
	a32 state; /* enum hv_cpu_state */
	unsigned id;
	struct thread *current;
	struct vcpu *loaded; /* whose control block is current on this CPU */
	u64 deadline_ns;     /* earliest of timers and time slice; a guest leaves no later */

	struct spinlock lock; /* LOCK_SCHED: the queue and the states of its threads */
	struct thread *head;  /* next to run */
	struct thread *tail;
	a32 queued; /* length of the queue */
	struct thread *idle;
	struct thread *last; /* switched away from; set across a context switch */
	u64 slice_end_ns;    /* of the running thread */
	a32 threads;         /* that live here, for placing new ones */
	a32 pull_for;        /* number + 1 of an idle CPU that would take a vCPU thread */
	u64 pulled_ns;       /* when this CPU last asked for one */

	struct spinlock timer_lock;  /* LOCK_TIMER */
	struct timer *timers;        /* ascending */
	const struct timer *running; /* whose function runs now */
	u64 programmed_ns; /* what the local APIC's timer is set to, TIMER_NEVER: stopped */
	u64 idle_ns;       /* total time halted */
} aligned_to(128);

extern struct hv_cpu hv_cpus[HAL_MAX_CPUS];

static inline struct hv_cpu *this_hv_cpu(void)
{
	return (struct hv_cpu *)this_cpu()->hv;
}

/* All blocks, once, on the boot CPU. */
void hv_cpu_init_all(void);
/* Binds the block to the CPU that runs this. */
void hv_cpu_bind(void);
