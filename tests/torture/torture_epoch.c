/*
 * Readers follow published pointers while a writer on each CPU replaces and retires what they point at.
 *
 * What is retired is scrubbed when its grace period is over, and not freed then: it stays for some more, and its age
 * counts them. So a reader that has an object for too long finds it old, and not a new one in the same place; and under
 * TSan the missing order is a report of its own. Readers hold what they found until they leave, and look again.
 *
 * Then the code is spoilt, and the threads have to notice it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "arch/hal.h"
#include "lib/atomic.h"
#include "mm/epoch.h"
#include "tests/host/hal.h"
#include "tests/host/torture.h"

#define CPUS  4u
#define SLOTS 8u
#define HELD  4u
#define ALIVE 0x11feu
#define AGES  4u /* grace periods that an object stays, its own one included */

struct object {
	struct epoch_node node;
	u64 mark; /* plain on purpose */
	u64 twice;
	a32 age; /* grace periods since it was taken out */
};

enum {
	NONE,
	NO_ENTER,   /* a reader does not say that it is inside */
	NO_GRACE,   /* objects age at once */
	EXIT_EARLY, /* a reader leaves, and looks again */
	FAULTS,
};
static const char *const planted[] = {"nothing", "epoch_enter() in readers", "a grace period",
                                      "readers that stay inside as long as they read"};

static aptr slots[SLOTS];
static a64 retired, freed, reads;
static u64 steps;

static void object_age(struct epoch_node *node)
{
	struct object *o = container_of(node, struct object, node);
	u32 age = a32_fetch_add(&o->age, 1) + 1;

	o->mark = 0;
	o->twice = 0;
	if (age < AGES) {
		epoch_defer(&o->node, object_age);
		return;
	}
	free(o);
	a64_count(&freed, 1);
}

static struct object *object_new(u64 salt)
{
	struct object *o = calloc(1, sizeof(*o));

	ASSERT(o);
	o->mark = ALIVE + salt;
	o->twice = 2 * o->mark;
	return o;
}

static void object_look(struct object *o)
{
	if (a32_load(&o->age))
		torture_fail("a reader has what is older than a grace period", TORTURE_FAILED);
	if (o->mark < ALIVE || o->twice != 2 * o->mark)
		torture_fail("a reader sees scrubbing", TORTURE_FAILED);
}

static void read_some(u64 *rnd)
{
	struct object *held[HELD];

	if (torture_fault != NO_ENTER)
		epoch_enter();
	for (unsigned i = 0; i < HELD; i++) {
		held[i] = aptr_load_acquire(&slots[host_random(rnd) % SLOTS]);
		if (held[i])
			object_look(held[i]);
	}
	if (torture_fault == EXIT_EARLY)
		epoch_exit();
	/* Now and then for long: others replace what is held, and their grace periods wait. */
	if (host_random(rnd) % 64 == 0)
		hal_pause();
	for (unsigned i = 0; i < HELD; i++)
		if (held[i])
			object_look(held[i]);
	if (torture_fault != NO_ENTER && torture_fault != EXIT_EARLY)
		epoch_exit();
	a64_count(&reads, HELD);
}

static void replace(unsigned cpu, u64 *rnd)
{
	/* Each slot has one writer. */
	aptr *slot = &slots[cpu + CPUS * (host_random(rnd) % (SLOTS / CPUS))];
	struct object *old = aptr_load_acquire(slot);

	aptr_store_release(slot, object_new(host_random(rnd) % 1000));
	if (!old)
		return;
	a64_count(&retired, 1);
	if (torture_fault == NO_GRACE)
		object_age(&old->node);
	else
		epoch_defer(&old->node, object_age);
}

static const char *missing(void)
{
	return a64_load(&freed) ? NULL : "nothing was freed";
}

static void *run_cpu(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	u64 rnd = cpu + 1 + CPUS * torture_attempt;

	for (u64 i = 0; torture_goes_on(i, steps); i++) {
		read_some(&rnd);
		if (i % 3 == 0)
			replace(cpu, &rnd);
		if (i % 16 == 0)
			epoch_poll();
	}
	epoch_barrier();
	return NULL;
}

static void run(unsigned variant)
{
	static const struct torture_threads threads = {
	        .run = {run_cpu, run_cpu, run_cpu, run_cpu},
	        .vcpus = CPUS,
	        .cpus = CPUS,
	        .missing = missing,
	};

	(void)variant;
	torture_run(&threads);
	for (unsigned i = 0; i < SLOTS; i++)
		free(aptr_load_acquire(&slots[i]));
	printf("%llu reads, %llu retired, %llu freed\n", (unsigned long long)a64_load(&reads),
	       (unsigned long long)a64_load(&retired), (unsigned long long)a64_load(&freed));
	if (epoch_pending() || a64_load(&retired) != a64_load(&freed))
		torture_fail("not all that was retired was freed", TORTURE_FAILED);
}

int main(void)
{
	static const struct torture_program program = {
	        .cpus = CPUS,
	        .frames = 256,
	        .run = run,
	        .variants = 1,
	        .planted = planted,
	        .faults = FAULTS,
	};

	steps = host_steps(150000);
	return torture_main(&program);
}
