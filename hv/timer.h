/*
 * One-shot timers of each CPU, and the one hardware deadline that they share with the time slice.
 *
 * A timer is armed on the CPU that sets it and its function runs there, in thread context with
 * interrupts off and no lock held (sched_check()), never inside an interrupt.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"

#define TIMER_NEVER (~0ull)

struct timer {
	void (*fn)(struct timer *t);
	u64 deadline_ns;
	struct timer *next;
	a32 cpu;    /* number + 1 of the CPU that armed it last, 0: never armed */
	bool armed; /* on that CPU's list; its timer lock */
};

static inline void timer_init(struct timer *t, void (*fn)(struct timer *t))
{
	*t = (struct timer){.fn = fn};
}

/* Arms on this CPU, whether it was armed or not, here or elsewhere. No lock above LOCK_TIMER. */
void timer_set(struct timer *t, u64 deadline_ns);
/*
 * Disarms. Returns when fn is not running on another CPU either, so that the timer may be freed.
 * Waits for another CPU's fn: no lock held that a timer function may take.
 */
void timer_cancel(struct timer *t);
/* Runs what is due on this CPU. No lock held. */
void timer_run_due(u64 now_ns);
/* The earliest deadline on this CPU, TIMER_NEVER if there is none. */
u64 timer_next(void);
