/*
 * Readers follow published pointers while a writer on each CPU replaces and retires what they point at.
 * Retired objects are scrubbed in the callback: a reader that still sees one sees the scrubbing, and under
 * TSan the missing order is a report of its own.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/atomic.h"
#include "mm/epoch.h"
#include "tests/host/hal.h"

#define CPUS  4u
#define SLOTS 8u
#define ALIVE 0x11feu

struct object {
	struct epoch_node node;
	u64 mark; /* plain on purpose */
	u64 twice;
};

static aptr slots[SLOTS];
static a64 retired, freed, reads;
static u64 steps;

static void object_free(struct epoch_node *node)
{
	struct object *o = container_of(node, struct object, node);

	o->mark = 0;
	o->twice = 0;
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

static void read_some(u64 *rnd)
{
	epoch_enter();
	for (unsigned i = 0; i < 4; i++) {
		const struct object *o = aptr_load_acquire(&slots[host_random(rnd) % SLOTS]);

		if (o && (o->mark < ALIVE || o->twice != 2 * o->mark))
			hal_panic("read what was freed: %llx", (unsigned long long)o->mark);
	}
	epoch_exit();
	a64_count(&reads, 4);
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
	epoch_defer(&old->node, object_free);
}

static void *cpu_main(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	u64 rnd = cpu + 1;

	host_cpu_set(cpu);
	for (u64 i = 0; i < steps; i++) {
		read_some(&rnd);
		if (i % 3 == 0)
			replace(cpu, &rnd);
		if (i % 16 == 0)
			epoch_poll();
	}
	epoch_barrier();
	return NULL;
}

int main(void)
{
	pthread_t thread[CPUS];

	steps = host_steps(150000);
	host_cpu_count_set(CPUS);
	for (unsigned cpu = 0; cpu < CPUS; cpu++)
		pthread_create(&thread[cpu], NULL, cpu_main, (void *)(uintptr_t)cpu);
	for (unsigned cpu = 0; cpu < CPUS; cpu++)
		pthread_join(thread[cpu], NULL);
	for (unsigned i = 0; i < SLOTS; i++)
		free(aptr_load_acquire(&slots[i]));
	printf("%llu reads, %llu retired, %llu freed\n", (unsigned long long)a64_load(&reads),
	       (unsigned long long)a64_load(&retired), (unsigned long long)a64_load(&freed));
	return epoch_pending() || a64_load(&retired) != a64_load(&freed) || !a64_load(&freed);
}
