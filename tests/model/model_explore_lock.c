/*
 * Every interleaving, within a bound on preemptions, of readers, a writer and one that tries, over the
 * real lib/lock.c: writers alone inside, readers never beside one, and everybody gets through.
 *
 * Then the test is tested: one at a time, the lock is spoilt, and the explorer has to find it. PHASE is
 * a fault it once had.
 */
#define ATOMIC_YIELD() explorer_yield()
#define hal_panic      explorer_panic
#define hal_pause      wait_for_change
#define hal_cpu_id     explorer_self

#include "tests/host/explorer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/atomic.h"
#include "lib/lock.h"

static void wait_for_change(void);

enum mutant {
	NONE,
	PHASE,          /* two writers in a row show the same bits */
	NO_WAIT_READER, /* a reader does not wait for a writer */
	NO_WAIT_WRITER, /* a writer does not wait for readers */
	NO_TURN,        /* writers do not wait for each other */
	TRY_STORE,      /* the try sets its bits with a plain store */
	MUTANTS,
};
static const char *const mutant_name[] = {"as it is",
                                          "the same phase twice",
                                          "readers do not wait",
                                          "writers do not wait for readers",
                                          "writers do not wait for writers",
                                          "plain store in the try"};
static enum mutant mutant;
static struct rwlock rw;

/*
 * A turn of a waiting loop is over when the lock has changed: nothing else can end the wait, and two
 * waiting actors do not run for ever in place of the third.
 */
static bool has_changed(void *arg)
{
	return memcmp(arg, &rw, sizeof(rw)) != 0;
}

static void wait_for_change(void)
{
	static struct rwlock seen[EXPLORER_ACTORS];
	struct rwlock *mine = &seen[explorer_self()];

	memcpy(mine, &rw, sizeof(rw));
	explorer_wait(has_changed, mine);
}

static u32 mutable_fetch_and(a32 *a, u32 mask)
{
	return a32_fetch_and(a, mutant == PHASE ? mask & ~3u : mask);
}

static u32 mutable_load_acquire(const a32 *a)
{
	u32 v = a32_load_acquire(a);

	if (mutant == NO_WAIT_READER && a == &rw.rin)
		return 0;
	if (mutant == NO_WAIT_WRITER && a == &rw.rout)
		return a32_load(&rw.rin) & ~3u;
	if (mutant == NO_TURN && a == &rw.wout)
		return a32_load(&rw.win) - 1;
	return v;
}

static bool mutable_cas(a32 *a, u32 *expected, u32 desired)
{
	if (mutant != TRY_STORE || a != &rw.rin)
		return a32_cas(a, expected, desired);
	a32_store(a, desired);
	return true;
}

#define a32_fetch_and    mutable_fetch_and
#define a32_load_acquire mutable_load_acquire
#define a32_cas          mutable_cas
#include "lib/lock.c"
#undef a32_fetch_and
#undef a32_load_acquire
#undef a32_cas

static unsigned readers, writers, done;

static void setup(void)
{
	rw_init(&rw, LOCK_MMU, "lock");
	memset(held_locks, 0, sizeof(held_locks));
	readers = writers = done = 0;
}

static void be_reader(void)
{
	readers++;
	if (writers)
		explorer_panic("a reader beside a writer");
	explorer_yield();
	if (writers)
		explorer_panic("a writer came in beside a reader");
	readers--;
}

static void be_writer(void)
{
	if (readers || writers)
		explorer_panic("a writer is not alone");
	writers++;
	explorer_yield();
	if (readers)
		explorer_panic("a reader came in beside a writer");
	writers--;
}

static void run_reader(void)
{
	for (int i = 0; i < 2; i++) {
		read_lock(&rw);
		be_reader();
		read_unlock(&rw);
	}
	done++;
}

static void run_writer(void)
{
	write_lock(&rw);
	be_writer();
	write_unlock(&rw);
	done++;
}

static void run_tryer(void)
{
	for (int i = 0; i < 2; i++) {
		if (write_trylock(&rw)) {
			be_writer();
			write_unlock(&rw);
		}
		write_lock(&rw);
		be_writer();
		write_unlock(&rw);
	}
	done++;
}

static void check_free(void)
{
	if (done != 3 || (rw.rin.raw & 2) || (rw.rin.raw & ~3u) != rw.rout.raw ||
	    rw.win.raw != rw.wout.raw)
		explorer_panic("the lock is not free in the end");
}

static bool explore(unsigned preemptions, struct explorer_result *r)
{
	const struct explorer_scene scene = {
	        .name = "lock",
	        .setup = setup,
	        .check = check_free,
	        .actor = {{"reader", run_reader}, {"tryer", run_tryer}, {"writer", run_writer}},
	        .nr_actors = 3,
	        .max_preemptions = preemptions,
	        .max_steps = 400,
	};

	explorer_run(&scene, r);
	return !r->failed && r->exhausted;
}

static bool explore_mutant(void)
{
	struct explorer_result r;

	for (unsigned bound = 0; bound <= 3; bound++) {
		(void)!explore(bound, &r);
		if (!r.failed)
			continue;
		printf("%s: found in schedule %llu with %u preemptions: %s (%s)\n",
		       mutant_name[mutant], (unsigned long long)r.schedules, bound, r.why, r.trace);
		return true;
	}
	printf("%s: NOT found\n", mutant_name[mutant]);
	return false;
}

int main(void)
{
	const char *bound = getenv("VARVE_PREEMPTIONS");
	unsigned preemptions = bound ? (unsigned)atoi(bound) : 2;
	struct explorer_result r;
	bool good = explore(preemptions, &r);

	printf("%llu schedules of up to %u steps, all with up to %u preemptions: %s %s\n",
	       (unsigned long long)r.schedules, r.longest, preemptions, good ? "none bad" : r.why,
	       good ? "" : r.trace);
	for (mutant = NONE + 1; !getenv("VARVE_AS_IS") && mutant < MUTANTS; mutant++)
		good &= explore_mutant();
	return good ? 0 : 1;
}
