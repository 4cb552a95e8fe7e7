/*
 * An interleaving explorer: runs the real C of a protocol under every schedule within a bound.
 *
 * A test defines, before any other include,
 *
 *	#define ATOMIC_YIELD() explorer_yield()
 *	#define hal_panic explorer_panic
 *	#define hal_pause explorer_pause
 *
 * and includes the .c files it wants to explore. Each actor is a coroutine; before every atomic
 * operation it may be preempted. The search is depth first over the choices, replaying the schedule from
 * the start; a schedule costs a preemption for each switch away from an actor that could have gone on,
 * and the bound is on these: "no failure with up to n preemptions" is then a proof for this scene.
 *
 * Memory is sequentially consistent here. That is enough for what only changes by read-modify-writes
 * (entries are); a store that a later load of the same CPU may overtake is modelled by store buffers,
 * see explorer_store(); everything that C leaves open, by tests/host/weak.h.
 *
 * A program that spoils the code it explores, to see that this is found, has its main loop in tests/host/explorer_suite.h.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

#define EXPLORER_ACTORS 4u

struct explorer_actor {
	const char *name;
	void (*run)(void);
};

struct explorer_scene {
	const char *name;
	void (*setup)(void);
	/* After every actor has finished. */
	void (*check)(void);
	struct explorer_actor actor[EXPLORER_ACTORS];
	unsigned nr_actors;
	unsigned max_preemptions;
	/* Steps of one schedule after which it counts as hanging; 0: 10000. */
	unsigned max_steps;
	u64 max_schedules; /* 0: no limit */
};

struct explorer_result {
	u64 schedules;
	unsigned longest; /* steps */
	bool exhausted;   /* every schedule within the bound was run */
	bool failed;      /* the last one failed: */
	char why[256];
	char trace[256]; /* the actors in the order in which they ran */
};

void explorer_run(const struct explorer_scene *scene, struct explorer_result *result);
/* Runs it and prints a line; true if no schedule failed and none was left out. */
bool explorer_passes(const struct explorer_scene *scene);
/* All of them, each run whatever became of the others: the exit status of a program. */
int explorer_main(const struct explorer_scene *scene, unsigned n);

/* In an actor; without effect outside of explorer_run(). */
void explorer_yield(void);
/* Number of the actor that runs. */
unsigned explorer_self(void);
/* Whether an actor runs, and not the scene's setup. */
bool explorer_active(void);
/* A number below `options`, each of them in some schedule; 0 outside of the actors. */
unsigned explorer_choose(unsigned options);
/* Lets the actor run that has waited longest, if there is one; costs no preemption. */
void explorer_pause(void);
/* Does not run again before ready(arg). */
void explorer_wait(bool (*ready)(void *arg), void *arg);
/* Ends the schedule, and the search, with a failure. */
noreturn_fn void explorer_panic(const char *fmt, ...) printf_like(1, 2);

/*
 * Store buffers as x86 has them (TSO): a store waits in its actor's buffer until it is written back,
 * at any later time; the actor's own loads see it, the others' do not. A fence or locked operation
 * writes all of them back first.
 */
void explorer_store(u64 *where, u64 value);
u64 explorer_load(const u64 *where);
void explorer_fence(void);
