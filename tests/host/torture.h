/*
 * What torture programs over a whole guest (tests/host/vm.h) have in common: the machine, threads that are its CPUs, and
 * faults planted in the code to see whether the threads notice. The first CPUs are vCPUs; the others do what they do
 * for as long as these run.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

/* CPUs, frames, reclaim, the store. A guest that is out of memory ends the program: none is to be. */
void torture_start(unsigned cpus, u64 frames);

/*
 * What did not happen yet of all that shows that the threads met; NULL: it all did. Any thread asks, at any time. A busy
 * machine may keep a thread from its work for long: vCPUs go on until nothing is missing, or until TORTURE_SECONDS are
 * over.
 */
typedef const char *(*torture_missing_fn)(void);
#define TORTURE_SECONDS 90

struct torture_threads {
	void *(*run[8])(void *cpu); /* each is CPU `cpu` already; the first `vcpus` of them vCPUs */
	unsigned vcpus, cpus;
	torture_missing_fn missing;
};
/* Runs them all until they have ended. Ends the program if something is missing then. */
void torture_run(const struct torture_threads *t);
/* Is a vCPU still there? */
bool torture_runs(void);
/* For a vCPU: has it something to do after `done` of its `steps`? */
bool torture_goes_on(u64 done, u64 steps);

/*
 * With a fault planted: does `run` fail, in a process of its own, which is given the number of the attempt, from 1 on?
 * Threads meet by chance: what is not noticed at once may be the next time. One that takes `seconds` has failed. The
 * caller has no threads. Prints a line about `what` is missing.
 */
bool torture_notices(void (*run)(void *attempt), const char *what, unsigned seconds) must_check;
