/*
 * What torture programs have in common: threads that are CPUs, and faults planted in the code to see whether the threads
 * notice. The first CPUs are vCPUs, or do what these would; the others do what they do for as long as these run.
 *
 * Nothing may depend on which thread has its turn when: a busy machine keeps a thread from its work for long, and on one
 * CPU threads run by turns of milliseconds. So a program says what has to happen (torture_missing_fn), and vCPUs go on
 * until it did; whoever waits in a loop gives its turn away there (hal_pause).
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"
#include "tests/host/vm.h"

/*
 * CPUs, frames, reclaim, the store. A guest that is out of memory ends the program: none is to be. Who calls this has the
 * race detector overlook one thing (torture_guest.c).
 */
void torture_start(unsigned cpus, u64 frames);

/* What did not happen yet of all that shows that the threads met; NULL: it all did. Any thread asks, at any time. */
typedef const char *(*torture_missing_fn)(void);

struct torture_threads {
	void *(*run[9])(void *cpu); /* each is CPU `cpu` already; the first `vcpus` of them vCPUs */
	unsigned vcpus, cpus;
	torture_missing_fn missing;
};
/* Runs them all until they have ended. Ends the program if something is missing then. */
void torture_run(const struct torture_threads *t);
/* Is a vCPU still there? */
bool torture_runs(void);
/*
 * For a vCPU: has it something to do after `done` of its `steps`? On a slow machine fewer are enough, on any machine it
 * has while something is missing; not for ever, though.
 */
bool torture_goes_on(u64 done, u64 steps);
/* Until `counter` is further by two, while a vCPU is there: the second began after the call. */
void torture_wait_for_two(const a64 *counter);

/* What a program ends with in which something is wrong, or too little happened. */
enum { TORTURE_FAILED = 1, TORTURE_MISSED };
noreturn_fn void torture_fail(const char *why, int status);

/* The fault that is planted, of those that a program can plant; 0: none. */
extern unsigned torture_fault;
/* To notice it: the number of the attempt, from 1 on; 0 without a fault. */
extern u64 torture_attempt;

/* A program that has to notice what is planted. */
struct torture_program {
	unsigned cpus; /* as for torture_start() */
	u64 frames;
	void (*run)(unsigned variant);
	unsigned variants;
	/* With a fault, of these two by turns. */
	unsigned spoilt[2];
	/* What is missing with each fault; NULL: it is not for threads. [0] is none. */
	const char *const *planted;
	unsigned faults;
	/* The one with which a run has no end. 0: none. */
	unsigned endless;
};
/*
 * All variants as they are, one after the other, in a process of their own; then one for each attempt to notice each
 * fault: threads meet by chance, what is not noticed at once may be the next time. A run in which too little happened
 * has noticed nothing. VARVE_AS_IS: no faults. Returns what main() has to.
 */
int torture_main(const struct torture_program *program);
