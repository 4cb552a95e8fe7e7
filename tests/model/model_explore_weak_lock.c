/*
 * lib/lock.c under the weak memory of tests/host/weak.h: what one holder did is seen by the next, whatever the
 * machine reorders. The data they share is plain; the model says when two accesses are not ordered.
 */
#define UNTIMED        /* lib/lock.c, lib/profile.h */
#define ATOMIC_YIELD() explorer_yield()
#define hal_panic      explorer_panic
#define hal_pause      explorer_pause
#define hal_cpu_id     explorer_self

#include "tests/host/explorer.h"
#include "tests/host/weak.h"

#include <stdio.h>
#include <string.h>

#include "lib/lock.c"

static struct spinlock spin;
static struct rwlock rw;
static unsigned data;

static void setup(void)
{
	weak_reset(2);
	spin_init(&spin, LOCK_SLOTS, "spin");
	rw_init(&rw, LOCK_MMU, "rw");
	memset(held_locks, 0, sizeof(held_locks));
	data = 0;
}

static void be_writer(void)
{
	weak_write(&data);
	data++;
}

static void be_reader(void)
{
	weak_read(&data);
}

static void run_spinner(void)
{
	for (int i = 0; i < 2; i++) {
		spin_lock(&spin);
		be_writer();
		spin_unlock(&spin);
	}
}

static void run_trier(void)
{
	for (int i = 0; i < 2; i++) {
		if (!spin_trylock(&spin))
			continue;
		be_writer();
		spin_unlock(&spin);
	}
}

static void run_reader(void)
{
	read_lock(&rw);
	be_reader();
	read_unlock(&rw);
}

static void run_read_trier(void)
{
	for (int i = 0; i < 2; i++) {
		if (!read_trylock(&rw))
			continue;
		be_reader();
		read_unlock(&rw);
	}
}

static void run_writer(void)
{
	write_lock(&rw);
	be_writer();
	write_unlock(&rw);
}

static void run_write_trier(void)
{
	for (int i = 0; i < 2; i++) {
		if (!write_trylock(&rw))
			continue;
		be_writer();
		write_unlock(&rw);
	}
}

static const struct explorer_scene scenes[] = {
        {.name = "two spin",
         .actor = {{"one", run_spinner}, {"two", run_spinner}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "one spins, one tries",
         .actor = {{"one", run_spinner}, {"try", run_trier}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "reader, writer",
         .actor = {{"reader", run_reader}, {"writer", run_writer}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "one that tries to read, writer",
         .actor = {{"try", run_read_trier}, {"writer", run_writer}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "two writers, reader",
         .actor = {{"writer", run_writer}, {"writer2", run_writer}, {"reader", run_reader}},
         .nr_actors = 3,
         .max_preemptions = 1},
        {.name = "writer, one that tries, reader",
         .actor = {{"writer", run_writer}, {"try", run_write_trier}, {"reader", run_reader}},
         .nr_actors = 3,
         .max_preemptions = 1},
};

int main(void)
{
	bool good = true;

	for (unsigned i = 0; i < ARRAY_SIZE(scenes); i++) {
		struct explorer_scene scene = scenes[i];

		scene.setup = setup;
		scene.max_steps = 600;
		good &= explorer_passes(&scene);
	}
	return good ? 0 : 1;
}
