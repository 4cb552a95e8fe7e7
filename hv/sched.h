/* The scheduler: a round-robin run queue for each CPU, time slices, idle CPUs halted. */
#pragma once

#include "hv/percpu.h"
#include "hv/thread.h"
#include "lib/types.h"
#include "lib/util.h"

#define SCHED_SLICE_NS 10000000ull
/* An idle CPU asks another for a vCPU at most this often. */
#define SCHED_PULL_NS 100000000ull

/* Interrupt handlers and all per-CPU state. Boot CPU, once. */
void sched_init(void);
/* The boot stack of this CPU becomes its idle thread. Never returns. */
noreturn_fn void sched_start(void);

/*
 * Deals with `attention`: runs due timers, ends the slice if that is due, programs the hardware
 * deadline. Between two guest entries and in idle; no lock held. The caller may come back later.
 */
void sched_check(void);
/* Takes the interrupts that are pending. */
void sched_irq_window(void);
/* Asks CPU `cpu` to look at its work; leaves a guest if it is in one. Any context. */
void sched_kick(unsigned cpu);

/* If the vCPU's control block is current here, it is no longer: before it moves or is destroyed. */
void sched_unload(struct vcpu *v);

/* For thread.c. Makes a thread runnable on the queue of `c`, lock held; sched_notify() after it. */
void sched_enqueue_locked(struct hv_cpu *c, struct thread *t);
/* Tells a CPU that there is work. No lock of LOCK_SCHED or above. */
void sched_notify(struct hv_cpu *c);
/*
 * Switches to the next thread: the lock of this CPU's queue is held and the caller has set the state
 * of the running one (runnable: it goes to the end of the queue). Returns, without the lock, when it
 * runs again, maybe on another CPU.
 */
void sched_switch_locked(void);
/* First thing a new thread runs. */
void sched_finish_switch(void);
