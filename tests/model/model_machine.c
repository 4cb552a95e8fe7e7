/*
 * Random plans for the machine of tests/host/machine.h, which see for what is checked.
 *
 * A run is a list of actions, generated from a seed. One that fails is run again with fewer actions, until none can be
 * left out, and what remains is printed. VARVE_SEED=n: only that one. VARVE_STEPS: how many steps altogether.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "mm/policy.h"
#include "tests/host/hal.h"
#include "tests/host/machine.h"
#include "tests/host/shrink.h"

static struct plan *const plan = &machine.plan;

/* --- plans ----------------------------------------------------------------------------------------- */

static u64 draw(u64 *seed, u64 below)
{
	return (host_random(seed) >> 11) % below;
}

static u8 draw_operation(u64 *seed)
{
	static u64 total;
	u64 dice;
	u8 op = 0;

	if (!total)
		for (unsigned i = 0; i < OPERATIONS_NR; i++)
			total += op_weights[i];
	for (dice = draw(seed, total); dice >= op_weights[op]; op++)
		dice -= op_weights[op];
	return op;
}

/* Few pages are hot; with large leaves, whole ranges. */
static u32 draw_page(u64 *seed)
{
	u64 hot = draw(seed, 4), pages = pages_all();

	if (plan->huge && hot)
		return (u32)(draw(seed, 2) * TABLE_PAGES + draw(seed, 24));
	return (u32)(hot > 1 ? draw(seed, 10)
	             : hot   ? pages - 1 - draw(seed, 12)
	                     : draw(seed, pages));
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
	a->page = same ? last->page : draw_page(seed);
}

static void make_plan(u64 n)
{
	u64 seed = n * 0x9e3779b97f4a7c15ull + 1;

	*plan = (struct plan){.seed = n, .machine = &host_machines[n % HOST_MACHINES]};
	plan->huge = draw(&seed, 8) == 0;
	plan->flush = (u32)draw(&seed, 3);
	plan->locked = draw(&seed, 6)   ? POLICY_LOCKLESS
	               : draw(&seed, 2) ? POLICY_LOCKED
	                                : POLICY_READ;
	plan->caps = draw(&seed, 3) ? POLICY_CAPS : (u32)(POLICY_CORE | draw(&seed, 16));
	plan->batch = draw(&seed, 2) ? TABLE_PAGES : draw(&seed, 2) ? 64 : 1;
	for (unsigned round = 0; round < MACHINE_ROUNDS; round++)
		for (u64 i = 1 + draw(&seed, MACHINE_ROUND); i; i--)
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
static unsigned explain(void)
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
	u64 *now;
};

static void run_stretch(void *arg)
{
	const struct stretch *s = arg;
	u64 end = machine.totals->steps + s->steps;

	for (u64 n = s->first; machine.totals->steps < end; n++) {
		*s->now = n;
		make_plan(n);
		plan->fault = s->fault;
		machine_run();
	}
}

/* True if nothing failed. */
static bool stretch_passes(const struct stretch *s, unsigned *needed)
{
	if (!shrink_fails(run_stretch, (void *)s, s->fault != HOST_VM_SOUND, 0))
		return true;
	make_plan(*s->now);
	plan->fault = s->fault;
	*needed = explain();
	return false;
}

/* What is left out on purpose is found, and what it takes is little. */
static bool planted_found(enum host_vm_fault fault, const char *name, u64 *now)
{
	const struct stretch s = {.first = 1, .steps = 400000, .fault = fault, .now = now};
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

static bool report(void)
{
	const struct machine_totals *t = machine.totals;

	printf("%llu steps in %llu runs and %llu rounds, %llu switches between %u CPUs, %llu "
	       "walks, %llu "
	       "hits\n",
	       (unsigned long long)t->steps, (unsigned long long)t->runs,
	       (unsigned long long)t->rounds, (unsigned long long)t->switches, MACHINE_CPUS,
	       (unsigned long long)t->walks, (unsigned long long)t->hits);
	printf("%llu evictions, %llu rescues, %llu refaults, %llu splits, %llu collapses, %llu "
	       "slot "
	       "changes, %llu accesses to no slot, %llu shootdowns, %llu exact ages, %llu of them "
	       "flushed\n",
	       (unsigned long long)t->evictions, (unsigned long long)t->rescues,
	       (unsigned long long)t->refaults, (unsigned long long)t->splits,
	       (unsigned long long)t->collapses, (unsigned long long)t->plugged,
	       (unsigned long long)t->no_slot, (unsigned long long)t->shootdowns,
	       (unsigned long long)t->exact, (unsigned long long)t->exact_flushed);
	/* The run is worth nothing if it did not come to these. */
	return t->evictions && t->rescues && t->refaults && t->splits && t->collapses &&
	       t->plugged && t->no_slot && t->exact && t->exact_flushed;
}

int main(void)
{
	const char *only = getenv("VARVE_SEED");
	bool as_is = getenv("VARVE_AS_IS"); /* asked by tools/mutants, often */
	struct stretch s = {.first = 1, .steps = host_steps(as_is ? 800000 : 2500000)};
	unsigned needed;
	bool good;

	s.now = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s.now == MAP_FAILED || !machine_init())
		return 1;
	if (only) {
		s.first = strtoull(only, NULL, 0);
		s.steps = 1;
		return stretch_passes(&s, &needed) ? 0 : 1;
	}
	good = stretch_passes(&s, &needed) && report();
	if (!as_is) {
		good &= planted_found(HOST_VM_NO_SHOOTDOWN, "no wait for vCPUs in their guest",
		                      s.now);
		good &= planted_found(HOST_VM_NO_FLUSH, "no flush at an entry", s.now);
	}
	return good ? 0 : 1;
}
