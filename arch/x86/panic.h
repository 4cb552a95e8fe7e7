/* The end of a run that failed: one CPU reports, the others are stopped. */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

struct trap_frame;

/* Report of a trap of ours. Any context. */
noreturn_fn void panic_trap(struct trap_frame *frame);
/* hal_panic() with its arguments in hand. Any context. */
noreturn_fn void panic_text(const char *fmt, va_list args) __attribute__((format(printf, 1, 0)));
/*
 * What a report says besides, before its verdict: `fn` runs when all other CPUs are stopped, writes to the console
 * and takes no lock. One, for good.
 */
void panic_also_say(void (*fn)(void));
/* True once some CPU reports; the NMI handler then parks this CPU. */
bool panic_running(void);
/* Stops all other CPUs by NMI; returns when they are parked or a bounded wait is over. */
void panic_stop_others(void);
/* NMI context, while panic_running(): parks this CPU unless it is the reporter. */
void panic_park(void);
