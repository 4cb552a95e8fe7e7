#include "tests/host/cpus.h"

#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "tests/host/hal.h"
#include "tests/host/yield.h"

#define STACK_BYTES 262144u
#define HOME        CPUS_MAX

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#else
#define __sanitizer_start_switch_fiber(save, bottom, size)  ((void)0)
#define __sanitizer_finish_switch_fiber(save, bottom, size) ((void)0)
#endif

struct cpu {
	ucontext_t context;
	const void *stack;
	size_t stack_bytes;
	void *fake_stack; /* the sanitizer's */
	bool done;
};

static struct {
	const struct cpus_plan *plan;
	struct cpu cpu[CPUS_MAX + 1];
	unsigned current, came_from;
	unsigned calm;
	u64 seed;
	u64 left; /* atomic operations to the next switch */
	u64 switches, limit;
	u64 pauses[CPUS_MAX];
} x = {.current = HOME};

static u8 stacks[CPUS_MAX][STACK_BYTES] aligned_to(16);

u64 cpus_pauses(unsigned cpu)
{
	return x.pauses[cpu];
}

u64 cpus_switches(void)
{
	return x.switches;
}

void cpus_calm(bool on)
{
	x.calm += on ? 1u : -1u;
}

static u64 draw(u64 below)
{
	return (host_random(&x.seed) >> 11) % below;
}

/* Where a CPU comes to itself again, or begins. */
static void arrive(unsigned me)
{
	struct cpu *from = &x.cpu[x.came_from];

	(void)from;
	__sanitizer_finish_switch_fiber(x.cpu[me].fake_stack, &from->stack, &from->stack_bytes);
	if (me != HOME)
		host_cpu_set(me);
}

static void go(unsigned to)
{
	unsigned me = x.current;

	if (to == me)
		return;
	x.came_from = me;
	x.current = to;
	x.switches++;
	__sanitizer_start_switch_fiber(x.cpu[me].done ? NULL : &x.cpu[me].fake_stack,
	                               x.cpu[to].stack, x.cpu[to].stack_bytes);
	swapcontext(&x.cpu[me].context, &x.cpu[to].context);
	arrive(me);
}

/* Any CPU that has something to do, this one only if there is no other; HOME when there is none. */
static unsigned another(void)
{
	unsigned list[CPUS_MAX], n = 0;

	for (unsigned i = 0; i < x.plan->nr; i++)
		if (!x.cpu[i].done && i != x.current)
			list[n++] = i;
	if (n)
		return list[draw(n)];
	return x.cpu[x.current].done ? HOME : x.current;
}

static void set_left(void)
{
	x.left = x.plan->every ? 1 + draw(2ull * x.plan->every) : ~0ull;
}

static void leave(void)
{
	if (!--x.limit)
		x.plan->hangs();
	set_left();
	go(another());
}

void cpus_yield(void)
{
	if (x.current != HOME && !x.calm && !--x.left)
		leave();
}

static void pause_here(void *arg)
{
	(void)arg;
	if (x.current == HOME) /* nobody to wait for: only a bug waits here */
		abort();
	x.pauses[x.current]++;
	leave();
}

static void cpu_main(void)
{
	unsigned me = x.current;

	arrive(me);
	x.plan->run(me);
	x.cpu[me].done = true;
	leave();
	abort(); /* nobody goes to one that is done */
}

static void cpu_start(unsigned i)
{
	struct cpu *c = &x.cpu[i];

	c->done = false;
	c->stack = stacks[i];
	c->stack_bytes = STACK_BYTES;
	getcontext(&c->context);
	c->context.uc_stack.ss_sp = stacks[i];
	c->context.uc_stack.ss_size = STACK_BYTES;
	c->context.uc_link = NULL;
	makecontext(&c->context, cpu_main, 0);
}

void cpus_run(const struct cpus_plan *plan)
{
	x.plan = plan;
	x.seed = plan->seed | 1;
	x.limit = plan->max_switches;
	x.calm = 0;
	set_left();
	for (unsigned i = 0; i < plan->nr; i++)
		cpu_start(i);
	host_on_pause(pause_here, NULL);
	go((unsigned)draw(plan->nr));
	host_on_pause(NULL, NULL);
	host_cpu_set(0);
}
