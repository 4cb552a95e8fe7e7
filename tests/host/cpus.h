/*
 * Several CPUs simulated by one thread: coroutines that change places at atomic operations, as a generator of
 * random numbers decides. Unlike the explorer's actors they run whole programs; unlike threads they do
 * the same again from the same seed.
 *
 * Only the variant `cpus` of the host build yields at its atomic operations (tests/host/yield.h).
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

#define CPUS_MAX 8u

struct cpus_plan {
	unsigned nr;
	void (*run)(unsigned cpu); /* what a CPU does; hal_cpu_id() is `cpu` */
	u64 seed;                  /* of the schedule */
	unsigned
	        every; /* atomic operations between two switches, on average; 0: no switches but in pauses */
	u64 max_switches;    /* after so many it counts as hanging ... */
	void (*hangs)(void); /* ... and this ends the program */
};

/* Returns when all have returned. Waits (hal_pause()) let another CPU go on. */
void cpus_run(const struct cpus_plan *plan);
/* The running CPU keeps to itself until it is taken back: for looking at everything at once. Nests. */
void cpus_calm(bool on);
/* hal_pause() calls of a CPU since the program began. */
u64 cpus_pauses(unsigned cpu);
/* Switches in all runs. */
u64 cpus_switches(void);
