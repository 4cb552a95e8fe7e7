/*
 * Threads that lose their turn: included before everything else by a test of real threads, whose atomic operations then
 * take long now and then, so that others come between that would not in a run of seconds.
 */
#pragma once

static inline void lose_turn(void);
#define ATOMIC_YIELD() lose_turn()
#include "lib/atomic.h"

#include <time.h>

#include "tests/host/turn.h"

/* Mostly nothing; now and then others get on, or get far. */
static inline void lose_turn(void)
{
	static __thread u32 state = 1;

	state = state * 1664525u + 1013904223u;
	if (state >> 24 == 0)
		host_turn();
	else if (state >> 20 == 0x777)
		nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
}

/* For the places where others have to get far to do harm: every 32nd time. */
static inline void lose_turn_for_long(void)
{
	static __thread u32 calls;

	if (++calls % 32 == 0)
		nanosleep(&(struct timespec){.tv_nsec = 400000}, NULL);
}
