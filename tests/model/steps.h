/*
 * A random model as a list of steps: each draws from a generator of its own, so that it does the same whatever others are
 * left out. A list that fails is run again with fewer steps, until none can be left out, and what remains is printed.
 * Part of a program that has a run of such a list, from its set-up to the last check.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/types.h"
#include "lib/util.h"
#include "tests/host/hal.h"
#include "tests/host/shrink.h"

/* Steps `list`[0 .. n - 1], with steps_random(); ends the process if something is wrong. */
typedef void (*steps_run_fn)(const u32 *list, unsigned n);

/* Nothing was left out: the run has to come to everything it is for. */
static bool steps_whole;
static u64 steps_seed;
static u64 *steps_done; /* by the run, shared with children */

/* Generator of one step; the run sets the model's to it, and says that it is there. */
static inline u64 steps_random(u32 step)
{
	u64 state = (steps_seed + step * 0x9e3779b97f4a7c15ull) | 1;

	*steps_done = step + 1ull;
	(void)host_random(&state);
	return host_random(&state) | 1;
}

struct steps_list {
	steps_run_fn run;
	u32 *list;
	unsigned n;
};

static inline void steps_run(void *arg)
{
	const struct steps_list *s = arg;

	s->run(s->list, s->n);
}

static steps_run_fn steps_shrunk_run;
static inline void steps_run_some(const void *list, unsigned n)
{
	steps_shrunk_run(list, n);
}

/* How many are needed of the first n, which fail. */
static inline unsigned steps_explain(struct steps_list *s)
{
	steps_whole = false;
	steps_shrunk_run = s->run;
	s->n = shrink_list(s->list, sizeof(s->list[0]), s->n, steps_run_some);
	printf("seed %llu: needed are %u steps:", (unsigned long long)steps_seed, s->n);
	for (unsigned i = 0; i < s->n && i < 40; i++)
		printf(" %u", s->list[i]);
	printf("\n");
	if (!shrink_fails(steps_run, s, false, SHRINK_SECONDS))
		printf("... and they do not fail alone: the whole run came to too little\n");
	return s->n;
}

/* Steps 0 .. n - 1 of the seed, in a process of their own. True: nothing is wrong. `needed`: else, how many it takes. */
static inline bool steps_pass(steps_run_fn run, u64 seed, unsigned n, bool quiet, unsigned *needed)
{
	struct steps_list s = {.run = run, .list = malloc((n + 1ull) * sizeof(u32)), .n = n};
	bool passes;

	if (!steps_done)
		steps_done = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
		                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!s.list || steps_done == MAP_FAILED)
		abort();
	for (unsigned i = 0; i < n; i++)
		s.list[i] = i;
	steps_seed = seed;
	steps_whole = true;
	passes = !shrink_fails(steps_run, &s, quiet, 0);
	if (!passes) {
		s.n = (unsigned)min_of(*steps_done, (u64)n);
		*needed = steps_explain(&s);
	}
	free(s.list);
	return passes;
}
