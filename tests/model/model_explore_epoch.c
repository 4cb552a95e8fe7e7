/*
 * mm/epoch.c itself, in the memory model of x86: two readers look an object up, somebody unlinks it and
 * defers its end. It must not end while a reader may have it. No race detector sees this: what matters is
 * a store that a later load overtakes.
 */
#define ATOMIC_YIELD() explorer_yield()
#define hal_panic      explorer_panic
#define hal_pause      explorer_pause
#define hal_cpu_id     explorer_self

#include "tests/host/explorer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/atomic.h"
#include "tests/host/hal.h"

static bool mutant_plain_store; /* a reader publishes its epoch without a fence */

static void store_full(u64 *where, u64 value)
{
	explorer_store(where, value);
	if (!mutant_plain_store)
		explorer_fence();
}

/* Locked operations write the buffer back first. */
#define a64_load(a)             explorer_load(&(a)->raw)
#define a64_load_acquire(a)     explorer_load(&(a)->raw)
#define a64_store(a, v)         explorer_store(&(a)->raw, v)
#define a64_store_release(a, v) explorer_store(&(a)->raw, v)
#define a64_store_full(a, v)    store_full(&(a)->raw, v)
#define a64_fetch_add(a, v)     (explorer_fence(), (a64_fetch_add)(a, v))
#define a64_cas(a, e, v)        (explorer_fence(), (a64_cas)(a, e, v))
#define fence_full()            explorer_fence()

#include "mm/epoch.c"

static struct {
	a64 link; /* to the object: 1 or 0 */
	bool alive;
	struct epoch_node node;
} w;

static void end(struct epoch_node *node)
{
	(void)node;
	w.alive = false;
}

static void run_reader(void)
{
	epoch_enter();
	if (a64_load(&w.link)) {
		explorer_yield();
		if (!w.alive)
			explorer_panic("a reader has what is gone");
	}
	epoch_exit();
}

static void run_writer(void)
{
	a64_store(&w.link, 0);
	epoch_defer(&w.node, end);
	epoch_barrier();
}

static void setup(void)
{
	memset(&w, 0, sizeof(w));
	memset(readers, 0, sizeof(readers));
	global.epoch.raw = GRACE_EPOCHS;
	w.link.raw = 1;
	w.alive = true;
}

static void check(void)
{
	if (w.alive)
		explorer_panic("a barrier returned before the end");
}

static bool explore(unsigned nr_readers, unsigned preemptions, struct explorer_result *r)
{
	const struct explorer_scene scene = {
	        .name = "epoch",
	        .setup = setup,
	        .check = check,
	        .actor = {{"writer", run_writer}, {"reader", run_reader}, {"reader2", run_reader}},
	        .nr_actors = 1 + nr_readers,
	        .max_preemptions = preemptions,
	};

	host_cpu_count_set(1 + nr_readers);
	explorer_run(&scene, r);
	printf("epoch%s, %u readers: %llu schedules, up to %u preemptions: %s %s\n",
	       mutant_plain_store ? " published without a fence" : "", nr_readers,
	       (unsigned long long)r->schedules, preemptions, r->failed ? r->why : "none bad",
	       r->failed ? r->trace : "");
	return r->exhausted && !r->failed;
}

int main(void)
{
	struct explorer_result r;
	bool good = explore(1, 3, &r);

	good &= explore(2, 1, &r);
	if (getenv("VARVE_AS_IS"))
		return !good;
	mutant_plain_store = true;
	(void)explore(1, 3, &r);
	return good && r.failed ? 0 : 1;
}
