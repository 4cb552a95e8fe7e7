/*
 * Random plans for the machine of tests/host/machine.h, which see for what is checked. Part of a program that says
 * which MMUs the vCPUs are on: machine_mmus.
 *
 * A run is a list of actions, generated from a seed. One that fails is run again with fewer actions, until none can be
 * left out, and what remains is printed. VARVE_SEED=n: only that one. VARVE_STEPS: how many steps altogether.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "mm/policy.h"
#include "tests/host/hal.h"
#include "tests/host/machine.h"
#include "tests/host/shrink.h"

/* The plans take turns. */
static const enum machine_mmu *machine_mmus;
static unsigned machine_mmus_nr;

static struct plan *const plan = &machine.plan;

/* --- plans ----------------------------------------------------------------------------------------- */

static u64 draw(u64 *seed, u64 below)
{
	return (host_random(seed) >> 11) % below;
}

static u8 draw_operation(u64 *seed)
{
	const unsigned *weights = op_weights[plan->mix];
	u64 total = 0, dice;
	u8 op = 0;

	for (unsigned i = 0; i < OPERATIONS_NR; i++)
		total += weights[i];
	for (dice = draw(seed, total); dice >= weights[op]; op++)
		dice -= weights[op];
	return op;
}

/* Few pages are hot; with large leaves, whole ranges. */
static u32 draw_page(u64 *seed, unsigned round)
{
	u64 hot = draw(seed, 4), pages = pages_all();

	if (plan->mix == OP_MIX_CALM && draw(seed, 8))
		return (u32)(round + draw(seed, 3)) % 10;
	if (plan->huge && hot)
		return (u32)(draw(seed, 2) * TABLE_PAGES + draw(seed, 24));
	return (u32)(hot > 1 ? draw(seed, 10)
	             : hot   ? pages - 1 - draw(seed, 12)
	                     : draw(seed, pages));
}

/*
 * Where guests are hardly disturbed, one of them does not leave by itself: it accesses memory and writes its tables,
 * with whatever its TLB has. The rest is for the others, and all is about the same two windows.
 */
static void let_sit(struct action *a)
{
	unsigned sits = a->round % MACHINE_VCPUS;

	a->arg = (a->arg & ~MACHINE_WINDOW) | (u64)(a->round + (a->arg >> 28) % 2) % 6 << 28;
	if (a->cpu != sits)
		return;
	if (a->op > OP_MAP_TABLE)
		a->cpu = (u8)((sits + 1) % MACHINE_VCPUS);
	else
		a->arg |= BIT(21);
}

/* Often one after the other about the same page: that is where they meet. */
static void draw_action(u64 *seed, struct action *a, unsigned round)
{
	const struct action *last = a == plan->action ? a : a - 1;
	bool same = draw(seed, 3) && last != a;

	*a = (struct action){
	        .round = (u16)round, .op = draw_operation(seed), .arg = host_random(seed)};
	/* Large leaves are worth something only while most of their pages stay. */
	if (plan->huge && a->op == OP_EVICT && draw(seed, 8))
		a->op = OP_READ;
	a->cpu = (u8)draw(seed, action_is_guests(a) ? MACHINE_VCPUS : MACHINE_CPUS);
	a->page = same ? last->page : draw_page(seed, round);
	if (same && draw(seed, 4))
		a->arg = (a->arg & ~MACHINE_PLACE) | (last->arg & MACHINE_PLACE);
	if (plan->mix == OP_MIX_CALM)
		let_sit(a);
}

static void make_plan(u64 n)
{
	u64 seed = n * 0x9e3779b97f4a7c15ull + 1;
	unsigned longer;

	*plan = (struct plan){.seed = n, .machine = &host_machines[n % HOST_MACHINES]};
	plan->mmu = machine_mmus[n / HOST_MACHINES % machine_mmus_nr];
	plan->huge = draw(&seed, 8) == 0 && plan->mmu == MACHINE_TDP;
	plan->mix = plan->mmu == MACHINE_TDP ? OP_MIX_TDP
	            : draw(&seed, 2)         ? OP_MIX_SHADOW
	                                     : OP_MIX_CALM;
	plan->track = draw(&seed, 3) == 0 && plan->mmu != MACHINE_TDP;
	plan->flush = (u32)draw(&seed, 3);
	plan->locked = draw(&seed, 6)   ? POLICY_LOCKLESS
	               : draw(&seed, 2) ? POLICY_LOCKED
	                                : POLICY_READ;
	plan->caps = draw(&seed, 3) ? POLICY_CAPS : (u32)(POLICY_CORE | draw(&seed, 16));
	plan->batch = draw(&seed, 2) ? TABLE_PAGES : draw(&seed, 2) ? 64 : 1;
	/* What it takes to use what was freed does not fit into a short one. */
	longer = plan->mix == OP_MIX_CALM ? 5 : 1;
	for (unsigned round = 0; round < MACHINE_ROUNDS / longer; round++)
		for (u64 i = 1 + draw(&seed, MACHINE_ROUND * longer); i; i--)
			draw_action(&seed, &plan->action[plan->nr++], round);
}

/* --- failing, and making it short ------------------------------------------------------------------ */

static void run_list(const void *list, unsigned n)
{
	if (list != plan->action)
		memcpy(plan->action, list, n * sizeof(plan->action[0]));
	plan->nr = n;
	for (u64 salt = 0; salt < MACHINE_SALTS; salt++) {
		plan->salt = salt;
		machine_run();
	}
}

static void run_again(void *arg)
{
	(void)arg;
	machine_run();
}

/* The plan failed: prints the few actions that are needed for that. Returns how many. */
static inline unsigned explain(void)
{
	static struct action list[MACHINE_ACTIONS];
	unsigned n = plan->nr;

	memcpy(list, plan->action, sizeof(list));
	n = shrink_list(list, sizeof(list[0]), n, run_list);
	memcpy(plan->action, list, n * sizeof(list[0]));
	plan->nr = n;
	for (plan->salt = 0;
	     plan->salt < MACHINE_SALTS && !shrink_fails(run_again, NULL, true, SHRINK_SECONDS);
	     plan->salt++)
		;
	printf("needed of it, %u actions, schedule %llu:\n", n, (unsigned long long)plan->salt);
	for (unsigned i = 0; i < n; i++)
		machine_print(&plan->action[i]);
	if (!shrink_fails(run_again, NULL, false, SHRINK_SECONDS))
		printf("... and does not fail any more\n");
	return n;
}

/* --- all of them ----------------------------------------------------------------------------------- */

struct stretch {
	u64 first, steps; /* seeds from here on, until so many steps are done */
	enum host_vm_fault fault;
	bool spoilt; /* on purpose */
};
static u64 *seed_now; /* shared with children */

static void run_stretch(void *arg)
{
	const struct stretch *s = arg;
	u64 end = machine.totals->steps + s->steps;

	for (u64 n = s->first; machine.totals->steps < end; n++) {
		*seed_now = n;
		make_plan(n);
		plan->fault = s->fault;
		machine_run();
	}
}

/* True if nothing failed. */
static bool stretch_passes(const struct stretch *s, unsigned *needed)
{
	if (!shrink_fails(run_stretch, (void *)s, s->spoilt, 0))
		return true;
	make_plan(*seed_now);
	plan->fault = s->fault;
	*needed = explain();
	return false;
}

/* What is left out on purpose is found, and what it takes is little. */
static inline bool planted_found(enum host_vm_fault fault, const char *name)
{
	const struct stretch s = {.first = 1, .steps = 400000, .fault = fault, .spoilt = true};
	unsigned needed = 0;

	printf("%s:\n", name);
	if (stretch_passes(&s, &needed)) {
		printf("NOT found\n");
		return false;
	}
	if (needed > 24) {
		printf("NOT found in a list that can be read: %u actions\n", needed);
		return false;
	}
	return true;
}

static inline bool runs_init(void)
{
	seed_now = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return seed_now != MAP_FAILED && machine_init();
}

/* VARVE_SEED: runs that only, and ends the program. */
static inline void run_wanted(void)
{
	const char *only = getenv("VARVE_SEED");
	struct stretch s = {.steps = 1};
	unsigned needed;

	if (!only)
		return;
	s.first = strtoull(only, NULL, 0);
	exit(stretch_passes(&s, &needed) ? 0 : 1);
}

/* Not when tools/mutants asks, often. */
static inline bool planting(void)
{
	return !getenv("VARVE_AS_IS");
}
