/*
 * mm/epoch.c under the weak memory of tests/host/weak.h: an object is unlinked and deferred by one CPU while
 * another looks it up; its end is a plain write that no reader's look may race with.
 */
#define ATOMIC_YIELD() explorer_yield()
#define hal_panic      explorer_panic
#define hal_pause      explorer_pause
#define hal_cpu_id     explorer_self

#include "tests/host/explorer.h"
#include "tests/host/weak.h"

#include <stdio.h>
#include <string.h>

#include "mm/epoch.c"
#include "tests/host/hal.h"

static struct {
	a64 link; /* to the object: 1 or 0 */
	u64 object;
	bool ended;
	struct epoch_node node, other;
	u64 newest; /* epoch that somebody has seen */
} w;

static void end(struct epoch_node *node)
{
	(void)node;
	weak_write(&w.object);
	w.ended = true;
}

/* Buckets are told apart by epochs that only grow. */
static void look_at_epoch(void)
{
	u64 now = global.epoch.raw;

	if (now < w.newest)
		explorer_panic("the epoch went back");
	w.newest = now;
}

static void run_reader(void)
{
	epoch_enter();
	if (a64_load(&w.link))
		weak_read(&w.object);
	epoch_exit();
}

static void run_writer(void)
{
	a64_store(&w.link, 0);
	epoch_defer(&w.node, end);
	epoch_barrier();
	look_at_epoch();
}

/* Another CPU steps too, for it has something of its own that waits. */
static void run_stepper(void)
{
	epoch_poll();
	look_at_epoch();
	epoch_poll();
	look_at_epoch();
}

static void end_other(struct epoch_node *node)
{
	(void)node;
}

static void setup(void)
{
	struct reader *stepper = &readers[2];

	weak_reset(2);
	memset(&w, 0, sizeof(w));
	memset(readers, 0, sizeof(readers));
	global.epoch.raw = GRACE_EPOCHS;
	w.link.raw = 1;
	w.other.fn = end_other;
	stepper->pending.raw = 1;
	stepper->bucket[GRACE_EPOCHS % BUCKETS] = (struct bucket){.chain = {&w.other, &w.other},
	                                                          .epoch = GRACE_EPOCHS};
}

static void check(void)
{
	if (!w.ended)
		explorer_panic("a barrier returned before the end");
}

static const struct explorer_scene scenes[] = {
        {.name = "unlink, read",
         .setup = setup,
         .check = check,
         .actor = {{"writer", run_writer}, {"reader", run_reader}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "unlink, read, step",
         .setup = setup,
         .check = check,
         .actor = {{"writer", run_writer}, {"reader", run_reader}, {"step", run_stepper}},
         .nr_actors = 3,
         .max_preemptions = 2},
};

int main(void)
{
	bool good = true;

	for (unsigned i = 0; i < ARRAY_SIZE(scenes); i++) {
		host_cpu_count_set(scenes[i].nr_actors);
		good &= explorer_passes(&scenes[i]);
	}
	return good ? 0 : 1;
}
